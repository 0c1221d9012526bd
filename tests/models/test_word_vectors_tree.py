"""The Huffman tree of hierarchical softmax: its paths by hand, and its probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from keras_lm.models.word_vectors.huffman import huffman_paths


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_huffman_by_hand() -> None:
    """40 | 30 | 20 | 10: 10 and 20 are joined, then 30 joins them, then 40."""
    paths = huffman_paths(np.array([40, 30, 20, 10]))
    assert [int(np.abs(s).sum()) for s in paths.signs] == [1, 2, 3, 3]
    assert paths.nodes.tolist() == [[2, 0, 0], [2, 1, 0], [2, 1, 0], [2, 1, 0]]
    assert (paths.signs[2, :2] == paths.signs[3, :2]).all()
    assert paths.signs[2, 2] == -paths.signs[3, 2]
    with pytest.raises(ValueError, match="counts is of 1 words"):
        huffman_paths(np.array([3]))


@pytest.mark.parametrize("counts", [[1, 1], [5, 5, 5, 5, 5], [100, 1, 1, 1], [0, 0, 3], [7, 9, 8]])
def test_tree_is_the_cheapest_and_its_probabilities_sum_to_one(counts: list[int]) -> None:
    paths = huffman_paths(np.array(counts))
    hidden, nodes = np.random.default_rng(0).normal(size=(2, len(counts) - 1, 5))
    probability = [
        np.prod([sigmoid(s * hidden[0] @ nodes[n]) for n, s in zip(*path) if s])
        for path in zip(paths.nodes, paths.signs)
    ]
    assert sum(probability) == pytest.approx(1)
    # The cost of any Huffman tree is the sum of the weights of its joints.
    heap, cost = sorted(counts), 0
    while len(heap) > 1:
        joint = heap[0] + heap[1]
        cost += joint
        heap = sorted([*heap[2:], joint])
    assert int(np.abs(paths.signs).sum(axis=1) @ np.array(counts)) == cost
    assert sorted(set(paths.nodes[paths.signs != 0])) == list(range(len(counts) - 1))
