import gzip
import os
import re
from pathlib import Path

import numpy as np
import pytest
from harness_examples import PatternTokenizer, pattern_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lm.data.examples import bucket_plan, example_batches, token_labels
from keras_lm.tokenizers.wordpiece import WordPieceTokenizer

SHARED = Path(os.environ.get("KERAS_LM_SHARED") or Path(__file__).parents[3] / "shared")
NAMES = ["O", "X", "Y"]


def columns(store, example):
    (sequence,) = store.sequences
    begin, end = sequence.offsets[example : example + 2]
    return {name: values[begin:end].tolist() for name, values in sequence.columns.items()}


def tags_read_back(store):
    """The tag of every word by the labels that count: {(sentence, word): tags}."""
    tags = {}
    for example, sentence in enumerate(store.values["sentence"]):
        row = columns(store, example)
        for word, label, weight in zip(row["word"], row["labels"], row["weights"], strict=True):
            if weight:
                tags.setdefault((int(sentence), word), []).append(store.label_names[label])
    return tags


def test_sub_words_by_hand():
    tokenizer = PatternTokenizer(r"\w{1,3}|[^\w\s]")
    store = token_labels([["Lovelace", "in", "été-34"]], [["X", "O", "Y"]], tokenizer, NAMES)
    pieces = ["Lov", "ela", "ce", "in", "été", "-", "34"]
    row = columns(store, 0)
    assert row["token_ids"] == [1, *(tokenizer.ids(piece)[0] for piece in pieces), 2]
    assert row["word"] == [-1, 0, 0, 0, 1, 2, 2, 2, -1]
    assert row["labels"] == [0, 1, 0, 0, 0, 2, 0, 0, 0]
    assert row["weights"] == [0, 1, 0, 0, 1, 1, 0, 0, 0]
    assert row["token_types"] == [0] * 9
    every = columns(
        token_labels([["Lovelace", "in"]], [["X", "O"]], tokenizer, NAMES, label_all=True), 0
    )
    assert every["labels"] == [0, 1, 1, 1, 0, 0]
    assert every["weights"] == [0, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("pattern", [r" ?\S{1,2}", r" |\S{1,2}", r"\S{1,2}\s?"])
def test_white_space_belongs_to_no_word_wherever_the_tokenizer_puts_it(pattern):
    tokenizer = PatternTokenizer(pattern)
    words = [["abc", "d", "ef"]]
    store = token_labels(words, [["X", "Y", "O"]], tokenizer, NAMES)
    assert tags_read_back(store) == {(0, 0): ["X"], (0, 1): ["Y"], (0, 2): ["O"]}
    row = columns(store, 0)
    found = [
        (tokenizer.words([token])[0].strip(), word)
        for token, word in zip(row["token_ids"], row["word"], strict=True)
        if word >= 0
    ]
    assert found == [("ab", 0), ("c", 0), ("d", 1), ("ef", 2)]


def test_a_token_of_no_bytes_belongs_to_no_word():
    # Pieces without a text of their own, as SentencePiece makes them.
    store = token_labels([["ab", "c"]], [["X", "Y"]], PatternTokenizer(r"(?=\w)|\w"), NAMES)
    assert columns(store, 0)["word"] == [-1, -1, 0, -1, 0, -1, 1, -1]
    assert tags_read_back(store) == {(0, 0): ["X"], (0, 1): ["Y"]}


def test_chinese_characters_without_a_separator():
    tokenizer = PatternTokenizer(r"\d+|.")
    words = [["我", "住", "2", "0", "号"]]
    tags = [["O", "O", "X", "Y", "O"]]
    store = token_labels(words, tags, tokenizer, NAMES, separator="")
    # "20" is one token: it belongs to the first of its words, the other has none.
    assert columns(store, 0)["word"] == [-1, 0, 1, 2, 4, -1]
    assert tags_read_back(store) == {(0, 0): ["O"], (0, 1): ["O"], (0, 2): ["X"], (0, 4): ["O"]}


def test_words_of_which_nothing_is_left():
    tokenizer = PatternTokenizer(r"[a-z]+")
    words = [["?", "a", "!", "", "b"], ["!"]]
    tags = [["X", "Y", "X", "X", "O"], ["X"]]
    store = token_labels(words, tags, tokenizer, NAMES)
    assert columns(store, 0)["word"] == [-1, 1, 4, -1]
    assert tags_read_back(store) == {(0, 1): ["Y"], (0, 4): ["O"]}
    assert columns(store, 1)["token_ids"] == [1, 2]


def test_a_long_sentence_is_read_in_windows_and_each_tag_counts_once():
    tokenizer = PatternTokenizer(r"\S")
    words = [list("abcdefghij"), list("kl")]
    tags = [[i % 3 for i in range(10)], [1, 2]]
    store = token_labels(words, tags, tokenizer, NAMES, max_length=6)
    assert store.values["sentence"].tolist() == [0, 0, 0, 0, 1]
    read = [columns(store, example) for example in range(5)]
    assert [row["word"][1:-1] for row in read] == [
        [0, 1, 2, 3],
        [2, 3, 4, 5],
        [4, 5, 6, 7],
        [6, 7, 8, 9],
        [0, 1],
    ]
    counted = [[w for w, c in zip(r["word"], r["weights"], strict=True) if c] for r in read]
    assert counted == [[0, 1, 2], [3, 4], [5, 6], [7, 8, 9], [0, 1]]


sentences = st.lists(
    st.lists(st.tuples(st.text("aé中!.", max_size=7), st.sampled_from(NAMES)), min_size=1),
    min_size=1,
    max_size=4,
)


@given(sentences, st.integers(3, 12), st.sampled_from([" ", "", "—"]), st.booleans())
@settings(max_examples=60)
def test_every_word_with_a_token_keeps_its_tag_once(sentences, max_length, separator, label_all):
    pattern = re.compile(r"[aé]{1,2}|中|\.")
    tokenizer = pattern_tokenizer(pattern.pattern)
    words = [[word for word, _ in sentence] for sentence in sentences]
    tags = [[tag for _, tag in sentence] for sentence in sentences]
    store = token_labels(
        words, tags, tokenizer, NAMES, max_length, separator=separator, label_all=label_all
    )
    expected = {}
    for number, sentence in enumerate(words):
        owner = [
            index
            for index, word in enumerate(sentence)
            for _ in word + (separator if index + 1 < len(sentence) else "")
        ]
        for match in pattern.finditer(separator.join(sentence)):
            word = owner[match.start()]
            held = expected.setdefault((number, word), [])
            if label_all or not held:
                held.append(tags[number][word])
    assert tags_read_back(store) == expected
    assert store.lengths.max() <= max_length


def test_a_batch():
    tokenizer = PatternTokenizer()
    store = token_labels([["ab", "c"], ["defg"]], [["X", "O"], ["Y"]], tokenizer)
    assert store.label_names == ("O", "X", "Y")
    ((x, y, weight),) = example_batches(store, bucket_plan(store.lengths, batch_size=3))
    assert sorted(x) == ["padding_mask", "token_ids", "token_types"]
    assert y.numpy().tolist() == [[0, 1, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0]]
    assert weight.numpy().tolist() == [[0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert (y.dtype, weight.dtype) == ("int32", "float32")


@pytest.mark.parametrize(
    ("words", "tags", "message"),
    [
        ([["a"], ["b", "c"]], [["X"], ["O", "Q"]], r"tags\[1\]\[1\] \(of the word 'c'\) is 'Q'"),
        ([["a"], ["b", "c"]], [[0], [1, 3]], r"tags\[1\]\[1\] \(of the word 'c'\) is 3"),
        ([["a"], ["b", "c"]], [["X"], ["O"]], r"tags\[1\] is \['O'\]; it must be a list of 2"),
        ([["a"], ["b", "c"]], [["X"]], "tags has 1 sentences; words has 2"),
        ([["a"], ["b", "c"]], [["X"], "OX"], r"tags\[1\] is 'OX'"),
        ([["a"], []], [["X"], []], r"words\[1\] is empty"),
        ([["a"], "bc"], [["X"], ["X"]], r"words\[1\] is of type str"),
        ([["a"], ["b", None]], [["X"], ["X", "X"]], r"words\[1\]\[1\] is of type NoneType"),
        ([["a"], ["b", "\udc80"]], [["X"], ["X", "X"]], r"words\[1\]\[1\] holds a lone"),
        ([], [], "words is empty"),
        ("ab", ["X"], "words is one str"),
    ],
)
def test_bad_input_names_the_sentence_and_the_word(words, tags, message):
    with pytest.raises(ValueError, match=message):
        token_labels(words, tags, PatternTokenizer(), label_names=NAMES)


def test_real_entities_are_read_back():
    path = SHARED / "data/wnut17/dev.conll.gz"
    if not path.exists():
        pytest.skip("no ../shared/data beside the checkout")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        blocks = [block for block in file.read().split("\n\n") if block.strip()]
    rows = [[line.split("\t") for line in block.strip("\n").split("\n")] for block in blocks]
    words, tags = ([[row[i] for row in sentence] for sentence in rows] for i in (0, 1))
    tokenizer = WordPieceTokenizer.train(texts=[" ".join(row) for row in words], vocab_size=1000)
    store = token_labels(words, tags, tokenizer, max_length=32)
    found = tags_read_back(store)
    assert len(words) == 1008
    assert max(store.values["sentence"]) == 1007
    assert len(store) > 1008  # some are longer than 32 tokens
    for (sentence, word), (tag,) in found.items():
        assert tag == tags[sentence][word]
    total = sum(map(len, words))
    missing = {
        words[s][w] for s in range(1008) for w in range(len(words[s])) if (s, w) not in found
    }
    assert len(found) > 0.99 * total
    assert not tokenizer(sorted(missing)).flat_values.shape[0]  # marks that the tokenizer drops
    plan = bucket_plan(store.lengths, token_budget=1024)
    counted = np.sum([weight.numpy().sum() for _, _, weight in example_batches(store, plan)])
    assert counted == len(found)
