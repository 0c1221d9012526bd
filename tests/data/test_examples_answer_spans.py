import gzip
import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
from harness_examples import PatternTokenizer, pattern_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lm.data.examples import answer_spans, bucket_plan, example_batches
from keras_lm.tokenizers.wordpiece import WordPieceTokenizer

SHARED = Path(os.environ.get("KERAS_LM_SHARED") or Path(__file__).parents[3] / "shared")


def columns(store, example):
    (sequence,) = store.sequences
    begin, end = sequence.offsets[example : example + 2]
    return {name: values[begin:end].tolist() for name, values in sequence.columns.items()}


def test_windows_by_hand():
    tokenizer = PatternTokenizer(r"\S+")
    questions, contexts = ["who ?", "why"], ["é a bb c dd e f", "a b"]
    store = answer_spans(
        questions, contexts, [("bb c", 4), None], tokenizer, 9, doc_stride=2, max_question_length=2
    )
    # Room for 9 - 3 - 2 tokens of the context, then for 5.
    assert store.values["question"].tolist() == [0, 0, 0, 1]
    tokens = [tokenizer.words(columns(store, i)["token_ids"]) for i in range(4)]
    assert tokens == [
        ["<1>", "who", "?", "<2>", "é", "a", "bb", "c", "<2>"],
        ["<1>", "who", "?", "<2>", "bb", "c", "dd", "e", "<2>"],
        ["<1>", "who", "?", "<2>", "dd", "e", "f", "<2>"],
        ["<1>", "why", "<2>", "a", "b", "<2>"],
    ]
    assert store.values["start"].tolist() == [6, 4, 0, 0]
    assert store.values["end"].tolist() == [7, 5, 0, 0]
    assert columns(store, 0)["token_types"] == [0, 0, 0, 0, 1, 1, 1, 1, 1]
    none = [-1, -1]
    assert columns(store, 0)["byte_spans"] == [none] * 4 + [[0, 2], [3, 4], [5, 7], [8, 9], none]
    assert columns(store, 0)["character_spans"] == (
        [none] * 4 + [[0, 1], [2, 3], [4, 6], [7, 8], none]
    )
    assert columns(store, 3)["character_spans"] == [none] * 3 + [[0, 1], [2, 3], none]


def test_an_answer_that_a_window_cuts_is_not_in_it():
    tokenizer = PatternTokenizer(r"\S")
    store = answer_spans(["q"], ["abcdef"], [("cd", 2)], tokenizer, 7, 2, max_question_length=1)
    # Windows of three tokens: abc, cde, ef.
    assert store.values["start"].tolist() == [0, 3, 0]
    assert store.values["end"].tolist() == [0, 4, 0]


def test_two_separators_between_question_and_context():
    """As RoBERTa reads them: <s> question </s></s> context </s>."""
    tokenizer = PatternTokenizer(r"\S")
    tokenizer.separators_between_texts = 2
    store = answer_spans(["q"], ["abcd"], [("bc", 1)], tokenizer, 8, 2, max_question_length=1)
    read = [columns(store, i) for i in range(len(store))]
    assert ["".join(tokenizer.words(row["token_ids"])) for row in read] == [
        "<1>q<2><2>abc<2>",
        "<1>q<2><2>cd<2>",
    ]
    assert read[0]["token_types"] == [0, 0, 0, 1, 1, 1, 1, 1]
    assert store.values["start"].tolist() == [5, 0]
    assert store.values["end"].tolist() == [6, 0]


def test_a_batch():
    tokenizer = PatternTokenizer(r"\S")
    store = answer_spans(["q", "r"], ["ab", "abc"], [("b", 1), ("a", 0)], tokenizer)
    ((x, y, weight),) = example_batches(store, bucket_plan(store.lengths, batch_size=3))
    assert sorted(x) == ["padding_mask", "token_ids", "token_types"]
    assert x["token_types"].numpy().tolist() == [
        [0, 0, 0, 1, 1, 1, 0],
        [0, 0, 0, 1, 1, 1, 1],
        [0, 0, 0, 0, 0, 0, 0],
    ]
    assert y["start"].numpy().tolist() == [4, 3, 0]
    assert y["end"].numpy().tolist() == [4, 3, 0]
    assert weight["start"].numpy().tolist() == weight["end"].numpy().tolist() == [1, 1, 0]


def test_long_questions_are_cut_and_narrow_windows_leave_no_gap():
    tokenizer = PatternTokenizer(r"\S")
    with pytest.warns(UserWarning, match="1 of 2 questions have more than max_question_length=4"):
        answer_spans(["abcdef", "abcd"], ["u", "u"], [None, None], tokenizer, 9, 128, 4)
    with pytest.warns(UserWarning, match="1 of 1 questions"):
        store = answer_spans(["abcdef"], ["uvwxyz"], [("xy", 3)], tokenizer, 9, 128, 4)
    read = [columns(store, i) for i in range(len(store))]
    assert ["".join(tokenizer.words(row["token_ids"])) for row in read] == [
        "<1>abcd<2>uv<2>",
        "<1>abcd<2>wx<2>",
        "<1>abcd<2>yz<2>",
    ]


def test_answers_in_the_layout_of_squad():
    answers = [{"text": ["b", "c"], "answer_start": [1, 2]}, {"text": [], "answer_start": []}]
    store = answer_spans(["q", "q"], ["abc", "abc"], answers, pattern_tokenizer(r"\S"))
    assert store.values["start"].tolist() == store.values["end"].tolist() == [4, 0]


def test_an_answer_of_which_the_tokenizer_keeps_nothing_points_to_cls():
    store = answer_spans(["q"], ["a ! b"], [("!", 2)], PatternTokenizer(r"\w"))
    assert (store.values["start"].tolist(), store.values["end"].tolist()) == ([0], [0])


def windows_as_bert_makes_them(question, context, spans, answer, max_length, doc_stride):
    """(first context token, how many, start, end) of each window, token by token."""
    room = max_length - len(question) - 3
    doc_stride = min(doc_stride, room)
    touched = [
        i for i, (s, e) in enumerate(spans) if answer and max(s, answer[0]) < min(e, answer[1])
    ]
    begin = 0
    while True:
        length = min(len(context) - begin, room)
        inside = touched and begin <= touched[0] and touched[-1] < begin + length
        shift = len(question) + 2 - begin
        pair = (touched[0] + shift, touched[-1] + shift) if inside else (0, 0)
        yield begin, length, *pair
        if begin + length == len(context):
            return
        begin += doc_stride


texts = st.text("ab é中1.", max_size=40)


@pytest.mark.filterwarnings("ignore:.*questions have more than max_question_length")
@given(
    st.lists(st.tuples(st.text("qr ", max_size=9), texts, st.integers(0, 40), st.integers(0, 9))),
    st.sampled_from([r"\w{1,3}|[^\w\s]", r" ?\S{1,2}", r"."]),
    st.integers(8, 24),
    st.integers(1, 9),
)
@settings(max_examples=80)
def test_windows_and_answers_are_those_of_a_loop(rows, pattern, max_length, doc_stride):
    rows = [*rows, ("q", "a b", 0, 1)]
    tokenizer = pattern_tokenizer(pattern)
    questions, contexts, starts, sizes = map(list, zip(*rows, strict=True))
    answers = [
        (c[start : start + size], start)
        for c, start, size in zip(contexts, starts, sizes, strict=True)
    ]
    store = answer_spans(questions, contexts, answers, tokenizer, max_length, doc_stride, 4)
    example = 0
    for number, (context, (text, start)) in enumerate(zip(contexts, answers, strict=True)):
        question = tokenizer.ids(questions[number])[:4]
        matches = list(tokenizer._pattern.finditer(context))
        ids, spans = tokenizer.ids(context), [m.span() for m in matches]
        answer = (start, start + len(text)) if text else None
        for begin, length, first, last in windows_as_bert_makes_them(
            question, ids, spans, answer, max_length, doc_stride
        ):
            row = columns(store, example)
            assert row["token_ids"] == [1, *question, 2, *ids[begin : begin + length], 2]
            assert store.values["question"][example] == number
            shown = (store.values["start"][example], store.values["end"][example])
            assert shown == (first, last)
            for token, (a, b) in enumerate(row["character_spans"]):
                c, d = row["byte_spans"][token]
                assert context.encode()[c:d].decode() == context[a:b] or a == -1
            if first:
                a, b = row["character_spans"][first][0], row["character_spans"][last][1]
                covered = context[max(a, start) : min(b, start + len(text))]
                # Nothing of the answer is lost but what no token has; no token more than it needs.
                assert set(text.replace(covered, "", 1)) <= {" ", "\n"}
                assert row["character_spans"][first][1] > start
                assert row["character_spans"][last][0] < start + len(text)
            example += 1
    assert example == len(store)


@pytest.mark.parametrize(
    ("questions", "contexts", "answers", "options", "message"),
    [
        (["q"], ["abc"], [("b", 2)], {}, r"answers\[0\] is 'b' at character 2; .* 'c' there"),
        (["q"], ["abc"], [("c", 9)], {}, r"answers\[0\] is 'c' at character 9"),
        (["q"], ["abc"], [("c", -1)], {}, r"answers\[0\]\[1\] is -1"),
        (["q"], ["abc"], ["c"], {}, r"answers\[0\] is 'c'; it must be \(text, start\) or None"),
        (["q"], ["abc"], [{"text": ["c"]}], {}, r"answers\[0\] is .* lists of one length"),
        (["q"], ["abc"], [(3, 2)], {}, r"answers\[0\]\[0\] is of type int"),
        (["q", "r"], ["abc"], [None, None], {}, "contexts has 1 items; questions has 2"),
        (["q"], ["abc"], [], {}, "answers has 0 items; questions has 1"),
        (["q"], [None], [None], {}, r"contexts\[0\] is of type NoneType"),
        ([], [], [], {}, "questions is empty"),
        (["q"], ["a"], [None], {"max_length": 67}, "max_length is 67; .* at least 68"),
        (["q"], ["a"], [None], {"doc_stride": 0}, "doc_stride is 0"),
    ],
)
def test_bad_input_is_named(questions, contexts, answers, options, message):
    with pytest.raises(ValueError, match=message):
        answer_spans(questions, contexts, answers, PatternTokenizer(), **options)


def test_real_answers_are_read_back():
    path = SHARED / "data/squad-en/dev.json.gz"
    if not path.exists():
        pytest.skip("no ../shared/data beside the checkout")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        articles = json.load(file)["data"]
    rows = [
        (qa["question"], paragraph["context"], qa["answers"][0])
        for article in articles
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ]
    rows = rows[::4]
    questions, contexts, answers = zip(*rows, strict=True)
    spans = [(answer["text"], answer["answer_start"]) for answer in answers]
    tokenizer = WordPieceTokenizer.train(texts=list(dict.fromkeys(contexts))[:60], vocab_size=1000)
    store = answer_spans(questions, contexts, spans, tokenizer)
    characters = store.sequences[0].columns["character_spans"]
    begin = store.sequences[0].offsets[:-1]
    first = characters[begin + store.values["start"], 0]
    last = characters[begin + store.values["end"], 1]
    found = {}
    for question, a, b in zip(store.values["question"], first, last, strict=True):
        if a >= 0:
            found.setdefault(int(question), set()).add(contexts[question][a:b])
    assert len(found) == len(rows)  # every answer is in some window
    exact = sum(found[i] == {text} for i, (text, _) in enumerate(spans))
    assert all(text.strip() in one for i, (text, _) in enumerate(spans) for one in found[i])
    assert exact > 0.95 * len(rows)
    assert store.lengths.max() <= 384
    plan = bucket_plan(store.lengths, token_budget=8 * 384)
    assert plan.padding_share < 0.1
    (x, _, _), *_ = itertools.islice(example_batches(store, plan), 1)
    assert np.isin(x["token_types"], [0, 1]).all()
