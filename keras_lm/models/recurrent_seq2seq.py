"""Recurrent encoder–decoders: a source is read, and a target written in answer to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_lm.config import RecurrentConfig, RecurrentSeq2SeqConfig
from keras_lm.layers.gated_convolutions import GatedConvolutions
from keras_lm.layers.input_feeding import read_with_feeding, train_with_feeding
from keras_lm.layers.recurrent import Recurrent
from keras_lm.layers.recurrent_attention import RecurrentAttention
from keras_lm.models.base import EncoderDecoder, State
from keras_lm.models.embedding_output import OutputEmbedding
from keras_lm.models.kv_cache import last_real
from keras_lm.models.recurrent_encoder import RecurrentEncoder


@keras.saving.register_keras_serializable("keras_lm")
class RecurrentSeq2Seq(OutputEmbedding, EncoderDecoder):
    """A recurrent encoder–decoder: a source and a target → float32 logits [B, T, V].

        source ids → embedding → encoder ─→ memory [B, S, D] ──────────┐
                                    └ last states → tanh layer ┐        │
        target ids → embedding → L × recurrent layer ←─────────┘ → attention → output layer

    Every layer of the decoder begins with what a tanh layer makes of the last states of the
    encoder's layer beside it (Bahdanau et al., https://arxiv.org/abs/1409.0473), counted from the
    top; from convolutions it gets the mean of the memory. Without `attention` that is all a
    decoder hears of a source (Sutskever et al., https://arxiv.org/abs/1409.3215). Attention is as
    in `layers.RecurrentAttention`. The weights exist as soon as the model does.

    `inputs` is as for every `EncoderDecoder`. Instead of ids, `token_ids` and `decoder_token_ids`
    may hold one-hot rows, floats [B, S, V] and [B, T, V]; a row of zeros is padding.

    Args:
        config: a `RecurrentSeq2SeqConfig`; or a `RecurrentConfig`, which gets its defaults.
        dtype: a Keras dtype policy such as `"mixed_bfloat16"`; default: the global one. The
            states are float32 all the same.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.RecurrentConfig(
    ...     vocab_size=9, num_layers=2, hidden_dim=8, cell="lstm", attention="additive")
    >>> model = klm.models.RecurrentSeq2Seq(config)
    >>> source, target = ops.ones((1, 5), "int32"), ops.ones((1, 3), "int32")
    >>> model({"token_ids": source, "decoder_token_ids": target}).shape
    TensorShape([1, 3, 9])
    """

    config_class = RecurrentSeq2SeqConfig
    shared_state = ("source_mask", "memory", "keys")

    def __init__(self, config: RecurrentConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config = RecurrentSeq2SeqConfig.of(config)
        policy = self.dtype_policy

        def embedding(vocab_size: int, width: int, name: str) -> Any:
            return keras.layers.ReversibleEmbedding(
                vocab_size,
                width,
                embeddings_initializer=keras.initializers.RandomNormal(
                    stddev=config.initializer_range
                ),
                dtype=policy,
                name=name,
            )

        self.token_embedding = embedding(config.vocab_size, config.embedding_dim, "token_embedding")
        self.source_embedding = self.output_embedding = self.token_embedding
        if not config.share_embeddings:
            self.source_embedding = embedding(
                config.source_vocab_size, config.embedding_dim, "source_embedding"
            )
        if not config.tie_embeddings:
            self.output_embedding = embedding(
                config.vocab_size, config.hidden_dim, "output_embedding"
            )
        self.recurrent_layers = [
            Recurrent(config.decoder_config(), dtype=policy, name=f"recurrent_{i}")
            for i in range(config.num_layers)
        ]
        self.num_states = len(self.recurrent_layers[0].initial_state(1))
        self.bridges = [
            keras.layers.Dense(
                self.num_states * config.hidden_dim,
                activation="tanh",
                dtype=policy,
                name=f"bridge_{i}",
            )
            for i in range(config.num_layers)
        ]
        self.dropout = keras.layers.Dropout(config.dropout, dtype=policy)
        self.build((None, None))

    def build(self, inputs_shape: Any) -> None:
        config = self.config
        for layer in (self.token_embedding, self.source_embedding, self.output_embedding):
            if not layer.built:
                layer.build((None, None))
        # What builds itself is made here: so its weights are named as parts of this model.
        self.encoder: Any
        if config.encoder == "cnn":
            self.encoder = GatedConvolutions(config, dtype=self.dtype_policy, name="encoder")
        else:
            self.encoder = RecurrentEncoder(
                config.encoder_config(),
                self.source_embedding,
                dtype=self.dtype_policy,
                name="encoder",
            )
        width = config.embedding_dim + (config.hidden_dim if config.input_feeding else 0)
        for layer in self.recurrent_layers:
            layer.build((None, None, width))
            width = config.hidden_dim
        for bridge in self.bridges:
            parts = 2 if config.encoder == "lstm" else 1
            bridge.build((None, parts * config.hidden_dim))
        if config.attention is not None:
            self.attention = RecurrentAttention(config, dtype=self.dtype_policy, name="attention")
        self.built = True

    def encode(self, source: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """Reads sources.

        Args:
            source: `token_ids` and, optionally, `padding_mask`.
            training: applies dropout.

        Returns:
            A dict: `layers`, the state in which each of the decoder's layers begins, h and for an
            LSTM c, float32 [B, D]; `source_mask`, bool [B, S]; and with attention `memory` and
            `keys`, [B, S, D] in the compute dtype.
        """
        source_mask = self.source_mask(source)
        token_ids = _ids(source["token_ids"])
        if self.config.encoder == "cnn":
            memory = self.encoder(self.source_embedding(token_ids), source_mask, training=training)
            count = ops.maximum(ops.sum(ops.cast(source_mask, "float32"), axis=1), 1.0)[:, None]
            last = [ops.sum(ops.cast(memory, "float32"), axis=1) / count]  # padding is 0
        else:
            inputs = {"token_ids": token_ids, "padding_mask": source_mask}
            memory, last = self.encoder.read(inputs, training=training)
        # The layers beside one another are as far from the top.
        fewer = len(self.bridges) - len(last)
        firsts = [
            bridge(last[max(number - fewer, 0)]) for number, bridge in enumerate(self.bridges)
        ]
        dtype = keras.backend.result_type(self.compute_dtype, "float32")
        state = {
            "layers": tuple(
                tuple(ops.split(ops.cast(first, dtype), self.num_states, axis=-1))
                for first in firsts
            ),
            "source_mask": source_mask,
        }
        if self.config.attention is None:
            return state
        return {**state, "memory": memory, "keys": self.attention.keys(memory)}

    def hidden_states(self, inputs: Any, training: bool | None = None) -> Any:
        token_ids, state = self._target(inputs), self._begin(inputs, training)
        if not self.config.input_feeding:
            return self._read(token_ids, state, training=training)[0]
        vectors = self.dropout(self.token_embedding(token_ids), training=training)
        batch, length = ops.shape(token_ids)
        shape = (length, self.config.num_layers - 1, batch, self.config.hidden_dim)
        dropped = None
        if training and self.config.dropout:
            dropped = self.dropout(ops.ones(shape, self.compute_dtype), training=True)
        hidden = train_with_feeding(self.recurrent_layers, self.attention, vectors, state, dropped)
        return self.dropout(hidden, training=training)

    def attention_maps(self, inputs: Any) -> Any:
        """What the decoder looks at: `{"cross": float32 [1, B, 1, T, S]}`, rows sum to 1.

        Raises:
            ValueError: the model has no attention.
        """
        if self.config.attention is None:
            raise ValueError("config.attention must not be None for attention_maps; it is None")
        looked_at = self._read(self._target(inputs), self._begin(inputs))[1]
        return {"cross": looked_at[None, :, None]}

    def initial_state(
        self, batch_size: Any, max_length: Any, source: Mapping[str, Any] | None = None
    ) -> State:
        """What `encode` gives; zeros as `coverage` and, with input feeding, `attentional` [B, D].

        Without attention there is no `coverage`.

        Args:
            batch_size: B, that of the source.
            max_length: of no consequence, as the state does not grow.
            source: `token_ids` and, optionally, `padding_mask`.
        """
        return self._begin(source, training=False)

    def step(
        self, token_ids: Any, state: State, lengths: Any = None, last_only: bool = False
    ) -> tuple[Any, State]:
        batch, length = ops.shape(token_ids)
        real = None
        if lengths is None:
            lengths = ops.zeros((batch,), "int32") + length
        else:
            real = ops.arange(length, dtype="int32")[None] < lengths[:, None]
        hidden, looked_at, state = self._read(token_ids, state, real, training=False)
        if looked_at is not None:
            if real is not None:
                looked_at = ops.where(real[:, :, None], looked_at, 0.0)
            state = {**state, "coverage": state["coverage"] + ops.sum(looked_at, axis=1)}
        return self.logits(last_real(hidden, lengths) if last_only else hidden), state

    def source_mask(self, inputs: Any) -> Any:
        given = inputs.get("token_ids") if isinstance(inputs, Mapping) else None
        if given is None or len(given.shape) == 2:
            return super().source_mask(inputs)
        mask = super().source_mask({**inputs, "token_ids": _ids(given)})
        return ops.logical_and(mask, ops.any(ops.not_equal(given, 0), axis=-1))

    def _target(self, inputs: Mapping[str, Any]) -> Any:
        if not isinstance(inputs, Mapping) or inputs.get("decoder_token_ids") is None:
            found = sorted(inputs) if isinstance(inputs, Mapping) else type(inputs).__name__
            raise ValueError(f"inputs must be a dict with decoder_token_ids; got {found}")
        return _ids(inputs["decoder_token_ids"])

    def _begin(self, source: Any, training: bool | None = None) -> State:
        """The state before the first token of a target."""
        state = self.encode(source, training)
        mask, (h, *_) = state["source_mask"], state["layers"][-1]
        if self.config.attention is not None:
            state["coverage"] = ops.zeros(ops.shape(mask), "float32")
        if self.config.input_feeding:
            state["attentional"] = ops.zeros_like(h)
        return state

    def _read(
        self, token_ids: Any, state: State, real: Any = None, training: bool | None = None
    ) -> tuple[Any, Any, State]:
        """Reads tokens of a target.

        Returns:
            What the output layer reads, [B, T, D]; with attention what was looked at, float32
            [B, T, S], else None; and the state after the last token, but for its coverage.
        """
        hidden = self.dropout(self.token_embedding(token_ids), training=training)
        if self.config.input_feeding:
            hidden, looked_at, after = read_with_feeding(
                self.recurrent_layers, self.attention, hidden, state, real
            )
            return hidden, looked_at, {**state, **after}
        last = []
        for number, (layer, before) in enumerate(
            zip(self.recurrent_layers, state["layers"], strict=True)
        ):
            if number:
                hidden = self.dropout(hidden, training=training)
            hidden, after = layer(hidden, state=before, padding_mask=real)
            last.append(after)
        looked_at = None
        if self.config.attention is not None:
            hidden, looked_at = self.attention(
                hidden, state["memory"], state["keys"], state["source_mask"]
            )
        hidden = self.dropout(hidden, training=training)
        return hidden, looked_at, {**state, "layers": tuple(last)}


def _ids(tokens: Any) -> Any:
    """Ids [B, T] of ids or of one-hot rows [B, T, V]."""
    return ops.cast(ops.argmax(tokens, axis=-1), "int32") if len(tokens.shape) == 3 else tokens
