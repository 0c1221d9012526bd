"""From n-grams ordered by their tokens from right to left to the trie that is read forwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from keras_lm.data.ngrams.keys import changes
from keras_lm.data.ngrams.levels import SuffixLevel

_PLACE_BITS = np.uint64(31)
_PLACE_MASK = np.uint64((1 << 31) - 1)


# A part takes some 80 bytes a row while it is sorted; finding its rows looks at the whole level.
_MIN_ROWS_IN_PART = 1 << 20
_MAX_PARTS = 16


@dataclass(frozen=True, eq=False)
class TrieLevel:
    """The n-grams of one length, 2 or more, ordered by their tokens from left to right.

    Args:
        keys: uint64 [n], ascending: the first token and, in the low 31 bits, the place of the rest
            in the level below.
        tokens: int32 [n], the last tokens.
        parent: int32 [n], the places, in the level below, of the n-grams without the last token.
        place_of: int32 [n], the place here of each n-gram of the `SuffixLevel`.
    """

    keys: np.ndarray
    tokens: np.ndarray
    parent: np.ndarray
    place_of: np.ndarray


@dataclass(frozen=True, eq=False)
class TriePart:
    """The n-grams of a level whose first tokens lie in a range.

    Args:
        keys: as of a `TrieLevel`.
        tokens: as of a `TrieLevel`.
        counts: [n].
        rows: int64 [n], where they stand in the `SuffixLevel`.
        contexts: int32 [c], the different parents, ascending.
        starts: int64 [c], where the children of each begin.
    """

    keys: np.ndarray
    tokens: np.ndarray
    counts: np.ndarray
    rows: np.ndarray
    contexts: np.ndarray
    starts: np.ndarray

    @property
    def first(self) -> np.ndarray:
        """The first tokens, uint64 [n]."""
        return self.keys >> _PLACE_BITS

    @property
    def suffix(self) -> np.ndarray:
        """The places, in the level below, of the n-grams without their first token: int32 [n]."""
        return (self.keys & _PLACE_MASK).astype(np.int32)

    @property
    def sizes(self) -> np.ndarray:
        """The children of each context, int64 [c]."""
        return np.diff(self.starts, append=len(self.tokens))


def trie_parts(level: SuffixLevel, below: TrieLevel | None) -> Iterator[TriePart]:
    """Orders a level from left to right, in parts that follow one another.

    The order is that of the first token and then of the rest, whose place in the level below is
    known: one sort of 64-bit keys. Two n-grams have one parent if they share the first token and
    their rests share a parent.

    Args:
        level: the n-grams, from right to left.
        below: the n-grams that are one token shorter; None for the single tokens.
    """
    most = max(_MIN_ROWS_IN_PART, len(level.first) // _MAX_PARTS)
    ends = np.cumsum(np.bincount(level.first))
    begin = 0
    while begin < len(ends):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + most, side="right")))
        rows = np.flatnonzero((level.first >= begin) & (level.first < end))
        if len(rows):
            yield _part(level, rows, below)
        begin = end


def _part(level: SuffixLevel, rows: np.ndarray, below: TrieLevel | None) -> TriePart:
    suffix = level.suffix[rows] if below is None else below.place_of[level.suffix[rows]]
    keys = level.first[rows].astype(np.uint64) << _PLACE_BITS
    keys |= suffix.astype(np.uint64)
    order = np.argsort(keys)
    keys, rows = keys[order], rows[order]
    suffix = (keys & _PLACE_MASK).astype(np.int32)
    if below is None:
        tokens = suffix
        parent_keys = keys >> _PLACE_BITS
    else:
        tokens = below.tokens[suffix]
        parent_keys = keys & ~_PLACE_MASK
        parent_keys |= below.parent[suffix].astype(np.uint64)
    starts = np.flatnonzero(changes(parent_keys))
    different = parent_keys[starts]
    contexts = different if below is None else np.searchsorted(below.keys, different)
    return TriePart(keys, tokens, level.counts[rows], rows, contexts.astype(np.int32), starts)
