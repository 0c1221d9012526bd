"""Recurrent layers under attention that are fed what they last looked at.

Luong et al. (https://arxiv.org/abs/1508.04025, section 3.3): the attentional vector of a token
goes into the first layer beside the next token. So attention stands inside of the loop over time,
and as in `recurrent.py` the gradient of the loop is written by hand: a step backwards has only the
products that lead to the step before it, and those that make gradients of weights come after the
loop, for all times at once.

Letters: B batch, T target length, S source length, D width of a state, G = D × gates, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_lm.layers.recurrent import Recurrent, at_time, over_time, times_of
from keras_lm.layers.recurrent_attention import RecurrentAttention
from keras_lm.layers.recurrent_steps import RNNSteps, State, outer, product

Tensors = dict[str, Any]
"""A nest of tensors by name."""


def read_with_feeding(
    layers: Sequence[Recurrent],
    attention: RecurrentAttention,
    inputs: Any,
    state: Tensors,
    real: Any = None,
) -> tuple[Any, Any, Tensors]:
    """Reads tokens with L layers and attention over them; without a gradient, for decoding.

    Args:
        layers: L recurrent layers, the first of which reads E + D numbers.
        attention: over the last of them.
        inputs: [B, T, E].
        state: `layers`, the state of each of them; `attentional`, the last attentional vector,
            float32 [B, D]; `memory` and `keys`, [B, S, D]; and `source_mask`, bool [B, S].
        real: bool [B, T], False where a token is padding, which changes nothing.

    Returns:
        The attentional vectors [B, T, D] in the compute dtype; what was looked at, float32
        [B, T, S]; and `layers` and `attentional` after the last token.
    """
    given, fixed = _gather(layers, attention, inputs, state)
    if real is not None:
        fixed["real"] = over_time(real, given["attentional"].dtype)
    last, times = _forward([layer.steps for layer in layers], given, fixed)
    outputs = ops.cast(times["attentional"], given["memory"].dtype)
    after = {name: last[name] for name in ("layers", "attentional")}
    return _batch_first(outputs), _batch_first(times["looked_at"]), after


def train_with_feeding(
    layers: Sequence[Recurrent],
    attention: RecurrentAttention,
    inputs: Any,
    state: Tensors,
    dropped: Any = None,
) -> Any:
    """The attentional vectors of `read_with_feeding`, [B, T, D], with a gradient.

    Args:
        layers: as there.
        attention: as there.
        inputs: as there.
        state: as there.
        dropped: factors for what each layer but the last gives to the next, [T, L - 1, B, D].
    """
    steps = [layer.steps for layer in layers]
    given, fixed = _gather(layers, attention, inputs, state, dropped)

    @ops.custom_gradient
    def run(*tensors: Any) -> tuple[Any, Callable[..., Any]]:
        own = keras.tree.pack_sequence_as(given, list(tensors))
        _, times = _forward(steps, own, fixed)

        def gradient(*upstream: Any) -> Any:
            d_outputs = keras.tree.flatten(upstream)[0]  # backends nest it differently
            d_own = _gradients(steps, own, fixed, times, d_outputs)
            keras.tree.assert_same_structure(d_own, own)
            return tuple(keras.tree.flatten(d_own))

        return ops.cast(times["attentional"], own["memory"].dtype), gradient

    return _batch_first(run(*keras.tree.flatten(given)))


def _batch_first(times: Any) -> Any:
    return ops.transpose(times, (1, 0, 2))


def _gather(
    layers: Sequence[Recurrent],
    attention: RecurrentAttention,
    inputs: Any,
    state: Tensors,
    dropped: Any = None,
) -> tuple[Tensors, Tensors]:
    """What the loop reads: all that has a gradient, and what has none."""
    (kernel, bias, _), *upper = tensors = [layer.tensors() for layer in layers]
    inputs = ops.cast(inputs, kernel.dtype)
    width = inputs.shape[-1]
    entering = ops.matmul(ops.transpose(inputs, (1, 0, 2)), kernel[:width]) + bias
    given = {
        "entering": entering,
        "feeding": kernel[width:],
        "kernels": tuple(kernel for kernel, _, _ in upper),
        "biases": tuple(bias for _, bias, _ in upper),
        "recurrent": tuple(weights for _, _, weights in tensors),
        "memory": state["memory"],
        "keys": state["keys"],
        "layers": state["layers"],
        "attentional": state["attentional"],
        **attention.tensors(),
    }
    fixed = {"mask_scores": ops.where(state["source_mask"], 0.0, -1e9)}
    if dropped is not None:
        fixed["dropped"] = dropped
    return given, fixed


def _forward(steps: Sequence[RNNSteps], given: Tensors, fixed: Tensors) -> tuple[Tensors, Tensors]:
    """What was carried out of the loop, and the same after each step, [T, …].

    `layers`, the states; `saved` by each layer's step; `attentional` and `looked_at`.
    """
    dtype = given["attentional"].dtype
    arrays: Tensors = {name: fixed[name] for name in ("real", "dropped") if name in fixed}
    arrays["entering"] = given["entering"]

    def step(carry: Tensors, time: Any) -> tuple[Tensors, Tensors]:
        now = at_time(time, arrays)
        entering = ops.cast(now["entering"], dtype) + product(
            carry["attentional"], given["feeding"]
        )
        after: list[State] = []
        saved: list[State] = []
        for number, (cell, before) in enumerate(zip(steps, carry["layers"], strict=True)):
            if number:
                entering = product(
                    _dropped(after[-1][0], now, number), given["kernels"][number - 1]
                )
                entering = entering + ops.cast(given["biases"][number - 1], dtype)
            layer_after, layer_saved = cell.forward(entering, before, given["recurrent"][number])
            after.append(layer_after)
            saved.append(layer_saved)
        h = after[-1][0]
        query = product(h, given["query"]) if "query" in given else h
        looked_at = ops.softmax(_scores(query, given) + fixed["mask_scores"], axis=-1)
        context = _mix(looked_at, given["memory"], dtype)
        attentional = ops.tanh(product(ops.concatenate([context, h], -1), given["combine"]))
        new = {"layers": tuple(after), "attentional": attentional}
        if "real" in now:
            new = keras.tree.map_structure(
                lambda new, old: old + now["real"] * (new - old),
                new,
                {name: carry[name] for name in new},
            )
        new = {**new, "saved": tuple(saved), "looked_at": looked_at}
        return new, new

    # `ops.scan` on TensorFlow gives as many outputs, of the same shapes, as it carries.
    start = {
        "layers": given["layers"],
        "attentional": given["attentional"],
        "saved": tuple(
            tuple(ops.zeros_like(given["attentional"]) for _ in range(cell.num_saved))
            for cell in steps
        ),
        "looked_at": ops.zeros_like(fixed["mask_scores"]),
    }
    return ops.scan(step, start, times_of(given["entering"]))


def _dropped(rows: Any, now: Tensors, number: int) -> Any:
    """Rows [B, D] on their way between a layer and the one below it."""
    if "dropped" not in now:
        return rows
    return rows * ops.cast(now["dropped"][number - 1], rows.dtype)


def _scores(query: Any, given: Tensors) -> Any:
    """Scores [B, S], float32, of queries [B, D]."""
    keys = given["keys"]
    query = ops.cast(query, keys.dtype)
    if "score" in given:
        scores = ops.matmul(ops.tanh(query[:, None] + keys), given["score"])
    else:
        scores = ops.matmul(keys, query[:, :, None])
    return ops.cast(scores[..., 0], "float32")


def _mix(weights: Any, rows: Any, dtype: Any) -> Any:
    """Σ weights · rows: [B, S], [B, S, D] → [B, D]."""
    mixed = ops.matmul(ops.cast(weights, rows.dtype)[:, None], rows)
    return ops.cast(mixed[:, 0], dtype)


def _gradients(
    steps: Sequence[RNNSteps], given: Tensors, fixed: Tensors, times: Tensors, d_outputs: Any
) -> Tensors:
    """The gradients of all that `given` holds."""
    dtype, compute = given["attentional"].dtype, given["memory"].dtype

    def before(first: Any, after: Any) -> Any:
        return ops.concatenate([first[None], after[:-1]])

    states_before = keras.tree.map_structure(before, given["layers"], times["layers"])
    fed = ops.cast(before(given["attentional"], times["attentional"]), compute)
    h = ops.cast(times["layers"][-1][0], compute)
    queries = ops.matmul(h, given["query"]) if "query" in given else h
    loop = {
        "d_outputs": d_outputs,
        "before": states_before,
        "queries": queries,
        **{name: times[name] for name in ("layers", "saved", "attentional", "looked_at")},
    }
    if "dropped" in fixed:
        loop["dropped"] = fixed["dropped"]
    d_last, emitted = _backward(steps, loop, given)

    looked_at = ops.cast(ops.transpose(times["looked_at"], (1, 2, 0)), compute)  # [B, S, T]
    context = ops.matmul(ops.transpose(looked_at, (0, 2, 1)), given["memory"])
    context = ops.transpose(context, (1, 0, 2))
    d_sums = emitted["d_sums"]
    d_context = ops.matmul(d_sums, ops.transpose(given["combine"][: context.shape[-1]]))
    d_given = {
        "memory": ops.matmul(looked_at, ops.transpose(d_context, (1, 0, 2))),
        "combine": outer(ops.concatenate([context, h], -1), d_sums),
        "layers": d_last["d_layers"],
        "attentional": d_last["d_attentional"],
        **_score_gradients(given, queries, h, emitted),
    }
    d_entering, d_recurrent = [], []
    for number, cell in enumerate(steps):
        h_before = ops.cast(states_before[number][0], compute)
        d_enter, d_weights = cell.gradients(
            emitted["emitted"][number], h_before, times["saved"][number]
        )
        d_entering.append(d_enter)
        d_recurrent.append(d_weights)
    entered = [ops.cast(times["layers"][number][0], compute) for number in range(len(steps) - 1)]
    if "dropped" in fixed:
        entered = [
            rows * ops.cast(fixed["dropped"][:, number], compute)
            for number, rows in enumerate(entered)
        ]
    return {
        **d_given,
        "entering": d_entering[0],
        "feeding": outer(fed, d_entering[0]),
        "kernels": tuple(outer(rows, d) for rows, d in zip(entered, d_entering[1:], strict=True)),
        "biases": tuple(
            ops.cast(ops.sum(ops.cast(d, dtype), axis=(0, 1)), compute) for d in d_entering[1:]
        ),
        "recurrent": tuple(d_recurrent),
    }


def _score_gradients(given: Tensors, queries: Any, h: Any, emitted: Tensors) -> Tensors:
    """The gradients of `keys` and, of additive scores, of `query` and `score`."""
    d_scores = ops.transpose(emitted["d_scores"], (1, 0, 2))  # [B, T, S]
    queries = ops.transpose(queries, (1, 0, 2))
    if "score" not in given:
        return {"keys": ops.matmul(ops.transpose(d_scores, (0, 2, 1)), queries)}
    sums = ops.tanh(queries[:, :, None] + given["keys"][:, None])  # [B, T, S, D]
    weights = d_scores[..., None]
    d_keys = ops.sum(weights * (1 - sums * sums), axis=1) * given["score"][:, 0]
    return {
        "keys": d_keys,
        "query": outer(h, emitted["d_queries"]),
        "score": ops.sum(weights * sums, axis=(0, 1, 2))[:, None],
    }


def _backward(steps: Sequence[RNNSteps], loop: Tensors, given: Tensors) -> tuple[Tensors, Tensors]:
    """The loop backwards: the gradients of what it began with; and what was emitted, [T, …].

    `emitted` by each layer's step; `d_sums`, of what tanh makes the attentional vector of;
    `d_scores`; and `d_queries`.
    """
    dtype, compute = given["attentional"].dtype, given["memory"].dtype
    combine, feeding = ops.transpose(given["combine"]), ops.transpose(given["feeding"])
    kernels = [ops.transpose(kernel) for kernel in given["kernels"]]
    recurrent = [ops.transpose(weights[0]) for weights in given["recurrent"]]

    def step(carry: Tensors, time: Any) -> tuple[Tensors, Tensors]:
        now = at_time(time, loop)
        attentional, looked_at = now["attentional"], now["looked_at"]
        d_attentional = carry["d_attentional"] + ops.cast(now["d_outputs"], dtype)
        d_sums = ops.cast(d_attentional * (1 - attentional * attentional), compute)
        d_context, d_h = ops.split(product(d_sums, combine, dtype), 2, axis=-1)
        d_weights = ops.matmul(given["memory"], ops.cast(d_context, compute)[:, :, None])
        d_weights = ops.cast(d_weights[..., 0], "float32")
        mean = ops.sum(looked_at * d_weights, axis=-1, keepdims=True)
        d_scores = ops.cast(looked_at * (d_weights - mean), compute)
        d_queries = _query_gradient(d_scores, now["queries"], given)
        if "query" in given:
            d_h = d_h + product(d_queries, ops.transpose(given["query"]), dtype)
        else:
            d_h = d_h + ops.cast(d_queries, dtype)
        d_layers: list[State] = []
        emitted: list[State] = []
        for number in reversed(range(len(steps))):
            d_state = (d_h + carry["d_layers"][number][0], *carry["d_layers"][number][1:])
            layer_emitted, d_before = steps[number].backward(
                d_state,
                now["before"][number],
                now["layers"][number],
                now["saved"][number],
                recurrent[number],
            )
            d_entering = steps[number].entering_gradient(layer_emitted)
            if number:
                d_h = _dropped(product(d_entering, kernels[number - 1], dtype), now, number)
            d_layers.insert(0, d_before)
            emitted.insert(0, layer_emitted)
        new = {
            "d_layers": tuple(d_layers),
            "d_attentional": product(d_entering, feeding, dtype),
            "emitted": tuple(emitted),
            "d_sums": d_sums,
            "d_scores": d_scores,
            "d_queries": d_queries,
        }
        return new, new

    batch, width = ops.shape(given["attentional"])
    start = {
        "d_layers": keras.tree.map_structure(ops.zeros_like, given["layers"]),
        "d_attentional": ops.zeros_like(given["attentional"]),
        "emitted": tuple(
            tuple(ops.zeros((batch, width * units), compute) for units in cell.emitted_widths)
            for cell in steps
        ),
        "d_sums": ops.zeros((batch, width), compute),
        "d_scores": ops.zeros_like(given["keys"][:, :, 0]),
        "d_queries": ops.zeros((batch, width), compute),
    }
    return ops.scan(step, start, times_of(loop["queries"]), reverse=True)


def _query_gradient(d_scores: Any, queries: Any, given: Tensors) -> Any:
    """From the gradient of scores [B, S] that of queries [B, D]."""
    keys = given["keys"]
    if "score" not in given:
        return ops.matmul(d_scores[:, None], keys)[:, 0]
    sums = ops.tanh(queries[:, None] + keys)
    return ops.matmul(d_scores[:, None], 1 - sums * sums)[:, 0] * given["score"][:, 0]
