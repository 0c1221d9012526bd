"""The trie, against a dictionary of n-grams looked up one at a time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from harness_trie import NGrams, random_ngrams, trie_of
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_lm.layers import trie as trie_module


def slow_log_prob(
    ngrams: NGrams, order: int, context: tuple[int, ...], token: int, longest_decides: bool
) -> float:
    """As the ARPA format defines it."""
    context = context[max(len(context) - order + 1, 0) :]
    if (*context, token) in ngrams:
        return ngrams[*context, token][0]
    shorter = slow_log_prob(ngrams, order, context[1:], token, longest_decides)
    if context not in ngrams:
        return shorter
    if not longest_decides:
        return ngrams[context][1] + shorter
    is_followed = any(ngram[:-1] == context for ngram in ngrams if len(ngram) > 1)
    return ngrams[context][1] if is_followed else shorter


@given(
    seed=st.integers(0, 10**6),
    order=st.integers(1, 4),
    vocab_size=st.integers(1, 4),
    density=st.sampled_from([0.3, 0.7, 1.0]),
    longest_decides=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_equals_a_dictionary(
    seed: int, order: int, vocab_size: int, density: float, longest_decides: bool
) -> None:
    ngrams = random_ngrams(seed, order, vocab_size, density)
    order = max(len(ngram) for ngram in ngrams)
    trie = trie_of(ngrams, order, longest_decides)
    ids = np.random.default_rng(seed).integers(0, vocab_size, (2, 7)).astype("int32")
    before = np.full((2, order - 1), -1, "int32")
    everywhere = np.ones_like(ids, bool)
    nodes = trie.follow(ids, before, everywhere, everywhere)
    got = ops.convert_to_numpy(trie.distribution(ops.reshape(nodes, (14, order - 1))))
    got = got.reshape(2, 7, vocab_size)
    for row, t, token in itertools.product(range(2), range(7), range(vocab_size)):
        context = tuple(ids[row, : t + 1].tolist())
        expected = slow_log_prob(ngrams, order, context, token, longest_decides)
        assert got[row, t, token] == pytest.approx(expected, abs=1e-5)
    for token in range(vocab_size):
        one = trie.token_log_probs(nodes, np.full_like(ids, token))
        np.testing.assert_allclose(ops.convert_to_numpy(one), got[..., token], atol=1e-5)


def test_many_children_are_written_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    ngrams = random_ngrams(0, 2, 30, 0.8)
    trie = trie_of(ngrams, 2)
    nodes = np.array([[3], [-1], [17]], "int32")
    whole = ops.convert_to_numpy(trie.distribution(nodes))
    monkeypatch.setattr(trie_module, "CHILDREN_AT_ONCE", 7)
    np.testing.assert_array_equal(ops.convert_to_numpy(trie.distribution(nodes)), whole)


def test_a_node_of_another_parent_is_not_found() -> None:
    """Node 0 has the child 2, node 1 the child 0: a search must stay in its stretch."""
    ngrams = {(0,): (-1.0, 0.0), (1,): (-1.0, 0.0), (2,): (-1.0, 0.0)}
    ngrams |= {(0, 2): (-1.0, 0.0), (1, 0): (-1.0, 0.0)}
    trie = trie_of(ngrams, 2)
    node, token = np.array([0, 0, 1, 1, 2, -1], "int32"), np.array([2, 0, 0, 2, 0, 2], "int32")
    child = ops.convert_to_numpy(trie.child(1, node, token))
    assert child.tolist() == [0, -1, 1, -1, -1, -1]
