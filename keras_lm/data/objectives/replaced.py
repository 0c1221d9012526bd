"""Replaced tokens: some tokens are exchanged for others, and every token is to be judged.

Clark et al. 2020 (https://arxiv.org/abs/2003.10555), with a distribution in the generator's place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import tensorflow as tf

from keras_lm.data.batches import Rows
from keras_lm.data.objectives.drawing import AliasTable
from keras_lm.data.objectives.masked import choose_tokens
from keras_lm.data.objectives.vocabulary import (
    check_ids,
    check_rate,
    ordinary_tokens,
    special_ids,
)

if TYPE_CHECKING:
    from keras_lm.tokenizers.base import Tokenizer


@dataclass(frozen=True, eq=False)
class ReplacedTokens:
    """Exchanges tokens for random ones; the target says of every token whether it was.

    In every row, `rate` of the tokens that are not special are chosen, at least one, and a token is
    drawn for each. Where the draw gives the token that was there, it counts as not replaced.

    A batch: x a dict of `token_ids`, `segment_ids` and `positions`, int32 [B, T]; y int32 [B, T],
    1 where a token was replaced; sample_weight float32 [B, T], 0 on special tokens and padding.

    Args:
        vocab_size: V.
        special_ids: ids that are never replaced and never drawn.
        rate: the share of tokens that is drawn anew, 0 to 1.
        weights: floats or ints [V] at least 0, how often each id is drawn, as `unigram_counts`
            gives them; default: all ids that are not special alike.

    Raises:
        ValueError: an id is outside of the vocabulary, `rate` is not between 0 and 1, or `weights`
            is not [V], negative, or 0 for all ids that are not special.

    Example:

    >>> objective = ReplacedTokens(vocab_size=9, special_ids=(0, 1), rate=0.5)
    >>> tokens = np.array([[0, 4, 5, 6, 7, 1]], "int32")
    >>> ones = np.ones_like(tokens)
    >>> rows = Rows(tokens, ones, ones, ones, ones, ones[:, 0])
    >>> x, y, weight = objective(rows, np.random.default_rng(0))
    >>> x["token_ids"].tolist(), y.tolist(), weight.tolist()
    ([[0, 4, 5, 2, 7, 1]], [[0, 0, 0, 1, 0, 0]], [[0.0, 1.0, 1.0, 1.0, 1.0, 0.0]])
    """

    vocab_size: int
    special_ids: Sequence[int] = ()
    rate: float = 0.15
    weights: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_rate("rate", self.rate)
        self._table  # noqa: B018 - built now, so that bad weights are refused here

    @classmethod
    def for_tokenizer(
        cls, tokenizer: Tokenizer, rate: float = 0.15, weights: np.ndarray | None = None
    ) -> Self:
        """The objective for a tokenizer's vocabulary."""
        return cls(tokenizer.vocab_size, special_ids(tokenizer), rate, weights)

    def specs(self, batch_size: int, length: int) -> Any:
        tokens = tf.TensorSpec([batch_size, length], tf.int32)
        x = {"token_ids": tokens, "segment_ids": tokens, "positions": tokens}
        return x, tokens, tf.TensorSpec([batch_size, length], tf.float32)

    def __call__(self, rows: Rows, random: np.random.Generator) -> Any:
        check_ids(rows.token_ids, self.vocab_size)
        eligible = self._is_ordinary[rows.token_ids] & (rows.segment_ids > 0)
        chosen = choose_tokens(eligible, self.rate, random)
        token_ids = rows.token_ids.copy()
        token_ids[chosen] = self._table.draw(random, int(chosen.sum()))
        x = {
            "token_ids": token_ids,
            "segment_ids": rows.segment_ids,
            "positions": rows.positions,
        }
        return x, (token_ids != rows.token_ids).astype(np.int32), eligible.astype(np.float32)

    @cached_property
    def _is_ordinary(self) -> np.ndarray:
        return ordinary_tokens(self.vocab_size, self.special_ids)

    @cached_property
    def _table(self) -> AliasTable:
        weights = np.ones(self.vocab_size) if self.weights is None else np.asarray(self.weights)
        if weights.shape != (self.vocab_size,):
            raise ValueError(f"weights has shape {weights.shape}; it must be ({self.vocab_size},)")
        return AliasTable(np.where(self._is_ordinary, weights, 0))
