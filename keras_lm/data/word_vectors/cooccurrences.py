"""How often words stand near each other, counted in bounded memory, and batches of it for GloVe."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_lm.data.addresses import numbered_steps
from keras_lm.data.batches import address_random, without_autotune
from keras_lm.data.progress import LateBar
from keras_lm.data.python_calls import python_call
from keras_lm.data.word_vectors.corpus import WordCorpus

_WORDS_AT_ONCE = 1 << 18
_PAIRS_IN_MEMORY = 1 << 25  # 400 MB of keys and weights, twice that while they are sorted


@dataclass(frozen=True, eq=False)
class Cooccurrences:
    """Pairs of words that stand near each other, each once, and how much.

    Args:
        keys: uint64 [P], rising: first · V + second, the first word not above the second.
        weights: float32 [P]: the sum of 1 / distance over the places where they stand together,
            twice that of a word with itself.
        num_words: V.
    """

    keys: np.ndarray
    weights: np.ndarray
    num_words: int

    def pair(self, number: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The words, int32, and the weights, float32, of pairs by number.

        Example:

        >>> found = Cooccurrences(np.array([1, 3], np.uint64), np.array([2, 1], np.float32), 2)
        >>> [array.tolist() for array in found.pair(np.array([1, 0]))]
        [[1, 0], [1, 1], [1.0, 2.0]]
        """
        first, second = np.divmod(self.keys[number], np.uint64(self.num_words))
        return first.astype(np.int32), second.astype(np.int32), self.weights[number]


def count_cooccurrences(
    corpus: WordCorpus, window: int, pairs_in_memory: int = _PAIRS_IN_MEMORY
) -> Cooccurrences:
    """Counts pairs of words that are at most `window` apart in one text, with 1 / distance.

    Pairs are collected, sorted and added up in memory; when there is no more room, what was added
    up goes to a temporary file, and the files are merged in the end, a range of keys at a time.

    Args:
        corpus: the words.
        window: the largest distance.
        pairs_in_memory: how many to collect before they go to disk; 12 bytes each, and as much
            again to sort them.

    Example:

    >>> from keras_lm.data.word_vectors.corpus import read_corpus
    >>> found = count_cooccurrences(read_corpus([["a", "b", "a", "c"]]), window=2)
    >>> [array.tolist() for array in found.pair(np.arange(4))]    # a a, a b, a c, b c
    [[0, 0, 0, 1], [0, 1, 2, 2], [1.0, 2.0, 1.0, 0.5]]
    """
    num_words = len(corpus.words)
    with tempfile.TemporaryDirectory() as folder:
        runs: list[Path] = []
        held: list[tuple[np.ndarray, np.ndarray]] = []
        num_held = 0
        for keys, weights in _pairs(corpus, window):
            held.append((keys, weights))
            num_held += len(keys)
            if num_held > pairs_in_memory:
                held = [_added_up(held)]
                num_held = len(held[0][0])
                # Where adding up frees little, the room would be sorted over and over.
                if num_held > pairs_in_memory // 2:
                    runs.append(_store(Path(folder) / str(len(runs)), held[0]))
                    held, num_held = [], 0
        last = _added_up(held)
        if not runs:
            return Cooccurrences(*last, num_words)
        runs.append(_store(Path(folder) / str(len(runs)), last))
        return Cooccurrences(*_merged(runs, pairs_in_memory), num_words)


def _pairs(corpus: WordCorpus, window: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Keys and weights of the pairs at each distance, some hundred thousand words at a time."""
    ids, texts = corpus.ids.astype(np.uint64), corpus.text_numbers
    num_words = np.uint64(len(corpus.words))
    with LateBar("counting pairs", len(ids)) as bar:
        for start in range(0, len(ids), _WORDS_AT_ONCE):
            end = min(start + _WORDS_AT_ONCE, len(ids))
            for distance in range(1, window + 1):
                after = min(end + distance, len(ids))
                one, other = ids[start : after - distance], ids[start + distance : after]
                is_pair = texts[start : after - distance] == texts[start + distance : after]
                first = np.minimum(one, other)[is_pair]
                keys = first * num_words + np.maximum(one, other)[is_pair]
                # A word beside itself is a pair in both orders, and both are in one place.
                times = 1.0 + (one == other)[is_pair]
                yield keys, (times / distance).astype(np.float32)
            bar.advance_to(end)


def _added_up(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Rising keys, each once, with the sum of its weights."""
    keys = np.concatenate([np.zeros(0, np.uint64), *[keys for keys, _ in parts]])
    weights = np.concatenate([np.zeros(0, np.float32), *[weights for _, weights in parts]])
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    begins = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)])
    if not len(begins):
        return keys, weights
    sums = np.add.reduceat(weights[order].astype(np.float64), begins)
    return keys[begins], sums.astype(np.float32)


def _store(path: Path, run: tuple[np.ndarray, np.ndarray]) -> Path:
    for kind, array in zip(("keys", "weights"), run):
        np.save(path.with_suffix(f".{kind}.npy"), array)
    return path


def _merged(runs: list[Path], pairs_in_memory: int) -> tuple[np.ndarray, np.ndarray]:
    """All runs as one, in a file that vanishes with the arrays."""
    opened = [
        [np.load(run.with_suffix(f".{kind}.npy"), mmap_mode="r") for kind in ("keys", "weights")]
        for run in runs
    ]
    # Ranges of keys that hold about as many pairs as there is room for.
    sample = np.sort(np.concatenate([keys[:: max(1, len(keys) // 1000)] for keys, _ in opened]))
    num_pairs = sum(len(keys) for keys, _ in opened)
    num_ranges = -(-num_pairs // pairs_in_memory)
    edges = sample[np.arange(1, num_ranges) * len(sample) // num_ranges]
    cuts = [np.concatenate([[0], np.searchsorted(k, edges), [len(k)]]) for k, _ in opened]
    with (
        tempfile.TemporaryFile() as keys_file,
        tempfile.TemporaryFile() as weights_file,
        LateBar("adding up pairs", num_ranges) as bar,
    ):
        for part in range(num_ranges):
            keys, weights = _added_up(
                [
                    (keys[cut[part] : cut[part + 1]], weights[cut[part] : cut[part + 1]])
                    for (keys, weights), cut in zip(opened, cuts)
                ]
            )
            keys.tofile(keys_file)
            weights.tofile(weights_file)
            bar.advance_to(part + 1)
        # A closed file without a name lives as long as it is mapped.
        return (
            np.memmap(keys_file, np.uint64, "r+"),
            np.memmap(weights_file, np.float32, "r+"),
        )


@dataclass(frozen=True, eq=False)
class PairBatches:
    """A plan of the steps in which GloVe reads co-occurrences: all once an epoch, in random order.

    A batch is a dict of `words`, int32 [min(V, 2 R)], the words of its pairs, each once and then
    zeros; `first` and `second`, int32 [R], places in `words`; and `count`, float32 [R], 0 in rows
    that fill up the last batch.

    Example:

    >>> found = Cooccurrences(np.array([1, 5, 8], np.uint64), np.ones(3, np.float32), 3)
    >>> words, first, second, count = PairBatches(found, seed=0, num_rows=3).batch(0, 1)
    >>> words.tolist(), sorted(zip(words[first].tolist(), words[second].tolist()))
    ([0, 1, 2], [(0, 1), (1, 2), (2, 2)])
    """

    found: Cooccurrences
    seed: int
    num_rows: int

    @property
    def num_steps(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.found.keys) // self.num_rows)

    def batch(self, step: int, steps_per_epoch: int) -> list[np.ndarray]:
        """The arrays of a step, counted from the first of the first epoch."""
        epoch, step_of_epoch = divmod(step, steps_per_epoch)
        if self._last_epoch.get("number") != epoch:
            order = address_random(self.seed, epoch).permutation(len(self.found.keys))
            self._last_epoch.update(number=epoch, order=order)
        start = step_of_epoch * self.num_rows
        chosen = self._last_epoch["order"][start : start + self.num_rows]
        missing = self.num_rows - len(chosen)
        first, second, count = (np.pad(array, (0, missing)) for array in self.found.pair(chosen))
        words, places = np.unique(np.stack([first, second]), return_inverse=True)
        words = np.pad(words, (0, self._most_words - len(words)))
        first, second = places.reshape(2, -1).astype(np.int32)
        return [words, first, second, count]

    def batches(self, start: int, steps_per_epoch: int) -> tf.data.Dataset:
        """An endless set of batches from step `start` on; see `NeighbourBlocks.batches`."""
        specs = [
            tf.TensorSpec([self._most_words], tf.int32),
            *(tf.TensorSpec([self.num_rows], t) for t in (tf.int32, tf.int32, tf.float32)),
        ]

        def batch_of(step: tf.Tensor) -> dict[str, tf.Tensor]:
            arrays = python_call(lambda s: self.batch(int(s), steps_per_epoch), [step], specs)
            return dict(zip(("words", "first", "second", "count"), arrays))

        return without_autotune(numbered_steps(start).map(batch_of).prefetch(2))

    @property
    def _most_words(self) -> int:
        return min(self.found.num_words, 2 * self.num_rows)

    @cached_property
    def _last_epoch(self) -> dict:
        return {}
