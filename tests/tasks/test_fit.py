"""Training on strings and on ids, with what Keras users expect of `fit` and `compile`."""

from __future__ import annotations

from typing import Any

import harness
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import keras_lm as klm
from keras_lm.tasks import CausalLM
from keras_lm.training import NextTokenLoss

NAMES = {"loss", "perplexity", "bits_per_byte"}


def weights_of(task: CausalLM) -> list[np.ndarray]:
    return [ops.convert_to_numpy(weight).copy() for weight in task.model.weights]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_training_learns(trained: CausalLM, fresh: CausalLM, texts: list[str]) -> None:
    fresh.compile()
    before = fresh.evaluate(texts, verbose=0, return_dict=True)
    after = trained.evaluate(texts, verbose=0, return_dict=True)
    assert set(before) == NAMES
    assert before["loss"] == pytest.approx(np.log(300), abs=0.2)
    assert after["loss"] < 0.4 * before["loss"]
    assert after["bits_per_byte"] < 0.4 * before["bits_per_byte"]


def test_validation_split_is_the_tail_of_a_list(fresh: CausalLM, texts: list[str]) -> None:
    fresh.compile()
    history = fresh.fit(texts, batch_size=4, epochs=2, validation_split=0.25, verbose=0).history
    assert set(history) == NAMES | {f"val_{name}" for name in NAMES}
    assert history["loss"][1] < history["loss"][0]
    tail = fresh.evaluate(texts[-6:], verbose=0, return_dict=True)
    assert {k: history[f"val_{k}"][-1] for k in NAMES} == pytest.approx(tail, rel=1e-5)


def test_streams_and_ready_batches(fresh: CausalLM, texts: list[str]) -> None:
    fresh.compile()
    stream = tf.data.Dataset.from_tensor_slices(texts)
    history = fresh.fit(stream, batch_size=4, epochs=3, validation_data=stream, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert history["val_loss"][-1] < history["val_loss"][0]
    ids = np.tile(np.arange(9, dtype="int64"), (8, 1))
    for data in (ids, tf.constant(ids), tf.data.Dataset.from_tensor_slices(ids).batch(4)):
        losses = fresh.fit(data, batch_size=4, epochs=2, verbose=0).history["loss"]
        assert losses[1] < losses[0]
    x, y = ids[:, :-1].astype("int32"), ids[:, 1:].astype("int32")
    losses = fresh.fit(x, y, sample_weight=np.ones(8), epochs=2, verbose=0).history["loss"]
    assert losses[1] < losses[0]


def test_weights_of_zero_leave_tokens_out(fresh: CausalLM) -> None:
    fresh.compile()
    random = np.random.default_rng(0)
    x, y = random.integers(0, 300, (2, 4, 6)).astype("int32")
    weights = np.ones((4, 6), "float32")
    weights[:, 3:] = 0
    other = np.where(weights > 0, y, 7).astype("int32")
    one, two = (
        fresh.evaluate(x, targets, sample_weight=weights, verbose=0, return_dict=True)
        for targets in (y, other)
    )
    assert one == two
    rows = fresh.evaluate(x, y, sample_weight=np.array([1.0, 0, 0, 0]), verbose=0, return_dict=True)
    first = fresh.evaluate(x[:1], y[:1], verbose=0, return_dict=True)
    assert rows == pytest.approx(first, rel=1e-5)


def test_the_order_is_a_function_of_the_seed(
    config: klm.TransformerConfig, tokenizer: Any, texts: list[str]
) -> None:
    def train(seed: int, shuffle: bool = True) -> list[np.ndarray]:
        keras.utils.set_random_seed(0)
        task = CausalLM(klm.models.Decoder(config), tokenizer, sequence_length=24)
        task.compile(keras.optimizers.SGD(0.5))
        task.fit(texts, batch_size=4, seed=seed, shuffle=shuffle, verbose=0)
        return weights_of(task)

    first = train(1)
    assert same(first, train(1))
    assert not same(first, train(2))
    assert not same(first, train(1, shuffle=False))


def test_initial_epoch_continues_with_the_batches_that_are_due(
    config: klm.TransformerConfig, tokenizer: Any, texts: list[str]
) -> None:
    def train(*epochs: tuple[int, int]) -> list[np.ndarray]:
        keras.utils.set_random_seed(0)
        task = CausalLM(klm.models.Decoder(config), tokenizer, sequence_length=24)
        task.compile(keras.optimizers.SGD(0.5))
        for first, last in epochs:
            task.fit(texts, batch_size=4, initial_epoch=first, epochs=last, verbose=0)
        return weights_of(task)

    assert same(train((0, 2)), train((0, 1), (1, 2)))
    assert not same(train((0, 2)), train((0, 1), (0, 1)))


class SeesLogits(keras.losses.Loss):
    """A user's loss; it notes what it is given."""

    shapes: list[tuple[int | None, ...]]

    def call(self, y_true: Any, y_pred: Any) -> Any:
        self.shapes.append(tuple(y_pred.shape))
        return keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)


def test_a_loss_of_the_users_sees_full_logits(fresh: CausalLM, texts: list[str]) -> None:
    loss = SeesLogits(reduction="sum")
    loss.shapes = []
    fresh.compile(keras.optimizers.SGD(0.01), loss)
    history = fresh.fit(texts, batch_size=4, verbose=0).history
    assert set(history) == {"loss"}
    assert set(loss.shapes) == {(4, 24, 300)}


def test_a_loss_by_name(fresh: CausalLM) -> None:
    fresh.compile("sgd", "mse")
    x = np.array([[1, 2, 3]], "int32")
    y = np.random.default_rng(0).normal(size=(1, 3, 300)).astype("float32")
    loss = fresh.evaluate(x, y, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(((harness.logits_of(fresh.model, x) - y) ** 2).mean(), rel=1e-4)


def test_metrics_of_the_users_see_full_logits(trained: CausalLM, texts: list[str]) -> None:
    expected = trained.evaluate(texts, verbose=0, return_dict=True)
    task = CausalLM(trained.model, trained.tokenizer, sequence_length=24)
    task.compile(
        "sgd",
        metrics=["sparse_categorical_accuracy"],
        weighted_metrics=[klm.metrics.CrossEntropy(name="nats")],
    )
    results = task.evaluate(texts, verbose=0, return_dict=True)
    assert 0 < results.pop("sparse_categorical_accuracy") <= 1
    assert results.pop("nats") == pytest.approx(expected["loss"], rel=1e-5)
    assert results == pytest.approx(expected, rel=1e-5)


def test_chunks_train_as_full_logits_do(
    config: klm.TransformerConfig, tokenizer: Any, texts: list[str]
) -> None:
    """The gradients of the loss in chunks are those of the plain loss that a metric asks for."""
    after = []
    for metrics in (None, ["sparse_categorical_accuracy"]):
        keras.utils.set_random_seed(0)
        task = CausalLM(klm.models.Decoder(config), tokenizer, sequence_length=24)
        task.compile(keras.optimizers.SGD(0.5), metrics=metrics)
        task.fit(texts, batch_size=4, verbose=0)
        after.append(weights_of(task))
    for chunks, plain in zip(*after, strict=True):
        np.testing.assert_allclose(chunks, plain, atol=1e-5)


def test_optimizers_and_callbacks(fresh: CausalLM, texts: list[str]) -> None:
    optimizer = keras.optimizers.SGD(0.0)
    fresh.compile(optimizer)
    assert fresh.optimizer is optimizer
    before = weights_of(fresh)
    seen: list[Any] = []
    curve = klm.training.LossCurve(every=1)
    callbacks = [
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(dict(logs))),
        keras.callbacks.EarlyStopping("val_bits_per_byte", mode="min", patience=1),
        curve,
    ]
    fresh.fit(texts, batch_size=4, epochs=9, validation_split=0.25, callbacks=callbacks, verbose=0)
    assert same(weights_of(fresh), before)
    assert len(seen) == 2  # nothing got better
    assert set(seen[0]) == NAMES | {f"val_{name}" for name in NAMES}
    assert len(curve.losses) == optimizer.iterations
    np.testing.assert_allclose(np.mean(curve.losses), seen[0]["loss"], rtol=0.05)


def test_steps_per_epoch(fresh: CausalLM, texts: list[str]) -> None:
    fresh.compile("sgd")
    fresh.fit(texts, batch_size=2, epochs=2, steps_per_epoch=3, verbose=0)
    assert int(fresh.optimizer.iterations) == 6


def test_documents_do_not_see_each_other_unless_asked(fresh: CausalLM, texts: list[str]) -> None:
    short = [text[:9] for text in texts]
    for cross in (False, True):
        with harness.count_traces(fresh.model, "hidden_states") as calls:
            fresh.compile("sgd", run_eagerly=True)
            fresh.fit(short, batch_size=2, steps_per_epoch=1, cross_documents=cross, verbose=0)
        segments = ops.convert_to_numpy(calls.call_args.args[1]["segment_ids"])
        assert (segments.max() > 1) == (not cross)


def test_xla_trains_as_the_graph_does(
    config: klm.TransformerConfig, tokenizer: Any, texts: list[str]
) -> None:
    after = []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(0)
        task = CausalLM(klm.models.Decoder(config), tokenizer, 24)
        task.compile(keras.optimizers.SGD(0.5), jit_compile=jit_compile)
        history = task.fit(texts, batch_size=4, verbose=0).history
        after.append([*weights_of(task), np.array([history[name] for name in sorted(NAMES)])])
    for graph, xla in zip(*after, strict=True):
        np.testing.assert_allclose(xla, graph, atol=1e-4, rtol=1e-4)


def test_mixed_precision(config: klm.TransformerConfig, tokenizer: Any, texts: list[str]) -> None:
    model = klm.models.Decoder(config, dtype="mixed_bfloat16")
    task = CausalLM(model, tokenizer, sequence_length=24)
    task.compile(klm.training.default_optimizer(0.02))
    losses = task.fit(texts, batch_size=8, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0] - 0.5
    assert {weight.dtype for weight in model.weights} == {"float32"}
    results = task.evaluate(texts, verbose=0, return_dict=True)
    assert results["loss"] < losses[0]
    # 17 tokens and more: the prompt's bucket is longer than the model.
    answer = task.generate(texts[2] * 2, max_new_tokens=2)
    assert answer.startswith(texts[2] * 2)


def test_a_second_fit_traces_nothing(fresh: CausalLM, texts: list[str]) -> None:
    fresh.compile("sgd")
    fresh.fit(texts, batch_size=4, validation_data=texts[:3], verbose=0)
    with harness.count_traces(fresh.model, "hidden_states") as calls:
        fresh.fit(texts[::-1], batch_size=4, validation_data=texts[3:9], verbose=0)
    assert calls.call_count == 0


def test_summary_names_the_parts(trained: CausalLM) -> None:
    lines: list[str] = []
    trained.summary(print_fn=lines.append)
    assert "Decoder" in "\n".join(lines)
    assert f"{trained.model.count_params():,}" in "\n".join(lines)


def test_work_on_ids_needs_no_tokenizer(config: klm.TransformerConfig) -> None:
    task = CausalLM(klm.models.Decoder(config), sequence_length=8)
    task.compile()
    assert isinstance(task.loss, NextTokenLoss)
    ids = np.ones((4, 9), "int32")
    assert set(task.fit(ids, verbose=0).history) == {"loss", "perplexity"}
