"""The graph from questions and contexts to answers, beside a search in plain Python."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from harness_examples import PatternTokenizer, pattern_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lm.data import answer_spans
from keras_lm.tasks.answer_functions import NEVER, AnswerFunctions, best_spans
from keras_lm.tokenizers import BytePairTokenizer, SentencePieceTokenizer, WordPieceTokenizer

WORD = pattern_tokenizer(r"\w+")
DOUBLE = PatternTokenizer(r"\w+")
DOUBLE.separators_between_texts = 2  # as RoBERTa's
SETTINGS = {
    "sequence_length": 9,
    "doc_stride": 2,
    "max_question_length": 2,
    "max_answer_length": 3,
    "allow_no_answer": False,
}


def pseudo_logits(inputs: Any) -> dict[str, tf.Tensor]:
    """Logits in [-4, 4) that depend on every token of a row, on its type and on its place."""
    ids, types, mask = (inputs[name] for name in ("token_ids", "token_types", "padding_mask"))
    place = tf.range(1, tf.shape(ids)[1] + 1)
    row = tf.reduce_sum((ids % 97) * mask * place, axis=1, keepdims=True)
    seed = row + (ids % 31) * 7 + types * 3 + place * 5
    start, end = seed * 7919 % 1009, seed * 104_729 % 1013
    return {
        side: tf.where(mask == 1, tf.cast(value, tf.float32) / 128.0 - 4.0, NEVER)
        for side, value in (("start", start), ("end", end))
    }


def functions(tokenizer: Any = WORD, logits: Any = pseudo_logits, **changes: Any) -> Any:
    return AnswerFunctions(logits, tokenizer, **{**SETTINGS, **changes})


@functools.cache  # tracing takes longer than most tests
def cached_functions(tokenizer: Any = WORD, allow: bool = False, stride: int = 2) -> Any:
    return functions(tokenizer, allow_no_answer=allow, doc_stride=stride)


def answers(made: Any, questions: list[str], contexts: list[str]) -> dict[str, list[Any]]:
    """What `find_answer` gives, as Python lists."""
    found = made.find_answer(tf.constant(questions), tf.constant(contexts))
    return {name: field.numpy().tolist() for name, field in found.items()}


def plain_search(
    tokenizer: Any, question: str, contexts: list[str], settings: dict[str, Any]
) -> dict[tuple[int, int, int], float]:
    """The score of every span (document, start, end), and of none at all (-1, 0, 0), found one
    after the other in every window that `data.answer_spans` cuts.
    """
    options = {k: settings[k] for k in ("doc_stride", "max_question_length")}
    scores: dict[tuple[int, int, int], float] = {}
    none = 1.0
    for document, context in enumerate(contexts):
        store = answer_spans(
            [question], [context], [None], tokenizer, settings["sequence_length"], **options
        )
        (rows,) = store.sequences
        for row in range(len(store)):
            x, _, _ = store.rows(np.array([row]), [rows.lengths[row]])
            logits = pseudo_logits({name: tf.constant(v) for name, v in x.items()})
            start, end = (np.exp(logits[side][0].numpy()) for side in ("start", "end"))
            start, end = start / start.sum(), end / end.sum()
            none = min(none, float(start[0] * end[0]))
            places = rows.columns["character_spans"][rows.offsets[row] : rows.offsets[row + 1]]
            inside = [i for i, (begin, _) in enumerate(places) if begin >= 0]
            for i, j in itertools.product(inside, inside):
                if i <= j < i + settings["max_answer_length"]:
                    span = (document, int(places[i][0]), int(places[j][1]))
                    scores[span] = max(scores.get(span, 0.0), float(start[i] * end[j]))
    return scores | ({(-1, 0, 0): none} if settings["allow_no_answer"] else {})


words = st.lists(
    st.sampled_from(["a", "bb", "é", "中文", "🙂x", "d", "e", "f", "g"]), min_size=1, max_size=14
).map(" ".join)


@pytest.mark.filterwarnings("ignore:.*questions have more than max_question_length")
@settings(max_examples=25)
@given(
    question=words,
    contexts=st.lists(words, min_size=1, max_size=3),
    which=st.sampled_from([(WORD, False, 1), (WORD, True, 2), (WORD, False, 9), (DOUBLE, True, 2)]),
)
def test_it_finds_what_a_plain_search_finds(question, contexts, which):
    tokenizer, allow, stride = which
    changes = {"allow_no_answer": allow, "doc_stride": stride}
    made = cached_functions(*which)
    scores = plain_search(tokenizer, question, contexts, {**SETTINGS, **changes})
    found = made.find_in_documents(tf.constant(question), tf.constant(contexts))
    found = {name: field.numpy() for name, field in found.items()}
    start, end, document = (int(found[name]) for name in ("start", "end", "document"))
    is_none = allow and end == 0
    assert scores[-1 if is_none else document, start, end] == pytest.approx(max(scores.values()))
    assert found["score"] == pytest.approx(max(scores.values()), rel=1e-4)
    assert found["answer"].decode() == contexts[document][start:end]
    piece = contexts[document].encode()[found["start_byte"] : found["end_byte"]]
    assert piece == found["answer"]


def test_spans_by_hand() -> None:
    start = tf.constant([[0.0, 5.0, 1.0, 0.0], [NEVER, 1.0, 1.0, NEVER]])
    end = tf.constant([[9.0, 0.0, 0.0, 4.0], [NEVER, 1.0, 1.0, NEVER]])
    # An end before its start and a span of three tokens are no answers; of equals the first is.
    first, last, score = (part.numpy().tolist() for part in best_spans(start, end, longest=2))
    assert (first, last, score) == ([0, 1], [0, 1], [9.0, 2.0])
    first, last, score = (part.numpy().tolist() for part in best_spans(start - end, end, 2))
    assert (first[0], last[0], score[0]) == (1, 1, 5.0)
    first, last, score = (part.numpy().tolist() for part in best_spans(start - end, end, 3))
    assert (first[0], last[0], score[0]) == (1, 3, 9.0)


def loud(letters: str, height: float = 20.0) -> Any:
    """Logits that begin and end an answer at the tokens of some letters, for `WORD`."""
    wanted = WORD.ids(letters)

    def logits(inputs: Any) -> dict[str, tf.Tensor]:
        ids = inputs["token_ids"]
        return {
            side: tf.where(ids == wanted[place], height, 0.0)
            for side, place in (("start", 0), ("end", -1))
        }

    return logits


def test_a_long_context_is_read_to_its_end() -> None:
    """More windows than are read at once, and the answer in one of the last."""
    context = " ".join(f"w{i}" for i in range(300)) + " ß 🙂 é x"
    found = answers(functions(logits=loud("ß é")), ["q", "q q"], [context, context])
    start = context.index("ß")  # all before is ASCII
    assert found["answer"] == ["ß 🙂 é".encode()] * 2
    assert found["start"] == found["start_byte"] == [start] * 2
    assert found["end"] == [start + len("ß 🙂 é")] * 2
    assert found["end_byte"] == [start + len("ß 🙂 é".encode())] * 2
    assert min(found["score"]) > 0.999


def test_a_window_that_points_to_cls_does_not_count() -> None:
    """Its spans may have higher logits than the right one in another window."""

    def logits(inputs: Any) -> dict[str, tf.Tensor]:
        ids = inputs["token_ids"]
        is_right, is_wrong = ids == WORD.ids("right")[0], ids == WORD.ids("wrong")[0]
        side = 3.0 * tf.cast(is_right, tf.float32) + 4.0 * tf.cast(is_wrong, tf.float32)
        has_wrong = tf.reduce_any(is_wrong, axis=1, keepdims=True)
        cls = tf.where(has_wrong, 9.0, 0.0)
        side = tf.concat([cls, side[:, 1:]], axis=1)
        return {"start": side, "end": side}

    made = functions(logits=logits)
    found = answers(made, ["q"], ["wrong a b c d e f g right"])
    assert found["answer"] == [b"right"]
    # The six places of [CLS] q [SEP] a right [SEP], the five of [CLS] q [SEP] wrong [SEP].
    assert answers(made, ["q"], ["a right"])["score"] == pytest.approx(
        [(math.exp(3) / (math.exp(3) + 5)) ** 2]
    )
    assert answers(made, ["q"], ["wrong"])["score"] == pytest.approx(
        [(math.exp(4) / (math.exp(4) + math.exp(9) + 3)) ** 2]
    )


def test_no_answer_needs_every_window_to_say_so() -> None:
    def logits(inputs: Any) -> dict[str, tf.Tensor]:
        """CLS says 3, but where "yes" stands -1; "yes" itself says 1."""
        is_yes = tf.cast(inputs["token_ids"] == WORD.ids("yes")[0], tf.float32)
        cls = 3.0 - 4.0 * tf.reduce_max(is_yes, axis=1, keepdims=True)
        side = tf.concat([cls, is_yes[:, 1:]], axis=1)
        return {"start": side, "end": side}

    context = "a b c d e f g h i j k"
    found = answers(
        functions(logits=logits, allow_no_answer=True), ["q", "q"], [context, context + " yes"]
    )
    assert found["answer"] == [b"", b"yes"]
    assert found["start"] == [0, len(context) + 1]
    assert found["end"] == [0, len(context) + 4]
    assert answers(functions(logits=logits), ["q"], [context])["answer"] == [b"a"]


@pytest.mark.parametrize("allow_no_answer", [False, True])
def test_a_context_without_tokens_has_no_answer(allow_no_answer: bool) -> None:
    made = cached_functions(allow=allow_no_answer)
    only = answers(made, ["q"], ["!!"])
    scores = plain_search(WORD, "q", ["!!"], {**SETTINGS, "allow_no_answer": True})
    nothing = scores[-1, 0, 0] if allow_no_answer else 0.0
    assert only == {
        "answer": [b""],
        "start": [0],
        "end": [0],
        "start_byte": [0],
        "end_byte": [0],
        "score": [pytest.approx(nothing)],
        "truncated": [False],
    }
    among = answers(made, ["q", "q"], ["!!", "!a"])
    assert {name: field[:1] for name, field in among.items()} == only
    found = cached_functions().find_in_documents("q", ["!!", "a", "!"])
    assert (found["answer"].numpy(), found["document"].numpy()) == (b"a", 1)


TEXTS = [
    "Lima is the capital of Peru, a café 🙂.",
    "北京 是 中国 的 首都。",
    "Who ? Where is  it?",
] * 3
TOKENIZERS = {
    "wordpiece": lambda: WordPieceTokenizer.train(texts=TEXTS, vocab_size=70),
    "bytepair": lambda: BytePairTokenizer.train(texts=TEXTS, vocab_size=300),
    "sentencepiece": lambda: SentencePieceTokenizer.train(texts=TEXTS, vocab_size=42),
}


@pytest.mark.parametrize("kind", list(TOKENIZERS))
def test_answers_are_pieces_of_the_context_without_spaces_around(kind: str) -> None:
    """Whatever tokens are chosen: the longest span from each token on."""
    tokenizer = TOKENIZERS[kind]()
    context = " Where  is\u3000it: a café 🙂, 北京？ \n"
    lead, rows = len(tokenizer("Who?")) + 2, min(len(tokenizer(context)), 16)

    def logits(inputs: Any) -> dict[str, tf.Tensor]:
        number = tf.range(tf.shape(inputs["token_ids"])[0])[:, tf.newaxis]
        place = tf.range(tf.shape(inputs["token_ids"])[1])[tf.newaxis]
        start = tf.cast(place == lead + number, tf.float32)
        return {"start": 9.0 * start, "end": tf.cast(place, tf.float32) / 99.0 + 0.0 * start}

    lengths = {"sequence_length": 99, "max_question_length": 60, "max_answer_length": 4}
    made = functions(tokenizer, logits, **lengths)
    fields = answers(made, ["Who?"] * rows, [context] * rows)
    assert len(set(fields["answer"])) > 8
    for row, answer in enumerate(fields["answer"]):
        text = answer.decode()  # no half of a character
        assert text
        assert text == text.strip()
        assert context[fields["start"][row] : fields["end"][row]] == text
        begin, end = fields["start_byte"][row], fields["end_byte"][row]
        assert context.encode()[begin:end] == answer


@pytest.mark.parametrize(
    ("question", "context", "message"),
    [
        (["q", " "], ["a", "b"], "question holds an empty text"),
        (["q"], [""], "context holds an empty text"),
        (["q"], ["a", "b"], "must be of one size"),
    ],
)
def test_a_server_is_told_what_is_wrong(question, context, message) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        answers(cached_functions(), question, context)
