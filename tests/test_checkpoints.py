"""The pretrained directory: whole, checked before it is loaded, nothing unpickled."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import harness
import ml_dtypes
import numpy as np
import pytest
from keras import ops
from safetensors.numpy import load_file, save_file

import keras_lm as klm
from keras_lm.checkpoints import load_model, save_model, writing
from keras_lm.models import Decoder, LanguageModel

CONFIG = klm.TransformerConfig(
    vocab_size=9, num_layers=2, hidden_dim=8, num_heads=2, max_length=12, tie_embeddings=False
)
CONFIGS = {
    "gpt2": CONFIG,
    "llama": CONFIG.replace(
        norm="rms",
        activation="swiglu",
        use_bias=False,
        positions="rotary",
        num_kv_heads=1,
        attention={},
    ),
    "keras_lm_decoder": CONFIG.replace(norm_position="post", attention={"sliding_window": 3}),
}
FILE = "model.safetensors"


def same_weights(one: LanguageModel, other: LanguageModel) -> bool:
    return all(
        np.array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))
        for a, b in zip(one.weights, other.weights, strict=True)
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(harness.random_model(Decoder, CONFIG), tmp_path / "model")
    return tmp_path / "model"


def edit_config(directory: Path, **changes: Any) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("family", list(CONFIGS))
def test_there_and_back(family: str, tmp_path: Path) -> None:
    model = harness.random_model(Decoder, CONFIGS[family])
    save_model(model, tmp_path / "model")
    written = json.loads((tmp_path / "model" / "config.json").read_text())
    assert written["model_type"] == family
    assert written["dtype"] == "float32"
    loaded = load_model(str(tmp_path / "model"))
    assert loaded.config == model.config
    assert same_weights(loaded, model)
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["config.json", FILE]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_models_are_saved_in_half_precision(dtype: str, tmp_path: Path) -> None:
    model = harness.random_model(Decoder, CONFIGS["llama"], dtype=dtype)
    save_model(model, tmp_path / "model")
    assert {str(t.dtype) for t in load_file(tmp_path / "model" / FILE).values()} == {dtype}
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == dtype
    assert same_weights(load_model(tmp_path / "model", dtype=dtype), model)
    assert load_model(tmp_path / "model").variable_dtype == "float32"


def test_bfloat16_weights_are_read_into_float32(saved: Path) -> None:
    tensors = load_file(saved / FILE)
    half = {name: tensor.astype(ml_dtypes.bfloat16) for name, tensor in tensors.items()}
    save_file(half, saved / FILE, {"format": "pt"})
    loaded = load_model(saved)
    exact = harness.random_model(Decoder, CONFIG)
    for ours, theirs in zip(loaded.weights, exact.weights, strict=True):
        rounded = ops.convert_to_numpy(theirs).astype(ml_dtypes.bfloat16).astype("float32")
        np.testing.assert_array_equal(ops.convert_to_numpy(ours), rounded)
    assert load_model(saved, dtype="mixed_bfloat16").dtype_policy.name == "mixed_bfloat16"


def test_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = harness.random_model(Decoder, CONFIGS["llama"])
    save_model(model, tmp_path / "whole")
    monkeypatch.setattr(writing, "SHARD_BYTES", 1000)
    save_model(model, tmp_path / "shards")
    files = sorted((tmp_path / "shards").glob("*.safetensors"))
    assert len(files) > 2
    assert [f.name for f in files] == [
        f"model-{i:05d}-of-{len(files):05d}.safetensors" for i in range(1, len(files) + 1)
    ]
    assert same_weights(load_model(tmp_path / "shards"), model)
    index = json.loads((tmp_path / "shards" / "model.safetensors.index.json").read_text())
    whole = load_file(tmp_path / "whole" / FILE)
    assert sorted(index["weight_map"]) == sorted(whole)
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in whole.values())
    for file in files:
        tensors = load_file(file)
        assert sum(t.nbytes for t in tensors.values()) <= 1000 or len(tensors) == 1
        assert {index["weight_map"][name] for name in tensors} == {file.name}
    # Saved whole again, no shard is left over.
    monkeypatch.undo()
    save_model(model, tmp_path / "shards")
    assert sorted(p.name for p in (tmp_path / "shards").iterdir()) == ["config.json", FILE]


def test_a_missing_shard_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "SHARD_BYTES", 1000)
    save_model(Decoder(CONFIG), tmp_path / "model")
    next((tmp_path / "model").glob("model-00002*")).unlink()
    with pytest.raises(FileNotFoundError, match="model-00002-of"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/tmp/secret.safetensors", "sub/x.safetensors", "..", ""]
)
def test_an_index_cannot_leave_its_directory(saved: Path, name: str) -> None:
    save_file(load_file(saved / FILE), saved.parent / "secret.safetensors", {"format": "pt"})
    (saved / "sub").mkdir()
    (saved / FILE).rename(saved / "sub" / "x.safetensors")
    index = {"weight_map": {"transformer.wte.weight": name}}
    (saved / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises((ValueError, FileNotFoundError), match="outside its directory|no weights"):
        load_model(saved)


@pytest.mark.parametrize("content", ["{}", '{"weight_map": []}', '{"weight_map": {}}', "nonsense"])
def test_a_damaged_index_is_named(saved: Path, content: str) -> None:
    (saved / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ValueError, match=r"model.safetensors.index.json' (has no|is not valid)"):
        load_model(saved)


def test_missing_left_over_and_misshapen_tensors_are_listed(saved: Path) -> None:
    tensors = load_file(saved / FILE)
    del tensors["transformer.h.1.ln_1.bias"]
    tensors["transformer.wpe.weight"] = np.zeros((5, 8), "float32")
    tensors["transformer.h.7.ln_1.bias"] = np.zeros(8, "float32")
    save_file(tensors, saved / FILE, {"format": "pt"})
    with pytest.raises(ValueError, match="do not fit a gpt2 model") as raised:
        load_model(saved)
    assert str(raised.value).splitlines()[1:] == [
        "  missing: transformer.h.1.ln_1.bias",
        "  transformer.wpe.weight: shape (5, 8), the config asks for (12, 8)",
        "  not expected: transformer.h.7.ln_1.bias",
    ]


def test_a_long_list_of_faults_is_cut(saved: Path) -> None:
    save_file({"x": np.zeros(1, "float32")}, saved / FILE, {"format": "pt"})
    with pytest.raises(ValueError, match=r"missing: transformer.wte.weight(.|\n)*and \d+ more"):
        load_model(saved)


def test_buffers_and_a_tied_head_are_no_faults(tmp_path: Path) -> None:
    model = harness.random_model(Decoder, CONFIG.replace(tie_embeddings=True))
    save_model(model, tmp_path)
    tensors = load_file(tmp_path / FILE)
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"].copy()
    tensors["transformer.h.0.attn.bias"] = np.ones((1, 1, 12, 12), "bool")
    tensors["transformer.h.0.attn.masked_bias"] = np.array(-1e4, "float32")
    save_file(tensors, tmp_path / FILE, {"format": "pt"})
    assert same_weights(load_model(tmp_path), model)


def test_files_of_a_bare_model_lack_the_prefix(tmp_path: Path) -> None:
    model = harness.random_model(Decoder, CONFIG.replace(tie_embeddings=True))
    save_model(model, tmp_path)
    tensors = load_file(tmp_path / FILE)
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    assert "wte.weight" in bare
    save_file(bare, tmp_path / FILE, {"format": "pt"})
    assert same_weights(load_model(tmp_path), model)


def test_missing_things_are_named(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no directory .*nowhere"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"config.json' is not|no directory|is not a pre"):
        load_model(saved / "config.json")
    (saved / FILE).unlink()
    with pytest.raises(FileNotFoundError, match=r"no weights: .*model.safetensors' does not exist"):
        load_model(saved)
    (saved / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="is not a pretrained directory: it has no config"):
        load_model(saved)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_weights_are_named(saved: Path, keep: int) -> None:
    data = (saved / FILE).read_bytes()
    (saved / FILE).write_bytes(data[:keep])
    with pytest.raises(ValueError, match="model.safetensors' is not a whole safetensors file"):
        load_model(saved)


def test_a_pickle_is_not_opened(saved: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (saved / "exploded",))

    for name in (FILE, "pytorch_model.bin"):
        (saved / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="is not a whole safetensors file"):
        load_model(saved)
    (saved / FILE).unlink()
    with pytest.raises(FileNotFoundError, match="no weights"):
        load_model(saved)
    assert not (saved / "exploded").exists()


def test_foreign_configs_are_named(saved: Path) -> None:
    edit_config(saved, model_type="bloom")
    with pytest.raises(ValueError, match=r"config.json': model_type='bloom' is not a family"):
        load_model(saved)
    edit_config(saved, model_type="gpt2", n_layer=3)
    with pytest.raises(ValueError, match="missing: transformer.h.2.ln_1.weight"):
        load_model(saved)
    edit_config(saved, n_layer="two")
    with pytest.raises(
        ValueError, match=r"config.json': num_layers must be of type int; got 'two'"
    ):
        load_model(saved)
    (saved / "config.json").write_text("<html>")
    with pytest.raises(ValueError, match=r"config.json' is not valid JSON"):
        load_model(saved)


@pytest.mark.parametrize("written", ["config.json", FILE])
def test_a_crash_while_saving_leaves_the_old_model(
    saved: Path, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = load_model(saved)

    def crash(*args: Any) -> None:
        raise OSError("disk full")

    target = "write_json" if written == "config.json" else "write_safetensors"
    monkeypatch.setattr(writing, target, crash)
    with pytest.raises(OSError, match="disk full"):
        save_model(harness.random_model(Decoder, CONFIGS["llama"], seed=1), saved)
    monkeypatch.undo()
    assert same_weights(load_model(saved), old)
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_save_that_died_between_its_renames_is_recovered(saved: Path) -> None:
    old = load_model(saved)
    saved.rename(saved.with_name(".model.backup"))
    assert same_weights(load_model(saved), old)
    assert saved.is_dir()


def test_what_the_user_keeps_beside_the_model_stays(saved: Path) -> None:
    (saved / "README.md").write_text("my model")
    save_model(Decoder(CONFIG), saved)
    assert (saved / "README.md").read_text() == "my model"
