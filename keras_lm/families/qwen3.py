"""Qwen 3 (https://arxiv.org/abs/2505.09388): a Llama with norms of queries and keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_lm.config import TransformerConfig
from keras_lm.families.base import Family, HFConfig
from keras_lm.families.llama import gated_weights, read_gated, write_gated
from keras_lm.families.qwen2 import refuse_windows


def _read_config(hf: Mapping[str, Any]) -> TransformerConfig:
    refuse_windows(hf)
    bias, head_dim = hf.get("attention_bias", False), hf.get("head_dim", 128)
    attention = {"bias": bias, "output_bias": bias, "query_key_norm": True, "head_dim": head_dim}
    return read_gated(hf, attention=attention)


def _write_config(config: TransformerConfig) -> HFConfig:
    return {
        **write_gated(config),
        "attention_bias": config.attention.bias,
        "use_sliding_window": False,
    }


QWEN3 = Family(
    model_type="qwen3",
    architecture="Qwen3ForCausalLM",
    title="Qwen 3, the dense ones",
    refused="sliding windows",
    read_config=_read_config,
    write_config=_write_config,
    weights=gated_weights,
    prefix="model.",
)
