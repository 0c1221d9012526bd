"""The n-gram model, under the contracts of a language model. What it counts: test_ngram_counts."""

from __future__ import annotations

import json
from pathlib import Path

import harness
import keras
import numpy as np
import pytest
from harness_trie import fill, levels_of, random_ngrams

import keras_lm as klm
from keras_lm.models import NGramLM

VOCAB_SIZE = 6


def random_ngram_model(order: int, smoothing: str = "kneser_ney") -> NGramLM:
    """A model of random n-grams; its distributions do not sum to one."""
    ngrams = random_ngrams(order, order, VOCAB_SIZE, 0.6)
    config = klm.NGramConfig(
        order=order,
        smoothing=smoothing,
        vocab_size=VOCAB_SIZE,
        begin_id=0,
        end_id=1,
        num_ngrams=[len(level) for level in levels_of(ngrams, order)],
        max_length=32,
    )
    model = NGramLM(config)
    fill(model.trie, ngrams, order)
    return model


@pytest.fixture(params=[(1, "kneser_ney"), (2, "mle"), (4, "kneser_ney"), (3, "add_k")])
def model(request: pytest.FixtureRequest) -> NGramLM:
    return random_ngram_model(*request.param)


def test_cached_equals_uncached(model: NGramLM) -> None:
    harness.check_cached_equals_uncached(model)


def test_no_future_leak() -> None:
    harness.check_no_future_leak(random_ngram_model(4))


def test_segments_are_apart() -> None:
    harness.check_segments_are_apart(random_ngram_model(3))


def test_padding_changes_nothing(model: NGramLM) -> None:
    harness.check_padding_changes_nothing(model)


def test_log_probs_are_the_logits(model: NGramLM) -> None:
    ids, targets = harness.random_ids(model), harness.random_ids(model, seed=1)
    expected = np.take_along_axis(harness.logits_of(model, ids), targets[..., None], -1)[..., 0]
    log_probs = keras.ops.convert_to_numpy(model.log_probs(ids, targets))
    np.testing.assert_allclose(log_probs, expected, atol=1e-6)
    total, nats = model.hidden_cross_entropy(model.hidden_states(ids), targets, np.ones((3, 9)))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(nats), -expected, atol=1e-6)
    np.testing.assert_allclose(float(total), -expected.sum(), rtol=1e-5)


def test_xla_looks_up_the_same(model: NGramLM) -> None:
    import tensorflow as tf

    ids, targets = harness.random_ids(model), harness.random_ids(model, seed=1)
    for function, arguments in ((model, (ids,)), (model.log_probs, (ids, targets))):
        jitted = tf.function(function, jit_compile=True, autograph=False)
        np.testing.assert_allclose(jitted(*arguments), function(*arguments), atol=1e-6)


def test_generation_traces_once() -> None:
    harness.check_generation_traces_once(random_ngram_model(3))


def test_only_the_last_tokens_matter() -> None:
    model = random_ngram_model(3)
    ids = harness.random_ids(model, 1, 8)
    before = harness.logits_of(model, ids)
    ids[0, 2] = (ids[0, 2] + 1) % VOCAB_SIZE
    moved = np.abs(harness.logits_of(model, ids) - before).max(axis=-1)[0] > 0
    assert moved.tolist() == [False, False, True, True, False, False, False, False]


@pytest.mark.parametrize("kind", ["config", "keras", "pretrained"])
def test_comes_back_whole(kind: str, model: NGramLM, tmp_path: Path) -> None:
    model.vocabulary = ("<s>", "</s>", "a\n", " ", "c", "é")
    if kind == "config":
        again = NGramLM.from_config(json.loads(json.dumps(model.get_config())))
        again.set_weights(model.get_weights())
    elif kind == "keras":
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        assert again.vocabulary == model.vocabulary
    else:
        klm.checkpoints.save_model(model, tmp_path)
        again = klm.checkpoints.load_model(tmp_path)
    assert type(again) is NGramLM
    assert again.config == model.config
    assert [w.dtype for w in again.weights] == [w.dtype for w in model.weights]
    ids = harness.random_ids(model)
    np.testing.assert_array_equal(harness.logits_of(again, ids), harness.logits_of(model, ids))


def test_fields_or_a_config() -> None:
    config = klm.NGramConfig(order=2)
    assert NGramLM(config).config == NGramLM(order=2).config == config
    with pytest.raises(ValueError, match="give a config or its fields; got both, order"):
        NGramLM(config, order=2)
    with pytest.raises(ValueError, match="NGramConfig has no field 'ordr'; did you mean 'order'"):
        NGramLM(ordr=2)
    with pytest.raises(ValueError, match="order must be positive; got 0"):
        NGramLM(order=0)
    with pytest.raises(ValueError, match="smoothing must be one of 'kneser_ney'.*got 'laplace'"):
        NGramLM(smoothing="laplace")
    with pytest.raises(ValueError, match=r"num_ngrams must be empty, or 2 positive numbers"):
        NGramLM(order=2, num_ngrams=[3])


def test_a_model_without_a_text_says_so() -> None:
    with pytest.raises(ValueError, match="has seen no text; fit it"):
        NGramLM(order=2, vocab_size=4)(np.array([[1]]))
    with pytest.raises(ValueError, match="vocab_size is open"):
        NGramLM(order=2).estimate([])
