"""Hyper-parameters of Transformers that read in both directions."""

from __future__ import annotations

import dataclasses
from typing import Literal

from keras_lm.config.base import derived, require
from keras_lm.config.transformer import Activation, TransformerConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderConfig(TransformerConfig):
    """A bidirectional Transformer's hyper-parameters. The defaults make a BERT.

    The fields of `TransformerConfig`, some with BERT's defaults (`max_length` 512, `dropout` 0.1,
    `norm_epsilon` 1e-12, `norm_position` `"post"`, `activation` `"gelu"`), `residual` always
    `"sequential"` and no norms `"sandwich"`; and these:

    Args:
        token_types: kinds of tokens that have a vector each, such as first and second text;
            0: none, as in DistilBERT.
        embedding_dim: E, the width of the token vectors; default `hidden_dim`. Another width is
            projected to it (ELECTRA, ALBERT).
        embedding_norm: normalise and drop out the sum of the embeddings.
        pooler: activation of the layer that reads the first token's state for a whole text:
            `"tanh"` (BERT), `"relu"` (DistilBERT's classifier), `"gelu"` (ELECTRA's), or None.

    Raises:
        ValueError: a field has a wrong type or value; the message names it.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.EncoderConfig(vocab_size=100, num_layers=2, hidden_dim=32, num_heads=4)
    >>> config.norm_position, config.embedding_dim, config.pooler
    ('post', 32, 'tanh')
    """

    max_length: int = 512
    dropout: float = 0.1
    norm_epsilon: float = 1e-12
    norm_position: Literal["pre", "post"] = "post"
    residual: Literal["sequential"] = "sequential"
    activation: Activation = "gelu"
    token_types: int = 2
    embedding_dim: int = derived()
    embedding_norm: bool = True
    pooler: Literal["tanh", "relu", "gelu"] | None = "tanh"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.token_types >= 0, "token_types", self.token_types, "0 or more")
        if self.embedding_dim is None:
            object.__setattr__(self, "embedding_dim", self.hidden_dim)
        require(self.embedding_dim > 0, "embedding_dim", self.embedding_dim, "positive")
