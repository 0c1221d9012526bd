"""Hyper-parameters of word vectors."""

from __future__ import annotations

import dataclasses
from typing import Literal

from keras_lm.config.base import Config, require

_WHOLE_NUMBERS = ("dim", "window", "min_count")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Word2VecConfig(Config):
    """What Word2Vec learns from and how. The defaults are those of the authors' program.

    Args:
        dim: D, the numbers of a vector.
        window: the most words to look to either side; every word draws its own reach from 1 to
            this.
        architecture: `"skipgram"`: a word says each of its neighbours; `"cbow"` (continuous bag
            of words): the mean of the neighbours says the word.
        negative: random words that each true one is told apart from.
        hierarchical_softmax: True: words are the leaves of a Huffman tree and are said one
            left-or-right decision after the other; `negative` has no effect then.
        subsample: t; a word of frequency f is kept with probability √(t / f) + t / f at most 1,
            in every epoch anew; 0 keeps all.
        min_count: rarer words are left out.
        seed: of the first vectors, the reaches, the negatives and the sub-sampling.

    Raises:
        ValueError: a field has a wrong type or value; the message names it.

    Example:

    >>> import keras_lm as klm
    >>> klm.Word2VecConfig(dim=50, architecture="cbow").window
    5
    """

    dim: int = 100
    window: int = 5
    architecture: Literal["skipgram", "cbow"] = "skipgram"
    negative: int = 5
    hierarchical_softmax: bool = False
    subsample: float = 1e-3
    min_count: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (*_WHOLE_NUMBERS, "negative"):
            require(getattr(self, name) > 0, name, getattr(self, name), "positive")
        require(self.subsample >= 0, "subsample", self.subsample, "0 or more")
        require(self.seed >= 0, "seed", self.seed, "0 or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GloVeConfig(Config):
    """What GloVe learns from and how. The defaults are those of the paper, but for `dim`.

    Args:
        dim: D, the numbers of a vector.
        window: how far apart two words that occur together may be; at a distance of d words they
            count 1 / d.
        x_max: pairs that occur so often, or more, have the weight 1 in the loss. The paper's 100 is
            for a billion words and more; the authors' demonstration has 10 for 17 million.
        alpha: rarer ones have the weight (x / x_max) ** alpha.
        min_count: rarer words are left out.
        seed: of the first vectors and the order of the pairs.

    Raises:
        ValueError: a field has a wrong type or value; the message names it.

    Example:

    >>> import keras_lm as klm
    >>> klm.GloVeConfig(dim=50).x_max
    100.0
    """

    dim: int = 100
    window: int = 10
    x_max: float = 100.0
    alpha: float = 0.75
    min_count: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (*_WHOLE_NUMBERS, "x_max", "alpha"):
            require(getattr(self, name) > 0, name, getattr(self, name), "positive")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
