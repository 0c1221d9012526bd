"""Questions answered by spans of a passage: the layout of SQuAD."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from keras_lm.data.sources.files import Files, whole_texts
from keras_lm.data.sources.json_lines import parsed

Value = TypeVar("Value")


def squad(files: Files, repair: bool = False, errors: str = "strict") -> dict[str, list[Any]]:
    """Reads files in the layout of SQuAD 1.1 or 2.0, one row a question.

    Args:
        files: one path or several, gzipped or not.
        repair: whether an answer that does not stand where its `answer_start` says is moved to
            the nearest place where it does; False (default) refuses it.
        errors: `"strict"` (default) refuses what is not UTF-8, `"replace"` puts U+FFFD there.

    Returns:
        The columns id, title, context, question (strings) and answers, each of these
        `{"text": [strings], "answer_start": [characters into the context]}`, as `datasets` gives
        them. A question that the passage does not answer (`is_impossible`) has two empty lists.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: with file and line: not JSON, or not UTF-8; with file and the question's id: an
            answer does not stand at its `answer_start`, a question has neither an answer nor
            `is_impossible`, or has both, or something is missing or of another type. A file has no
            question.

    Example:

    >>> import json, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "one.json"
    >>> answer = {"text": "Lima", "answer_start": 0}
    >>> question = {"id": "q1", "question": "Where?", "answers": [answer]}
    >>> passage = {"context": "Lima is the place.", "qas": [question]}
    >>> _ = path.write_text(json.dumps({"data": [{"title": "Peru", "paragraphs": [passage]}]}))
    >>> squad(path)["answers"]
    [{'text': ['Lima'], 'answer_start': [0]}]
    """
    columns: dict[str, list[Any]] = {
        name: [] for name in ("id", "title", "context", "question", "answers")
    }
    for path, text in whole_texts(files, errors):
        where = f"files: {path}"
        num_before = len(columns["id"])
        for article in _get(parsed(text, path, 1, errors), "data", list, where):
            title = _get(article, "title", str, where, default="")
            for passage in _get(article, "paragraphs", list, where):
                context = _get(passage, "context", str, where)
                for question in _get(passage, "qas", list, where):
                    name = _get(question, "id", str, where)
                    at = f"{where}, question {name!r}"
                    columns["id"].append(name)
                    columns["title"].append(title)
                    columns["context"].append(context)
                    columns["question"].append(_get(question, "question", str, at))
                    columns["answers"].append(_answers(question, context, repair, at))
        if len(columns["id"]) == num_before:
            raise ValueError(f"files: {path} is empty; it must hold at least one question")
    return columns


def _get(
    record: Any, key: str, kind: type[Value], where: str, default: Value | None = None
) -> Value:
    if not isinstance(record, dict):
        raise ValueError(f"{where}: a JSON {type(record).__name__} where an object must stand")
    value = record.get(key, default)
    if type(value) is not kind:
        found = f"{record[key]!r:.40}" if key in record else "missing"
        raise ValueError(f"{where}: {key} is {found}; it must be of type {kind.__name__}")
    return value


def _answers(question: Any, context: str, repair: bool, where: str) -> dict[str, list[Any]]:
    impossible = "is_impossible" in question and _get(question, "is_impossible", bool, where)
    # SQuAD 2.0 leaves the key out here and there where there is no answer.
    given = (
        [] if impossible and "answers" not in question else _get(question, "answers", list, where)
    )
    if bool(given) == impossible:
        raise ValueError(
            f"{where}: {len(given)} answers, and is_impossible is {json.dumps(impossible)}"
        )
    answers: dict[str, list[Any]] = {"text": [], "answer_start": []}
    for answer in given:
        text = _get(answer, "text", str, where)
        start = _get(answer, "answer_start", int, where)
        if not text:
            raise ValueError(f"{where}: an answer is empty")
        if start < 0 or not context.startswith(text, start):
            places = _places(text, context) if repair else []
            if not places:
                raise ValueError(
                    f"{where}: the answer {text!r:.60} does not stand at character {start}"
                    + (" or elsewhere" if repair else "; repair=True would look for it")
                )
            start = min(places, key=lambda place: abs(place - start))
        answers["text"].append(text)
        answers["answer_start"].append(start)
    return answers


def _places(text: str, context: str) -> list[int]:
    places = []
    place = context.find(text)
    while place >= 0:
        places.append(place)
        place = context.find(text, place + 1)
    return places
