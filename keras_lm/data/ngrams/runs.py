"""Sorted runs of counted keys: in memory up to a limit, then on disk; merged range by range."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_lm.data.ngrams.keys import KeyLayout, Keys

_SAMPLES_A_RANGE = 4


class Run:
    """Distinct keys in order with their counts, in memory.

    Args:
        keys: words uint64 [n], see `KeyLayout`.
        counts: int64 [n].
    """

    def __init__(self, keys: Keys, counts: np.ndarray) -> None:
        self.keys, self.counts = keys, counts

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def num_bytes(self) -> int:
        return sum(array.nbytes for array in (*self.keys, self.counts))

    def first_words(self) -> np.ndarray:
        return self.keys[0]

    def rows(self, begin: int, end: int) -> tuple[Keys, np.ndarray]:
        return [word[begin:end] for word in self.keys], self.counts[begin:end]


class SpilledRun:
    """A run on disk, written piece by piece: one file for each word and one for the counts.

    Args:
        directory: where the files go.
        number: of the run, part of the files' names.
        num_words: words in a key.
    """

    num_bytes = 0  # in memory

    def __init__(self, directory: Path, number: int, num_words: int) -> None:
        names = [f"{number}.word{word}" for word in range(num_words)] + [f"{number}.counts"]
        self._paths = [directory / name for name in names]
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, keys: Keys, counts: np.ndarray) -> None:
        for path, array in zip(self._paths, (*keys, counts), strict=True):
            with path.open("ab") as file:
                array.tofile(file)
        self._length += len(counts)

    def first_words(self) -> np.ndarray:
        """A map of the first words: only the pages that are looked at come into memory."""
        return np.memmap(self._paths[0], np.uint64, mode="r")

    def rows(self, begin: int, end: int) -> tuple[Keys, np.ndarray]:
        # Read, not mapped, so that what was read does not stay in this process.
        *keys, counts = (
            np.fromfile(path, dtype, count=end - begin, offset=8 * begin)
            for path, dtype in zip(
                self._paths, [np.uint64] * (len(self._paths) - 1) + [np.int64], strict=True
            )
        )
        return keys, counts


class Runs:
    """A growing collection of runs whose memory is bounded.

    Args:
        layout: of the keys.
        directory: a folder for what does not fit; the caller deletes it.
        memory_limit: bytes that the runs in memory may take; merging takes as much again.
        rows_at_once: keys that are merged at once.
    """

    def __init__(
        self, layout: KeyLayout, directory: Path, memory_limit: int, rows_at_once: int
    ) -> None:
        self._layout, self._directory = layout, directory
        self._memory_limit, self._rows_at_once = memory_limit, rows_at_once
        self._runs: list[Run | SpilledRun] = []
        self.num_spilled = 0

    def add(self, keys: Keys, counts: np.ndarray) -> None:
        """Takes a run: distinct keys in order, and their counts."""
        self._runs.append(Run(keys, counts))
        if sum(run.num_bytes for run in self._runs) > self._memory_limit:
            self._make_room()

    def _make_room(self) -> None:
        """Merges the runs in memory; what is then still large goes to disk."""
        in_memory: list[Run | SpilledRun] = [run for run in self._runs if isinstance(run, Run)]
        pieces = list(_merged(in_memory, self._layout, self._rows_at_once))
        kept: list[Run | SpilledRun] = [run for run in self._runs if isinstance(run, SpilledRun)]
        self._runs = kept
        if sum(Run(*piece).num_bytes for piece in pieces) <= self._memory_limit // 2:
            keys = [np.concatenate(words) for words in zip(*(keys for keys, _ in pieces))]
            kept.append(Run(keys, np.concatenate([counts for _, counts in pieces])))
            return
        spilled = SpilledRun(self._directory, self.num_spilled, len(self._layout.word_bits))
        self.num_spilled += 1
        for piece in pieces:
            spilled.append(*piece)
        kept.append(spilled)

    def merged(self) -> Iterator[tuple[Keys, np.ndarray]]:
        """All keys in order with the sums of their counts, in pieces of bounded size."""
        yield from _merged(self._runs, self._layout, self._rows_at_once)


def _merged(
    runs: list[Run | SpilledRun], layout: KeyLayout, rows_at_once: int
) -> Iterator[tuple[Keys, np.ndarray]]:
    borders = _borders(runs, rows_at_once)
    places = [
        np.concatenate([[0], np.searchsorted(run.first_words(), borders), [len(run)]])
        for run in runs
    ]
    for number in range(len(borders) + 1):
        parts = [
            run.rows(int(place[number]), int(place[number + 1]))
            for run, place in zip(runs, places, strict=True)
            if place[number] < place[number + 1]
        ]
        if len(parts) == 1:
            yield parts[0]
        elif parts:
            keys = [np.concatenate(words) for words in zip(*(keys for keys, _ in parts))]
            yield layout.count(keys, np.concatenate([counts for _, counts in parts]))


def _borders(runs: list[Run | SpilledRun], rows_at_once: int) -> np.ndarray:
    """First words, ascending, that cut all runs into ranges of at most `rows_at_once` keys.

    Each sample stands for `stride` keys of its run, so that 2R samples in a row, and the ends of
    R runs, are 3R · stride keys at most. (More only where so many keys share their first word.)
    """
    if sum(map(len, runs)) <= rows_at_once:
        return np.zeros(0, np.uint64)
    stride = max(1, rows_at_once // (_SAMPLES_A_RANGE * len(runs)))
    samples = np.sort(np.concatenate([run.first_words()[::stride] for run in runs]))
    return np.unique(samples[2 * len(runs) :: 2 * len(runs)])
