"""Recurrent layers over whole sequences, quick to train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_lm.config import Configured, RecurrentConfig
from keras_lm.layers.recurrent_steps import (
    GRUResetBeforeSteps,
    GRUSteps,
    LSTMSteps,
    RNNSteps,
    State,
)


@keras.saving.register_keras_serializable("keras_lm")
class Recurrent(Configured, keras.layers.Layer):
    """One recurrent layer: [B, T, E] → [B, T, D].

    The weights are those of Keras's own cells (`kernel`, `recurrent_kernel`, `bias`), and so is
    what is computed; the loop over time is not. The inputs' product with `kernel` is one for all
    times, and only the state's product with `recurrent_kernel` stands in the loop; and the
    gradient is written by hand (`recurrence`). A second derivative is not defined.

    Args:
        config: a `RecurrentConfig`, of which it reads `cell`, `hidden_dim`, `activation` and
            `reset_after`.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.RecurrentConfig(vocab_size=9, num_layers=1, hidden_dim=8)
    >>> outputs, (h, c) = Recurrent(config)(ops.ones((2, 3, 4)))
    >>> outputs.shape, h.shape
    (TensorShape([2, 3, 8]), TensorShape([2, 8]))
    """

    config_class = RecurrentConfig

    def __init__(self, config: RecurrentConfig, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)  # which would take states to the compute dtype
        self.config = config
        arguments: dict[str, Any] = {"dtype": self.dtype_policy, "name": "cell"}
        self.steps: RNNSteps
        if config.cell == "rnn":
            self.steps = RNNSteps(config.activation)
            self.cell = keras.layers.SimpleRNNCell(
                config.hidden_dim, activation=config.activation, **arguments
            )
        elif config.cell == "lstm":
            self.steps = LSTMSteps()
            self.cell = keras.layers.LSTMCell(config.hidden_dim, **arguments)
        else:
            self.steps = GRUSteps() if config.reset_after else GRUResetBeforeSteps()
            self.cell = keras.layers.GRUCell(
                config.hidden_dim, reset_after=config.reset_after, **arguments
            )

    def build(self, inputs_shape: tuple[int | None, ...]) -> None:
        self.cell.build((inputs_shape[0], inputs_shape[-1]))
        self.built = True

    def initial_state(self, batch_size: Any) -> State:
        """Zeros, `h` and for an LSTM `c`: a tuple of float32 [B, D]."""
        shape = (batch_size, self.config.hidden_dim)
        dtype = keras.backend.result_type(self.compute_dtype, "float32")
        return tuple(ops.zeros(shape, dtype) for _ in range(self.steps.num_states))

    def call(
        self,
        inputs: Any,
        state: State | None = None,
        reset: Any = None,
        padding_mask: Any = None,
    ) -> tuple[Any, State]:
        """Reads a sequence.

        Args:
            inputs: [B, T, E].
            state: before the first input; default: `initial_state`.
            reset: bool or int [B, T], True where the state is set to zero before the input is
                read: there a document begins, and no gradient flows back from it.
            padding_mask: bool or int [B, T], 1 = token. Padding, on whichever side, leaves the
                state as it is.

        Returns:
            `h` after each input, [B, T, D] in the compute dtype; and the last state, float32.
        """
        if state is None:
            state = self.initial_state(ops.shape(inputs)[0])
        kernel, bias, weights = self.tensors()
        inputs = ops.transpose(ops.cast(inputs, self.compute_dtype), (1, 0, 2))
        entering = ops.matmul(inputs, kernel) + bias
        masks = {}
        if reset is not None:
            masks["keep"] = 1 - over_time(reset, state[0].dtype)
        if padding_mask is not None:
            masks["real"] = over_time(padding_mask, state[0].dtype)
        outputs, state = recurrence(self.steps, entering, weights, state, masks)
        return ops.transpose(outputs, (1, 0, 2)), state

    def tensors(self) -> tuple[Any, Any, State]:
        """The weights in the compute dtype: of the inputs [E, G] and [G], and those of `steps`."""
        dtype = self.compute_dtype
        kernel, bias = ops.cast(self.cell.kernel, dtype), ops.cast(self.cell.bias, dtype)
        # Reshaping reads a variable into a tensor: TensorFlow's custom gradients take no variables.
        recurrent_kernel = ops.reshape(self.cell.recurrent_kernel, (self.config.hidden_dim, -1))
        recurrent_kernel = ops.cast(recurrent_kernel, dtype)
        if not isinstance(self.steps, GRUSteps):
            return kernel, bias, (recurrent_kernel,)
        bias, recurrent_bias = ops.unstack(bias, 2)
        return kernel, bias, (recurrent_kernel, recurrent_bias)


def over_time(mask: Any, dtype: Any) -> Any:
    """A mask [B, T] as factors 0 and 1, [T, B, 1]."""
    return ops.transpose(ops.cast(ops.cast(mask, "bool"), dtype))[:, :, None]


def recurrence(
    steps: RNNSteps, entering: Any, weights: State, state: State, masks: dict[str, Any]
) -> tuple[Any, State]:
    """The loop over time, with a gradient of its own.

    Differentiating through the loop would make the gradient of `recurrent_kernel` a sum over as
    many products as there are steps. Here a step backwards has the one product that leads to the
    step before it, and the gradient of `recurrent_kernel` is one product after the loop.

    Args:
        steps: of the cell.
        entering: [T, B, G] in the compute dtype.
        weights: in the compute dtype, as `steps.forward` wants them.
        state: before the first step, float32 [B, D] each.
        masks: of the same dtype, [T, B, 1] each: `keep`, 0 where the state before a step is set
            to zero, and `real`, 0 where a step changes nothing; or none of them.

    Returns:
        `h` after each step, [T, B, D] in the compute dtype; and the last state.
    """

    @ops.custom_gradient
    def run(entering: Any, *tensors: Any) -> tuple[State, Callable[..., Any]]:
        weights, state = tensors[: -steps.num_states], tensors[-steps.num_states :]
        last, states, saved = _forward(steps, entering, weights, state, masks)

        def gradient(*upstream: Any) -> tuple[Any, ...]:
            d_outputs, *d_last = keras.tree.flatten(upstream)  # backends nest it differently
            before = _states_before(state, states, masks)
            loop = {"d_h": d_outputs, "before": before, "after": states, "saved": saved, **masks}
            d_state, emitted = _backward(steps, loop, ops.transpose(weights[0]), tuple(d_last))
            h_before = ops.cast(before[0], entering.dtype)
            d_entering, d_weights = steps.gradients(emitted, h_before, saved)
            return (d_entering, *d_weights, *d_state)

        return (ops.cast(states[0], entering.dtype), *last), gradient

    outputs, *last = run(entering, *weights, *state)
    return outputs, tuple(last)


def _forward(
    steps: RNNSteps, entering: Any, weights: State, state: State, masks: dict[str, Any]
) -> tuple[State, State, State]:
    """The last state; the states after each step and what was saved, [T, B, D] each."""

    arrays = {"entering": entering, **masks}

    def step(carry: tuple[State, State], time: Any) -> Any:
        before, now = carry[0], at_time(time, arrays)
        if "keep" in now:
            before = tuple(now["keep"] * part for part in before)
        after, saved = steps.forward(now["entering"], before, weights)
        if "real" in now:
            after = tuple(old + now["real"] * (new - old) for old, new in zip(before, after))
        return (after, saved), (after, saved)

    # `ops.scan` on TensorFlow gives as many outputs, of the same shapes, as it carries.
    saved = tuple(ops.zeros_like(state[0]) for _ in range(steps.num_saved))
    (last, _), (states, saved) = ops.scan(step, (state, saved), times_of(entering))
    return last, states, saved


def times_of(sequence: Any) -> Any:
    """Numbers of the T steps. `ops.scan` over the sequences themselves wants to know T."""
    return ops.arange(ops.shape(sequence)[0], dtype="int32")


def at_time(time: Any, arrays: Any) -> Any:
    """What a nest of arrays [T, …] holds for one time."""
    return keras.tree.map_structure(lambda array: array[time], arrays)


def _states_before(state: State, states: State, masks: dict[str, Any]) -> State:
    """What each step read, [T, B, D] each."""
    before = tuple(ops.concatenate([first[None], rest[:-1]]) for first, rest in zip(state, states))
    return tuple(masks["keep"] * part for part in before) if "keep" in masks else before


def _backward(
    steps: RNNSteps, loop: dict[str, Any], transposed: Any, d_last: State
) -> tuple[State, State]:
    """The gradient of the first state; and what `steps.backward` emitted, [T, B, …] each."""

    def step(carry: tuple[State, State], time: Any) -> Any:
        (d_h, *others), now = carry[0], at_time(time, loop)
        d_after = (d_h + ops.cast(now["d_h"], d_h.dtype), *others)
        d_new = tuple(now["real"] * part for part in d_after) if "real" in now else d_after
        emitted, d_before = steps.backward(
            d_new, now["before"], now["after"], now["saved"], transposed
        )
        if "real" in now:
            d_before = tuple(b + a - n for b, a, n in zip(d_before, d_after, d_new))
        if "keep" in now:
            d_before = tuple(now["keep"] * part for part in d_before)
        return (d_before, emitted), (d_before, emitted)

    batch, width = ops.shape(d_last[0])
    emitted = tuple(
        ops.zeros((batch, width * units), transposed.dtype) for units in steps.emitted_widths
    )
    (d_state, _), (_, emitted) = ops.scan(
        step, (d_last, emitted), times_of(loop["d_h"]), reverse=True
    )
    return d_state, emitted
