"""Mistral (https://arxiv.org/abs/2310.06825): a Llama whose tokens look a window back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_lm.config import TransformerConfig
from keras_lm.families.base import Family, HFConfig
from keras_lm.families.llama import INVERSE_FREQUENCIES, gated_weights, read_gated, write_gated


def _read_config(hf: Mapping[str, Any]) -> TransformerConfig:
    return read_gated(hf, attention={"sliding_window": hf.get("sliding_window", 4096)})


def _write_config(config: TransformerConfig) -> HFConfig:
    return {**write_gated(config), "sliding_window": config.attention.sliding_window}


MISTRAL = Family(
    model_type="mistral",
    architecture="MistralForCausalLM",
    title="Mistral 7B, Zephyr, Mistral Nemo",
    read_config=_read_config,
    write_config=_write_config,
    weights=gated_weights,
    prefix="model.",
    ignored=(INVERSE_FREQUENCIES,),
)
