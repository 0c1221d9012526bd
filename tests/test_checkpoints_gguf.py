"""GGUF files as pretrained models: every architecture, quantized or not, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pytest
from keras import ops
from safetensors.numpy import load_file

gguf = pytest.importorskip("gguf", reason="the package gguf is not installed: keras-lm[gguf]")
harness_gguf = pytest.importorskip("harness_gguf")

from keras_lm.checkpoints import load_model, save_model  # noqa: E402
from keras_lm.checkpoints.maps import variables_of  # noqa: E402
from keras_lm.checkpoints.writing import write_weights  # noqa: E402
from keras_lm.families import family_named  # noqa: E402
from keras_lm.models import Decoder  # noqa: E402

KINDS = gguf.GGMLQuantizationType
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 5000.0,
    "tie_word_embeddings": False,
}
GPT2 = {
    "model_type": "gpt2",
    "vocab_size": 40,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
    "layer_norm_epsilon": 1e-5,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": LLAMA,
    "llama-tied": LLAMA | {"tie_word_embeddings": True, "head_dim": 16},
    "qwen2": LLAMA | {"model_type": "qwen2"},
    "qwen3": LLAMA | {"model_type": "qwen3", "head_dim": 16},
    "phi3": LLAMA | {"model_type": "phi3", "sliding_window": 20},
    "gemma3": LLAMA
    | {
        "model_type": "gemma3_text",
        "num_hidden_layers": 7,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": 4,
        "tie_word_embeddings": True,
        "rope_local_base_freq": 10000.0,
        "sliding_window_pattern": 6,
    },
    "gpt2": GPT2,
}


def saved_model(hf_config: dict[str, Any], directory: Path) -> Any:
    """A random model of a family, and its files in Hugging Face's layout."""
    family = family_named(hf_config)
    model = harness.random_model(Decoder, family.read_config(hf_config))
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(hf_config))
    write_weights(variables_of(model), family.weights(model.config), directory)
    return model


def write(path: Path, directory: Path, hf_config: dict[str, Any], **options: Any) -> Path:
    tensors = load_file(directory / "model.safetensors")
    architecture = options.pop("architecture", None) or hf_config["model_type"].split("_")[0]
    harness_gguf.write_gguf(path, architecture, hf_config, tensors, **options)
    return path


def arrays(model: Any) -> list[np.ndarray]:
    return [ops.convert_to_numpy(weight) for weight in model.weights]


@pytest.mark.parametrize("name", list(CONFIGS))
def test_every_architecture(name: str, tmp_path: Path) -> None:
    model = saved_model(CONFIGS[name], tmp_path / "hf")
    loaded = load_model(write(tmp_path / "model.gguf", tmp_path / "hf", CONFIGS[name]))
    # What GGUF does not say, as dropout, is of no weight here.
    same = loaded.config.replace(
        dropout=model.config.dropout,
        feed_forward_dropout=model.config.feed_forward_dropout,
        attention=loaded.config.attention.replace(dropout=model.config.attention.dropout),
    )
    assert same == model.config
    for found, wanted in zip(arrays(loaded), arrays(model), strict=True):
        # Gemma's norms are stored with 1 added.
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 if name == "gemma3" else 0)
    ids = {"token_ids": np.arange(24).reshape(2, 12) % 40}
    difference = harness.logits_of(loaded, ids) - harness.logits_of(model, ids)
    assert np.abs(difference).max() < 2e-5


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_quantized_weights_are_what_the_library_makes_of_them(
    kind: str, name: str, tmp_path: Path
) -> None:
    """Blocks lie along rows, so that the order of rows, which llama.cpp changes, is no matter;
    GPT-2's are turned before.
    """
    saved_model(CONFIGS[name], tmp_path / "hf")
    kind = KINDS[kind]
    path = write(tmp_path / "model.gguf", tmp_path / "hf", CONFIGS[name], kind=kind)
    save_model(load_model(path), tmp_path / "back")
    exact = load_file(tmp_path / "hf" / "model.safetensors")
    back = load_file(tmp_path / "back" / "model.safetensors")
    assert sorted(back) == sorted(exact)
    for tensor_name, tensor in exact.items():
        is_turned = "attn.c_" in tensor_name or "mlp.c_" in tensor_name
        if tensor.ndim == 2:
            stored = tensor.T if is_turned else tensor
            stored = gguf.dequantize(gguf.quantize(np.ascontiguousarray(stored), kind), kind)
            tensor = stored.T if is_turned else stored
        np.testing.assert_array_equal(back[tensor_name], tensor, err_msg=tensor_name)


def test_the_dtype_is_that_which_is_asked_for(tmp_path: Path) -> None:
    saved_model(LLAMA, tmp_path / "hf")
    path = write(tmp_path / "model.gguf", tmp_path / "hf", LLAMA)
    half = load_model(path, dtype="bfloat16")
    assert {weight.dtype for weight in half.weights} == {"bfloat16"}
    for found, wanted in zip(arrays(half), arrays(load_model(path)), strict=True):
        np.testing.assert_array_equal(found, wanted.astype(found.dtype))


def with_tensor(path: Path, name: str, tensor: np.ndarray, source: Path) -> Path:
    """A copy of a GGUF file with one tensor more."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            writer.add_key_value(key, field.contents(), field.types[0])
    for stored in reader.tensors:
        writer.add_tensor(stored.name, np.array(stored.data), raw_dtype=stored.tensor_type)
    writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_scaled_rotary_angles_of_llama_3(tmp_path: Path) -> None:
    base = LLAMA | {"rope_theta": 500000.0}
    saved_model(base, tmp_path / "hf")
    plain = write(tmp_path / "plain.gguf", tmp_path / "hf", base)
    exponents = np.arange(0, 8, 2) / 8
    turns = 8192 / (2 * np.pi * 500000.0**exponents)
    blend = np.clip((turns - 1) / 3, 0, 1)
    divisors = (1 / ((1 - blend) / 32 + blend)).astype("float32")
    assert 1 in divisors
    assert 32 in divisors
    path = with_tensor(tmp_path / "3.2.gguf", "rope_freqs.weight", divisors, plain)
    scaling = load_model(path).config.positions.rotary_scaling
    assert (scaling.kind, scaling.factor, scaling.original_max_length) == ("llama3", 32, 8192)
    ones = with_tensor(tmp_path / "1.gguf", "rope_freqs.weight", np.ones(4, "float32"), plain)
    assert load_model(ones).config.positions.rotary_scaling is None
    other = with_tensor(tmp_path / "x.gguf", "rope_freqs.weight", divisors[::-1].copy(), plain)
    with pytest.raises(ValueError, match="'rope_freqs.weight' is not as Llama 3.1"):
        load_model(other)


def test_phi_3_of_long_texts(tmp_path: Path) -> None:
    base = CONFIGS["phi3"]
    saved_model(base, tmp_path / "hf")
    extra = {"phi3.rope.scaling.original_context_length": 16}
    path = write(tmp_path / "0.gguf", tmp_path / "hf", base, extra=extra)
    for number, length in enumerate(("long", "short"), 1):
        factors = np.array([1, 2, 3, 4 + number], "float32")
        name = f"rope_factors_{length}.weight"
        path = with_tensor(tmp_path / f"{number}.gguf", name, factors, path)
    scaling = {"type": "longrope", "long_factor": [1, 2, 3, 5.0], "short_factor": [1, 2, 3, 6.0]}
    wanted = base | {"rope_scaling": scaling, "original_max_position_embeddings": 16}
    found = load_model(path).config
    assert found.positions.rotary_scaling.kind == "longrope"
    assert found.positions == family_named(wanted).read_config(wanted).positions


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"llama.expert_count": 8}, "llama.expert_count=8 is not supported"),
        ({"llama.rope.scaling.type": "su"}, "llama.rope.scaling.type='su' is not supported"),
        ({"split.count": 2}, "a part of several files"),
        ({"llama.rope.scaling.type": "linear"}, "lacks 'factor'"),
        ({"llama.attention.sliding_window": 4}, "sliding_window=4 is not supported"),
    ],
)
def test_what_cannot_be_expressed_is_refused(
    extra: dict[str, Any], message: str, tmp_path: Path
) -> None:
    saved_model(LLAMA, tmp_path / "hf")
    path = write(tmp_path / "model.gguf", tmp_path / "hf", LLAMA, extra=extra)
    with pytest.raises(ValueError, match=f"model.gguf': .*{message}"):
        load_model(path)


def test_linear_scaling(tmp_path: Path) -> None:
    saved_model(LLAMA, tmp_path / "hf")
    extra = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    path = write(tmp_path / "model.gguf", tmp_path / "hf", LLAMA, extra=extra)
    scaling = load_model(path).config.positions.rotary_scaling
    assert (scaling.kind, scaling.factor) == ("linear", 4.0)


def test_unknown_architectures_and_tensors_are_named(tmp_path: Path) -> None:
    saved_model(LLAMA, tmp_path / "hf")
    path = write(tmp_path / "model.gguf", tmp_path / "hf", LLAMA)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0mamba"))
    with pytest.raises(ValueError, match=r"architecture='mamba' is not one .*; known: llama, "):
        load_model(path)
    path.write_bytes(data.replace(b"blk.1.ffn_up", b"blk.1.ffn_us"))
    with pytest.raises(
        ValueError,
        match=r"missing: model.layers.1.mlp.up_proj.weight(.|\n)*"
        r"not expected: blk.1.ffn_us.weight",
    ):
        load_model(path)
    path.write_bytes(data.replace(b"blk.1.ffn_up", b"blk.7.ffn_up"))
    with pytest.raises(ValueError, match=r"not expected: model.layers.7.mlp.up_proj.weight"):
        load_model(path)
    with pytest.raises(FileNotFoundError, match="nowhere.gguf"):
        load_model(tmp_path / "nowhere.gguf")


@pytest.mark.parametrize("keep", [0, 3, 20, 400, -1, -70])
def test_truncated_files_are_named(keep: int, tmp_path: Path) -> None:
    saved_model(LLAMA, tmp_path / "hf")
    path = write(tmp_path / "model.gguf", tmp_path / "hf", LLAMA)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"model.gguf'(: the tensor '| is not a whole GGUF file)"):
        load_model(path)


def test_without_the_package_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved_model(LLAMA, tmp_path / "hf")
    path = write(tmp_path / "model.gguf", tmp_path / "hf", LLAMA)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ImportError, match=r"pip install keras-lm\[gguf\]"):
        load_model(path)
