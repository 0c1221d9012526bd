"""Recurrent models in a task: carried state, saving, serving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lm as klm
from keras_lm.tasks import CausalLM
from keras_lm.tokenizers import BytePairTokenizer


@pytest.fixture
def lm(tokenizer: BytePairTokenizer) -> CausalLM:
    keras.utils.set_random_seed(0)
    config = klm.RecurrentConfig(
        cell="gru", vocab_size=tokenizer.vocab_size, num_layers=1, hidden_dim=16
    )
    task = CausalLM(klm.models.RecurrentLM(config), tokenizer, sequence_length=8)
    task.compile(keras.optimizers.Adam(0.02))
    return task


def test_carried_state_is_one_long_window(lm: CausalLM, texts: list[str]) -> None:
    """With a learning rate of 0, windows of 8 that carry the state read what one of 80 reads."""
    text = [" ".join(texts[:4])]
    lm.compile(keras.optimizers.SGD(0.0))
    carried = lm.fit(text, batch_size=1, carry_state=True, verbose=0).history["loss"]
    whole = CausalLM(lm.model, lm.tokenizer, sequence_length=200)
    expected = whole.evaluate(text, verbose=0, return_dict=True)["loss"]
    assert carried[0] == pytest.approx(expected, rel=1e-5)
    apart = lm.fit(text, batch_size=1, verbose=0).history["loss"]
    assert abs(apart[0] - expected) > 1e-4


def test_it_learns_saves_and_serves(lm: CausalLM, texts: list[str], tmp_path: Path) -> None:
    losses = lm.fit(texts, batch_size=4, epochs=6, carry_state=True, verbose=0).history["loss"]
    assert losses[-1] < 0.6 * losses[0]
    results = lm.evaluate(texts, verbose=0, return_dict=True)
    assert results["loss"] == pytest.approx(-lm.score(texts).sum() / tokens_of(lm, texts), rel=1e-5)
    lm.save_pretrained(tmp_path / "directory")
    lm.export(tmp_path / "served")
    loaded = CausalLM.from_pretrained(tmp_path / "directory")
    prompts = ["The cat", "Everyone looked"]
    expected = lm.generate(prompts, max_new_tokens=64)
    assert loaded.model.config == lm.model.config
    assert loaded.generate(prompts, max_new_tokens=64) == expected
    served = tf.saved_model.load(tmp_path / "served").signatures["serving_default"]
    answer = served(text=tf.constant(prompts))["text"].numpy()
    assert [text.decode() for text in answer] == expected
    # It has no longest length, so a text may go on beyond any window.
    assert len(lm.generate("The", max_new_tokens=300, temperature=1.0)) > 0


def tokens_of(lm: CausalLM, texts: list[str]) -> int:
    tokenizer: Any = lm.tokenizer
    return int(tokenizer(texts).values.shape[0]) + len(texts)


def test_resume_goes_on_with_the_carried_state(
    lm: CausalLM, texts: list[str], tmp_path: Path
) -> None:
    """Stopped after one epoch of three and resumed, the weights are those of one run."""
    start = lm.model.get_weights()

    def run(epochs: int, directory: str) -> list[np.ndarray]:
        lm.compile(keras.optimizers.Adam(0.02))
        resume = klm.training.Resume(tmp_path / directory, every=3, verbose=0)
        lm.fit(texts, batch_size=4, epochs=epochs, carry_state=True, callbacks=[resume], verbose=0)
        return lm.model.get_weights()

    expected = run(3, "whole")
    lm.model.set_weights(start)
    run(1, "parts")
    lm.model.set_weights(start)
    for got, wanted in zip(run(3, "parts"), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_bad_input(lm: CausalLM, texts: list[str], fresh: CausalLM) -> None:
    with pytest.raises(ValueError, match="a Decoder has no state to carry"):
        fresh.fit(texts, carry_state=True)
    with pytest.raises(ValueError, match="needs a list of texts or a TokenStore, not a stream"):
        lm.fit(tf.data.Dataset.from_tensor_slices(texts), carry_state=True)
    lm.fit(texts, batch_size=2, carry_state=True, steps_per_epoch=1, verbose=0)
    lm.fit(texts, batch_size=3, carry_state=True, steps_per_epoch=1, verbose=0)
