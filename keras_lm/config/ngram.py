"""Hyper-parameters of n-gram models."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from keras_lm.config.base import Config, require

Smoothing = Literal["kneser_ney", "add_k", "mle"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NGramConfig(Config):
    """An n-gram model's hyper-parameters, and the sizes of its tables.

    What is left open is filled in when the model meets its tokenizer or its text.

    Args:
        order: n; a token is predicted from the n − 1 before it.
        smoothing: `"kneser_ney"`, modified and interpolated (Chen and Goodman 1998, section 3);
            `"add_k"` adds `k` to every count; `"mle"` is the bare quotient of counts.
        k: what `"add_k"` adds.
        vocab_size: V.
        begin_id: the token that documents begin with; it is context alone, unless it is also
            `end_id`.
        end_id: the token that documents end with.
        unk_id: the token that stands for unknown words; None if there is none.
        num_ngrams: how many k-grams the tables hold, for k from 1 to `order`; empty before the
            model has seen a text.
        max_length: the longest sequence in tokens; None, the default: any.

    Example:

    >>> import keras_lm as klm
    >>> klm.NGramConfig(order=3).smoothing
    'kneser_ney'
    """

    order: int = 5
    smoothing: Smoothing = "kneser_ney"
    k: float = 1.0
    vocab_size: int | None = None
    begin_id: int | None = None
    end_id: int | None = None
    unk_id: int | None = None
    num_ngrams: tuple[int, ...] = ()
    max_length: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.order > 0, "order", self.order, "positive")
        require(self.k > 0, "k", self.k, "positive")
        for name in ("vocab_size", "max_length"):
            value = getattr(self, name)
            require(value is None or value > 0, name, value, "positive")
        for name in ("begin_id", "end_id", "unk_id"):
            self._require_id(name, getattr(self, name))
        fits = len(self.num_ngrams) in (0, self.order) and all(n > 0 for n in self.num_ngrams)
        require(fits, "num_ngrams", self.num_ngrams, f"empty, or {self.order} positive numbers")
        if self.num_ngrams:
            first = self.num_ngrams[0]
            require(first == self.vocab_size, "num_ngrams[0]", first, "vocab_size")
            require(None not in (self.begin_id, self.end_id), "end_id", self.end_id, "given")

    def _require_id(self, name: str, value: Any) -> None:
        below = "0 or more" if self.vocab_size is None else f"from 0 to {self.vocab_size - 1}"
        in_range = value is None or 0 <= value < (self.vocab_size or value + 1)
        require(in_range, name, value, below)
