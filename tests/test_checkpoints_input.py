"""What a config says is held against the files before any memory is taken for it."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import harness
import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import keras_lm as klm
from keras_lm.checkpoints import load_model, save_model, writing
from keras_lm.models import Decoder

CONFIG = klm.TransformerConfig(
    vocab_size=9, num_layers=2, hidden_dim=8, num_heads=2, max_length=12, dropout=0.1
)
LLAMA = CONFIG.replace(
    norm="rms", activation="swiglu", use_bias=False, positions="rotary", dropout=0.0, attention={}
)
FILE = "model.safetensors"


def peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n_embd", 10**9, "hidden_dim=1000000000, yet all weights"),
        ("n_embd", 2**16, "wte.weight: shape .*, the config asks for"),
        ("n_layer", 10**9, "n_layer=1000000000, yet all weights together are .* tensors"),
        ("vocab_size", 10**12, "vocab_size=1000000000000"),
        ("n_positions", 10**15, r"wpe.weight: the config asks for \(1000000000000000, 8\)"),
        ("n_inner", 10**11, "feed_forward_dim=100000000000"),
        ("n_embd", 10**40, "hidden_dim=1"),
        ("n_head", 0, "num_heads"),
        ("n_head", "2", "num_heads"),
        ("n_embd", None, "lacks 'n_embd'"),
        ("activation_function", ["gelu"], "activation_function"),
    ],
)
def test_huge_and_wrong_values_of_gpt2(name: str, value: Any, message: str, tmp_path: Path) -> None:
    refused(CONFIG, {name: value}, message, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 2**20, "head_dim": 2**20}, "num_heads × head_dim=1099511627776"),
        ({"head_dim": 10**10}, "head_dim=10000000000"),
        ({"num_attention_heads": 0}, "num_heads"),
        ({"hidden_size": "8", "head_dim": None}, "config.json'"),
        ({"rope_parameters": 3}, "rope_parameters=3; it must be an object"),
        ({"rope_parameters": {"rope_theta": []}}, "rotary_base"),
    ],
)
def test_huge_and_wrong_values_of_llama(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    refused(LLAMA, changes, message, tmp_path)


def test_a_family_is_not_asked_to_work_through_layers_that_are_not_there(tmp_path: Path) -> None:
    """Gemma 3's config names the kind of every layer."""
    config = {"model_type": "gemma3_text", "num_hidden_layers": 2**70, "layer_types": ["x"]}
    save_model(Decoder(LLAMA), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config, "sliding_window": 4}))
    with pytest.raises(ValueError, match="num_hidden_layers=1180591620717411303424, yet all"):
        load_model(tmp_path)


def refused(
    config: klm.TransformerConfig, changes: dict[str, Any], message: str, directory: Path
) -> None:
    save_model(Decoder(config), directory)
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    before = peak()
    with pytest.raises(ValueError, match=message):
        load_model(directory)
    assert peak() - before < 50 * 2**20
    # Nothing is left to be made later, when Keras leaves its next scope.
    with keras.StatelessScope():
        pass
    assert peak() - before < 50 * 2**20


def test_numbers_of_another_kind_are_refused(tmp_path: Path) -> None:
    save_model(Decoder(CONFIG), tmp_path)
    tensors = load_file(tmp_path / FILE)
    tensors["transformer.ln_f.bias"] = np.ones(8, "int32")
    save_file(tensors, tmp_path / FILE)
    with pytest.raises(ValueError, match=r"transformer.ln_f.bias: int32, where float32 is wanted"):
        load_model(tmp_path)


def test_two_names_for_one_tensor_are_refused(tmp_path: Path) -> None:
    """A BERT of today and one of 2019 at once: which of the two is meant?"""
    config = klm.EncoderConfig(vocab_size=9, num_layers=1, hidden_dim=8, num_heads=2)
    save_model(klm.models.Encoder(config), tmp_path)
    tensors = load_file(tmp_path / FILE)
    name = next(name for name in tensors if name.endswith("LayerNorm.weight"))
    tensors[name.replace("weight", "gamma")] = np.zeros_like(tensors[name])
    save_file(tensors, tmp_path / FILE)
    with pytest.raises(ValueError, match=r"LayerNorm\.(weight|gamma)' and '.*' are both"):
        load_model(tmp_path)


def test_a_loaded_model_is_whole(tmp_path: Path) -> None:
    """It trains: dropout has its random state, and every weight is a variable as any other."""
    model = harness.random_model(Decoder, CONFIG)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert [v.path.split("/", 1)[1] for v in loaded.variables] == [
        v.path.split("/", 1)[1] for v in model.variables
    ]
    ids = np.arange(12).reshape(1, 12) % 9
    once = loaded(ids, training=True)
    assert np.abs(np.asarray(once) - np.asarray(loaded(ids, training=True))).max() > 0
    loaded.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = loaded.fit(ids, ids, epochs=2, verbose=0)
    assert history.history["loss"][1] < history.history["loss"][0]


def test_all_weights_are_saved_whatever_their_width(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A weight of several tensors may end in the next file."""
    model = harness.random_model(Decoder, LLAMA)
    for most in (1, 200, 300, 700):
        monkeypatch.setattr(writing, "SHARD_BYTES", most)
        save_model(model, tmp_path / str(most))
        loaded = load_model(tmp_path / str(most))
        for one, other in zip(loaded.weights, model.weights, strict=True):
            np.testing.assert_array_equal(np.asarray(one.value), np.asarray(other.value))
