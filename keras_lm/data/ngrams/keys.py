"""N-grams as keys that sort quickly: their ids packed into 64-bit words, the last token first.

In this order, that of the n-grams read from right to left, the n-grams with a common ending stand
together, and one pass over them sees every shorter n-gram as a group.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MAX_ROWS = 1 << 22
"""The most keys that are sorted at once."""

# All words but the first leave room for the rank of what stands before them: see `count_keys`.
_RANK_BITS = 24

Keys = list[np.ndarray]
"""uint64 [n] each, the most significant word first."""


class KeyLayout:
    """Where in the words of a key the ids of an n-gram stand.

    Args:
        order: tokens in an n-gram.
        vocab_size: V; ids are in [0, V).

    Example:

    >>> layout = KeyLayout(order=3, vocab_size=256)
    >>> keys = layout.pack([np.array([7], "int32"), np.array([6], "int32"), np.array([5], "int32")])
    >>> [hex(word[0]) for word in keys], [column.tolist() for column in layout.unpack(keys)]
    (['0x70605'], [[7], [6], [5]])
    """

    def __init__(self, order: int, vocab_size: int) -> None:
        self.token_bits = max(1, (vocab_size - 1).bit_length())
        in_words = [min(order, 64 // self.token_bits)]
        while sum(in_words) < order:
            room = max(1, (64 - _RANK_BITS) // self.token_bits)
            in_words.append(min(order - sum(in_words), room))
        self._in_words = in_words
        self.word_bits = tuple(self.token_bits * tokens for tokens in in_words)

    def pack(self, columns: Sequence[np.ndarray]) -> Keys:
        """Keys [n] from `order` columns of ids [n]: the last tokens, those before them, …"""
        rest = iter(columns)
        keys = []
        for tokens in self._in_words:
            word = next(rest).astype(np.uint64)
            for _ in range(tokens - 1):
                word <<= np.uint64(self.token_bits)
                word |= next(rest).astype(np.uint64)
            keys.append(word)
        return keys

    def unpack(self, keys: Keys) -> list[np.ndarray]:
        """The columns that `pack` took, int32 [n] each."""
        mask = np.uint64((1 << self.token_bits) - 1)
        return [
            (word >> np.uint64(self.token_bits * place) & mask).astype(np.int32)
            for word, tokens in zip(keys, self._in_words, strict=True)
            for place in reversed(range(tokens))
        ]

    def count(self, keys: Keys, counts: np.ndarray | None = None) -> tuple[Keys, np.ndarray]:
        """The distinct keys in order, and how often each occurs: the sum of its `counts`.

        Args:
            keys: in any order.
            counts: int64 [n]; None counts each key once.
        """
        return _count(keys, self.word_bits, counts)


def _count(
    keys: Keys, word_bits: Sequence[int], counts: np.ndarray | None
) -> tuple[Keys, np.ndarray]:
    if len(keys) == 1:
        return _count_words(keys[0], counts)
    # The rank of the first word takes fewer bits than the word, and the second fits beside it.
    order = np.argsort(keys[0])
    first = keys[0][order]
    is_new = changes(first)
    rank = np.cumsum(is_new, dtype=np.uint64) - np.uint64(1)
    if len(rank) and int(rank[-1]).bit_length() + word_bits[1] > 64:
        return _count_anyhow(keys, counts)
    bits = np.uint64(word_bits[1])
    joined = rank << bits | keys[1][order]
    rest = [word[order] for word in keys[2:]]
    counted, sums = _count(
        [joined, *rest], word_bits[1:], None if counts is None else counts[order]
    )
    joined = counted[0]
    first_words = first[is_new][(joined >> bits).astype(np.intp)]
    second_words = joined & np.uint64((1 << word_bits[1]) - 1)
    return [first_words, second_words, *counted[1:]], sums


def _count_words(words: np.ndarray, counts: np.ndarray | None) -> tuple[Keys, np.ndarray]:
    if counts is None:
        words = np.sort(words)
        starts = np.flatnonzero(changes(words))
        return [words[starts]], np.diff(starts, append=len(words))
    order = np.argsort(words)
    words = words[order]
    starts = np.flatnonzero(changes(words))
    return [words[starts]], np.add.reduceat(counts[order], starts) if len(starts) else counts


def _count_anyhow(keys: Keys, counts: np.ndarray | None) -> tuple[Keys, np.ndarray]:
    """`KeyLayout.count` for words that leave no room for a rank; slower."""
    order = np.lexsort(keys[::-1])
    keys = [word[order] for word in keys]
    starts = np.flatnonzero(np.logical_or.reduce([changes(word) for word in keys]))
    weights = np.ones(len(order), np.int64) if counts is None else counts[order]
    return [word[starts] for word in keys], np.add.reduceat(weights, starts)


def changes(values: np.ndarray) -> np.ndarray:
    """Where a value differs from the one before it, bool [n]; the first does."""
    differs = np.empty(len(values), bool)
    differs[:1] = True
    np.not_equal(values[1:], values[:-1], out=differs[1:])
    return differs
