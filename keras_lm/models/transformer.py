"""The Transformer decoder of GPT, Llama and their kin, from one config."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_lm.config import TransformerConfig
from keras_lm.layers.attention import Cache
from keras_lm.layers.block import TransformerBlock
from keras_lm.layers.initialization import initial_weights
from keras_lm.layers.masks import causal_mask, same_segment_mask
from keras_lm.layers.normalization import make_norm
from keras_lm.layers.positions import Rotary, rotary_angles, sinusoidal_positions
from keras_lm.models.base import LanguageModel, State


@keras.saving.register_keras_serializable("keras_lm")
class Decoder(LanguageModel):
    """A causal Transformer language model: token ids [B, T] → float32 logits [B, T, V].

        ids → embedding (+ positions) → L × block → norm → embeddingᵀ or an own matrix → logits

    Departures from "Attention Is All You Need":

    - decoder only; normalisation before each branch unless `norm_position="post"`;
    - learned or rotary positions as well as sinusoidal ones;
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
                config.max_length,
                config.hidden_dim,
                embeddings_initializer=initial_weights(config),
                dtype=policy,
                name="position_embedding",
            )
        self.dropout = keras.layers.Dropout(config.dropout, dtype=policy)
        self.blocks = [
            TransformerBlock(config, dtype=policy, name=f"block_{i}")
            for i in range(config.num_layers)
        ]
        if config.norm_position == "pre":
            self.output_norm = make_norm(config, "output_norm", policy)
        self.build((None, None))

    def build(self, inputs_shape: Any) -> None:
        hidden_shape = (None, None, self.config.hidden_dim)
        self.token_embedding.build((None, None))
        if self.config.positions.kind == "learned":
            self.position_embedding.build((None, None))
        for block in self.blocks:
            block.build(hidden_shape)
        if self.config.norm_position == "pre":
            self.output_norm.build(hidden_shape)
        self.built = True

    def hidden_states(self, inputs: Any, training: bool | None = None) -> Any:
        hidden, mask, rotary = self._enter(inputs, training)
        for block in self.blocks:
            hidden = block(hidden, attention_mask=mask, rotary=rotary, training=training)
        return self._leave(hidden)

    def attention_maps(self, inputs: Any) -> Any:
        """What every head looks at: float32 [L, B, N, T, T], rows sum to 1."""
        hidden, mask, rotary = self._enter(inputs, training=False)
        maps = []
        for block in self.blocks:
            read = block.attention_norm(hidden) if self.config.norm_position == "pre" else hidden
            maps.append(block.attention.probabilities(read, mask, rotary=rotary))
            hidden = block(hidden, attention_mask=mask, rotary=rotary, training=False)
        return ops.stack(maps)

    def logits(self, hidden: Any) -> Any:
        return ops.cast(self.token_embedding(hidden, reverse=True), "float32")

    def output_kernel(self) -> Any | None:
        if self.token_embedding.quantization_mode is not None:
            return None
        if self.config.tie_embeddings:
            return ops.convert_to_tensor(self.token_embedding.embeddings)
        return ops.transpose(ops.convert_to_tensor(self.token_embedding.reverse_embeddings))

    @property
    def output_variables(self) -> list[keras.Variable]:
        tied = self.config.tie_embeddings
        return [] if tied else [self.token_embedding.reverse_embeddings]

    def initial_state(self, batch_size: Any, max_length: Any) -> State:
        """An empty KV cache.

        Returns:
            A dict: `keys` and `values`, each a tuple of L tensors [B, K, S, H]; `positions`
            int [B, S], where the token in each slot stands, -1 if it is empty; `next_position`
            and `next_slot`, int [B]. A slot is the same for the whole batch, a position is
            not, where prompts are ragged: so a step writes one slice, and no scatter.
        """
        config = self.config
        shape = (batch_size, config.num_kv_heads, max_length, config.attention.head_dim)

        def empty() -> tuple[Any, ...]:
            return tuple(ops.zeros(shape, self.compute_dtype) for _ in self.blocks)

        return {
            "keys": empty(),
            "values": empty(),
            "positions": ops.full((batch_size, max_length), -1, "int32"),
            "next_position": ops.zeros((batch_size,), "int32"),
            "next_slot": ops.zeros((batch_size,), "int32"),
        }

    def step(
        self, token_ids: Any, state: State, lengths: Any = None, last_only: bool = False
    ) -> tuple[Any, State]:
        batch, length = ops.shape(token_ids)
        offsets = ops.arange(length, dtype="int32")[None]
        if lengths is None:
            lengths = ops.zeros((batch,), "int32") + length
        real = offsets < lengths[:, None]
        # A padded prompt may be longer than the model, where no position could be looked up.
        positions = ops.where(real, state["next_position"][:, None] + offsets, 0)
        slot = state["next_slot"][0]
        slot_positions = ops.slice_update(
            state["positions"],
            (0, slot),
            ops.where(real, positions, -1),
        )
        mask = causal_mask(positions, slot_positions, self.config.attention.sliding_window)
        hidden, rotary = self._embed(token_ids, positions, training=False), self._rotary(positions)
        keys, values = [], []
        for block, key, value in zip(self.blocks, state["keys"], state["values"], strict=True):
            cache: Cache = (key, value, slot)
            hidden, (key, value) = block(
                hidden, attention_mask=mask, rotary=rotary, cache=cache, training=False
            )
            keys.append(key)
            values.append(value)
        if last_only:
            last = ops.maximum(lengths - 1, 0)[:, None, None]
            hidden = ops.take_along_axis(hidden, last, axis=1)
        return self.logits(self._leave(hidden)), {
            "keys": tuple(keys),
            "values": tuple(values),
            "positions": slot_positions,
            "next_position": state["next_position"] + lengths,
            "next_slot": state["next_slot"] + length,
        }

    def _enter(self, inputs: Any, training: bool | None) -> tuple[Any, Any, Rotary | None]:
        """Embedded tokens, attention mask and rotary angles of a whole batch."""
        inputs = inputs if isinstance(inputs, dict) else {"token_ids": inputs}
        token_ids = inputs["token_ids"]
        order = ops.arange(ops.shape(token_ids)[1], dtype="int32")[None]
        positions, padding_mask = inputs.get("positions"), inputs.get("padding_mask")
        keys = order
        if padding_mask is not None:
            padding_mask = ops.cast(padding_mask, "int32")
            keys = ops.where(padding_mask > 0, order, -1)
            if positions is None:  # counts tokens only, so padding may stand on either side
                positions = ops.maximum(ops.cumsum(padding_mask, axis=1) - 1, 0)
        positions = order if positions is None else positions
        mask = causal_mask(order, keys, self.config.attention.sliding_window)
        if inputs.get("segment_ids") is not None:
            mask = ops.logical_and(mask, same_segment_mask(inputs["segment_ids"]))
        return self._embed(token_ids, positions, training), mask, self._rotary(positions)

    def _embed(self, token_ids: Any, positions: Any, training: bool | None) -> Any:
        hidden = self.token_embedding(token_ids)
        if self.config.positions.kind == "learned":
            hidden = hidden + self.position_embedding(positions)
        elif self.config.positions.kind == "sinusoidal":
            fixed = sinusoidal_positions(positions, self.config.hidden_dim)
            hidden = hidden + ops.cast(fixed, hidden.dtype)
        return self.dropout(hidden, training=training)

    def _rotary(self, positions: Any) -> Rotary | None:
        if self.config.positions.kind != "rotary":
            return None
        head_dim = self.config.attention.head_dim
        return rotary_angles(positions, head_dim, self.config.positions.rotary_base)

    def _leave(self, hidden: Any) -> Any:
        return self.output_norm(hidden) if self.config.norm_position == "pre" else hidden
