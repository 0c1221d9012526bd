"""From words to tagged tokens in the graph: as training aligns them, whatever the tokenizer."""

from __future__ import annotations

import functools
import re
from typing import Any

import pytest
import tensorflow as tf
from harness_examples import pattern_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lm.data import token_labels
from keras_lm.tasks import tagging_functions
from keras_lm.tasks.tagging_functions import TaggingFunctions

LABELS = ["A", "B"]


@functools.cache  # and so kept: a method of a module that is gone cannot be called
def functions(pattern: str = r"\w{1,3}|[^\w\s]", separator: str = " ", max_length: int = 64) -> Any:
    """Functions that give every word as a span of tag A, and as score what its window and token
    are: the sum of the window's ids and of 7 times the token's own.
    """

    def emissions(token_ids: Any, token_types: Any, padding_mask: Any) -> Any:
        own = tf.cast(token_ids % 1000, tf.float32) * tf.cast(padding_mask, tf.float32)
        mark = tf.reduce_sum(own, axis=1, keepdims=True) + 7 * own
        return tf.stack([mark, -mark], axis=2)

    def decode(emissions: Any, mask: Any) -> Any:
        return tf.zeros_like(mask), emissions[:, :, 0]

    tokenizer: Any = pattern_tokenizer(pattern)
    return TaggingFunctions(emissions, decode, [], tokenizer, LABELS, separator, max_length)


def spans_of(result: dict[str, tf.Tensor], row: int = 0) -> list[tuple[Any, ...]]:
    """(text, start, end, start_byte, end_byte, score) of each span of a text."""
    count = int(result["count"][row])
    names = ("text", "start", "end", "start_byte", "end_byte", "score")
    columns = [result[name][row, :count].numpy().tolist() for name in names]
    return [(spans[0].decode(), *spans[1:]) for spans in zip(*columns, strict=True)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ada lives in London.", "Ada lives in London ."),
        ("Ada's (U.S.) e-mail, isn't it?!", "Ada 's ( U.S. ) e-mail , isn 't it ?!"),
        ("J.R.Smith in the U.S.A at 5 p.m.!", "J.R. Smith in the U.S.A at 5 p.m. !"),
        ("@user #topic $5 1,000.5 3rd 24/7 AT&T", "@user #topic $ 5 1,000.5 3rd 24/7 AT&T"),
        ("see http://t.co/a-b… “Été”", "see http://t.co/a-b … “ Été ”"),
        ("O'Brien’s 'quote' wait...", "O'Brien ’s ' quote ' wait ..."),
        ("我住在London。", "我 住 在 London 。"),
        (" \t 한국어\u00a0🙂🙂\n", "한국어 🙂 🙂"),
        ("नमस्ते e\u0301te\u0301", "नमस्ते e\u0301te\u0301"),
        ("", ""),
        ("  ", ""),
    ],
)
def test_words_of_raw_texts(text: str, words: str) -> None:
    spans = spans_of(functions(r"\S").tag(tf.constant([text])))
    assert [span[0] for span in spans] == words.split()
    for word, start, end, start_byte, end_byte, _ in spans:
        assert text[start:end] == word
        assert text.encode()[start_byte:end_byte] == word.encode()


def test_characters_are_words_without_a_separator() -> None:
    text = "我 住 20号"
    spans = spans_of(functions(r"\d+|\S", separator="").tag(tf.constant([text])))
    # "20" is one token: the second digit is no word of its own, and goes with the first.
    assert [span[0] for span in spans] == ["我", "住", "20", "号"]
    assert [span[1:3] for span in spans] == [(0, 1), (2, 3), (4, 6), (6, 7)]


def test_a_batch_of_texts_of_all_lengths() -> None:
    result = functions().tag(tf.constant(["", "a é b", "c"]))
    assert result["count"].numpy().tolist() == [0, 3, 1]
    assert result["text"].numpy().tolist() == [
        [b""] * 3,
        [b"a", "é".encode(), b"b"],
        [b"c", b"", b""],
    ]
    assert result["label"].numpy().tolist() == [[b""] * 3, [b"A"] * 3, [b"A", b"", b""]]
    assert result["end_byte"].numpy().tolist() == [[0, 0, 0], [1, 4, 6], [1, 0, 0]]
    nothing = functions().tag(tf.constant(["", " "]))
    assert nothing["text"].shape == (2, 0)
    assert nothing["count"].numpy().tolist() == [0, 0]


def test_words_of_which_nothing_is_left_have_no_tag() -> None:
    result = functions(r"[a-z]+").tag_words(tf.constant([["?", "a", "!", "b"], ["!", "", "", ""]]))
    assert [span[:3] for span in spans_of(result)] == [("a", 2, 3), ("b", 6, 7)]
    assert spans_of(result, row=1) == []


@pytest.fixture(autouse=True)
def _few_windows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that short texts make up several chunks, the last of them with padding."""
    monkeypatch.setattr(tagging_functions, "WINDOWS_AT_ONCE", 3)


sentences = st.lists(
    st.lists(st.text("aé中!.", min_size=1, max_size=7), min_size=1, max_size=12),
    min_size=1,
    max_size=3,
)


@given(sentences, st.sampled_from([(3, " "), (4, ""), (7, "—"), (30, " ")]))
@settings(max_examples=40)
def test_tokens_and_windows_are_those_of_training(sentences: Any, setting: tuple[int, str]) -> None:
    max_length, separator = setting
    pattern = r"[aé]{1,2}|中|\."
    tokenizer: Any = pattern_tokenizer(pattern)
    tags = [["A"] * len(words) for words in sentences]
    store = token_labels(sentences, tags, tokenizer, LABELS, max_length, separator)
    (rows,) = store.sequences
    expected: dict[int, list[float]] = {number: [] for number in range(len(sentences))}
    for example, sentence in enumerate(store.values["sentence"]):
        begin, end = rows.offsets[example : example + 2]
        ids = rows.columns["token_ids"][begin:end] % 1000
        counts = rows.columns["weights"][begin:end] > 0
        expected[int(sentence)] += (ids.sum() + 7 * ids[counts]).tolist()
    width = max(map(len, sentences))
    words = tf.constant([[*row, *[""] * (width - len(row))] for row in sentences])
    result = functions(pattern, separator, max_length).tag_words(words)
    texts = [separator.join(row) for row in sentences]
    for number, text in enumerate(texts):
        spans = spans_of(result, number)
        assert [span[5] for span in spans] == pytest.approx(expected[number])
        for word, start, end, *_ in spans:
            assert text[start:end] == word
            assert re.search(pattern, word)
        ends = [span[2] for span in spans]
        assert all(end <= span[1] for end, span in zip(ends, spans[1:], strict=False))


def test_spans_of_entities_and_their_scores() -> None:
    labels = ["O", "B-x", "I-x", "B-y", "I-y"]
    tags = tf.constant([[1, 2, 3, 0, 1, 1], [0, 3, 4, 4, 0, 0]])
    scores = tf.constant([[0.9, 0.5, 0.4, 0.3, 0.2, 0.1], [0.9, 0.3, 0.6, 0.9, 0.0, 0.0]])
    tokenizer: Any = pattern_tokenizer(r"\S+")
    tagging = TaggingFunctions(
        lambda ids, *_: tf.zeros([tf.shape(ids)[0], tf.shape(ids)[1], 5]),
        lambda emissions, mask: (tags, scores),
        [],
        tokenizer,
        labels,
        " ",
        32,
    )
    result = tagging.tag_words(
        tf.constant([["a", "b", "c", "d", "e", "f"], ["é", "g", "h", "i", "", ""]])
    )
    assert [span[:3] for span in spans_of(result)] == [
        ("a b", 0, 3),
        ("c", 4, 5),
        ("e", 8, 9),
        ("f", 10, 11),
    ]
    assert result["label"][0].numpy().tolist() == [b"x", b"y", b"x", b"x"]
    assert result["score"][0].numpy().tolist() == pytest.approx([0.7, 0.4, 0.2, 0.1])
    assert spans_of(result, 1) == [("g h i", 2, 7, 3, 8, pytest.approx(0.6))]
