"""The Transformer decoder of GPT, Llama and their kin, from one config."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_lm.config import TransformerConfig
from keras_lm.layers.attention import Cache
from keras_lm.layers.block import TransformerBlock, arguments_by_layer
from keras_lm.layers.initialization import initial_weights
from keras_lm.layers.masks import causal_mask, same_segment_mask
from keras_lm.layers.normalization import make_norm
from keras_lm.layers.positions import (
    RelativePositions,
    embed_places,
    position_arguments,
    require_places,
)
from keras_lm.models.base import LanguageModel, State
from keras_lm.models.embedding_output import EmbeddingOutput
from keras_lm.models.kv_cache import empty_cache, last_real, reserve


@keras.saving.register_keras_serializable("keras_lm")
class Decoder(EmbeddingOutput, LanguageModel):
    """A causal Transformer language model: token ids [B, T] → float32 logits [B, T, V].

        ids → embedding (+ positions) → L × block → norm → embeddingᵀ or an own matrix → logits

    Departures from "Attention Is All You Need":

    - decoder only; normalisation before each branch unless `norm_position="post"`;
    - both branches of a block may be added at once (`residual`);
    - learned, rotary or relative positions as well as sinusoidal ones;
    - residual projections start smaller with depth (GPT-2);
    - queries, keys and values are one product, as are a gated feed-forward's two halves.

    The weights exist as soon as the model does.

    Args:
        config: a `TransformerConfig`.
        dtype: a Keras dtype policy such as `"mixed_bfloat16"`; default: the global one.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.TransformerConfig(vocab_size=9, num_layers=2, hidden_dim=8, num_heads=2)
    >>> model = klm.models.Decoder(config)
    >>> model(ops.ones((1, 3), "int32")).shape
    TensorShape([1, 3, 9])
    """

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config
        policy = self.dtype_policy
        self.token_embedding = keras.layers.ReversibleEmbedding(
            config.vocab_size,
            config.hidden_dim,
            tie_weights=config.tie_embeddings,
            embeddings_initializer=initial_weights(config),
            dtype=policy,
            name="token_embedding",
        )
        if config.positions.kind == "learned":
            self.position_embedding = keras.layers.Embedding(
                config.max_length + config.position_offset,
                config.hidden_dim,
                embeddings_initializer=initial_weights(config),
                dtype=policy,
                name="position_embedding",
            )
        if config.positions.kind == "relative":
            self.relative_positions = RelativePositions(
                config, dtype=policy, name="relative_positions"
            )
        self.dropout = keras.layers.Dropout(config.dropout, dtype=policy)
        self.blocks = [
            TransformerBlock(config, dtype=policy, name=f"block_{i}")
            for i in range(config.num_layers)
        ]
        if config.norm_position != "post":
            self.output_norm = make_norm(config, "output_norm", policy)
        self.build((None, None))

    def build(self, inputs_shape: Any) -> None:
        hidden_shape = (None, None, self.config.hidden_dim)
        self.token_embedding.build((None, None))
        if self.config.positions.kind == "learned":
            self.position_embedding.build((None, None))
        if self.config.positions.kind == "relative":
            self.relative_positions.build()
        for block in self.blocks:
            block.build(hidden_shape)
        if self.config.norm_position != "post":
            self.output_norm.build(hidden_shape)
        self.built = True

    def hidden_states(self, inputs: Any, training: bool | None = None) -> Any:
        hidden, how = self._enter(inputs, training)
        for block, arguments in zip(self.blocks, how, strict=True):
            hidden = block(hidden, **arguments, training=training)
        return self._leave(hidden)

    def attention_maps(self, inputs: Any) -> Any:
        """What every head looks at: float32 [L, B, N, T, T], rows sum to 1."""
        hidden, how = self._enter(inputs, training=False)
        maps = []
        for block, arguments in zip(self.blocks, how, strict=True):
            hidden, (attended,) = block(hidden, **arguments, training=False, return_maps=True)
            maps.append(attended)
        return ops.stack(maps)

    def initial_state(self, batch_size: Any, max_length: Any) -> State:
        """An empty KV cache (`empty_cache`)."""
        return empty_cache(self.config, batch_size, max_length, self.compute_dtype)

    def step(
        self, token_ids: Any, state: State, lengths: Any = None, last_only: bool = False
    ) -> tuple[Any, State]:
        positions, slot, lengths, state = reserve(state, token_ids, lengths)
        hidden = self._embed(token_ids, positions, training=False)
        how = self._looking(positions, state["positions"], positions, state["positions"])
        keys, values = [], []
        cached = zip(self.blocks, how, state["keys"], state["values"], strict=True)
        for block, arguments, key, value in cached:
            cache: Cache = (key, value, slot)
            hidden, (key, value) = block(hidden, **arguments, cache=cache, training=False)
            keys.append(key)
            values.append(value)
        if last_only:
            hidden = last_real(hidden, lengths)
        state = {**state, "keys": tuple(keys), "values": tuple(values)}
        return self.logits(self._leave(hidden)), state

    def _enter(self, inputs: Any, training: bool | None) -> tuple[Any, list[dict[str, Any]]]:
        """Embedded tokens of a whole batch, and what says how each block may look at them."""
        inputs = inputs if isinstance(inputs, dict) else {"token_ids": inputs}
        token_ids = inputs["token_ids"]
        order = ops.arange(ops.shape(token_ids)[1], dtype="int32")[None]
        positions, padding_mask = inputs.get("positions"), inputs.get("padding_mask")
        keys = order
        if positions is None:
            longest = self.config.max_length
            require_places(token_ids, "token_ids", self.config, longest, padding_mask)
        if padding_mask is not None:
            padding_mask = ops.cast(padding_mask, "int32")
            keys = ops.where(padding_mask > 0, order, -1)
            if positions is None:  # counts tokens only, so padding may stand on either side
                positions = ops.maximum(ops.cumsum(padding_mask, axis=1) - 1, 0)
        if positions is None:
            positions = order
        hidden = self._embed(token_ids, positions, training)
        segments = inputs.get("segment_ids")
        return hidden, self._looking(order, keys, positions, positions, segments)

    def _embed(self, token_ids: Any, positions: Any, training: bool | None) -> Any:
        table = getattr(self, "position_embedding", None)
        hidden = embed_places(self.config, self.token_embedding(token_ids), positions, table)
        return self.dropout(hidden, training=training)

    def _looking(
        self,
        query_order: Any,
        key_order: Any,
        query_positions: Any,
        key_positions: Any,
        segment_ids: Any = None,
    ) -> list[dict[str, Any]]:
        """What each block is told: which keys a query may look at, and where both stand."""
        relative = getattr(self, "relative_positions", None)

        def arguments(is_local: bool) -> dict[str, Any]:
            window = self.config.attention.sliding_window if is_local else None
            mask = causal_mask(query_order, key_order, window)
            if segment_ids is not None:
                mask = ops.logical_and(mask, same_segment_mask(segment_ids))
            places = position_arguments(
                self.config, relative, query_positions, key_positions, is_local
            )
            return {"attention_mask": mask, **places}

        return arguments_by_layer(self.config, arguments)

    def _leave(self, hidden: Any) -> Any:
        return hidden if self.config.norm_position == "post" else self.output_norm(hidden)
