"""Qwen 2 (https://arxiv.org/abs/2407.10671): a Llama with biases of queries, keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_lm.config import TransformerConfig
from keras_lm.families.base import Family, HFConfig, refuse_unless
from keras_lm.families.llama import gated_weights, read_gated, write_gated


def refuse_windows(hf: Mapping[str, Any]) -> None:
    """A `ValueError` where the upper layers have a window; no published checkpoint's have one."""
    refuse_unless(hf, use_sliding_window=False)
    types = hf.get("layer_types")
    if types is not None and (
        not isinstance(types, list) or any(kind != "full_attention" for kind in types)
    ):
        raise ValueError(
            f"config.json has layer_types={types!r}; keras_lm supports 'full_attention' in all"
        )


def _read_config(hf: Mapping[str, Any]) -> TransformerConfig:
    refuse_windows(hf)
    return read_gated(hf, attention={"bias": True})


def _write_config(config: TransformerConfig) -> HFConfig:
    return {**write_gated(config), "use_sliding_window": False}


QWEN2 = Family(
    model_type="qwen2",
    architecture="Qwen2ForCausalLM",
    title="Qwen 2 and 2.5",
    refused="sliding windows",
    read_config=_read_config,
    write_config=_write_config,
    weights=gated_weights,
    prefix="model.",
)
