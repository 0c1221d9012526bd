"""The contracts that every encoder–decoder is held to, beside those of `harness.py`.

    model = harness.random_model(Transformer, config)
    harness_seq2seq.check_cached_equals_uncached(model)
    harness_seq2seq.check_source_padding_changes_nothing(model)

Letters are those of the package: B batch, S source length, T target length, V vocabulary. Every
check can fail: where one asserts that something stays, it also asserts that something else moves.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_lm.models import EncoderDecoder

Inputs = dict[str, Any]
LENGTHS = (6, 3, 5)
"""Tokens of the three sources of `random_inputs`."""


def random_inputs(model: EncoderDecoder, length: int = 8, seed: int = 0) -> Inputs:
    """Three sources of several lengths, padded on the right with rubbish, and targets [3, T]."""
    random, config = np.random.default_rng(seed), model.config
    mask = (np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]).astype("int32")
    return {
        "token_ids": random.integers(0, config.source_vocab_size, mask.shape).astype("int32"),
        "padding_mask": mask,
        "decoder_token_ids": random.integers(0, config.vocab_size, (3, length)).astype("int32"),
    }


def row_of(inputs: Inputs, row: int, length: int | None = None) -> Inputs:
    """One row alone, its source without padding, with the first `length` tokens of its target."""
    return {
        "token_ids": inputs["token_ids"][row : row + 1, : LENGTHS[row]],
        "decoder_token_ids": inputs["decoder_token_ids"][row : row + 1, :length],
    }


def begin(model: EncoderDecoder, inputs: Inputs, max_length: int = 12) -> Any:
    """The state before the first token."""
    source = {name: inputs[name] for name in ("token_ids", "padding_mask") if name in inputs}
    return model.initial_state(ops.shape(inputs["token_ids"])[0], max_length, source)


def to_numpy(state: Any) -> Any:
    return keras.tree.map_structure(ops.convert_to_numpy, state)


# ---- the state machine


def check_cached_equals_uncached(model: EncoderDecoder, tolerance: float = 1e-5) -> None:
    """`step` gives the logits of the whole batch: by tokens, by chunks, from ragged prompts."""
    inputs = random_inputs(model)
    expected = harness.logits_of(model, inputs)
    for chunks in ([1] * 8, [3, 4, 1], [8]):
        state, parts, start = begin(model, inputs), [], 0
        for size in chunks:
            token_ids = inputs["decoder_token_ids"][:, start : start + size]
            logits, state = model.step(token_ids, state)
            parts.append(ops.convert_to_numpy(logits))
            start += size
        np.testing.assert_allclose(np.concatenate(parts, 1), expected, atol=tolerance, rtol=0)
    _check_ragged_prompts(model, inputs, tolerance)


def _check_ragged_prompts(model: EncoderDecoder, inputs: Inputs, tolerance: float) -> None:
    """Prompts of several lengths in two chunks, then a token: each row is as if it were alone."""
    targets, state, done = inputs["decoder_token_ids"], begin(model, inputs, 16), np.zeros(3, int)
    for lengths, width, last_only in (([4, 1, 3], 4, False), ([1, 3, 2], 3, True), ([1] * 3, 1, 0)):
        # Beyond its length a row holds rubbish.
        chunk = random_inputs(model, width, seed=width)["decoder_token_ids"]
        for row, length in enumerate(lengths):
            chunk[row, :length] = targets[row, done[row] : done[row] + length]
        how = {} if width == 1 else {"lengths": np.array(lengths, "int32")}
        logits, state = model.step(chunk, state, last_only=bool(last_only), **how)
        done += lengths
        for row, length in enumerate(lengths):
            got = ops.convert_to_numpy(logits)[row, 0 if last_only else length - 1]
            alone = harness.logits_of(model, row_of(inputs, row, done[row]))[0, -1]
            np.testing.assert_allclose(got, alone, atol=tolerance, rtol=0)


def check_state_moves_with_rows(model: EncoderDecoder, tolerance: float = 1e-5) -> None:
    """`repeat_state` and `reorder_state`: beams of an item go on where others of it were."""
    inputs = random_inputs(model)
    targets = inputs["decoder_token_ids"]
    _, state = model.step(targets[:, :3], begin(model, inputs))
    assert {leaf.shape[0] for leaf in keras.tree.flatten(state)} == {3}
    state = model.repeat_state(state, 2)
    _, state = model.step(np.array([[0], [1], [2], [3], [0], [4]], "int32"), state)
    for name in set(model.shared_state) & set(state):
        moved = to_numpy(model.repeat_state(begin(model, inputs)[name], 2))
        keras.tree.map_structure(np.testing.assert_array_equal, to_numpy(state[name]), moved)
    rows = np.array([1, 1, 3, 2, 4, 4], "int32")
    state = model.reorder_state(state, rows)
    logits, _ = model.step(np.full((6, 1), 1, "int32"), state)
    for row, last in enumerate((1, 1, 3, 2, 0, 0)):
        alone = row_of(inputs, row // 2, 3)
        tail = np.array([[last, 1]], "int32")
        alone["decoder_token_ids"] = np.concatenate([alone["decoder_token_ids"], tail], axis=1)
        np.testing.assert_allclose(
            ops.convert_to_numpy(logits)[row, 0],
            harness.logits_of(model, alone)[0, -1],
            atol=tolerance,
            rtol=0,
        )


def check_no_future_leak(model: EncoderDecoder) -> None:
    """Another token of the target at t leaves all logits before t, with dropout as well."""
    inputs = random_inputs(model)
    for training in (False, True):
        with harness._replayed_randomness(model) as replay:
            before = harness.logits_of(model, inputs, training)
            for t in (1, 4, 7):
                changed = inputs["decoder_token_ids"].copy()
                changed[:, t] = (changed[:, t] + 1) % model.config.vocab_size
                replay()
                after = harness.logits_of(model, {**inputs, "decoder_token_ids": changed}, training)
                np.testing.assert_array_equal(after[:, :t], before[:, :t])
                assert np.abs(after[:, t] - before[:, t]).max() > 1e-4


def check_every_source_token_is_heard(model: EncoderDecoder) -> None:
    """Another token anywhere in a source moves the logits of every token of its target."""
    inputs = row_of(random_inputs(model), 0)
    before = harness.logits_of(model, inputs)
    for s in range(LENGTHS[0]):
        changed = inputs["token_ids"].copy()
        changed[0, s] = (changed[0, s] + 1) % model.config.source_vocab_size
        after = harness.logits_of(model, {**inputs, "token_ids": changed})
        assert np.abs(after - before).max(axis=(0, 2)).min() > 1e-6, s


def check_source_padding_changes_nothing(
    model: EncoderDecoder, left: bool = True, tolerance: float = 1e-5
) -> None:
    """Padding of the source, by the mask or by the `pad_id`, and its contents change nothing.

    Args:
        model: any.
        left: padding may stand on the left too.
        tolerance: of the logits.
    """
    inputs = random_inputs(model)
    got = harness.logits_of(model, inputs)
    for row in range(3):
        alone = harness.logits_of(model, row_of(inputs, row))
        np.testing.assert_allclose(got[row : row + 1], alone, atol=tolerance, rtol=0)
    sides = ((0, 4), (4, 0), (2, 2)) if left else ((0, 4),)
    for before, after in sides:
        for kind in ("int32", "bool"):
            pads = [(0, 0), (before, after)]
            wide = {
                **inputs,
                "token_ids": np.pad(inputs["token_ids"], pads, constant_values=1),
                "padding_mask": np.pad(inputs["padding_mask"], pads).astype(kind),
            }
            np.testing.assert_allclose(harness.logits_of(model, wide), got, atol=tolerance, rtol=0)
    own, model.config = model.config, model.config.replace(pad_id=3)
    real = inputs["padding_mask"] > 0
    source = np.where(inputs["token_ids"] == 3, 4, inputs["token_ids"])
    masked = harness.logits_of(model, {**inputs, "token_ids": source})
    by_id = {
        "token_ids": np.where(real, source, 3),
        "decoder_token_ids": inputs["decoder_token_ids"],
    }
    np.testing.assert_allclose(harness.logits_of(model, by_id), masked, atol=tolerance, rtol=0)
    model.config = own
    assert np.abs(harness.logits_of(model, by_id) - masked).max() > 1e-4


def check_attention_maps(model: EncoderDecoder, tolerance: float = 1e-5) -> None:
    """Rows of the cross map sum to 1, padding gets nothing; steps add up to `coverage`.

    Coverage of the last layer, the mean of its heads.
    """
    inputs = random_inputs(model)
    cross = ops.convert_to_numpy(model.attention_maps(inputs)["cross"])
    assert cross.dtype == np.float32
    assert cross.shape[1] == 3
    assert cross.shape[-2:] == (8, max(LENGTHS))
    np.testing.assert_allclose(cross.sum(-1), 1, atol=1e-5)
    padded = np.broadcast_to((inputs["padding_mask"] == 0)[None, :, None, None], cross.shape)
    assert not cross[padded].any()
    assert cross[~padded].std() > 1e-3
    lengths = np.array([4, 1, 3], "int32")
    state = begin(model, inputs)
    assert not np.any(state["coverage"])
    _, state = model.step(inputs["decoder_token_ids"][:, :4], state, lengths=lengths)
    maps = cross[-1].mean(1)
    expected = np.stack([maps[row, :length].sum(0) for row, length in enumerate(lengths)])
    np.testing.assert_allclose(state["coverage"], expected, atol=tolerance)
    tokens = np.stack([inputs["decoder_token_ids"][row, n] for row, n in enumerate(lengths)])
    _, state = model.step(tokens[:, None], state)
    expected += np.stack([maps[row, n] for row, n in enumerate(lengths)])
    np.testing.assert_allclose(state["coverage"], expected, atol=tolerance)
    np.testing.assert_array_equal(state["source_mask"], inputs["padding_mask"] > 0)


def check_log_probs(model: EncoderDecoder, tolerance: float = 1e-5) -> None:
    """`log_probs` and the nats of `hidden_cross_entropy` are those of the logits' softmax."""
    inputs = random_inputs(model)
    targets = random_inputs(model, seed=1)["decoder_token_ids"]
    logits = harness.logits_of(model, inputs).astype("float64")
    norm = np.log(np.exp(logits).sum(-1))
    expected = np.take_along_axis(logits, targets[..., None], -1)[..., 0] - norm
    log_probs = ops.convert_to_numpy(model.log_probs(inputs, targets))
    np.testing.assert_allclose(log_probs, expected, atol=tolerance, rtol=0)
    weights = np.random.default_rng(2).random(targets.shape).astype("float32")
    total, nats = model.hidden_cross_entropy(model.hidden_states(inputs), targets, weights)
    np.testing.assert_allclose(ops.convert_to_numpy(nats), -expected, atol=tolerance, rtol=0)
    np.testing.assert_allclose(float(total), -(weights * expected).sum(), rtol=1e-4)


def check_bad_inputs(model: EncoderDecoder) -> None:
    """What lacks a source or a target is refused in words."""
    inputs = random_inputs(model)
    source, target = inputs["token_ids"], inputs["decoder_token_ids"]
    for bad in (source, {"decoder_token_ids": target}):
        with pytest.raises(ValueError, match="inputs"):
            model.hidden_states(bad)
    with pytest.raises(ValueError, match="decoder_token_ids"):
        model.hidden_states({"token_ids": source})
    with pytest.raises(ValueError, match="inputs"):
        model.initial_state(3, 8)


# ---- configs: each field survives, and changes what it should


@functools.cache
def behaviour(model_class: type[EncoderDecoder], config: Any) -> harness.Behaviour:
    """Looks at a model of a class: its weights' shapes, its outputs and its initial weights."""
    keras.utils.set_random_seed(0)
    model = model_class(config)
    initial = np.concatenate([ops.convert_to_numpy(w).ravel() for w in model.weights])
    shapes = {w.path.split("/", 1)[1]: tuple(w.shape) for w in model.weights}
    harness.randomize(model)
    inputs = {
        "token_ids": np.array([[1, 3, 2, 0, 2, 1], [0, 0, 1, 4, 3, 2]], "int32"),
        "decoder_token_ids": np.array([[2, 1, 0, 3], [1, 1, 4, 2]], "int32"),
    }
    outputs, training = (harness.logits_of(model, inputs, training=how) for how in (False, True))
    return harness.Behaviour(shapes, outputs, training, initial)


def check_field_has_effect(
    model_class: type[EncoderDecoder], bases: Sequence[Any], name: str, effect: str
) -> None:
    """`harness.check_field_has_effect` of an encoder–decoder."""
    seen = []
    for base in bases:
        changed = harness.perturbed(base, name)[0]
        seen.append(behaviour(model_class, base).effect(behaviour(model_class, changed)))
        if seen[-1] == effect:
            return
    raise AssertionError(f"changing {name} changes {seen}, and should change {effect!r}")


def check_serialization(model_class: type[EncoderDecoder], config: Any, directory: Path) -> None:
    """A model comes back whole from JSON values and from a `.keras` file."""
    model = harness.random_model(model_class, config)
    assert model_class.from_config(json.loads(json.dumps(model.get_config()))).config == config
    model.save(directory / "model.keras")
    loaded = keras.saving.load_model(directory / "model.keras")
    assert type(loaded) is model_class
    assert loaded.config == config
    assert [w.path.split("/", 1)[1] for w in loaded.weights] == [
        w.path.split("/", 1)[1] for w in model.weights
    ]
    for ours, theirs in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(ours), ops.convert_to_numpy(theirs))
    inputs = random_inputs(model, length=4)
    np.testing.assert_array_equal(
        harness.logits_of(model, inputs), harness.logits_of(loaded, inputs)
    )


# ---- compiling, precision and training


def check_jit(model: EncoderDecoder, tolerance: float = 1e-4) -> None:
    """XLA computes the logits, the training step and the decoding steps of graph mode."""
    inputs = random_inputs(model)
    targets = random_inputs(model, seed=1)["decoder_token_ids"]
    jitted = tf.function(lambda inputs: model(inputs), jit_compile=True, autograph=False)
    expected = harness.logits_of(model, inputs)
    np.testing.assert_allclose(jitted(inputs), expected, atol=tolerance, rtol=0)

    def two_steps(inputs: Inputs) -> Any:
        state = begin(model, inputs)
        _, state = model.step(inputs["decoder_token_ids"][:, :7], state)
        return model.step(inputs["decoder_token_ids"][:, 7:], state)[0]

    jitted = tf.function(two_steps, jit_compile=True, autograph=False)
    np.testing.assert_allclose(jitted(inputs)[:, 0], expected[:, 7], atol=tolerance, rtol=0)
    start, after = model.get_weights(), []
    for jit_compile in (False, True):
        model.set_weights(start)
        model.compile(
            keras.optimizers.SGD(0.1),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=jit_compile,
        )
        model.train_on_batch(inputs, targets)
        after.append(model.get_weights())
    model.set_weights(start)
    for graph, xla in zip(*after, strict=True):
        np.testing.assert_allclose(xla, graph, atol=tolerance, rtol=0)
    assert any(np.abs(graph - before).max() > 1e-3 for before, graph in zip(start, after[0]))


def check_second_call_traces_nothing(model: EncoderDecoder) -> None:
    """Other inputs of the same shapes run what was compiled; unknown lengths compile too."""
    run = tf.function(lambda inputs: model(inputs), autograph=False, reduce_retracing=False)
    with harness.count_traces(model, "hidden_states") as traced:
        for seed in range(3):
            inputs = keras.tree.map_structure(tf.constant, random_inputs(model, seed=seed))
            run(inputs)
        assert traced.call_count == 1
        spec = {name: tf.TensorSpec([None, None], "int32") for name in inputs}
        any_length = tf.function(
            lambda inputs: model(inputs), input_signature=[spec], autograph=False
        )
        for length in (8, 5):
            inputs = random_inputs(model, length)
            got = any_length(keras.tree.map_structure(tf.constant, inputs))
            np.testing.assert_allclose(got, harness.logits_of(model, inputs), atol=1e-4)
        assert traced.call_count == 4  # once to trace, once for each of the expected logits


def check_every_weight_learns(model: EncoderDecoder) -> None:
    """The loss has a gradient for each weight."""
    inputs = random_inputs(model)
    targets = random_inputs(model, seed=1)["decoder_token_ids"]
    with tf.GradientTape() as tape:
        hidden = model.hidden_states(inputs, training=True)
        total, _ = model.hidden_cross_entropy(hidden, targets, np.ones(targets.shape, "float32"))
    gradients = tape.gradient(total, [weight.value for weight in model.trainable_weights])
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert gradient is not None, weight.path
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 1e-5, weight.path


def check_mixed_precision(model_class: type[EncoderDecoder], config: Any) -> None:
    """In mixed bfloat16 variables and logits are float32, and close to those of float32."""
    full = harness.random_model(model_class, config)
    mixed = harness.random_model(model_class, config, dtype="mixed_bfloat16")
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    inputs = random_inputs(mixed)
    expected, logits = harness.logits_of(full, inputs), mixed(inputs)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert keras.backend.standardize_dtype(mixed.hidden_states(inputs).dtype) == "bfloat16"
    error = np.abs(ops.convert_to_numpy(logits) - expected).max()
    assert 0 < error < 0.05 * np.abs(expected).max()
    cached, _ = mixed.step(inputs["decoder_token_ids"], begin(mixed, inputs))
    error = np.abs(ops.convert_to_numpy(cached) - expected).max()
    assert error < 0.05 * np.abs(expected).max()
