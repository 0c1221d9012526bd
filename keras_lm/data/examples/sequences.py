"""Ragged rows in NumPy: cut, joined and made dense without a loop over the rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Sequences:
    """Rows of different lengths, with one or more aligned columns along their tokens.

    Args:
        columns: name to array, [n] or [n, …], of all rows one after the other. May be memory maps.
        offsets: int64 [rows + 1]; row r is `[offsets[r]:offsets[r + 1]]` of every column.

    Raises:
        ValueError: a column is not as long as the offsets say.

    Example:

    >>> rows = Sequences({"token_ids": np.array([7, 8, 9], "int32")}, np.array([0, 2, 3]))
    >>> len(rows), rows.lengths.tolist()
    (2, [2, 1])
    >>> rows.cut(np.array([1, 0]), np.array([0, 1]), np.array([1, 1])).columns["token_ids"]
    array([9, 8], dtype=int32)
    >>> rows.dense(np.array([1, 0, -1]), width=2)["token_ids"].tolist()
    [[9, 0], [7, 8], [0, 0]]
    """

    columns: Mapping[str, np.ndarray]
    offsets: np.ndarray

    def __post_init__(self) -> None:
        for name, values in self.columns.items():
            if len(values) != self.offsets[-1]:
                raise ValueError(
                    f"column {name!r} has {len(values)} entries; "
                    f"the offsets end at {self.offsets[-1]}"
                )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int64 [rows], the tokens of each row."""
        return np.diff(self.offsets)

    def cut(self, rows: np.ndarray, starts: np.ndarray, counts: np.ndarray) -> Sequences:
        """New rows: `counts[i]` tokens of row `rows[i]` from its token `starts[i]` on."""
        source = ranges(self.offsets[rows] + starts, counts)
        columns = {name: values[source] for name, values in self.columns.items()}
        return Sequences(columns, offsets_of(counts))

    def dense(
        self, rows: np.ndarray, width: int, names: Collection[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Rows as arrays [rows, width, …], padded with 0; a row numbered -1 is all padding.

        Args:
            rows: int64 [B].
            width: T.
            names: the columns to read, all by default.

        Raises:
            ValueError: a row is longer than `width`.
        """
        counts = self._counts(rows)
        if counts.max(initial=0) > width:
            long = int(np.argmax(counts))
            raise ValueError(f"row {rows[long]} has {counts[long]} tokens; the width is {width}")
        source = ranges(self.offsets[rows], counts)
        target = ranges(np.arange(len(rows)) * width, counts)
        arrays = {}
        for name in self.columns if names is None else names:
            values = self.columns[name]
            array = np.zeros((len(rows) * width, *values.shape[1:]), values.dtype)
            array[target] = values[source]
            arrays[name] = array.reshape(len(rows), width, *values.shape[1:])
        return arrays

    def mask(self, rows: np.ndarray, width: int) -> np.ndarray:
        """int32 [rows, width], 1 where `dense` has a token and 0 where it has padding.

        A row without tokens keeps its first position, so that a mean or a softmax over it is not
        one of nothing: 0 / 0 would outlive a weight of 0.
        """
        counts = np.maximum(self._counts(rows), 1)
        return (np.arange(width) < counts[:, np.newaxis]).astype(np.int32)

    def _counts(self, rows: np.ndarray) -> np.ndarray:
        return np.where(rows >= 0, self.offsets[rows + 1] - self.offsets[rows], 0)


def joined(parts: Sequence[Sequences]) -> Sequences:
    """Row r of all parts, one after the other, as one row; -1 where a part lacks a column.

    Example:

    >>> ends = Sequences({"token_ids": np.array([1, 1])}, np.array([0, 1, 2]))
    >>> words = Sequences({"token_ids": np.array([7, 8, 9]), "word": np.array([0, 1, 0])},
    ...                   np.array([0, 2, 3]))
    >>> rows = joined([words, ends])
    >>> rows.columns["token_ids"].tolist(), rows.columns["word"].tolist(), rows.offsets.tolist()
    ([7, 8, 1, 9, 1], [0, 1, -1, 0, -1], [0, 3, 5])
    """
    lengths = np.stack([part.lengths for part in parts], axis=1)
    offsets = offsets_of(lengths.sum(axis=1))
    starts = offsets[:-1, np.newaxis] + np.cumsum(lengths, axis=1) - lengths
    columns: dict[str, np.ndarray] = {}
    for i, part in enumerate(parts):
        target = ranges(starts[:, i], lengths[:, i])
        for name, values in part.columns.items():
            if name not in columns:
                columns[name] = np.full((offsets[-1], *values.shape[1:]), -1, values.dtype)
            columns[name][target] = values
    return Sequences(columns, offsets)


def windows(
    lengths: np.ndarray, room: np.ndarray, step: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cuts rows into windows of at most `room` tokens that begin `step` tokens apart.

    Args:
        lengths: int64 [rows], tokens in each row; a row of none gives one empty window.
        room: int64 [rows], the most tokens in a window of each row.
        step: int64 [rows], 1 to `room`.

    Returns:
        int64 [windows] each: the row of every window, where it begins, how many tokens it has.

    Example:

    >>> row, start, count = windows(np.array([3, 9]), np.array([4, 4]), np.array([2, 3]))
    >>> row.tolist(), start.tolist(), count.tolist()
    ([0, 1, 1, 1], [0, 0, 3, 6], [3, 4, 4, 3])
    """
    numbers = 1 + np.maximum(-((room - lengths) // step), 0)
    row = np.repeat(np.arange(len(lengths)), numbers)
    start = ranges(np.zeros_like(numbers), numbers) * step[row]
    return row, start, np.minimum(room[row], lengths[row] - start)


def longest_first(
    first: np.ndarray, second: np.ndarray, room: int
) -> tuple[np.ndarray, np.ndarray]:
    """How many tokens to keep of each of two texts, so that together they fill `room` at most.

    The longer text is cut until both are equally long, then both: Transformers' `longest_first`.

    Example:

    >>> longest_first(np.array([9, 2, 9]), np.array([2, 2, 9]), room=5)
    (array([3, 2, 2]), array([2, 2, 3]))
    """
    shorter = np.minimum(np.minimum(first, second), room // 2)
    longer = np.minimum(np.maximum(first, second), room - shorter)
    return np.where(first <= second, shorter, longer), np.where(first <= second, longer, shorter)


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """Where rows of these lengths begin, and where the last ends: [3, 1] → [0, 3, 4]."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Ranges one after the other: starts [2, 7], counts [3, 2] → [2, 3, 4, 7, 8]."""
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(ends[-1] if len(ends) else 0)
