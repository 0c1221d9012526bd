"""Writes GGUF files as llama.cpp's converter does, with the names of the package `gguf`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "phi3": gguf.MODEL_ARCH.PHI3,
    "gemma3": gguf.MODEL_ARCH.GEMMA3,
    "gpt2": gguf.MODEL_ARCH.GPT2,
}


def write_gguf(
    path: Path,
    architecture: str,
    config: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Writes a model of Hugging Face's files as one GGUF file.

    Args:
        path: where.
        architecture: a name in `ARCHITECTURES`.
        config: the content of `config.json`.
        tensors: by Hugging Face's names.
        kind: what matrices are quantized to.
        extra: further metadata: strings, numbers, bools, lists of strings or of numbers.
    """
    writer = gguf.GGUFWriter(path, architecture)
    _write_config(writer, architecture, config)
    for key, value in (extra or {}).items():
        if isinstance(value, list):
            writer.add_array(key, value)
        else:
            add = {bool: writer.add_bool, str: writer.add_string, int: writer.add_uint32}
            add.get(type(value), writer.add_float32)(key, value)
    layers = config.get("num_hidden_layers") or config["n_layer"]
    names = gguf.get_tensor_name_map(ARCHITECTURES[architecture], layers)
    for theirs, tensor in tensors.items():
        name = names.get_name(theirs, try_suffixes=(".weight", ".bias"))
        if name is None:
            continue  # buffers
        changed = converted(architecture, name, np.asarray(tensor, "float32"), config)
        is_matrix = changed.ndim == 2
        of_kind = kind if is_matrix else gguf.GGMLQuantizationType.F32
        changed = np.ascontiguousarray(changed)
        writer.add_tensor(name, gguf.quantize(changed, of_kind), raw_dtype=of_kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_config(writer: gguf.GGUFWriter, architecture: str, config: Mapping[str, Any]) -> None:
    if architecture == "gpt2":
        writer.add_block_count(config["n_layer"])
        writer.add_context_length(config["n_positions"])
        writer.add_embedding_length(config["n_embd"])
        writer.add_feed_forward_length(config.get("n_inner") or 4 * config["n_embd"])
        writer.add_head_count(config["n_head"])
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
        return
    heads, width = config["num_attention_heads"], config["hidden_size"]
    rope = config.get("rope_parameters") or {"rope_theta": config.get("rope_theta", 1e4)}
    head_dim = config.get("head_dim") or width // heads
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    if architecture in ("llama", "phi3"):
        writer.add_rope_dimension_count(head_dim)
    if head_dim != width // heads or architecture in ("qwen3", "gemma3"):
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if architecture in ("gemma3", "phi3") and config.get("sliding_window"):
        writer.add_sliding_window(config["sliding_window"])


def converted(
    architecture: str, name: str, tensor: np.ndarray, config: Mapping[str, Any]
) -> np.ndarray:
    """A tensor as the converter stores it: what follows is how llama.cpp wants it.

    The pairs of Llama's rotary angles stand side by side, Gemma's norms are 1 + w, and GPT-2's
    matrices are [out, in].
    """
    part = name.split(".")[-2]
    if architecture == "llama" and part in ("attn_q", "attn_k"):
        heads = config["num_attention_heads" if part == "attn_q" else "num_key_value_heads"]
        halves = tensor.reshape(heads, 2, -1, *tensor.shape[1:])
        return halves.swapaxes(1, 2).reshape(tensor.shape)
    if architecture == "gemma3" and part.endswith("norm"):
        return tensor + 1
    if architecture == "gpt2" and part in ("attn_qkv", "attn_output", "ffn_up", "ffn_down"):
        return tensor.T
    return tensor


def gguf_of_golden(
    golden: Mapping[str, Any], path: Path, architecture: str, **options: Any
) -> None:
    """`write_gguf` of a recorded model."""
    config = json.loads(str(golden["config_json"]))
    tensors = {
        name.removeprefix("weights/"): golden[name]
        for name in golden
        if name.startswith("weights/")
    }
    write_gguf(path, architecture, config, tensors, **options)
