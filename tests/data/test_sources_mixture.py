"""Mixtures: every document has an address, and every source its share at every point."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lm.data import TokenStore
from keras_lm.data.sources import mixture


@settings(max_examples=60)
@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=9), st.integers(1, 200))
def test_each_source_has_its_share_at_every_point_to_within_one_document(weights, total):
    mixed = mixture([[0]] * len(weights), weights=weights, num_documents=total)
    exact = [Fraction(weight) for weight in weights]
    for source, weight in enumerate(exact):
        share, whole = (weight / sum(exact)).as_integer_ratio()
        counts = np.cumsum(mixed.source_of == source).tolist()
        assert all(abs(count * whole - share * i) < whole for i, count in enumerate(counts, 1))


def test_a_source_is_read_whole_before_it_is_read_again_in_another_order():
    sources = [list("abcdefghij"), list("0123456789ABC")]
    mixed = mixture(sources, weights=[2, 1], num_documents=90)
    letters = [mixed[i] for i in range(90) if mixed.source_of[i] == 0]
    passes = ["".join(letters[start : start + 10]) for start in range(0, 60, 10)]
    assert {"".join(sorted(one)) for one in passes} == {"abcdefghij"}
    assert len(set(passes)) == 6
    digits = [mixed[i] for i in range(90) if mixed.source_of[i] == 1]
    assert set(Counter(digits[:26]).values()) == {2}


def test_a_document_is_a_function_of_seed_and_place():
    sources = [[f"a{i}" for i in range(50)], [f"b{i}" for i in range(70)]]
    long = mixture(sources, [0.3, 0.7], seed=5, num_documents=300)
    assert list(mixture(sources, [3, 7], seed=5, num_documents=41))[:41] == long[:41]
    assert list(mixture(sources, [0.3, 0.7], seed=6, num_documents=41)) != long[:41]
    assert long[17] == sources[long.source_of[17]][long.index_of[17]]
    assert (long[-1], long[10:4:-3]) == (long[299], [long[10], long[7]])
    with pytest.raises(IndexError):
        long[300]


def test_without_weights_every_document_comes_once():
    sources = [["a"] * 2, ["b"] * 7, ["c"]]
    mixed = mixture(sources)
    assert Counter(mixed) == {"a": 2, "b": 7, "c": 1}


def test_mixtures_nest_and_go_into_a_store(tokenizer):
    inner = mixture([["a"], ["b"]])
    mixed = mixture([inner, ["c", "d"]], weights=[1, 3], num_documents=8)
    assert Counter(mixed) == {"a": 1, "b": 1, "c": 3, "d": 3}
    assert TokenStore.from_texts(mixed, tokenizer).num_documents == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sources": []}, "sources is empty"),
        ({"sources": [["a"], []]}, r"sources\[1\] is empty"),
        ({"sources": ["text"]}, r"sources\[0\] is one str"),
        ({"sources": [{"text": ["a"]}]}, r"sources\[0\] is a dict; .* one column"),
        ({"sources": [iter(["a"])]}, r"sources\[0\] is a list_iterator"),
        ({"sources": [tf.data.Dataset.range(2)]}, "tf.data.Dataset.sample_from_datasets"),
        ({"sources": [["a"]], "weights": [1, 2]}, "weights has 2 numbers for 1 sources"),
        ({"sources": [["a"], ["b"]], "weights": [1, 0]}, r"weights\[1\] is 0; it must be"),
        ({"sources": [["a"]], "weights": [float("nan")]}, r"weights\[0\] is nan"),
        ({"sources": [["a"]], "num_documents": 0}, "num_documents is 0; it must be 1"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        mixture(**arguments)
