"""The layers of one half of an encoder–decoder, from token vectors to hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_lm.config import Configured, EncoderDecoderConfig
from keras_lm.layers.attention import Cache
from keras_lm.layers.block import TransformerBlock
from keras_lm.layers.initialization import initial_weights
from keras_lm.layers.normalization import make_norm
from keras_lm.layers.positions import RelativePositions, embed_places


@keras.saving.register_keras_serializable("keras_lm")
class TransformerStack(Configured, keras.layers.Layer):
    """The encoder or the decoder of a Transformer: [B, T, D] → [B, T, D].

        token vectors (· √D) + positions → (norm) → L × block → (norm)

    Args:
        config: an `EncoderDecoderConfig`.
        cross: is the decoder, whose blocks attend to a memory too.

    Example:

    >>> import keras_lm as klm
    >>> from keras import ops
    >>> config = klm.EncoderDecoderConfig(vocab_size=9, num_layers=1, hidden_dim=8, num_heads=2)
    >>> stack = TransformerStack(config)
    >>> stack(stack.embed(ops.ones((1, 3, 8)), ops.arange(3)[None])).shape
    TensorShape([1, 3, 8])
    """

    config_class = EncoderDecoderConfig

    def __init__(self, config: EncoderDecoderConfig, cross: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config, self.cross = config, cross
        policy = self.dtype_policy
        if config.positions.kind == "learned":
            longest = config.max_length if cross else config.max_source_length
            self.position_embedding = keras.layers.Embedding(
                (longest or config.max_length) + config.position_offset,
                config.hidden_dim,
                embeddings_initializer=initial_weights(config),
                dtype=policy,
                name="position_embedding",
            )
        elif config.positions.kind == "relative":
            self.relative_positions = RelativePositions(
                config, bidirectional=not cross, dtype=policy, name="relative_positions"
            )
        if config.embedding_norm:
            self.embedding_norm = make_norm(config, "embedding_norm", policy)
        self.dropout = keras.layers.Dropout(config.dropout, dtype=policy)
        self.blocks = [
            TransformerBlock(config, cross=cross, dtype=policy, name=f"block_{i}")
            for i in range(config.num_layers if cross else config.encoder_layers)
        ]
        if config.norm_position == "pre":
            self.output_norm = make_norm(config, "output_norm", policy)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cross": self.cross}

    def build(self, inputs_shape: Any) -> None:
        shape = (None, None, self.config.hidden_dim)
        if self.config.positions.kind == "learned":
            self.position_embedding.build((None, None))
        elif self.config.positions.kind == "relative":
            self.relative_positions.build()
        if self.config.embedding_norm:
            self.embedding_norm.build(shape)
        for block in self.blocks:
            block.build(shape)
        if self.config.norm_position == "pre":
            self.output_norm.build(shape)
        self.built = True

    def embed(self, vectors: Any, positions: Any, training: bool | None = None) -> Any:
        """What the first block reads, [B, T, D].

        Args:
            vectors: of the tokens, [B, T, D].
            positions: where each token stands, int [B or 1, T].
            training: applies dropout.
        """
        table = getattr(self, "position_embedding", None)
        hidden = embed_places(self.config, vectors, positions, table)
        if self.config.embedding_norm:
            hidden = self.embedding_norm(hidden)
        return self.dropout(hidden, training=training)

    def position_bias(self, query_positions: Any, key_positions: Any) -> Any | None:
        """What distances add to the scores, float32 [B or 1, N, T, S]; None: nothing."""
        if self.config.positions.kind != "relative":
            return None
        return self.relative_positions(query_positions, key_positions)

    def memory_heads(self, memory: Any) -> tuple[Any, ...]:
        """Keys and values of a memory [B, S, D] for every block: what `memory` may be instead."""
        return tuple(block.cross_attention.memory_heads(memory) for block in self.blocks)

    def call(
        self,
        hidden: Any,
        attention_mask: Any = None,
        position_bias: Any = None,
        caches: Sequence[Cache] | None = None,
        memory: Any = None,
        memory_mask: Any = None,
        training: bool | None = None,
        return_maps: bool = False,
    ) -> Any:
        """Runs all blocks.

        Args:
            hidden: [B, T, D], of `embed`.
            attention_mask: bool, broadcastable to [B, 1, T, T]; True = may attend.
            position_bias: of `position_bias`.
            caches: one for each block; see `TransformerBlock`.
            memory: with `cross`: [B, S, D], or its `memory_heads`.
            memory_mask: bool, broadcastable to [B, 1, T, S].
            training: applies dropout.
            return_maps: gives what every head looks at as well.

        Returns:
            [B, T, D]; with `caches` or `return_maps` a tuple of that, a tuple of the blocks' new
            keys and values if there are `caches`, and with `return_maps` a tuple of their maps.
        """
        found = []
        for number, block in enumerate(self.blocks):
            outputs = block(
                hidden,
                attention_mask=attention_mask,
                position_bias=position_bias,
                cache=None if caches is None else caches[number],
                memory=memory[number] if isinstance(memory, tuple) else memory,
                memory_mask=memory_mask,
                training=training,
                return_maps=return_maps,
            )
            hidden, *more = outputs if isinstance(outputs, tuple) else (outputs,)
            found.append(more)
        if self.config.norm_position == "pre":
            hidden = self.output_norm(hidden)
        more = list(zip(*found, strict=True))
        return (hidden, *more) if more else hidden
