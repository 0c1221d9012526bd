"""The Transformer encoder of BERT and its kin, from one config."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_lm.config import EncoderConfig
from keras_lm.layers.block import TransformerBlock, arguments_by_layer
from keras_lm.layers.feed_forward import activate
from keras_lm.layers.initialization import initial_weights
from keras_lm.layers.masks import bidirectional_mask, same_segment_mask
from keras_lm.layers.normalization import make_norm
from keras_lm.layers.positions import (
    RelativePositions,
    embed_places,
    position_arguments,
    require_places,
)
from keras_lm.models.base import Backbone


@keras.saving.register_keras_serializable("keras_lm")
class Encoder(Backbone):
    """A Transformer that reads in both directions: token ids [B, T] → hidden states [B, T, D].

        ids + positions + token types → norm → (projection) → L × block → hidden states
                                                           first token's → pooler → [B, D]

    BERT, RoBERTa, DistilBERT and ELECTRA's discriminator are configs of it; the layer that tells
    masked tokens belongs to the task (`tasks.MaskedLM`). The weights exist as soon as the model
    does.

    Args:
        config: an `EncoderConfig`.
        dtype: a Keras dtype policy such as `"mixed_bfloat16"`; default: the global one.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.EncoderConfig(vocab_size=9, num_layers=2, hidden_dim=8, num_heads=2)
    >>> model = klm.models.Encoder(config)
    >>> hidden = model(ops.ones((1, 3), "int32"))
    >>> hidden.shape, model.pooled(hidden).shape
    (TensorShape([1, 3, 8]), TensorShape([1, 8]))
    """

    config_class = EncoderConfig

    def __init__(self, config: EncoderConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(config, EncoderConfig):
            raise ValueError(f"config must be an EncoderConfig; got {config!r}")
        self.config = config
        self.token_embedding = self._table(config.vocab_size, "token_embedding")
        if config.positions.kind == "learned":
            rows = config.max_length + config.position_offset
            self.position_embedding = self._table(rows, "position_embedding")
        if config.token_types:
            self.type_embedding = self._table(config.token_types, "type_embedding")
        policy = self.dtype_policy
        if config.embedding_norm:
            self.embedding_norm = make_norm(config, "embedding_norm", policy)
        if config.embedding_dim != config.hidden_dim:
            self.embedding_projection = self._dense("embedding_projection")
        if config.positions.kind == "relative":
            self.relative_positions = RelativePositions(
                config, bidirectional=True, dtype=policy, name="relative_positions"
            )
        self.dropout = keras.layers.Dropout(config.dropout, dtype=policy)
        self.blocks = [
            TransformerBlock(config, dtype=policy, name=f"block_{i}")
            for i in range(config.num_layers)
        ]
        if config.norm_position == "pre":
            self.output_norm = make_norm(config, "output_norm", policy)
        if config.pooler is not None:
            self.pooler = self._dense("pooler")
        self.build((None, None))

    def _table(self, rows: int, name: str) -> keras.layers.Embedding:
        return keras.layers.Embedding(
            rows,
            self.config.embedding_dim,
            embeddings_initializer=initial_weights(self.config),
            dtype=self.dtype_policy,
            name=name,
        )

    def _dense(self, name: str) -> keras.layers.Dense:
        return keras.layers.Dense(
            self.config.hidden_dim,
            kernel_initializer=initial_weights(self.config),
            dtype=self.dtype_policy,
            name=name,
        )

    def build(self, inputs_shape: Any) -> None:
        config = self.config
        hidden_shape = (None, None, config.hidden_dim)
        embedded_shape = (None, None, config.embedding_dim)
        self.token_embedding.build((None, None))
        if config.positions.kind == "learned":
            self.position_embedding.build((None, None))
        if config.positions.kind == "relative":
            self.relative_positions.build()
        if config.token_types:
            self.type_embedding.build((None, None))
        if config.embedding_norm:
            self.embedding_norm.build(embedded_shape)
        if config.embedding_dim != config.hidden_dim:
            self.embedding_projection.build(embedded_shape)
        for block in self.blocks:
            block.build(hidden_shape)
        if config.norm_position == "pre":
            self.output_norm.build(hidden_shape)
        if config.pooler is not None:
            self.pooler.build((None, config.hidden_dim))
        self.built = True

    def hidden_states(self, inputs: Any, training: bool | None = None) -> Any:
        hidden, how = self._enter(inputs, training)
        for block, arguments in zip(self.blocks, how, strict=True):
            hidden = block(hidden, **arguments, training=training)
        return self.output_norm(hidden) if self.config.norm_position == "pre" else hidden

    @property
    def output_variables(self) -> list[keras.Variable]:
        return [] if self.config.pooler is None else self.pooler.weights

    def pooled(self, hidden: Any) -> Any:
        """The state of whole texts: hidden states [B, T, D] → [B, D], from the first token's.

        Raises:
            ValueError: the config has no pooler.
        """
        if self.config.pooler is None:
            raise ValueError("config.pooler is None; make the encoder with pooler='tanh'")
        return activate(self.pooler(hidden[:, 0]), self.config.pooler)

    def attention_maps(self, inputs: Any) -> Any:
        """What every head looks at: float32 [L, B, N, T, T], rows sum to 1."""
        hidden, how = self._enter(inputs, training=False)
        maps = []
        for block, arguments in zip(self.blocks, how, strict=True):
            hidden, (attended,) = block(hidden, **arguments, training=False, return_maps=True)
            maps.append(attended)
        return ops.stack(maps)

    def _enter(self, inputs: Any, training: bool | None) -> tuple[Any, list[dict[str, Any]]]:
        """Embedded tokens of a whole batch, and what says how each block may look at them."""
        inputs = inputs if isinstance(inputs, dict) else {"token_ids": inputs}
        token_ids, positions = inputs["token_ids"], inputs.get("positions")
        padding_mask = inputs.get("padding_mask")
        order = ops.arange(ops.shape(token_ids)[1], dtype="int32")[None]
        if positions is None:
            longest = self.config.max_length
            require_places(token_ids, "token_ids", self.config, longest, padding_mask)
            positions = order
            if padding_mask is not None:
                # Counts tokens only, so padding may stand on either side.
                counts = ops.cumsum(ops.cast(padding_mask, "int32"), axis=1)
                positions = ops.maximum(counts - 1, 0)
        segment_ids, relative = inputs.get("segment_ids"), getattr(self, "relative_positions", None)

        def arguments(is_local: bool) -> dict[str, Any]:
            window = self.config.attention.sliding_window if is_local else None
            mask = bidirectional_mask(order, padding_mask, window)
            if segment_ids is not None:
                same = same_segment_mask(segment_ids)
                mask = same if mask is None else ops.logical_and(mask, same)
            places = position_arguments(self.config, relative, positions, positions, is_local)
            return {"attention_mask": mask, **places}

        types = inputs.get("token_types")
        hidden = self._embed(token_ids, positions, types, training)
        return hidden, arguments_by_layer(self.config, arguments)

    def _embed(self, token_ids: Any, positions: Any, types: Any, training: bool | None) -> Any:
        config = self.config
        hidden = self.token_embedding(token_ids)
        table = getattr(self, "position_embedding", None)
        hidden = embed_places(config, hidden, positions, table)
        if config.token_types:
            types = ops.zeros_like(token_ids) if types is None else types
            # A model with one type, as RoBERTa, reads every text as of that type.
            hidden = hidden + self.type_embedding(ops.minimum(types, config.token_types - 1))
        if config.embedding_norm:
            hidden = self.embedding_norm(hidden)
        hidden = self.dropout(hidden, training=training)
        if config.embedding_dim != config.hidden_dim:
            hidden = self.embedding_projection(hidden)
        return hidden
