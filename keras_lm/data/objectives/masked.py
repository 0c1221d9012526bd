"""Masked language modelling: some tokens are hidden and are to be told from both sides.

    tokens            [CLS] the cat sat on the mat [SEP]        15 % of a row, exactly
    corrupted         [CLS] the [M] sat on the mat [SEP]        80 % mask, 10 % random, 10 % kept
    masked_positions  2 6, targets cat mat

Devlin et al. 2018 (https://arxiv.org/abs/1810.04805).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import tensorflow as tf

from keras_lm.data.batches import Rows
from keras_lm.data.objectives.slots import left_slots
from keras_lm.data.objectives.vocabulary import (
    check_ids,
    check_rate,
    ordinary_tokens,
    special_ids,
    word_starts,
)

if TYPE_CHECKING:
    from keras_lm.tokenizers.base import Tokenizer


@dataclass(frozen=True, eq=False)
class MaskedLM:
    """Hides tokens behind a mask; the targets are what stood there.

    In every row, `rate` of the tokens that are not special are chosen: rounded, at least one. Of
    those, 80 % become the mask, 10 % a random token that is not special, 10 % stay as they are.
    With whole words, words are taken in random order while they fit into that number; one that
    does not is passed over, so a row may come out a little short.

    A batch: x a dict of `token_ids` (corrupted), `segment_ids` and `positions`, int32 [B, T], and
    `masked_positions`, int32 [B, M], ascending; y the tokens that stood there, int32 [B, M];
    sample_weight float32 [B, M]. M is `max_masked(T)`; slots that a row does not need have weight,
    position and target 0. Writing y back at the positions gives the original, which is all that a
    generator and a discriminator (ELECTRA) need besides the generator's own samples.

    Args:
        mask_id: the id of the mask.
        vocab_size: V.
        special_ids: ids that are never masked and never drawn; the mask need not be among them.
        rate: the share of tokens to predict, 0 to 1.
        word_starts: bool [V], the ids that begin a word: masks whole words.

    Raises:
        ValueError: an id is outside of the vocabulary, `rate` is not between 0 and 1, or
            `word_starts` is no bool [V].

    Example:

    >>> objective = MaskedLM(mask_id=3, vocab_size=9, special_ids=(0, 1), rate=0.5)
    >>> row = np.array([[0, 4, 5, 6, 7, 1, 0, 0]], "int32")
    >>> segments = np.array([[1, 1, 1, 1, 1, 1, 0, 0]])
    >>> masked = objective.mask(row, segments, np.random.default_rng(1))
    >>> [array.tolist() for array in masked]
    [[[0, 3, 3, 6, 7, 1, 0, 0]], [[1, 2, 0, 0]], [[4, 5, 0, 0]], [[1.0, 1.0, 0.0, 0.0]]]
    """

    mask_id: int
    vocab_size: int
    special_ids: Sequence[int] = ()
    rate: float = 0.15
    word_starts: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_rate("rate", self.rate)
        ordinary_tokens(self.vocab_size, [*self.special_ids, self.mask_id])
        if self.word_starts is not None:
            starts = np.asarray(self.word_starts)
            if starts.dtype != bool or starts.shape != (self.vocab_size,):
                raise ValueError(
                    f"word_starts is {starts.dtype} {list(starts.shape)}; "
                    f"it must be bool [{self.vocab_size}]"
                )

    @classmethod
    def for_tokenizer(
        cls, tokenizer: Tokenizer, rate: float = 0.15, whole_words: bool = False
    ) -> Self:
        """The objective for a tokenizer's vocabulary.

        Raises:
            ValueError: the tokenizer has no mask token.
        """
        if tokenizer.mask_id is None:
            raise ValueError("tokenizer.mask_id is None; masking needs a mask token, as [MASK]")
        return cls(
            tokenizer.mask_id,
            tokenizer.vocab_size,
            special_ids(tokenizer),
            rate,
            word_starts(tokenizer) if whole_words else None,
        )

    def max_masked(self, length: int) -> int:
        """M, the most tokens that are chosen in a row of T."""
        return max(1, round(self.rate * length))

    def specs(self, batch_size: int, length: int) -> Any:
        tokens = tf.TensorSpec([batch_size, length], tf.int32)
        slots = tf.TensorSpec([batch_size, self.max_masked(length)], tf.int32)
        weights = tf.TensorSpec(slots.shape, tf.float32)
        x = {
            "token_ids": tokens,
            "segment_ids": tokens,
            "positions": tokens,
            "masked_positions": slots,
        }
        return x, slots, weights

    def __call__(self, rows: Rows, random: np.random.Generator) -> Any:
        token_ids, masked_positions, targets, weights = self.mask(
            rows.token_ids, rows.segment_ids, random
        )
        x = {
            "token_ids": token_ids,
            "segment_ids": rows.segment_ids,
            "positions": rows.positions,
            "masked_positions": masked_positions,
        }
        return x, targets, weights

    def change(self, batch: Any, random: np.random.Generator) -> Any:
        """Masks examples as well: for `example_batches(…, change=objective.change)`.

        Args:
            batch: `(x, y, sample_weight)` of NumPy arrays, x with `token_ids` and `padding_mask`.
            random: the source of all choices.

        Returns:
            The batch with x's `token_ids` corrupted and `masked_positions` added; y and
            sample_weight as dicts of `masked_tokens` and what was there, as `label` where it was
            no dict.
        """
        x, *others = batch
        token_ids, positions, *masked = self.mask(x["token_ids"], x["padding_mask"], random)
        y, weights = (
            {**(other if isinstance(other, dict) else {"label": other}), "masked_tokens": array}
            for other, array in zip(others, masked, strict=True)
        )
        return {**x, "token_ids": token_ids, "masked_positions": positions}, y, weights

    def mask(
        self, token_ids: np.ndarray, segment_ids: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Masks rows of tokens: what the objective does, for rows that come from elsewhere.

        Args:
            token_ids: int32 [B, T].
            segment_ids: ints [B, T]; 0 is padding, and no word reaches over a change.
            random: the source of all choices.

        Returns:
            Corrupted ids int32 [B, T], positions int32 [B, M], targets int32 [B, M], weights
            float32 [B, M].
        """
        check_ids(token_ids, self.vocab_size)
        eligible = self._is_ordinary[token_ids] & (segment_ids > 0)
        begins = eligible
        if self.word_starts is not None:
            before = np.pad(eligible, ((0, 0), (1, 0)))[:, :-1]
            before &= np.diff(segment_ids, axis=1, prepend=0) == 0
            begins = eligible & (np.asarray(self.word_starts)[token_ids] | ~before)
        chosen = choose_tokens(eligible, self.rate, random, begins)

        row, column, slot = left_slots(chosen)
        shape = len(token_ids), self.max_masked(token_ids.shape[1])
        positions, targets = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        weights = np.zeros(shape, np.float32)
        positions[row, slot] = column
        targets[row, slot] = token_ids[row, column]
        weights[row, slot] = 1

        corrupted = token_ids.copy()
        fate = random.random(len(row))
        drawn = random.choice(self._ordinary_ids, len(row))
        corrupted[row, column] = np.select(
            [fate < 0.8, fate < 0.9], [self.mask_id, drawn], token_ids[row, column]
        )
        return corrupted, positions, targets, weights

    @cached_property
    def _is_ordinary(self) -> np.ndarray:
        return ordinary_tokens(self.vocab_size, [*self.special_ids, self.mask_id])

    @cached_property
    def _ordinary_ids(self) -> np.ndarray:
        return np.flatnonzero(self._is_ordinary).astype(np.int32)


def choose_tokens(
    eligible: np.ndarray,
    rate: float,
    random: np.random.Generator,
    begins: np.ndarray | None = None,
) -> np.ndarray:
    """Chooses `rate` of each row's eligible tokens, whole words at a time; bool [B, T].

    Args:
        eligible: bool [B, T].
        rate: of n eligible tokens, `rate · n` rounded are chosen, at least one; or a few less
            where no word that is left fits.
        random: the source of the choice.
        begins: bool [B, T], the eligible tokens at which a word begins; the first after one that
            is not eligible must be among them. Default: every token is a word.

    Example:

    >>> choose_tokens(np.array([[False, True, True, True]]), 0.6, np.random.default_rng(0)).tolist()
    [[False, False, True, True]]
    """
    if begins is None:
        begins = eligible
    num_rows, length = eligible.shape
    num_eligible = eligible.sum(axis=1)
    budget = np.where(num_eligible > 0, np.maximum(1, np.rint(rate * num_eligible)), 0)
    word = np.maximum(np.cumsum(begins, axis=1) - 1, 0)  # the word that each token belongs to
    place = word + np.arange(num_rows)[:, np.newaxis] * length
    sizes = np.bincount(place[eligible], minlength=eligible.size).reshape(eligible.shape)
    keys = random.random(eligible.shape, np.float32)
    order = np.argsort(np.where(sizes > 0, keys, 2), axis=1)
    taken = np.zeros_like(eligible)
    fits = _taken_while_they_fit(np.take_along_axis(sizes, order, axis=1), budget)
    np.put_along_axis(taken, order, fits, axis=1)
    return np.take_along_axis(taken, word, axis=1) & eligible


def _taken_while_they_fit(sizes: np.ndarray, budget: np.ndarray) -> np.ndarray:
    """Goes through sizes [B, W] from the left and takes each that the budget [B] still allows."""
    taken = sizes > 0
    while True:
        used = np.cumsum(np.where(taken, sizes, 0), axis=1)
        over = used > budget[:, np.newaxis]
        if not over.any():
            return taken
        # From where it is too much, nothing greater than the room before can ever fit.
        room = budget - np.where(over, 0, used).max(axis=1)
        taken &= ~over | (sizes <= room[:, np.newaxis])
