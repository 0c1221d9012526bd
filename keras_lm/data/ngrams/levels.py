"""From counted n-grams, read from right to left, to the n-grams of every length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_lm.data.ngrams.keys import KeyLayout, Keys, changes


@dataclass(frozen=True, eq=False)
class SuffixLevel:
    """All n-grams of one length, ordered by their tokens from right to left.

    Args:
        first: int32 [n], the first token of each.
        suffix: int32 [n], the place of the rest in the level of the shorter n-grams, ascending.
        counts: how often each occurs; for Kneser–Ney the adjusted count, see `LevelBuilder`.
    """

    first: np.ndarray
    suffix: np.ndarray
    counts: np.ndarray


class LevelBuilder:
    """Makes the levels from the counted n-grams of the highest order, as these come in order.

    Args:
        order: tokens in the n-grams that come.
        vocab_size: V; level 1 has a place for each id.
        begin_id: fills n-grams on the left, see `NGramCounter`.
        layout: of the keys.
        continuation: True counts a shorter n-gram by the different tokens that stand before it
            (Kneser–Ney), but one that begins a document, before which nothing stands, by its
            occurrences; False counts occurrences alone.
        count_dtype: holds the largest count.
    """

    def __init__(
        self,
        order: int,
        vocab_size: int,
        begin_id: int,
        layout: KeyLayout,
        continuation: bool,
        count_dtype: type,
    ) -> None:
        self._order, self._begin_id, self._layout = order, begin_id, layout
        self._continuation, self._count_dtype = continuation, count_dtype
        self._unigram_counts: np.ndarray = np.zeros(vocab_size, count_dtype)
        # The pieces of the three arrays of each level from the second on.
        self._pieces: list[list[list[np.ndarray]]] = [[[], [], []] for _ in range(order - 1)]
        self._lengths = [vocab_size] + [0] * (order - 1)
        self._last_row: list[int | None] = [None] * order
        self._last_valid = [True] * order
        self._last_occurrences = [0] * order

    def add(self, keys: Keys, counts: np.ndarray) -> None:
        """Takes the next distinct n-grams and their counts, int64 [n]."""
        columns = self._layout.unpack(keys)
        is_new = self._first_of_groups(columns)
        index = columns[0]
        for level in range(1, self._order + 1):
            valid = self._valid(columns, level)
            starts = np.flatnonzero(is_new[level - 1])
            occurrences = self._contributions(columns, is_new, counts, level)
            self._note_last(level, starts, counts, bool(valid[-1]))
            # What stands before the first start belongs to the last n-gram of the piece before.
            segments = starts if len(starts) and starts[0] == 0 else np.append(0, starts)
            sums = np.add.reduceat(occurrences, segments)
            if level == 1:
                self._unigram_counts[columns[0][segments]] += sums.astype(self._count_dtype)
                continue
            if len(segments) > len(starts):
                if valid[0]:
                    self._pieces[level - 2][2][-1][-1] += sums[0]
                sums = sums[1:]
            sums = sums[valid[starts]].astype(self._count_dtype)
            starts = starts[valid[starts]]
            if len(starts):
                first, suffix = columns[level - 1][starts], index[starts].astype(np.int32)
                for pieces, piece in zip(self._pieces[level - 2], (first, suffix, sums)):
                    pieces.append(piece)
            index = np.cumsum(is_new[level - 1] & valid) + (self._lengths[level - 1] - 1)
            self._lengths[level - 1] += len(starts)

    def unigram_counts(self) -> np.ndarray:
        """The counts of level 1, [V]."""
        return self._unigram_counts

    def level(self, number: int) -> SuffixLevel:
        """Level 2 or higher; its memory is the caller's from now on."""
        arrays = []
        for pieces in self._pieces[number - 2]:
            arrays.append(np.concatenate(pieces))
            pieces.clear()
        return SuffixLevel(*arrays)

    @property
    def num_longer(self) -> int:
        """How many n-grams of two or more tokens there are."""
        return sum(self._lengths[1:])

    @property
    def longest(self) -> int:
        """The tokens of the longest n-gram that there is."""
        return max(level for level, length in enumerate(self._lengths, start=1) if length)

    def last_occurrences(self, level: int) -> int | None:
        """How often the last n-gram of this level occurs, where the last row ends with it.

        KenLM takes this for its adjusted count when it estimates the discounts.
        """
        valid = level < self._order and self._last_valid[level - 1]
        return self._last_occurrences[level - 1] if valid else None

    def _first_of_groups(self, columns: list[np.ndarray]) -> list[np.ndarray]:
        """For each level, where its last tokens differ from those of the row before, bool [n]."""
        is_new = []
        differs = np.zeros(len(columns[0]), bool)
        for place, column in enumerate(columns):
            change = changes(column)
            change[0] = column[0] != self._last_row[place]
            differs = differs | change
            is_new.append(differs)
            self._last_row[place] = int(column[-1])
        return is_new

    def _valid(self, columns: list[np.ndarray], level: int) -> np.ndarray:
        """Where the last `level` tokens hold no filling, bool [n]."""
        if level <= 2:
            return np.ones(len(columns[0]), bool)
        return columns[level - 2] != self._begin_id

    def _contributions(
        self, columns: list[np.ndarray], is_new: list[np.ndarray], counts: np.ndarray, level: int
    ) -> np.ndarray:
        """What each row adds to the count of its n-gram of this level, int64 [n]."""
        if level == self._order or not self._continuation:
            return counts
        different = is_new[level].astype(np.int64)
        if level == 1:
            return different
        return np.where(columns[level - 1] == self._begin_id, counts, different)

    def _note_last(self, level: int, starts: np.ndarray, counts: np.ndarray, valid: bool) -> None:
        last = int(starts[-1]) if len(starts) else 0
        before = 0 if len(starts) else self._last_occurrences[level - 1]
        self._last_occurrences[level - 1] = before + int(counts[last:].sum())
        self._last_valid[level - 1] = valid
