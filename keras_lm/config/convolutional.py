"""Hyper-parameters of convolutional encoders."""

from __future__ import annotations

import dataclasses
from typing import Literal

from keras_lm.config.base import Config, derived, require


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvolutionalConfig(Config):
    """The hyper-parameters of a convolutional encoder (https://arxiv.org/abs/1408.5882).

    Args:
        vocab_size: V, the number of token ids.
        hidden_dim: D, the number of filters of all widths together; a multiple of the number of
            `widths`, each of which has as many.
        widths: how many tokens the filters of each kind look at, one number a kind.
        embedding_dim: E, the width of the token embeddings; default `hidden_dim`.
        activation: of the filters.
        max_length: the longest sequence, in tokens; None: no limit.
        dropout: dropout of the embeddings. The paper's, 0.5, stands before the last layer, which
            belongs to a task's head.
        initializer_range: standard deviation of the initial embeddings. The filters start as
            Keras's: kernels Glorot-uniform, biases 0.

    Raises:
        ValueError: a field has a wrong type or value; the message names it.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.ConvolutionalConfig(vocab_size=100, hidden_dim=30)
    >>> config.widths, config.embedding_dim
    ((3, 4, 5), 30)
    >>> klm.ConvolutionalConfig.from_config(config.get_config()) == config
    True
    """

    vocab_size: int
    hidden_dim: int
    widths: tuple[int, ...] = (3, 4, 5)
    embedding_dim: int = derived()
    activation: Literal["relu", "tanh", "gelu"] = "relu"
    max_length: int | None = None
    dropout: float = 0.1
    initializer_range: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embedding_dim is None:
            object.__setattr__(self, "embedding_dim", self.hidden_dim)
        for name in ("vocab_size", "hidden_dim", "embedding_dim"):
            require(getattr(self, name) > 0, name, getattr(self, name), "positive")
        widths = self.widths
        require(bool(widths) and min(widths) > 0, "widths", widths, "one positive number or more")
        require(
            self.hidden_dim % len(widths) == 0,
            "hidden_dim",
            self.hidden_dim,
            f"a multiple of {len(widths)}, the number of widths={widths}",
        )
        limit = self.max_length
        require(limit is None or limit > 0, "max_length", limit, "positive, or None for no limit")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "in [0, 1)")
        require(self.initializer_range > 0, "initializer_range", self.initializer_range, ">0")
