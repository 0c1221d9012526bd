"""Words and their neighbours: skip-gram and continuous bag of words, with negative samples.

    tokens     the quick brown fox jumps        frequent tokens are thinned out first
    skip-gram  fox → brown, fox → jumps …       each beside tokens drawn at random
    CBOW       brown + jumps → fox

Mikolov et al. 2013 (https://arxiv.org/abs/1310.4546); the probability of keeping a token is that of
the authors' word2vec program.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from keras_lm.data.batches import Rows
from keras_lm.data.objectives.drawing import AliasTable
from keras_lm.data.objectives.vocabulary import check_ids, ordinary_tokens

_NOISE_POWER = 0.75


@dataclass(frozen=True, eq=False)
class SkipGram:
    """Pairs of a token and one of its neighbours, each with tokens that are none.

    Special tokens are left out, and so is a token of frequency f with probability
    1 - (√(t / f) + t / f), t being `subsample`; what is left moves together. Every token then
    looks 1 to `window` tokens to either side, drawn anew for each, never into another segment.
    Negatives are drawn from the counts to the power of 0.75, but for the true neighbour.

    A batch of P pairs: x a dict of `target`, int32 [P], and `context`, int32 [P, 1 + negatives],
    the neighbour first; y int32 [P, 1 + negatives], 1 for the neighbour and 0 for the others;
    sample_weight float32 [P], 0 where a batch has fewer pairs. P is `num_pairs`; a batch with more
    keeps P of them at random.

    Args:
        counts: ints [V], how often each id occurs, as `unigram_counts` gives them.
        window: the most tokens to look to either side, at least 1.
        negatives: tokens drawn for each pair; 0 for none.
        subsample: t, at least 0; 0 keeps every token.
        special_ids: ids that are left out and never drawn.
        room: how many times the expected number of pairs a batch has room for.

    Raises:
        ValueError: an argument is out of range, or there are negatives to draw from fewer than two
            ids that occur.

    Example:

    >>> objective = SkipGram(np.array([0, 2, 2, 2]), window=1, negatives=1, subsample=0, room=2)
    >>> tokens = np.array([[1, 2, 3]], "int32")
    >>> ones = np.ones_like(tokens)
    >>> rows = Rows(tokens, ones, ones, ones, ones, ones[:, 0])
    >>> x, y, weight = objective(rows, np.random.default_rng(0))
    >>> x["target"].tolist(), x["context"][:, 0].tolist(), weight.tolist()
    ([1, 2, 2, 3, 0, 0], [2, 1, 3, 2, 0, 0], [1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    """

    counts: np.ndarray
    window: int = 5
    negatives: int = 5
    subsample: float = 1e-3
    special_ids: Sequence[int] = ()
    room: float = 1.25

    def __post_init__(self) -> None:
        for name, least in (("window", 1), ("negatives", 0)):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or value < least:
                raise ValueError(f"{name} is {value!r}; it must be an int, at least {least}")
        for name in ("subsample", "room"):
            value = getattr(self, name)
            if not 0 <= value < math.inf or (name == "room" and value == 0):
                raise ValueError(f"{name} is {value!r}; it must be a positive number")
        counts = np.asarray(self.counts)
        if counts.ndim != 1 or counts.dtype.kind not in "iu" or np.any(counts < 0):
            raise ValueError(
                f"counts is {counts.dtype} {list(counts.shape)}; it must be ints [V], at least 0"
            )
        if np.count_nonzero(counts[self._is_ordinary]) < 2:
            raise ValueError("counts has fewer than two ids that occur and are not special")

    def num_pairs(self, batch_size: int, length: int) -> int:
        """P, the pairs that a batch of B windows of T tokens has room for."""
        per_token = min(self._expected_share * (self.window + 1) * self.room, 2 * self.window)
        return max(1, math.ceil(batch_size * length * per_token))

    def specs(self, batch_size: int, length: int) -> Any:
        num_pairs = self.num_pairs(batch_size, length)
        scored = tf.TensorSpec([num_pairs, 1 + self.negatives], tf.int32)
        x = {"target": tf.TensorSpec([num_pairs], tf.int32), "context": scored}
        return x, scored, tf.TensorSpec([num_pairs], tf.float32)

    def __call__(self, rows: Rows, random: np.random.Generator) -> Any:
        tokens, neighbours, is_near = self._neighbours(rows, random)
        center, side = np.nonzero(is_near)
        num_pairs = self.num_pairs(*rows.token_ids.shape)
        kept = _at_most(num_pairs, len(center), random)
        center, side = center[kept], side[kept]
        contexts = self._with_negatives(tokens[neighbours[center, side]], random)
        x = {
            "target": _filled(tokens[center], num_pairs),
            "context": _filled(contexts, num_pairs),
        }
        return x, *self._labels(len(center), num_pairs)

    def _neighbours(
        self, rows: Rows, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The K tokens that are kept, int32 [K]; which of them may be near each, [K, 2 · window]
        numbers; and which of those are, bool."""
        check_ids(rows.token_ids, len(self.counts))
        eligible = self._is_ordinary[rows.token_ids] & (rows.segment_ids > 0)
        kept = eligible & (random.random(eligible.shape) < self._keep[rows.token_ids])
        row, column = np.nonzero(kept)
        text = row * (rows.token_ids.shape[1] + 1) + rows.segment_ids[row, column]
        reach = random.integers(1, self.window, len(row), endpoint=True)
        offsets = np.concatenate([np.arange(-self.window, 0), np.arange(1, self.window + 1)])
        numbers = np.arange(len(row))[:, np.newaxis] + offsets
        is_inside = (numbers >= 0) & (numbers < len(row))
        numbers = np.where(is_inside, numbers, 0)
        is_near = is_inside & (np.abs(offsets) <= reach[:, np.newaxis])
        is_near &= text[numbers] == text[:, np.newaxis]
        return rows.token_ids[row, column], numbers, is_near

    def _with_negatives(self, true: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Each true id [n] and the ids drawn beside it, int32 [n, 1 + negatives]."""
        drawn = self._noise.draw(random, (len(true), self.negatives))
        row, column = np.nonzero(drawn == true[:, np.newaxis])
        while len(row):
            drawn[row, column] = self._noise.draw(random, len(row))
            again = drawn[row, column] == true[row]
            row, column = row[again], column[again]
        return np.concatenate([true[:, np.newaxis], drawn], axis=1)

    def _labels(self, num_used: int, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.zeros((num_rows, 1 + self.negatives), np.int32)
        labels[:num_used, 0] = 1
        return labels, (np.arange(num_rows) < num_used).astype(np.float32)

    @cached_property
    def _is_ordinary(self) -> np.ndarray:
        return ordinary_tokens(len(self.counts), self.special_ids)

    @cached_property
    def _keep(self) -> np.ndarray:
        """The probability that a token is kept, float64 [V]."""
        counts = np.where(self._is_ordinary, self.counts, 0)
        if not self.subsample:
            return np.ones(len(counts))
        ratio = self.subsample * counts.sum() / np.maximum(counts, 1)
        return np.minimum(np.sqrt(ratio) + ratio, 1)

    @cached_property
    def _expected_share(self) -> float:
        """The share of a store's tokens that is kept."""
        counts = np.asarray(self.counts)
        return float((counts * self._is_ordinary * self._keep).sum() / counts.sum())

    @cached_property
    def _noise(self) -> AliasTable:
        return AliasTable(np.where(self._is_ordinary, self.counts, 0) ** _NOISE_POWER)


@dataclass(frozen=True, eq=False)
class ContinuousBagOfWords(SkipGram):
    """A token and all of its neighbours at once, with tokens that might stand in its place.

    Tokens, windows and negatives are those of `SkipGram`, and so are the arguments; `room` is in
    terms of tokens here. A token without neighbours is left out.

    A batch of C tokens: x a dict of `context` and `context_mask` (1, padding 0), int32
    [C, 2 · window], and `target`, int32 [C, 1 + negatives], the true token first; y int32
    [C, 1 + negatives]; sample_weight float32 [C].

    Example:

    >>> objective = ContinuousBagOfWords(np.array([0, 2, 2]), window=1, negatives=1, subsample=0)
    >>> tokens = np.array([[1, 2, 1]], "int32")
    >>> ones = np.ones_like(tokens)
    >>> rows = Rows(tokens, ones, ones, ones, ones, ones[:, 0])
    >>> x, y, weight = objective(rows, np.random.default_rng(0))
    >>> x["context"].tolist(), x["target"].tolist()
    ([[0, 2], [1, 1], [2, 0]], [[1, 2], [2, 1], [1, 2]])
    """

    def num_tokens(self, batch_size: int, length: int) -> int:
        """C, the tokens that a batch of B windows of T tokens has room for."""
        return max(1, math.ceil(batch_size * length * min(self._expected_share * self.room, 1)))

    def specs(self, batch_size: int, length: int) -> Any:
        num_tokens = self.num_tokens(batch_size, length)
        context = tf.TensorSpec([num_tokens, 2 * self.window], tf.int32)
        scored = tf.TensorSpec([num_tokens, 1 + self.negatives], tf.int32)
        x = {"context": context, "context_mask": context, "target": scored}
        return x, scored, tf.TensorSpec([num_tokens], tf.float32)

    def __call__(self, rows: Rows, random: np.random.Generator) -> Any:
        tokens, neighbours, is_near = self._neighbours(rows, random)
        center = np.flatnonzero(is_near.any(axis=1))
        num_tokens = self.num_tokens(*rows.token_ids.shape)
        center = center[_at_most(num_tokens, len(center), random)]
        is_near = is_near[center]
        context = np.where(is_near, tokens[neighbours[center]], 0)
        x = {
            "context": _filled(context, num_tokens),
            "context_mask": _filled(is_near.astype(np.int32), num_tokens),
            "target": _filled(self._with_negatives(tokens[center], random), num_tokens),
        }
        return x, *self._labels(len(center), num_tokens)


def _at_most(most: int, available: int, random: np.random.Generator) -> np.ndarray | slice:
    """All that is available, or `most` of it at random, in order."""
    if available <= most:
        return slice(None)
    return np.sort(random.choice(available, most, replace=False, shuffle=False))


def _filled(values: np.ndarray, num_rows: int) -> np.ndarray:
    """Rows of 0 after the given ones, up to `num_rows`."""
    filled = np.zeros((num_rows, *values.shape[1:]), np.int32)
    filled[: len(values)] = values
    return filled
