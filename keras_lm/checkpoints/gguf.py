"""GGUF files as pretrained models: a table for each architecture, to the Hugging Face names.

An architecture is the keys of its metadata and the names of its tensors, each with what it is
called there; what llama.cpp's converter does to the numbers is undone as they are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_lm.families.base import HFConfig
from keras_lm.storage import GGUFFile, GGUFTensors, TensorSource

_BLOCK = re.compile(r"blk\.(0|[1-9]\d*)\.(\w+)\.(weight|bias)")
_TOP = re.compile(r"()(\w+)\.(weight|bias)")

_KEYS = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.key_length": "head_dim",
    "attention.sliding_window": "sliding_window",
    "rope.freq_base": "rope_theta",
}
_TENSORS = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "model.layers.{}.input_layernorm",
    "ffn_norm": "model.layers.{}.post_attention_layernorm",
    **{f"attn_{part}": f"model.layers.{{}}.self_attn.{part}_proj" for part in ("q", "k", "v")},
    "attn_output": "model.layers.{}.self_attn.o_proj",
    "attn_q_norm": "model.layers.{}.self_attn.q_norm",
    "attn_k_norm": "model.layers.{}.self_attn.k_norm",
    **{f"ffn_{part}": f"model.layers.{{}}.mlp.{part}_proj" for part in ("gate", "up", "down")},
}
# Read elsewhere, or of no weight beside what is read.
_OTHER_KEYS = {"vocab_size", "rope.dimension_count", "attention.value_length"}
_OTHER_KEYS |= {f"rope.scaling.{name}" for name in ("type", "factor", "original_context_length")}
_OTHER_KEYS |= {"rope.scaling.finetuned", "rope.scaling.attn_factor"}


def _as_it_is(part: str, tensor: np.ndarray, config: HFConfig) -> np.ndarray:
    return tensor


def _halves_joined(part: str, tensor: np.ndarray, config: HFConfig) -> np.ndarray:
    """Queries and keys of Llama stand there with the two numbers of a turned pair side by side;
    here the first of all pairs stand before the second ones.
    """
    heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}.get(part)
    if heads is None:
        return tensor
    pairs = tensor.reshape(config[heads], -1, 2, *tensor.shape[1:])
    return pairs.swapaxes(1, 2).reshape(tensor.shape)


def _less_one(part: str, tensor: np.ndarray, config: HFConfig) -> np.ndarray:
    """Gemma's norms multiply by 1 + w; there the sum is stored."""
    return tensor - np.float32(1) if part.endswith("norm") else tensor


@dataclass(frozen=True)
class Architecture:
    """What llama.cpp calls a kind of model.

    Args:
        model_type: of `config.json`.
        keys: of the metadata, below the architecture's name → of `config.json`.
        tensors: their names without block and ending → those of Hugging Face; `{}` is the block.
        fixed: what `config.json` says besides, and GGUF does not.
        undo: the converter's change of a tensor, undone.
        transposed: parts whose weights are kept [in, out] by Hugging Face.
    """

    model_type: str
    keys: Mapping[str, str] = field(default_factory=lambda: _KEYS)
    tensors: Mapping[str, str] = field(default_factory=lambda: _TENSORS)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    undo: Callable[[str, np.ndarray, HFConfig], np.ndarray] = _as_it_is
    transposed: tuple[str, ...] = ()


def _without(names: Mapping[str, str], *left_out: str) -> dict[str, str]:
    return {name: theirs for name, theirs in names.items() if name not in left_out}


ARCHITECTURES = {
    "llama": Architecture(
        model_type="llama",
        keys=_without(_KEYS, "attention.sliding_window"),
        tensors=_without(_TENSORS, "attn_q_norm", "attn_k_norm"),
        undo=_halves_joined,
    ),
    "qwen2": Architecture(
        model_type="qwen2",
        keys=_without(_KEYS, "attention.sliding_window"),
        tensors=_without(_TENSORS, "attn_q_norm", "attn_k_norm"),
        fixed={"use_sliding_window": False},
    ),
    "qwen3": Architecture(
        model_type="qwen3",
        keys=_without(_KEYS, "attention.sliding_window"),
        fixed={"use_sliding_window": False},
    ),
    "phi3": Architecture(
        model_type="phi3",
        tensors={
            **_without(_TENSORS, "attn_q", "attn_k", "attn_v", "ffn_gate"),
            "attn_qkv": "model.layers.{}.self_attn.qkv_proj",
            "ffn_up": "model.layers.{}.mlp.gate_up_proj",
        },
    ),
    "gemma3": Architecture(
        model_type="gemma3_text",
        tensors={
            **_TENSORS,
            "post_attention_norm": "model.layers.{}.post_attention_layernorm",
            "ffn_norm": "model.layers.{}.pre_feedforward_layernorm",
            "post_ffw_norm": "model.layers.{}.post_feedforward_layernorm",
        },
        fixed={
            "hidden_activation": "gelu_pytorch_tanh",
            "rope_local_base_freq": 10000.0,
            "sliding_window_pattern": 6,
        },
        undo=_less_one,
    ),
    "gpt2": Architecture(
        model_type="gpt2",
        keys={
            "block_count": "n_layer",
            "context_length": "n_positions",
            "embedding_length": "n_embd",
            "feed_forward_length": "n_inner",
            "attention.head_count": "n_head",
            "attention.layer_norm_epsilon": "layer_norm_epsilon",
        },
        tensors={
            "token_embd": "transformer.wte",
            "position_embd": "transformer.wpe",
            "output_norm": "transformer.ln_f",
            "output": "lm_head",
            "attn_norm": "transformer.h.{}.ln_1",
            "ffn_norm": "transformer.h.{}.ln_2",
            "attn_qkv": "transformer.h.{}.attn.c_attn",
            "attn_output": "transformer.h.{}.attn.c_proj",
            "ffn_up": "transformer.h.{}.mlp.c_fc",
            "ffn_down": "transformer.h.{}.mlp.c_proj",
        },
        transposed=("attn_qkv", "attn_output", "ffn_up", "ffn_down"),
    ),
}
"""The architectures that are read, by their names in `general.architecture`."""


def open_gguf(path: Path) -> tuple[HFConfig, TensorSource]:
    """The `config.json` that a GGUF file amounts to, and its tensors by Hugging Face's names.

    Raises:
        ImportError: the package `gguf` is not installed.
        ValueError: the file is damaged, or of an architecture or with a key that is not known.
    """
    file = GGUFFile(path)
    tensors = GGUFTensors(file)
    name = file.metadata.get("general.architecture")
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise ValueError(
            f"{str(path)!r}: general.architecture={name!r} is not one that keras_lm reads from "
            f"GGUF; known: {', '.join(ARCHITECTURES)}"
        )
    try:
        config = _config(name, file.metadata, tensors)
    except ValueError as error:
        raise ValueError(f"{str(path)!r}: {error}") from error
    return config, _HFTensors(tensors, ARCHITECTURES[name], config)


def _config(name: str, metadata: Mapping[str, Any], tensors: GGUFTensors) -> HFConfig:
    architecture = ARCHITECTURES[name]
    if metadata.get("split.count", 1) != 1:
        raise ValueError("it is a part of several files; join them with llama-gguf-split --merge")
    said = {
        key.removeprefix(f"{name}."): value
        for key, value in metadata.items()
        if key.startswith(f"{name}.")
    }
    for key, value in said.items():
        if key not in architecture.keys and key not in _OTHER_KEYS:
            raise ValueError(f"{name}.{key}={value!r} is not supported")
        if isinstance(value, np.ndarray | list):
            raise ValueError(f"{name}.{key} differs from layer to layer, which is not supported")
    config: HFConfig = {"model_type": architecture.model_type, **architecture.fixed}
    config |= {ours: said[key] for key, ours in architecture.keys.items() if key in said}
    if "token_embd.weight" not in tensors.shapes:
        raise ValueError("it has no tensor 'token_embd.weight'")
    config["vocab_size"] = tensors.shapes["token_embd.weight"][0]
    config["tie_word_embeddings"] = "output.weight" not in tensors.shapes
    for part in ("bos", "eos"):
        if f"tokenizer.ggml.{part}_token_id" in metadata:
            config[f"{part}_token_id"] = metadata[f"tokenizer.ggml.{part}_token_id"]
    if architecture.keys is not ARCHITECTURES["gpt2"].keys:
        config |= _attention(name, config, said, tensors)
        config["rope_scaling"] = _rope_scaling(name, said, config, tensors)
    return config


def _attention(
    name: str, config: HFConfig, said: Mapping[str, Any], tensors: GGUFTensors
) -> HFConfig:
    """Heads and their widths, which must be whole numbers before anything else is read."""
    for key in ("num_attention_heads", "hidden_size"):
        if type(config.get(key)) is not int or config[key] < 1:
            raise ValueError(f"{name}: {key}={config.get(key)!r} must be a positive whole number")
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim", config["hidden_size"] // heads)
    for key in ("rope.dimension_count", "attention.value_length"):
        if said.get(key, head_dim) != head_dim:
            raise ValueError(f"{name}.{key}={said[key]!r}, and a head is {head_dim} wide")
    return {
        "head_dim": head_dim,
        "num_key_value_heads": config.get("num_key_value_heads", heads),
        "attention_bias": "blk.0.attn_q.bias" in tensors.shapes,
        "query_pre_attn_scalar": head_dim,
    }


def _rope_scaling(
    name: str, said: Mapping[str, Any], config: HFConfig, tensors: GGUFTensors
) -> dict[str, Any] | None:
    kind = said.get("rope.scaling.type", "none")
    original = said.get("rope.scaling.original_context_length")
    if "rope_freqs.weight" in tensors.shapes:
        return _llama3_scaling(config, tensors.read("rope_freqs.weight"))
    if "rope_factors_long.weight" in tensors.shapes:
        factors = {
            f"{length}_factor": tensors.read(f"rope_factors_{length}.weight").tolist()
            for length in ("long", "short")
            if f"rope_factors_{length}.weight" in tensors.shapes
        }
        config["original_max_position_embeddings"] = original
        return {"type": "longrope", "rope_type": "longrope", **factors}
    if kind == "none" and "rope.scaling.factor" not in said:
        return None
    if kind == "linear":
        return {"rope_type": "linear", "factor": said.get("rope.scaling.factor")}
    if kind == "yarn":
        factor = said.get("rope.scaling.factor")
        return {
            "rope_type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": original,
        }
    raise ValueError(f"{name}.rope.scaling.type={kind!r} is not supported")


def _llama3_scaling(config: HFConfig, factors: np.ndarray) -> dict[str, Any] | None:
    """The parameters that Llama 3's divisors of frequencies come from; the file has them alone.

    All published ones share three of the four parameters, and the largest divisor is the fourth.
    """
    if (factors == 1).all():
        return None
    low, high, original, factor = 1.0, 4.0, 8192, float(factors.max())
    exponents = np.arange(0, config["head_dim"], 2) / config["head_dim"]
    turns = original / (2 * np.pi * config.get("rope_theta", 10000.0) ** exponents)
    blend = np.clip((turns - low) / (high - low), 0, 1)
    expected = 1 / ((1 - blend) / factor + blend)
    if factors.shape != expected.shape or not np.allclose(factors, expected, rtol=1e-4):
        raise ValueError("the tensor 'rope_freqs.weight' is not as Llama 3.1 to 3.3 have it")
    return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": original,
    }


class _HFTensors:
    """The tensors of a GGUF file as Hugging Face's files would hold them."""

    def __init__(self, source: GGUFTensors, architecture: Architecture, config: HFConfig) -> None:
        self._source, self._architecture, self._config = source, architecture, config
        self._found: dict[str, tuple[str, str]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, str] = {}
        for stored, shape in source.shapes.items():
            match = _BLOCK.fullmatch(stored) or _TOP.fullmatch(stored)
            block, part, kind = match.groups() if match else ("", "", "")
            theirs = architecture.tensors.get(part, "")
            if stored.startswith("rope_f"):  # read already, for the config
                continue
            is_known = bool(theirs) and ("{}" in theirs) == bool(block)
            name = f"{theirs.format(block)}.{kind}" if is_known else stored
            turned = part in architecture.transposed and len(shape) == 2
            self._found[name] = stored, part
            self.shapes[name] = shape[::-1] if turned else shape
            self.dtypes[name] = source.dtypes[stored]

    def read(self, name: str) -> np.ndarray:
        stored, part = self._found[name]
        tensor = self._architecture.undo(part, self._source.read(stored), self._config)
        is_turned = part in self._architecture.transposed and tensor.ndim == 2
        return tensor.T if is_turned else tensor
