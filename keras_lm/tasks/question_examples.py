"""From questions with their contexts and answers, as users give them, to lists."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_lm import data
from keras_lm.data.examples.tokenizing import check_string
from keras_lm.tasks.labelled import listed

Question = tuple[str, str]
"""A question and its context."""

Answers = dict[str, list[Any]]
"""The right answers: `text`, strings, and `answer_start`, characters of the context; both empty
where the context does not answer the question."""


def question_rows(x: Any, y: Any = None) -> tuple[list[Question], list[Answers] | None]:
    """Questions with their contexts, and the answers of each where there are any.

    Args:
        x: the path of a file in the layout of SQuAD, or a list of paths; the columns that
            `data.squad` gives; a list, or a tf.data set, of dicts with `question`, `context` and
            `answers` (a dict of the lists `text` and `answer_start`, or a list of dicts of both)
            or `answer` and `answer_start`; or `(questions, contexts)` or a list of such pairs,
            with y.
        y: the answers of each pair: a dict of the two lists, `(text, start)` or None. Else None.

    Raises:
        ValueError: a question or context is empty or none, or answers are not of these kinds.

    Example:

    >>> question_rows([{"question": "q", "context": "abc", "answer": "b", "answer_start": 1}])
    ([('q', 'abc')], [{'text': ['b'], 'answer_start': [1]}])
    """
    if y is not None or isinstance(x, tuple):
        pairs, given = listed(x, y)
        examples = [
            {"question": pair[0], "context": pair[1]} if _is_pair(pair) else pair for pair in pairs
        ]
        if given is not None:
            examples = [
                {**example, "answers": answers} for example, answers in zip(examples, given)
            ]
    else:
        examples = _examples(x)
    if not examples:
        raise ValueError("x is empty; give at least one question")
    questions = [_question(example, f"x[{i}]") for i, example in enumerate(examples)]
    answers = [_answers(example, f"x[{i}]") for i, example in enumerate(examples)]
    known = [one for one in answers if one is not None]
    if known and len(known) < len(answers):
        raise ValueError(
            f"x[{answers.index(None)}] has no answers, others have; a question that its context "
            'does not answer has "answers": {"text": [], "answer_start": []}'
        )
    return questions, known or None


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2


def _examples(x: Any) -> list[Any]:
    """The dicts that paths, columns, lists and data sets stand for."""
    is_path = str | os.PathLike
    if isinstance(x, is_path) or (
        isinstance(x, Sequence) and x and all(isinstance(item, is_path) for item in x)
    ):
        x = data.squad(x)
    if isinstance(x, tf.data.Dataset):
        if x.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise ValueError("x is an endless tf.data set; questions are read as a whole")
        if not isinstance(x.element_spec, dict):
            raise ValueError(f"x must give dicts of a question; it gives {x.element_spec!r:.80}")
        specs = tf.nest.flatten(x.element_spec)
        if all(spec.shape.rank for spec in specs):  # batched
            x = x.unbatch()
        return [_python_values(element) for element in x.as_numpy_iterator()]
    if isinstance(x, Mapping):
        columns = {name: x.get(name) for name in ("question", "context", "answers")}
        sizes = {
            name: len(column)
            for name, column in columns.items()
            if isinstance(column, Sequence) and not isinstance(column, str)
        }
        if not {"question", "context"} <= set(sizes) or len(set(sizes.values())) != 1:
            raise ValueError(
                "x is a dict; it must have the lists question, context and answers, of one "
                f"length, as data.squad gives them; got {x!r:.80}"
            )
        rows = zip(*(columns[name] for name in sizes), strict=True)
        return [dict(zip(sizes, row, strict=True)) for row in rows]
    if isinstance(x, Sequence):
        return list(x)
    raise ValueError(
        "x must be the path of a SQuAD file, a list of dicts of a question, its context and its "
        f"answers, or a tf.data set of such; got {x!r:.80}"
    )


def _python_values(value: Any) -> Any:
    """The same with strings and lists for bytes and arrays."""
    if isinstance(value, Mapping):
        return {name: _python_values(part) for name, part in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list):
        return [_python_values(item) for item in value]
    return value.decode("utf-8") if isinstance(value, bytes) else value


def _question(example: Any, name: str) -> Question:
    if not isinstance(example, Mapping):
        raise ValueError(f"{name} is {example!r:.80}; it must be a dict of question and context")
    for key in ("question", "context"):
        if key not in example:
            raise ValueError(f"{name} has no {key}; it has {sorted(example)}")
        check_text(example[key], f"{name}[{key!r}]")
    return example["question"], example["context"]


def check_text(text: Any, name: str) -> None:
    """ValueError unless it is a string of valid Unicode with more than white space."""
    check_string(text, name)
    if not text.strip():
        raise ValueError(f"{name} is an empty text; give at least one word")


def _answers(example: Mapping[str, Any], name: str) -> Answers | None:
    """The answers of an example; None where it does not say."""
    if "answers" in example:
        given = example["answers"]
    elif "answer" in example:
        if example["answer"] and "answer_start" not in example:
            raise ValueError(
                f"{name} has an answer and no answer_start, the character it begins at"
            )
        given = (example["answer"], example.get("answer_start"))
    else:
        return None
    if given is None:
        return {"text": [], "answer_start": []}
    if isinstance(given, Mapping):
        texts, starts = given.get("text"), given.get("answer_start")
    elif isinstance(given, tuple) and len(given) == 2:
        texts, starts = ([part] if given[0] else [] for part in given)
    elif isinstance(given, list) and all(isinstance(one, Mapping) for one in given):
        texts, starts = ([one.get(key) for one in given] for key in ("text", "answer_start"))
    else:
        texts, starts = None, None
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        raise ValueError(
            f"the answers of {name} are {given!r:.80}; they must be a dict of the lists text and "
            "answer_start, of one length, or (text, start), or None"
        )
    for text, start in zip(texts, starts, strict=True):
        check_text(text, f"an answer of {name}")
        if not isinstance(start, int) or isinstance(start, bool):
            raise ValueError(f"an answer_start of {name} is {start!r}; it must be an int")
        if start < 0 or not example["context"].startswith(text, start):
            raise ValueError(
                f"the answer {text!r:.60} of {name} does not stand at character {start} of its "
                f"context, where there is {example['context'][max(start, 0) :][: len(text)]!r:.60}"
            )
    return {"text": list(texts), "answer_start": list(starts)}
