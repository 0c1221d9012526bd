"""`score` and `evaluate` are one number, however the data are batched, windowed or given."""

from __future__ import annotations

import math
from typing import Any

import harness
import numpy as np
import pytest
import tensorflow as tf

from keras_lm.tasks import CausalLM


def score_by_hand(task: CausalLM, text: str, window: int) -> float:
    """BOS + text + EOS, a token at a time, each seen from the window that counts it."""
    tokenizer: Any = task.tokenizer
    ids = [tokenizer.bos_id, *tokenizer(text).numpy().tolist(), tokenizer.eos_id]
    stride, total = window - window // 2, 0.0
    for target in range(1, len(ids)):
        start = 0
        while start + window < target:  # the first window that holds this target
            start += stride
        logits = harness.logits_of(task.model, np.array([ids[start:target]], "int32"))[0, -1]
        total += logits[ids[target]] - np.log(np.exp(logits.astype("float64")).sum())
    return total


@pytest.mark.parametrize("window", [5, 24])
def test_score_by_hand(trained: CausalLM, texts: list[str], window: int) -> None:
    task = CausalLM(trained.model, trained.tokenizer, sequence_length=window)
    several = ["", "A", texts[3], " ".join(texts[:2])]
    expected = [score_by_hand(task, text, window) for text in several]
    scores = task.score(several)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-4)
    assert task.score(texts[3]) == pytest.approx(expected[2], rel=1e-4)
    assert isinstance(task.score(texts[3]), float)


def test_text_of_its_kind_is_likelier(trained: CausalLM, texts: list[str]) -> None:
    reverse = [text[::-1] for text in texts if text.isascii()]
    assert trained.score([t for t in texts if t.isascii()]).sum() > trained.score(reverse).sum()


def test_bits_per_byte_is_minus_score(trained: CausalLM, texts: list[str]) -> None:
    task = CausalLM(trained.model, trained.tokenizer, sequence_length=7)
    task.compile()
    data = [*texts[::2], "x", "".join(texts[:3])]
    nats = -task.score(data).astype("float64").sum()
    tokenizer: Any = task.tokenizer
    tokens = int(tf.reduce_sum(tokenizer(data).row_lengths())) + len(data)
    num_bytes = sum(len(text.encode()) for text in data)
    expected = {
        "loss": nats / tokens,
        "perplexity": math.exp(nats / tokens),
        "bits_per_byte": nats / math.log(2) / num_bytes,
    }
    stream = tf.data.Dataset.from_tensor_slices(data)
    for given, batch_size in (
        (data, 5),
        (data, 32),
        (stream, 5),
        (stream.batch(7), 5),
        (np.array(data), None),
        (tf.constant(data), 5),
    ):
        results = task.evaluate(given, batch_size=batch_size, verbose=0, return_dict=True)
        assert results == pytest.approx(expected, rel=1e-5)


def test_order_of_the_texts_does_not_matter(trained: CausalLM, texts: list[str]) -> None:
    one, other = (
        trained.evaluate(data, batch_size=3, verbose=0, return_dict=True)
        for data in (texts, texts[::-1])
    )
    assert one == pytest.approx(other, rel=1e-5)


def test_a_list_of_numbers_without_return_dict(trained: CausalLM, texts: list[str]) -> None:
    named = trained.evaluate(texts, verbose=0, return_dict=True)
    assert trained.evaluate(texts, verbose=0) == pytest.approx(
        [named[name] for name in ("loss", "perplexity", "bits_per_byte")]
    )


def test_token_ids_count_what_their_texts_count(trained: CausalLM, texts: list[str]) -> None:
    """Texts of one length in tokens: nothing is padded, and the two ways must agree."""
    tokenizer: Any = trained.tokenizer
    chosen = [text for text in texts if len(tokenizer(text)) == len(tokenizer(texts[0]))]
    ids = np.array(
        [[tokenizer.bos_id, *tokenizer(t).numpy(), tokenizer.eos_id] for t in chosen], "int32"
    )
    expected = trained.evaluate(chosen, verbose=0, return_dict=True)
    data = tf.data.Dataset.from_tensor_slices(ids).batch(2)
    weights = np.ones(ids[:, 1:].shape, "float32")
    triple = tf.data.Dataset.from_tensors((ids[:, :-1], ids[:, 1:], weights))
    for given in (ids, ids.tolist(), data, triple):
        results = trained.evaluate(given, batch_size=2, verbose=0, return_dict=True)
        assert results == pytest.approx(expected, rel=1e-5)
    results = trained.evaluate(ids[:, :-1], ids[:, 1:], verbose=0, return_dict=True)
    assert results == pytest.approx(expected, rel=1e-5)


def test_predict_gives_logits(trained: CausalLM, texts: list[str]) -> None:
    tokenizer: Any = trained.tokenizer
    logits = trained.predict(texts[:3], batch_size=2, verbose=0)
    stream = tf.data.Dataset.from_tensor_slices(texts[:3])
    np.testing.assert_allclose(trained.predict(stream, verbose=0), logits, atol=1e-5)
    for row, text in zip(logits, texts[:3], strict=True):
        ids = np.array([[tokenizer.bos_id, *tokenizer(text).numpy()]], "int32")
        alone = harness.logits_of(trained.model, ids)[0]
        np.testing.assert_allclose(row[: len(alone)], alone, atol=1e-4)


def test_a_second_evaluate_traces_nothing(trained: CausalLM, texts: list[str]) -> None:
    trained.evaluate(texts, batch_size=4, verbose=0)
    with harness.count_traces(trained.model, "hidden_states") as calls:
        trained.evaluate(texts[:5], batch_size=4, verbose=0)
        trained.score(texts[:2])
        first = calls.call_count
        trained.score(texts[3:5])
    assert calls.call_count == first
    assert first <= 1  # score's own first trace
