"""The Huffman tree of a vocabulary: frequent words are few decisions from the root.

Huffman 1952; as the output layer of a language model: Morin and Bengio 2005, and
https://arxiv.org/abs/1310.4546.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Paths(NamedTuple):
    """The way from the root to each word."""

    nodes: np.ndarray
    """int32 [V, depth]: the inner nodes on the way, 0 behind the last; there are V − 1."""
    signs: np.ndarray
    """float32 [V, depth]: 1 where it goes left, −1 where right, 0 behind the last."""


def huffman_paths(counts: np.ndarray) -> Paths:
    """Paths in the tree that needs the fewest decisions for words that occur so often.

    Args:
        counts: ints [V], V at least 2.

    Raises:
        ValueError: there are fewer than two words.

    Example:

    >>> paths = huffman_paths(np.array([5, 2, 1]))
    >>> paths.signs.tolist()         # left; right and right; right and left
    [[-1.0, 0.0], [1.0, -1.0], [1.0, 1.0]]
    >>> paths.nodes.tolist()
    [[1, 0], [1, 0], [1, 0]]
    """
    num_words = len(counts)
    if num_words < 2:
        raise ValueError(f"counts is of {num_words} words; a tree takes at least two")
    parent, is_right = _merge(counts)
    ways = []
    for word in range(num_words):
        node, way = word, []
        while parent[node]:
            way.append((parent[node] - num_words, -1.0 if is_right[node] else 1.0))
            node = parent[node]
        ways.append(way[::-1])
    depth = max(map(len, ways))
    nodes, signs = np.zeros((num_words, depth), np.int32), np.zeros((num_words, depth), np.float32)
    for word, way in enumerate(ways):
        nodes[word, : len(way)] = [node for node, _ in way]
        signs[word, : len(way)] = [sign for _, sign in way]
    return Paths(nodes, signs)


def _merge(counts: np.ndarray) -> tuple[list[int], list[bool]]:
    """The parent of each leaf and inner node, 0 of the root, and which are right children.

    The two rarest are joined until one is left. Both the words, taken from the rarest on, and the
    joints, in the order in which they are made, are in rising order: no heap is needed.
    """
    num_words = len(counts)
    weight = [*map(int, counts), *[0] * (num_words - 1)]
    parent, is_right = [0] * len(weight), [False] * len(weight)
    leaves = np.argsort(-np.asarray(counts), kind="stable").tolist()
    next_joint = num_words
    for joint in range(num_words, len(weight)):
        for right in (False, True):
            if leaves and (next_joint == joint or weight[leaves[-1]] < weight[next_joint]):
                child = leaves.pop()
            else:
                child, next_joint = next_joint, next_joint + 1
            parent[child], is_right[child] = joint, right
            weight[joint] += weight[child]
    return parent, is_right
