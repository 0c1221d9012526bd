"""What a question answerer takes, and what it refuses: by name, with what would be right."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

import keras_lm as klm
from keras_lm.tasks import QuestionAnswerer
from keras_lm.tasks.question_examples import question_rows
from keras_lm.tokenizers import ByteTokenizer

CONTEXT = "Zoë lives in Lima."
ROWS = [("who?", CONTEXT), ("why?", CONTEXT)]
ANSWERS = [{"text": ["Zoë", "Zo"], "answer_start": [0, 0]}, {"text": [], "answer_start": []}]
EXAMPLES = [
    {"question": question, "context": context, "answers": answers}
    for (question, context), answers in zip(ROWS, ANSWERS, strict=True)
]
COLUMNS = {name: [one[name] for one in EXAMPLES] for name in ("question", "context", "answers")}


@pytest.fixture(scope="module")
def qa() -> QuestionAnswerer:
    config = klm.EncoderConfig(
        vocab_size=259, num_layers=1, hidden_dim=8, num_heads=2, max_length=64
    )
    return QuestionAnswerer(
        klm.models.Encoder(config), ByteTokenizer.create(), max_question_length=8
    )


def write(path: Path, *questions: dict[str, Any]) -> Path:
    paragraph = {"context": CONTEXT, "qas": list(questions)}
    text = json.dumps({"data": [{"title": "t", "paragraphs": [paragraph]}]})
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as file:
        file.write(text)
    return path


def test_files_columns_lists_and_data_sets_are_read_alike(tmp_path: Path) -> None:
    answers = [{"text": text, "answer_start": 0} for text in ("Zoë", "Zo")]
    file = write(
        tmp_path / "squad.json.gz",
        {"id": "1", "question": "who?", "answers": answers, "is_impossible": False},
        {"id": "2", "question": "why?", "answers": [], "is_impossible": True},
    )
    dataset = tf.data.Dataset.from_generator(
        lambda: iter(EXAMPLES),
        output_signature={
            "question": tf.TensorSpec([], tf.string),
            "context": tf.TensorSpec([], tf.string),
            "answers": {
                "text": tf.TensorSpec([None], tf.string),
                "answer_start": tf.TensorSpec([None], tf.int32),
            },
        },
    )
    listed = [{**EXAMPLES[0], "answers": answers}, {**EXAMPLES[1], "answers": None}]
    for x in (file, str(file), [file], COLUMNS, EXAMPLES, dataset, listed):
        assert question_rows(x) == (ROWS, ANSWERS)
    for x in ((["who?", "why?"], [CONTEXT] * 2), ROWS):
        assert question_rows(x, [ANSWERS[0], None]) == (ROWS, ANSWERS)
        assert question_rows(x, [("Zoë", 0), ("", 0)])[1] == [
            {"text": ["Zoë"], "answer_start": [0]},
            {"text": [], "answer_start": []},
        ]


def test_one_answer_and_batched_data_sets() -> None:
    columns = {
        "question": ["who?", "where?"],
        "context": [CONTEXT] * 2,
        "answer": ["Zoë", "Lima"],
        "answer_start": [0, 13],
    }
    dataset = tf.data.Dataset.from_tensor_slices(columns)
    expected = (
        [("who?", CONTEXT), ("where?", CONTEXT)],
        [{"text": ["Zoë"], "answer_start": [0]}, {"text": ["Lima"], "answer_start": [13]}],
    )
    assert question_rows(dataset) == question_rows(dataset.batch(2)) == expected
    rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    assert question_rows(rows) == expected


def test_without_answers() -> None:
    assert question_rows([{"question": "q", "context": "c"}]) == ([("q", "c")], None)
    assert question_rows((["q"], ["c"])) == ([("q", "c")], None)


def one(**changes: Any) -> list[dict[str, Any]]:
    example = {"question": "q", "context": "abc", **changes}
    return [{name: value for name, value in example.items() if value is not ...}]


BAD: dict[str, tuple[Any, Any, str]] = {
    "nothing": (None, None, "x must be the path of a SQuAD file, a list of dicts"),
    "an empty list": ([], None, "x is empty"),
    "a number": ([3], None, r"x\[0\] is 3; it must be a dict"),
    "no context": (one(context=...), None, r"x\[0\] has no context; it has \['question'\]"),
    "an empty question": (one(question=" "), None, r"x\[0\]\['question'\] is an empty text"),
    "an empty context": (one(context=""), None, r"x\[0\]\['context'\] is an empty text"),
    "a number of a context": (one(context=3), None, r"\['context'\] is of type int"),
    "a lone surrogate": (one(question="\ud800"), None, "lone surrogate"),
    "no place": (one(answer="b"), None, r"x\[0\] has an answer and no answer_start"),
    "elsewhere": (
        one(answer="b", answer_start=2),
        None,
        r"the answer 'b' of x\[0\] does not stand at character 2 .*there is 'c'",
    ),
    "before": (one(answer="b", answer_start=-2), None, "does not stand at character -2"),
    "half a place": (one(answer="b", answer_start=1.0), None, r"answer_start of x\[0\] is 1.0"),
    "a string": (one(answers="b"), None, r"the answers of x\[0\] are 'b'"),
    "more texts": (
        one(answers={"text": ["b"], "answer_start": []}),
        None,
        "must be a dict of the lists text and answer_start, of one length",
    ),
    "an empty answer": (
        one(answers={"text": [""], "answer_start": [0]}),
        None,
        r"an answer of x\[0\] is an empty text",
    ),
    "some": (
        [*one(answer="b", answer_start=1), *one()],
        None,
        r"x\[1\] has no answers, others have",
    ),
    "columns of two lengths": ({**COLUMNS, "context": ["c"]}, None, "of one length"),
    "one question as columns": (one()[0], None, "must have the lists question, context"),
    "answers of another number": ((["q"], ["abc"]), [None, None], "y has 2 items; x has 1"),
    "an endless data set": (
        tf.data.Dataset.from_tensors({"question": "q", "context": "c"}).repeat(),
        None,
        "x is an endless tf.data set",
    ),
    "a data set of strings": (tf.data.Dataset.from_tensors("q"), None, "x must give dicts"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_examples_are_named(name: str) -> None:
    x, y, message = BAD[name]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        question_rows(x, y)


CALLS: dict[str, tuple[Callable[[QuestionAnswerer], Any], str]] = {
    "fit without answers": (lambda qa: qa.fit(one()), "x has no answers; give each question"),
    "evaluate without answers": (lambda qa: qa.evaluate(one()), "x has no answers"),
    "a missing place in a file": (
        lambda qa: qa.fit((["q"], ["abc"]), [("c", 0)]),
        "does not stand at character 0",
    ),
    "no context": (
        lambda qa: qa.find_answer("q", None),
        "give find_answer a context, or a retriever",
    ),
    "bytes": (lambda qa: qa.find_answer("q", b"c"), "context must be a string or a list.*b'c'"),
    "no question": (lambda qa: qa.find_answer(None, "c"), "question must be a string or a list"),
    "an empty question": (lambda qa: qa.find_answer("", "c"), "question is an empty text"),
    "an empty context": (
        lambda qa: qa.find_answer(["q", "q"], ["c", "\n"]),
        r"context\[1\] is an empty text",
    ),
    "an empty document": (
        lambda qa: qa.find_answer("q", ["c", ""]),
        r"context\[1\] is an empty text",
    ),
    "an empty document of many": (
        lambda qa: qa.find_answer(["q"], [["c", ""]]),
        r"context\[0\]\[1\] is an empty text",
    ),
    "no documents": (lambda qa: qa.find_answer(["q"], [[]]), r"context\[0\] is an empty list"),
    "a number among questions": (
        lambda qa: qa.find_answer(["q", 3], ["c", "c"]),
        r"question\[1\] is of type int",
    ),
    "fewer contexts": (
        lambda qa: qa.find_answer(["q", "r"], ["c"]),
        "context has 1 items; question has 2",
    ),
    "one context for all": (
        lambda qa: qa.find_answer(["q", "r"], "c"),
        "context must be a string or a list of strings; got 'c'",
    ),
}


@pytest.mark.parametrize("name", list(CALLS))
def test_bad_calls_are_named(qa: QuestionAnswerer, name: str) -> None:
    call, message = CALLS[name]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        call(qa)
    assert not qa.allow_no_answer


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sequence_length": 99}, "sequence_length must be .* max_length=64; got 99"),
        (
            {"sequence_length": 11, "max_question_length": 8},
            "sequence_length=11 leaves no room .*max_question_length=8 tokens; .* at least 12",
        ),
        ({}, "sequence_length=64 leaves no room .*max_question_length=64 .*at least 68"),
        ({"doc_stride": 0}, "doc_stride is 0; it must be an int, at least 1"),
        ({"max_question_length": True}, "max_question_length is True"),
        ({"max_answer_length": 2.5}, "max_answer_length is 2.5"),
        ({"max_question_length": 8, "allow_no_answer": "yes"}, "allow_no_answer must be .*'yes'"),
        ({"max_question_length": 8, "language": "de"}, "language is 'de'; it must be one of"),
        ({"tokenizer": None}, "needs a tokenizer"),
    ],
)
def test_bad_settings_are_named(
    qa: QuestionAnswerer, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        QuestionAnswerer(**{"model": qa.model, "tokenizer": qa.tokenizer, **settings})


def test_long_questions_are_cut_with_a_warning(qa: QuestionAnswerer) -> None:
    with pytest.warns(UserWarning, match="1 of 2 questions have more than max_question_length=8"):
        found = qa.find_answer(["0123456789", "01234567"], ["some text"] * 2)
    assert found[0] == pytest.approx(qa.find_answer("01234567", "some text"))
    assert "truncated" not in found[0]
