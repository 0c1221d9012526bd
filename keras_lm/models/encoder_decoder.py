"""The encoder–decoder Transformer of the paper, T5, BART and Marian, from one config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_lm.config import EncoderDecoderConfig, TransformerConfig
from keras_lm.layers.initialization import initial_weights
from keras_lm.layers.masks import bidirectional_mask, causal_mask
from keras_lm.layers.positions import require_places
from keras_lm.layers.stack import TransformerStack
from keras_lm.models.base import EncoderDecoder, State
from keras_lm.models.embedding_output import EmbeddingOutput
from keras_lm.models.kv_cache import empty_cache, last_real, reserve


@keras.saving.register_keras_serializable("keras_lm")
class Transformer(EmbeddingOutput, EncoderDecoder):
    """The Transformer of "Attention Is All You Need": a source and a target → logits [B, T, V].

        source ids → embedding + positions → L × (self-attention, feed-forward) → memory ┐
        target ids → embedding + positions → L × (self-attention, cross-attention ←──────┘,
                                                  feed-forward) → embeddingᵀ → logits

    The paper's own model is `norm_position="post"`, `positions="sinusoidal"`, `activation="relu"`
    and `scale_embeddings=True`; T5, BART and Marian are other settings. The weights exist as soon
    as the model does.

    `inputs` is as for every `EncoderDecoder`, and may hold `decoder_padding_mask` [B, T] as well.
    Masks are made from these. Where one is given it is taken instead: `encoder_attention_mask`,
    `decoder_attention_mask` and `cross_attention_mask`, bool, broadcastable to [B, 1, S, S],
    [B, 1, T, T] and [B, 1, T, S], True = may attend.

    Args:
        config: an `EncoderDecoderConfig`; or a `TransformerConfig`, which gets its defaults.
        dtype: a Keras dtype policy such as `"mixed_bfloat16"`; default: the global one.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.TransformerConfig(vocab_size=9, num_layers=2, hidden_dim=8, num_heads=2)
    >>> model = klm.models.Transformer(config)
    >>> source, target = ops.ones((1, 5), "int32"), ops.ones((1, 3), "int32")
    >>> model({"token_ids": source, "decoder_token_ids": target}).shape
    TensorShape([1, 3, 9])
    """

    config_class = EncoderDecoderConfig
    shared_state = ("source_mask", "memory_heads")

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config = EncoderDecoderConfig.of(config)
        policy = self.dtype_policy
        self.token_embedding = keras.layers.ReversibleEmbedding(
            config.vocab_size,
            config.hidden_dim,
            tie_weights=config.tie_embeddings,
            embeddings_initializer=initial_weights(config),
            dtype=policy,
            name="token_embedding",
        )
        self.source_embedding = self.token_embedding
        if not config.share_embeddings:
            self.source_embedding = keras.layers.Embedding(
                config.source_vocab_size,
                config.hidden_dim,
                embeddings_initializer=initial_weights(config),
                dtype=policy,
                name="source_embedding",
            )
        self.encoder = TransformerStack(config, dtype=policy, name="encoder")
        self.decoder = TransformerStack(config, cross=True, dtype=policy, name="decoder")
        self.build((None, None))

    def build(self, inputs_shape: Any) -> None:
        config = self.config
        self.token_embedding.build((None, None))
        if not config.share_embeddings:
            self.source_embedding.build((None, None))
        self.encoder.build((None, None, config.hidden_dim))
        self.decoder.build((None, None, config.hidden_dim))
        if config.output_bias:
            self.bias = self.add_weight(
                shape=(1, config.vocab_size), initializer="zeros", trainable=False, name="bias"
            )
        self.built = True

    def encode(
        self,
        inputs: Any,
        training: bool | None = None,
        return_maps: bool = False,
    ) -> Any:
        """The memory of a source, [B, S, D]; with `return_maps` also the maps of its layers."""
        source_mask, token_ids = self.source_mask(inputs), inputs["token_ids"]
        longest = self.config.max_source_length
        require_places(token_ids, "token_ids", self.config, longest, inputs.get("padding_mask"))
        order = ops.arange(ops.shape(token_ids)[1], dtype="int32")[None]
        # Counts tokens only, so padding may stand on either side.
        positions = ops.maximum(ops.cumsum(ops.cast(source_mask, "int32"), axis=1) - 1, 0)
        mask = inputs.get("encoder_attention_mask")
        return self.encoder(
            self.encoder.embed(self.source_embedding(token_ids), positions, training),
            attention_mask=bidirectional_mask(order, source_mask) if mask is None else mask,
            position_bias=self.encoder.position_bias(order, order),
            training=training,
            return_maps=return_maps,
        )

    def hidden_states(self, inputs: Any, training: bool | None = None) -> Any:
        memory_mask = self._memory_mask(inputs)
        memory = self.encode(inputs, training)
        hidden, how = self._enter_decoder(inputs, training)
        hidden = self.decoder(
            hidden, **how, memory=memory, memory_mask=memory_mask, training=training
        )
        return self._leave(hidden)

    def attention_maps(self, inputs: Any) -> Any:
        """What every head looks at: a dict of float32 maps whose rows sum to 1.

        `"encoder"` [L, B, N, S, S], `"decoder"` [L, B, N, T, T] and `"cross"` [L, B, N, T, S].
        """
        memory, maps = self.encode(inputs, training=False, return_maps=True)
        hidden, how = self._enter_decoder(inputs, training=False)
        _, decoder_maps = self.decoder(
            hidden,
            **how,
            memory=memory,
            memory_mask=self._memory_mask(inputs),
            training=False,
            return_maps=True,
        )
        return {
            "encoder": ops.stack([own for (own,) in maps]),
            "decoder": ops.stack([own for own, _ in decoder_maps]),
            "cross": ops.stack([cross for _, cross in decoder_maps]),
        }

    def logits(self, hidden: Any) -> Any:
        logits = super().logits(hidden)
        return logits + ops.cast(self.bias, "float32") if self.config.output_bias else logits

    def output_bias(self) -> Any | None:
        return ops.convert_to_tensor(self.bias)[0] if self.config.output_bias else None

    def initial_state(
        self, batch_size: Any, max_length: Any, source: Mapping[str, Any] | None = None
    ) -> State:
        """An empty KV cache (`empty_cache`), and what was read.

        Besides the cache, `source_mask` and `coverage` there are `memory_heads`, keys and values
        of the memory for each layer. Coverage is that of the last layer, the mean of its heads.
        """
        source_mask = self.source_mask(source)
        return {
            **empty_cache(self.config, batch_size, max_length, self.compute_dtype),
            "memory_heads": self.decoder.memory_heads(self.encode(source, training=False)),
            "source_mask": source_mask,
            "coverage": ops.zeros(ops.shape(source_mask), "float32"),
        }

    def step(
        self, token_ids: Any, state: State, lengths: Any = None, last_only: bool = False
    ) -> tuple[Any, State]:
        positions, slot, lengths, state = reserve(state, token_ids, lengths)
        caches = [(*pair, slot) for pair in zip(state["keys"], state["values"], strict=True)]
        hidden, cached, maps = self.decoder(
            self.decoder.embed(self.token_embedding(token_ids), positions, training=False),
            attention_mask=causal_mask(positions, state["positions"]),
            position_bias=self.decoder.position_bias(positions, state["positions"]),
            caches=caches,
            memory=state["memory_heads"],
            memory_mask=state["source_mask"][:, None, None, :],
            training=False,
            return_maps=True,
        )
        keys, values = zip(*cached, strict=True)
        looked = ops.mean(maps[-1][1], axis=1)
        real = ops.arange(ops.shape(token_ids)[1], dtype="int32")[None] < lengths[:, None]
        looked = ops.sum(ops.where(real[:, :, None], looked, 0.0), axis=1)
        if last_only:
            hidden = last_real(hidden, lengths)
        return self.logits(self._leave(hidden)), {
            **state,
            "keys": keys,
            "values": values,
            "coverage": state["coverage"] + looked,
        }

    def _enter_decoder(
        self, inputs: Mapping[str, Any], training: bool | None
    ) -> tuple[Any, dict[str, Any]]:
        """Embedded tokens of the target, and how the decoder may look at them."""
        if inputs.get("decoder_token_ids") is None:
            raise ValueError(f"inputs lack decoder_token_ids; they have {sorted(inputs)}")
        token_ids, mask = inputs["decoder_token_ids"], inputs.get("decoder_attention_mask")
        order = ops.arange(ops.shape(token_ids)[1], dtype="int32")[None]
        positions = keys = order
        padding, longest = inputs.get("decoder_padding_mask"), self.config.max_length
        require_places(token_ids, "decoder_token_ids", self.config, longest, padding)
        if padding is not None:
            real = ops.cast(padding, "int32")
            keys = ops.where(real > 0, order, -1)
            positions = ops.maximum(ops.cumsum(real, axis=1) - 1, 0)
        return self.decoder.embed(self.token_embedding(token_ids), positions, training), {
            "attention_mask": causal_mask(order, keys) if mask is None else mask,
            "position_bias": self.decoder.position_bias(order, order),
        }

    def _memory_mask(self, inputs: Mapping[str, Any]) -> Any:
        """Which tokens of the source the decoder may look at, bool [B, 1, 1, S]."""
        source_mask, given = self.source_mask(inputs), inputs.get("cross_attention_mask")
        return source_mask[:, None, None, :] if given is None else given

    def _leave(self, hidden: Any) -> Any:
        """What the output layer reads."""
        if not self.config.scale_outputs:
            return hidden
        return hidden * ops.cast(self.config.hidden_dim**-0.5, hidden.dtype)
