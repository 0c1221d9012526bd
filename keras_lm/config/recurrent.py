"""Hyper-parameters of recurrent language models."""

from __future__ import annotations

import dataclasses
from typing import Literal

from keras_lm.config.base import Config, derived, require

CellKind = Literal["rnn", "lstm", "gru"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecurrentConfig(Config):
    """A recurrent language model's hyper-parameters. The defaults make an LSTM.

    Args:
        vocab_size: V, the number of token ids.
        num_layers: L.
        hidden_dim: D, the width of the state of each layer.
        embedding_dim: E, the width of the token embeddings; default `hidden_dim`.
        cell: `"rnn"` (Elman 1990), `"lstm"` (Hochreiter and Schmidhuber 1997, with the forget
            gate of Gers et al. 2000) or `"gru"` (https://arxiv.org/abs/1406.1078).
        activation: of the cell `"rnn"`; the gates of the others have sigmoid and tanh.
        reset_after: in the cell `"gru"`, whether the reset gate is applied to the product of the
            state and its matrix, as cuDNN and torch do, or to the state before it, as the paper
            does.
        max_length: the longest sequence, in tokens; None: no limit, as the state is of one size
            however long the text.
        dropout: dropout of the embeddings, between layers and before the output
            (https://arxiv.org/abs/1409.2329); never from one time step to the next.
        tie_embeddings: the output layer uses the token embeddings.
        attention: how a decoder looks at what was encoded: `"additive"` (Bahdanau,
            https://arxiv.org/abs/1409.0473), `"multiplicative"` (Luong's "general",
            https://arxiv.org/abs/1508.04025), or None. For `RecurrentSeq2Seq` alone.
        initializer_range: standard deviation of the initial embeddings and output weights. It is
            wider than a Transformer's, as no norm makes up for small inputs: with 0.05 the first
            hundreds of steps learn much more slowly. The layers start as Keras's: kernels
            Glorot-uniform, recurrent kernels orthogonal, biases 0 but for the LSTM's forget gate,
            which starts at 1.

    Raises:
        ValueError: a field has a wrong type or value; the message names it.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.RecurrentConfig(vocab_size=100, num_layers=2, hidden_dim=32, cell="gru")
    >>> config.embedding_dim, config.max_length
    (32, None)
    >>> klm.RecurrentConfig.from_config(config.get_config()) == config
    True
    """

    vocab_size: int
    num_layers: int
    hidden_dim: int
    embedding_dim: int = derived()
    cell: CellKind = "lstm"
    activation: Literal["tanh", "relu", "sigmoid"] = "tanh"
    reset_after: bool = True
    max_length: int | None = None
    dropout: float = 0.0
    tie_embeddings: bool = False
    attention: Literal["additive", "multiplicative"] | None = None
    initializer_range: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embedding_dim is None:
            object.__setattr__(self, "embedding_dim", self.hidden_dim)
        for name in ("vocab_size", "num_layers", "hidden_dim", "embedding_dim"):
            require(getattr(self, name) > 0, name, getattr(self, name), "positive")
        limit = self.max_length
        require(limit is None or limit > 0, "max_length", limit, "positive, or None for no limit")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "in [0, 1)")
        require(self.initializer_range > 0, "initializer_range", self.initializer_range, ">0")
        require(
            self.cell == "rnn" or self.activation == "tanh",
            "activation",
            self.activation,
            f"'tanh' in the cell {self.cell!r}; only 'rnn' has a choice",
        )
        require(
            self.cell == "gru" or self.reset_after,
            "reset_after",
            self.reset_after,
            f"True in the cell {self.cell!r}; only 'gru' has a choice",
        )
        require(
            self.embedding_dim == self.hidden_dim or not self.tie_embeddings,
            "embedding_dim",
            self.embedding_dim,
            f"hidden_dim={self.hidden_dim} with tie_embeddings",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecurrentEncoderConfig(Config):
    """The hyper-parameters of a recurrent encoder. The defaults make a bidirectional LSTM.

    Args:
        vocab_size: V, the number of token ids.
        num_layers: L.
        hidden_dim: D, the width of the states of both directions side by side; even if
            `bidirectional`.
        embedding_dim: E, the width of the token embeddings; default `hidden_dim`.
        cell: `"rnn"`, `"lstm"` or `"gru"`, as in `RecurrentConfig`.
        activation: of the cell `"rnn"`.
        reset_after: of the cell `"gru"`, as in `RecurrentConfig`.
        max_length: the longest sequence, in tokens; None: no limit.
        dropout: dropout of what each layer reads, the embeddings first.
        initializer_range: standard deviation of the initial embeddings. The layers start as
            `RecurrentConfig` says.
        bidirectional: each layer reads in both directions; else from the left alone.

    Raises:
        ValueError: a field has a wrong type or value; the message names it.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.RecurrentEncoderConfig(vocab_size=100, num_layers=2, hidden_dim=32)
    >>> config.cell, config.embedding_dim, config.one_direction().hidden_dim
    ('lstm', 32, 16)
    """

    vocab_size: int
    num_layers: int
    hidden_dim: int
    embedding_dim: int = derived()
    cell: CellKind = "lstm"
    activation: Literal["tanh", "relu", "sigmoid"] = "tanh"
    reset_after: bool = True
    max_length: int | None = None
    dropout: float = 0.1
    initializer_range: float = 0.3
    bidirectional: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        width = self.hidden_dim
        if self.bidirectional:
            require(width > 0 and width % 2 == 0, "hidden_dim", width, "positive and even")
        if self.embedding_dim is None:
            object.__setattr__(self, "embedding_dim", width)
        self.one_direction()  # checks the other fields, which mean there what they mean here

    def one_direction(self) -> RecurrentConfig:
        """What a layer's direction is made from: each of two has half of `hidden_dim`."""
        fields = self.get_config()
        fields["hidden_dim"] //= 2 if fields.pop("bidirectional") else 1
        return RecurrentConfig(**fields)
