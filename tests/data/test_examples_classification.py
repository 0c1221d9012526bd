import numpy as np
import pytest
import tokenizers
from harness_examples import PatternTokenizer
from hypothesis import given
from hypothesis import strategies as st

from keras_lm.data.examples import bucket_plan, classification, example_batches
from keras_lm.data.examples.sequences import longest_first
from keras_lm.data.examples.tokenizing import cls_and_sep


@pytest.fixture
def tokenizer() -> PatternTokenizer:
    return PatternTokenizer(r"\S+")


def columns(store, example):
    (sequence,) = store.sequences
    begin, end = sequence.offsets[example : example + 2]
    return {name: values[begin:end].tolist() for name, values in sequence.columns.items()}


def test_texts_by_hand(tokenizer):
    with pytest.warns(UserWarning, match="1 of 3 texts have more tokens than max_length=4"):
        store = classification(["a b c", "", "d"], ["no", "yes", "no"], tokenizer, max_length=4)
    a, b, d = (tokenizer.ids(t)[0] for t in "abd")
    assert columns(store, 0) == {"token_ids": [1, a, b, 2], "token_types": [0] * 4}  # c is cut
    assert columns(store, 1) == {"token_ids": [1, 2], "token_types": [0] * 2}
    assert columns(store, 2) == {"token_ids": [1, d, 2], "token_types": [0] * 3}
    assert store.values["label"].tolist() == [0, 1, 0]
    assert store.label_names == ("no", "yes")


def test_pairs_by_hand(tokenizer):
    pairs = ["a b c d", "a"], ["x", "x y z"]
    with pytest.warns(UserWarning, match="2 of 2 texts have more tokens than max_length=6"):
        store = classification(pairs, [1, 0], tokenizer, max_length=6)
    a, b, x, y = (tokenizer.ids(t)[0] for t in "abxy")
    assert columns(store, 0) == {"token_ids": [1, a, b, 2, x, 2], "token_types": [0, 0, 0, 0, 1, 1]}
    assert columns(store, 1) == {"token_ids": [1, a, 2, x, y, 2], "token_types": [0, 0, 0, 1, 1, 1]}
    assert store.values["label"].tolist() == [1, 0]
    assert store.label_names is None


def test_a_tuple_of_two_texts_is_no_pair(tokenizer):
    assert len(classification(("a b", "c"), [0, 1], tokenizer)) == 2


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1), st.integers(5, 20))
def test_pairs_are_cut_as_the_reference_cuts_them(pairs, max_length):
    reference = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    reference.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    reference.enable_truncation(max_length - 3, strategy="longest_first")
    encoded = reference.encode_batch([("a " * a, "a " * b) for a, b in pairs])
    lengths = [np.bincount(row.type_ids, minlength=2).tolist() for row in encoded]
    first, second = np.array(pairs).T
    assert np.stack(longest_first(first, second, max_length - 3), axis=1).tolist() == lengths


def test_a_batch(tokenizer):
    store = classification(["a b", "c"], ["x", "y"], tokenizer)
    plan = bucket_plan(store.lengths, batch_size=3)
    ((x, y, weight),) = example_batches(store, plan)
    assert sorted(x) == ["padding_mask", "token_ids", "token_types"]
    assert x["padding_mask"].numpy().tolist() == [[1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0]]
    assert y.numpy().tolist() == [0, 1, 0]
    assert weight.numpy().tolist() == [1, 1, 0]


def test_several_labels_and_none(tokenizer):
    texts = ["a", "b", "c"]
    store = classification(texts, [["x", "z"], [], ("y",)], tokenizer, multi_label=True)
    assert store.label_names == ("x", "y", "z")
    assert store.values["label"].tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert store.values["label"].dtype == np.int32
    store = classification(texts, [[0, 2], [], [1]], tokenizer, multi_label=True)
    assert store.values["label"].tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    store = classification(texts, [[], [], []], tokenizer, label_names=["n"], multi_label=True)
    assert (store.values["label"].tolist(), store.label_names) == ([[0], [0], [0]], ("n",))


def test_numbers_are_a_regression(tokenizer):
    store = classification(["a", "b"], [0, 2.5], tokenizer)
    assert store.values["label"].dtype == np.float32
    assert store.values["label"].tolist() == [0, 2.5]
    store = classification(
        ["a", "b"], np.array([3, 1]), tokenizer, label_names=["a", "b", "c", "d"]
    )
    assert store.values["label"].tolist() == [3, 1]


def test_bos_and_eos_stand_in_for_cls_and_sep(tokenizer):
    tokenizer.cls_id = None
    assert cls_and_sep(tokenizer) == (3, 2)
    tokenizer.sep_id = None
    assert cls_and_sep(tokenizer) == (3, 4)
    tokenizer.eos_id = None
    with pytest.raises(ValueError, match="no sep_token and no eos_token"):
        classification(["a"], [0], tokenizer)


@pytest.mark.parametrize(
    ("texts", "labels", "options", "message"),
    [
        (["a", "b"], ["x"], {}, "labels has 1 items; texts has 2"),
        ((["a"], ["b", "c"]), ["x"], {}, r"texts\[1\] has 2 items; texts\[0\] has 1"),
        (([1], ["b"]), ["x"], {}, r"texts\[0\]\[0\] is of type int"),
        ("ab", ["x"], {}, "texts is one str"),
        ([], [], {}, "texts is empty"),
        (["a", "\ud800"], [0, 1], {}, r"texts\[1\] holds a lone surrogate"),
        (["a", "b"], ["x", "q"], {"label_names": ["x", "y"]}, r"labels\[1\] is 'q'; label_names"),
        (["a", "b"], [0, 2], {"label_names": ["x", "y"]}, r"labels\[1\] is 2; .* 0 to 1"),
        (["a", "b"], [0, -1], {}, r"labels\[1\] is -1; it must be at least 0"),
        (["a", "b"], ["x", 1], {}, r"labels\[1\] is 1; labels must be names or ints, all of one"),
        (["a", "b"], [True, False], {}, r"labels\[0\] is True"),
        (["a", "b"], [0.5, float("nan")], {}, r"labels\[1\] is nan; it must be a finite number"),
        (["a", "b"], [0.5, "x"], {}, r"labels\[1\] is 'x'; it must be a finite number"),
        (["a", "b"], [0.5, 1.0], {"label_names": ["x"]}, "a regression has no label_names"),
        (["a", "b"], ["x", "y"], {"multi_label": True}, r"labels\[0\] is 'x'; with multi_label"),
        (["a", "b"], [["x"], ["q"]], {"multi_label": True, "label_names": ["x"]}, r"labels\[1\]"),
        (["a", "b"], [[], []], {"multi_label": True}, "labels names no class at all"),
        (["a", "b"], [0, 1], {"label_names": ["x", "x"]}, "must hold different names"),
        (["a", "b"], [0, 1], {"label_names": "xy"}, "it must be a list of strings"),
        (["a", "b"], [0, 1], {"max_length": 2}, "max_length is 2; it must be an int, at least 3"),
    ],
)
def test_bad_input_is_named(tokenizer, texts, labels, options, message):
    with pytest.raises(ValueError, match=message):
        classification(texts, labels, tokenizer, **options)


def test_progress_appears_when_it_takes_long(tokenizer, monkeypatch, capsys):
    monkeypatch.setattr("keras_lm.data.progress.SECONDS_BEFORE_BAR", -1.0)
    classification(["a"] * 600, [0] * 600, tokenizer)
    assert capsys.readouterr().err == ""
    classification(["a"] * 600, [0] * 600, tokenizer, progress=True)
    assert "tokenizing" in capsys.readouterr().err
