"""Recurrent language models: the simple RNN, the LSTM and the GRU, from one config."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_lm.config import RecurrentConfig
from keras_lm.layers.recurrent import Recurrent
from keras_lm.models.base import LanguageModel, State
from keras_lm.models.embedding_output import OutputEmbedding
from keras_lm.models.kv_cache import last_real


@keras.saving.register_keras_serializable("keras_lm")
class RecurrentLM(OutputEmbedding, LanguageModel):
    """A recurrent language model: token ids [B, T] → float32 logits [B, T, V].

        ids → embedding → L × recurrent layer → embeddingᵀ or an own matrix → logits

    The output layer has no bias. The weights exist as soon as the model does.

    `inputs` is as for every `LanguageModel`: `padding_mask`, on either side, leaves the state as
    it is, and where `segment_ids` changes the state starts from zero; `positions` say nothing to
    this model. One more key, `continues`, int [B], is for truncated back-propagation through time:
    1 = the row goes on where the same row of the last batch ended, 0 = it starts from zero. It
    wants a place for the state between batches, `carry_state`, and batches whose rows follow one
    another, such as `data.lane_batches` gives. The state is taken over, its gradient is not.

    Args:
        config: a `RecurrentConfig`.
        dtype: a Keras dtype policy such as `"mixed_bfloat16"`; default: the global one. The
            states, and what is element-wise in the recurrent layers, are float32 all the same.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.RecurrentConfig(vocab_size=9, num_layers=2, hidden_dim=8, cell="gru")
    >>> model = klm.models.RecurrentLM(config)
    >>> model(ops.ones((1, 3), "int32")).shape
    TensorShape([1, 3, 9])
    """

    config_class = RecurrentConfig

    def __init__(self, config: RecurrentConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if type(config) is not RecurrentConfig:
            raise ValueError(f"config must be a RecurrentConfig; got {config!r}")
        if config.attention is not None:
            raise ValueError(
                "config.attention must be None in a RecurrentLM, which has no source to look at; "
                f"got {config.attention!r}, which is for a RecurrentSeq2Seq"
            )
        self.config = config
        policy = self.dtype_policy

        def embedding(width: int, name: str) -> Any:
            return keras.layers.ReversibleEmbedding(
                config.vocab_size,
                width,
                embeddings_initializer=keras.initializers.RandomNormal(
                    stddev=config.initializer_range
                ),
                dtype=policy,
                name=name,
            )

        self.token_embedding = embedding(config.embedding_dim, "token_embedding")
        self.recurrent_layers = [
            Recurrent(config, dtype=policy, name=f"recurrent_{i}") for i in range(config.num_layers)
        ]
        self.output_embedding = self.token_embedding
        if not config.tie_embeddings:
            self.output_embedding = embedding(config.hidden_dim, "output_embedding")
        self.dropout = keras.layers.Dropout(config.dropout, dtype=policy)
        self.carried = CarriedState(name="carried")
        self.build((None, None))

    def build(self, inputs_shape: Any) -> None:
        self.token_embedding.build((None, None))
        width = self.config.embedding_dim
        for layer in self.recurrent_layers:
            layer.build((None, None, width))
            width = self.config.hidden_dim
        if not self.config.tie_embeddings:
            self.output_embedding.build((None, None))
        self.built = True

    def hidden_states(self, inputs: Any, training: bool | None = None) -> Any:
        inputs = inputs if isinstance(inputs, dict) else {"token_ids": inputs}
        token_ids, reset = inputs["token_ids"], None
        if (segments := inputs.get("segment_ids")) is not None:
            segments = ops.convert_to_tensor(segments)
            # The state before the first token is `continues`'s affair.
            reset = ops.pad(segments[:, 1:] != segments[:, :-1], [[0, 0], [1, 0]])
        state = self._first_state(token_ids, inputs.get("continues"))
        hidden, state = self._read(
            token_ids, state, reset, inputs.get("padding_mask"), training=training
        )
        if inputs.get("continues") is not None and training:
            self.carried.assign([ops.stop_gradient(part) for part in keras.tree.flatten(state)])
        return hidden

    def initial_state(self, batch_size: Any, max_length: Any = None) -> State:
        """Zeros: for each layer a tuple of `h` and, for an LSTM, `c`, float32 [B, D].

        Args:
            batch_size: B.
            max_length: of no consequence, as the state does not grow.
        """
        return tuple(layer.initial_state(batch_size) for layer in self.recurrent_layers)

    def step(
        self, token_ids: Any, state: State, lengths: Any = None, last_only: bool = False
    ) -> tuple[Any, State]:
        batch, length = ops.shape(token_ids)
        real = None
        if lengths is not None:
            real = ops.arange(length, dtype="int32")[None] < lengths[:, None]
        hidden, state = self._read(token_ids, state, padding_mask=real, training=False)
        if last_only:
            if lengths is None:
                lengths = ops.zeros((batch,), "int32") + length
            hidden = last_real(hidden, lengths)
        return self.logits(hidden), state

    def carry_state(self, batch_size: int) -> None:
        """Makes room for the states that batches with `continues` leave to one another.

        To be called before the model is trained on such batches, which all have this size; room
        for another number of rows is given up. It is part of `model.variables`, so that an
        interrupted run can be resumed, but not of `model.weights`: it is not saved with the model.

        Args:
            batch_size: B, rows in a batch.

        Raises:
            ValueError: `batch_size` is not a positive int.
        """
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
            raise ValueError(f"batch_size must be a positive int; got {batch_size!r}")
        if self.carried.batch_size != batch_size:
            self.carried.drop()
            self.carried.make(self.initial_state(batch_size))

    def drop_carried_state(self) -> None:
        """Gives back the room that `carry_state` made."""
        self.carried.drop()

    def _first_state(self, token_ids: Any, continues: Any) -> State:
        batch_size = ops.shape(token_ids)[0]
        if continues is None:
            return self.initial_state(batch_size)
        if (rows := self.carried.batch_size) is None:
            raise ValueError("inputs have 'continues'; call model.carry_state(batch_size) first")
        if isinstance(batch_size, int) and batch_size != rows:
            raise ValueError(
                f"inputs have {batch_size} rows; the model carries the state of {rows}"
            )
        parts = self.carried.read(continues)
        return keras.tree.pack_sequence_as(self.initial_state(1), parts)

    def _read(
        self,
        token_ids: Any,
        state: State,
        reset: Any = None,
        padding_mask: Any = None,
        training: bool | None = None,
    ) -> tuple[Any, State]:
        """What the output layer reads, [B, T, D], and the state after the last token."""
        hidden = self.dropout(self.token_embedding(token_ids), training=training)
        last = []
        for layer, layer_state in zip(self.recurrent_layers, state, strict=True):
            hidden, layer_state = layer(
                hidden, state=layer_state, reset=reset, padding_mask=padding_mask
            )
            hidden = self.dropout(hidden, training=training)
            last.append(layer_state)
        return hidden, tuple(last)


class CarriedState(keras.layers.Layer):
    """Variables that hold the state of a batch's rows until the next batch.

    They belong to a training run and its batch size, and not to the model: they are `variables`,
    which a training loop sees and `training.Resume` saves, but not `weights`, which files hold.
    """

    batch_size: int | None = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.built = True  # Keras quantizes only models all of whose layers say so

    def make(self, state: State) -> None:
        """Makes a variable for each part, [B, …], of a state; all are 0."""
        parts = keras.tree.flatten(state)
        for number, part in enumerate(parts):
            self.add_weight(
                shape=part.shape,
                dtype=part.dtype,
                initializer="zeros",
                trainable=False,
                autocast=False,
                name=f"state_{number}",
            )
        self.batch_size = int(parts[0].shape[0])

    def drop(self) -> None:
        """Forgets the variables."""
        for variable in list(self.variables):
            self._untrack_variable(variable)
        self.batch_size = None

    def read(self, continues: Any) -> list[Any]:
        """The parts of the state, 0 in the rows where `continues`, int [B], is 0."""
        factors = ops.cast(ops.convert_to_tensor(continues), "bool")[:, None]
        return [ops.where(factors, ops.convert_to_tensor(v), 0.0) for v in self.variables]

    def assign(self, parts: list[Any]) -> None:
        """Takes the parts of a state, for the next batch to read."""
        for variable, part in zip(self.variables, parts, strict=True):
            variable.assign(part)

    @property
    def weights(self) -> list[Any]:
        return []

    def save_own_variables(self, store: Any) -> None:
        """Saves nothing."""

    def load_own_variables(self, store: Any) -> None:
        """Loads nothing."""
