"""The contracts that every model is held to, each a function over a model or its class and config.

A new model's tests call them with what is its own:

    model = harness.random_model(Decoder, config)
    harness.check_cached_equals_uncached(model)
    harness.check_no_future_leak(model)

Letters are those of the package: B batch, T length, V vocabulary. Every check can fail: where one
asserts that something stays, it also asserts that something else moves.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_lm.config import Config, RotaryScaling
from keras_lm.generation import generate_ids
from keras_lm.models import LanguageModel
from keras_lm.tasks import CausalLM


def random_model(
    model_class: type[LanguageModel], config: Any, seed: int = 0, **kwargs: Any
) -> LanguageModel:
    """A model whose weights are large enough that a forgotten or transposed one shows."""
    model = model_class(config, **kwargs)
    randomize(model, seed)
    return model


def randomize(model: LanguageModel, seed: int = 0) -> None:
    """Fills every weight; the same for the same shapes."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        is_gain = weight.path.endswith(("gamma", "scale"))
        weight.assign(random.normal(1.0 if is_gain else 0.0, 0.3, weight.shape))


def random_ids(model: LanguageModel, batch: int = 3, length: int = 9, seed: int = 0) -> np.ndarray:
    """Token ids [B, T], int32."""
    shape = (batch, length)
    return np.random.default_rng(seed).integers(0, model.config.vocab_size, shape).astype("int32")


def logits_of(model: LanguageModel, inputs: Any, training: bool = False) -> np.ndarray:
    """The logits of a whole batch, float32 [B, T, V]."""
    return ops.convert_to_numpy(model(inputs, training=training))


# ---- configs: each field survives, and changes what it should


def leaf_fields(config: Config) -> list[str]:
    """Names of all fields; those of nested configs are dotted."""
    names = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        nested = leaf_fields(value) if isinstance(value, Config) else []
        names += [f"{field.name}.{name}" for name in nested] or [field.name]
    return names


def perturbed(config: Any, name: str) -> list[Any]:
    """Valid configs that differ from `config` in one field alone; at least one."""
    head, _, rest = name.partition(".")
    if rest:
        values: list[Any] = perturbed(getattr(config, head), rest)
    else:
        hint = typing.get_type_hints(type(config))[head]
        values = _other_values(getattr(config, head), hint)
    configs = []
    for value in values:
        with contextlib.suppress(ValueError):
            configs.append(config.replace(**{head: value}))
    assert configs, f"none of {values} is a value that {name} may take"
    return configs


def _other_values(value: Any, hint: Any) -> list[Any]:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) is typing.Literal:
        return [choice for choice in typing.get_args(hint) if choice != value]
    if hint is RotaryScaling:  # the one nested config that may be None
        return [{"kind": "linear", "factor": 2.0}]
    if hint is bool:
        return [not value]
    if hint is float:
        return [(value or 0.0) * 0.5 + 0.25]
    if hint is int:
        return [2 * (value or 1), (value or 1) + 1, (value or 1) + 2, max((value or 1) // 2, 1)]
    return [(*value, *value) if isinstance(value, tuple) else f"{value}x"]


@dataclasses.dataclass(frozen=True)
class Behaviour:
    """What can be seen of a model that was made from a config with seed 0."""

    shapes: dict[str, tuple[int, ...]]
    outputs: np.ndarray
    training: np.ndarray
    initial: np.ndarray

    def effect(self, other: Behaviour) -> str:
        """The first of the four in which two models differ; weights of the same shape are equal."""
        if self.shapes != other.shapes:
            return "shapes"
        for aspect in ("outputs", "training", "initial"):
            if not np.array_equal(getattr(self, aspect), getattr(other, aspect)):
                return aspect
        return "nothing"


@functools.cache
def behaviour(model_class: type[LanguageModel], config: Any) -> Behaviour:
    """Looks at a model of a class: its weights' shapes, its outputs and its initial weights."""
    keras.utils.set_random_seed(0)
    model = model_class(config)
    initial = np.concatenate([ops.convert_to_numpy(w).ravel() for w in model.weights])
    shapes = {w.path.split("/", 1)[1]: tuple(w.shape) for w in model.weights}
    randomize(model)
    ids = np.array([[1, 3, 2, 0, 2, 1], [0, 0, 1, 4, 3, 2]], "int32")
    return Behaviour(shapes, logits_of(model, ids), logits_of(model, ids, training=True), initial)


def check_field_has_effect(
    model_class: type[LanguageModel], bases: Sequence[Any], name: str, effect: str
) -> None:
    """In one of some configs at least, changing one field has just the effect that it should.

    Effects, each with the ones after it left out: `"shapes"` of weights; `"outputs"` with the
    same weights; `"training"`, outputs with dropout; `"initial"` weights.
    """
    seen = []
    for base in bases:
        changed = perturbed(base, name)[0]
        seen.append(behaviour(model_class, base).effect(behaviour(model_class, changed)))
        if seen[-1] == effect:
            return
    raise AssertionError(f"changing {name} changes {seen}, and should change {effect!r}")


def check_serialization(model_class: type[LanguageModel], config: Any, directory: Path) -> None:
    """A model comes back whole from JSON values and from a `.keras` file."""
    model = random_model(model_class, config)
    values = json.loads(json.dumps(model.get_config()))
    assert model_class.from_config(values).config == config
    model.save(directory / "model.keras")
    loaded = keras.saving.load_model(directory / "model.keras")
    assert type(loaded) is model_class
    assert loaded.config == config
    assert loaded.dtype_policy == model.dtype_policy
    assert [w.path.split("/", 1)[1] for w in loaded.weights] == [
        w.path.split("/", 1)[1] for w in model.weights
    ]
    for ours, theirs in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(ours), ops.convert_to_numpy(theirs))
    ids = random_ids(model, length=min(6, config.max_length))
    np.testing.assert_array_equal(logits_of(model, ids), logits_of(loaded, ids))


# ---- the state machine


def check_cached_equals_uncached(model: LanguageModel, tolerance: float = 1e-5) -> None:
    """`step` gives the logits of the whole batch: by tokens, by chunks, from ragged prompts."""
    ids = random_ids(model)
    expected = logits_of(model, ids)
    for chunks in ([1] * 9, [4, 3, 2], [9], [1, 8]):
        logits = _steps(model, ids, chunks)
        np.testing.assert_allclose(logits, expected, atol=tolerance, rtol=0)
    _check_ragged_prompts(model, ids, tolerance)
    _check_rows_move_with_state(model, ids, tolerance)


def _steps(model: LanguageModel, ids: np.ndarray, chunks: Sequence[int]) -> np.ndarray:
    # More room than tokens: empty slots must not be seen.
    state = model.initial_state(len(ids), ids.shape[1] + 3)
    parts, start = [], 0
    for size in chunks:
        logits, state = model.step(ids[:, start : start + size], state)
        parts.append(ops.convert_to_numpy(logits))
        start += size
    return np.concatenate(parts, axis=1)


def _check_ragged_prompts(model: LanguageModel, ids: np.ndarray, tolerance: float) -> None:
    """Prompts of several lengths in two chunks, then tokens: each row is as if it were alone."""
    first, second = np.array([4, 1, 3]), np.array([1, 3, 2])
    rows: list[list[int]] = [[], [], []]
    state = model.initial_state(3, 12)
    for lengths, width, last_only in ((first, 4, False), (second, 3, True)):
        chunk = random_ids(model, 3, width, seed=width)  # beyond its length a row holds rubbish
        for row, length in enumerate(lengths):
            chunk[row, :length] = ids[row, len(rows[row]) : len(rows[row]) + length]
            rows[row] += chunk[row, :length].tolist()
        logits, state = model.step(
            chunk, state, lengths=lengths.astype("int32"), last_only=last_only
        )
        logits = ops.convert_to_numpy(logits)
        assert logits.shape[1] == (1 if last_only else width)
        for row, length in enumerate(lengths):
            got = logits[row, 0 if last_only else length - 1]
            _compare_with_alone(model, rows[row], got, tolerance)
    for step in range(3):
        token = ids[:, step : step + 1]
        logits, state = model.step(token, state)
        for row in range(3):
            rows[row].append(int(token[row, 0]))
            got = ops.convert_to_numpy(logits)[row, 0]
            _compare_with_alone(model, rows[row], got, tolerance)


def _compare_with_alone(
    model: LanguageModel, row: Sequence[int], last_logits: np.ndarray, tolerance: float
) -> None:
    alone = logits_of(model, np.array([row], "int32"))[0, -1]
    np.testing.assert_allclose(last_logits, alone, atol=tolerance, rtol=0)


def _check_rows_move_with_state(model: LanguageModel, ids: np.ndarray, tolerance: float) -> None:
    """Axis 0 of every leaf of the state is the batch, so beams can be reordered."""
    order = np.array([2, 0, 0])
    _, state = model.step(ids[:, :5], model.initial_state(3, 9))
    assert {leaf.shape[0] for leaf in keras.tree.flatten(state)} == {3}
    state = keras.tree.map_structure(lambda leaf: ops.take(leaf, order, axis=0), state)
    logits, _ = model.step(ids[order, 5:], state)
    expected = logits_of(model, ids[order])[:, 5:]
    np.testing.assert_allclose(ops.convert_to_numpy(logits), expected, atol=tolerance, rtol=0)


def check_no_future_leak(model: LanguageModel) -> None:
    """Another token at t leaves all logits before t as they were, with dropout as well."""
    ids = random_ids(model)
    for training in (False, True):
        with _replayed_randomness(model) as replay:
            before = logits_of(model, ids, training)
            for t in (1, 4, 8):
                changed = ids.copy()
                changed[:, t] = (changed[:, t] + 1) % model.config.vocab_size
                replay()
                after = logits_of(model, changed, training)
                np.testing.assert_array_equal(after[:, :t], before[:, :t])
                assert np.abs(after[:, t] - before[:, t]).max() > 1e-4


@contextlib.contextmanager
def _replayed_randomness(model: LanguageModel) -> Iterator[Callable[[], None]]:
    """Yields a function that brings every random generator of a model back to the start."""
    weights = {id(weight) for weight in model.weights}
    generators = [v for v in model.variables if id(v) not in weights]
    start = [ops.convert_to_numpy(generator) for generator in generators]

    def replay() -> None:
        for generator, value in zip(generators, start, strict=True):
            generator.assign(value)

    yield replay
    replay()


def check_segments_are_apart(model: LanguageModel, tolerance: float = 1e-5) -> None:
    """Documents packed into one row read as if each stood alone."""
    ids = random_ids(model, batch=1, length=9)
    segments = np.array([[1, 1, 1, 1, 2, 2, 2, 0, 0]], "int32")
    positions = np.array([[0, 1, 2, 3, 0, 1, 2, 0, 0]], "int32")
    inputs = {"token_ids": ids, "segment_ids": segments, "positions": positions}
    packed = logits_of(model, inputs)
    for part in (slice(0, 4), slice(4, 7)):
        alone = logits_of(model, ids[:, part])
        np.testing.assert_allclose(packed[:, part], alone, atol=tolerance, rtol=0)
    changed = {**inputs, "token_ids": np.where(segments == 1, (ids + 1) % 5, ids)}
    after = logits_of(model, changed)
    np.testing.assert_array_equal(after[:, 4:7], packed[:, 4:7])
    assert np.abs(after[:, :4] - packed[:, :4]).max() > 1e-4


def check_padding_changes_nothing(model: LanguageModel, tolerance: float = 1e-5) -> None:
    """Padding on the right or on the left, whatever it holds, leaves a row's logits."""
    ids = random_ids(model, batch=2, length=5)
    expected = logits_of(model, ids)
    for left, right in ((0, 4), (4, 0), (2, 2)):
        for filler in (0, 1):
            wide = np.pad(ids, [(0, 0), (left, right)], constant_values=filler)
            mask = np.pad(np.ones_like(ids), [(0, 0), (left, right)])
            for kind in ("int32", "bool"):
                inputs = {"token_ids": wide, "padding_mask": mask.astype(kind)}
                logits = logits_of(model, inputs)[:, left : left + 5]
                np.testing.assert_allclose(logits, expected, atol=tolerance, rtol=0)


def check_log_probs(model: LanguageModel, tolerance: float = 1e-5) -> None:
    """`log_probs` and the nats of `hidden_cross_entropy` are those of the logits' softmax."""
    ids, targets = random_ids(model), random_ids(model, seed=1)
    logits = logits_of(model, ids).astype("float64")
    norm = np.log(np.exp(logits).sum(-1))
    expected = np.take_along_axis(logits, targets[..., None], -1)[..., 0] - norm
    log_probs = ops.convert_to_numpy(model.log_probs(ids, targets))
    np.testing.assert_allclose(log_probs, expected, atol=tolerance, rtol=0)
    weights = np.random.default_rng(2).random(ids.shape).astype("float32")
    total, nats = model.hidden_cross_entropy(model.hidden_states(ids), targets, weights)
    np.testing.assert_allclose(ops.convert_to_numpy(nats), -expected, atol=tolerance, rtol=0)
    np.testing.assert_allclose(float(total), -(weights * expected).sum(), rtol=1e-4)


# ---- compiling


def check_jit(model: LanguageModel, tolerance: float = 1e-4) -> None:
    """XLA computes the logits and the training step of graph mode."""
    ids, targets = random_ids(model, length=8), random_ids(model, length=8, seed=1)
    jitted = tf.function(lambda ids: model(ids), jit_compile=True, autograph=False)
    np.testing.assert_allclose(jitted(ids), logits_of(model, ids), atol=tolerance, rtol=0)
    start = model.get_weights()
    after = []
    for jit_compile in (False, True):
        model.set_weights(start)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=jit_compile)
        model.train_on_batch(ids, targets)
        after.append(model.get_weights())
    model.set_weights(start)
    for graph, xla in zip(*after, strict=True):
        np.testing.assert_allclose(xla, graph, atol=tolerance, rtol=0)
    assert any(np.abs(graph - before).max() > 1e-3 for before, graph in zip(start, after[0]))


@contextlib.contextmanager
def count_traces(model: LanguageModel, method: str) -> Iterator[mock.Mock]:
    """Counts how often Python runs a method of a model: compiled functions run it to trace it."""
    original = getattr(type(model), method)
    with mock.patch.object(type(model), method, autospec=True, side_effect=original) as counter:
        yield counter


def check_generation_traces_once(model: LanguageModel) -> None:
    """A second `generate_ids` of the same bucket, with other parameters, compiles nothing."""
    with count_traces(model, "step") as step:
        generate_ids(model, random_ids(model, 3, 5), max_new_tokens=3)
        traces = step.call_count
        assert traces > 0
        generate_ids(
            model,
            random_ids(model, 4, 7, seed=1),
            max_new_tokens=5,
            temperature=0.7,
            top_k=3,
            seed=9,
        )
        assert step.call_count == traces


# ---- precision and training


def check_mixed_precision(model_class: type[LanguageModel], config: Any) -> None:
    """In mixed bfloat16 variables and logits are float32, and close to those of float32."""
    full = random_model(model_class, config)
    mixed = random_model(model_class, config, dtype="mixed_bfloat16")
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    ids = random_ids(mixed)
    logits = mixed(ids)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert keras.backend.standardize_dtype(mixed.hidden_states(ids).dtype) == "bfloat16"
    expected = logits_of(full, ids)
    error = np.abs(ops.convert_to_numpy(logits) - expected).max()
    assert 0 < error < 0.05 * np.abs(expected).max()
    log_probs = mixed.log_probs(ids, ids)
    assert keras.backend.standardize_dtype(log_probs.dtype) == "float32"
    cached, _ = mixed.step(ids, mixed.initial_state(3, 9))
    assert np.abs(ops.convert_to_numpy(cached) - expected).max() < 0.05 * np.abs(expected).max()


def check_fit(model_class: type[LanguageModel], config: Any) -> None:
    """A task of the model learns a sequence that repeats; every loss is reported."""
    task = CausalLM(model_class(config), sequence_length=8)
    task.compile(keras.optimizers.Adam(0.03))
    ids = np.tile(np.arange(5, dtype="int32"), (16, 2))[:, :9]
    history = task.fit(ids, batch_size=4, epochs=6, validation_data=ids[:4], verbose=0).history
    assert set(history) == {"loss", "perplexity", "val_loss", "val_perplexity"}
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert history["val_loss"][-1] < 0.5 * np.log(5)
    np.testing.assert_allclose(np.exp(history["loss"]), history["perplexity"], rtol=1e-5)
