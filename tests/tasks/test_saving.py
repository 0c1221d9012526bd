"""What is saved comes back whole, and half a save harms nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tokenizers
from keras import ops

from keras_lm.tasks import CausalLM
from keras_lm.training import NextTokenLoss

PROMPTS = ["The cat", "My naïve friend"]


def weights_of(task: CausalLM) -> list[np.ndarray]:
    return [ops.convert_to_numpy(weight).copy() for weight in task.model.weights]


def test_keras_file_goes_on_training_where_it_was(
    fresh: CausalLM, texts: list[str], tmp_path: Path
) -> None:
    fresh.compile()
    fresh.fit(texts, batch_size=4, verbose=0)
    fresh.save(tmp_path / "task.keras")
    loaded = keras.saving.load_model(tmp_path / "task.keras")
    assert isinstance(loaded, CausalLM)
    assert isinstance(loaded.loss, NextTokenLoss)
    assert loaded.sequence_length == 24
    assert int(loaded.optimizer.iterations) == int(fresh.optimizer.iterations) > 0
    results = [task.evaluate(texts, verbose=0, return_dict=True) for task in (fresh, loaded)]
    assert results[0] == results[1]
    assert {"loss", "perplexity", "bits_per_byte"} == set(results[0])
    for task in (fresh, loaded):
        task.fit(texts, batch_size=4, initial_epoch=1, epochs=2, verbose=0)
    for ours, theirs in zip(weights_of(fresh), weights_of(loaded), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_keras_file_scores_texts(trained: CausalLM, tmp_path: Path) -> None:
    trained.save(tmp_path / "task.keras")
    loaded = keras.saving.load_model(tmp_path / "task.keras")
    np.testing.assert_array_equal(loaded.score(PROMPTS), trained.score(PROMPTS))


def test_keras_file_keeps_the_users_loss(fresh: CausalLM, tmp_path: Path) -> None:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    fresh.compile("sgd", loss, metrics=["sparse_categorical_accuracy"])
    ids = np.ones((2, 9), "int32")
    expected = fresh.evaluate(ids, verbose=0, return_dict=True)
    fresh.save(tmp_path / "task.keras")
    loaded = keras.saving.load_model(tmp_path / "task.keras")
    assert loaded.evaluate(ids, verbose=0, return_dict=True) == expected
    assert set(expected) == {"loss", "sparse_categorical_accuracy"}


def test_keras_file_without_a_tokenizer(fresh: CausalLM, tmp_path: Path) -> None:
    task = CausalLM(fresh.model)
    task.save(tmp_path / "task.keras")
    loaded = keras.saving.load_model(tmp_path / "task.keras")
    assert loaded.tokenizer is None
    for ours, theirs in zip(weights_of(task), weights_of(loaded), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_pretrained_directory(trained: CausalLM, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    trained.save_pretrained(directory)
    assert sorted(path.name for path in directory.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    loaded = CausalLM.from_pretrained(str(directory))
    assert loaded.sequence_length == 24
    assert loaded.model.config == trained.model.config
    assert loaded.generate(PROMPTS, max_new_tokens=9) == trained.generate(PROMPTS, max_new_tokens=9)
    np.testing.assert_array_equal(loaded.score(PROMPTS), trained.score(PROMPTS))
    tokenizer: Any = trained.tokenizer
    config = json.loads((directory / "config.json").read_text())
    ids = {f"{part}_token_id": getattr(tokenizer, f"{part}_id") for part in ("bos", "eos", "pad")}
    assert ids.items() <= config.items()
    assert json.loads((directory / "generation_config.json").read_text()) == ids
    reference = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
    assert (
        reference.encode("The naïve cat 🙂").ids == tokenizer("The naïve cat 🙂").numpy().tolist()
    )
    half = CausalLM.from_pretrained(directory, dtype="bfloat16")
    assert half.model.variable_dtype == "bfloat16"


@pytest.mark.parametrize("crashes", ["model.safetensors", "tokenizer"])
def test_a_crash_leaves_the_old_directory(
    trained: CausalLM, tmp_path: Path, crashes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "model"
    trained.save_pretrained(directory)
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    other = CausalLM(trained.model, trained.tokenizer, sequence_length=9)

    def crash(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if crashes == "tokenizer":
            patch.setattr(type(trained.tokenizer), "save", crash)
        else:
            patch.setattr("keras_lm.checkpoints.writing.write_safetensors", crash)
        with pytest.raises(KeyboardInterrupt):
            other.save_pretrained(directory)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    other.save_pretrained(directory)
    assert CausalLM.from_pretrained(directory).sequence_length == 9
