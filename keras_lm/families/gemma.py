"""Gemma (https://arxiv.org/abs/2403.08295): a Llama with GeGLU and scaled embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from keras_lm.config import TransformerConfig
from keras_lm.families.base import Family, HFConfig, refuse_unless, translated
from keras_lm.families.llama import gated_weights, read_gated, write_gated

# The first releases say "gelu", and mean the other.
_ACTIVATIONS = {"gelu_pytorch_tanh": "geglu", "gelu": "geglu"}


def _read_config(hf: Mapping[str, Any]) -> TransformerConfig:
    refuse_unless(hf, use_bidirectional_attention=None)
    bias = hf.get("attention_bias", False)
    activation = hf.get("hidden_act", "gelu_pytorch_tanh")
    return read_gated(
        hf,
        attention={"bias": bias, "output_bias": bias, "head_dim": hf.get("head_dim", 256)},
        activation=translated(_ACTIVATIONS, "hidden_act", activation),
        scale_embeddings=True,
        tie_embeddings=hf.get("tie_word_embeddings", True),
    )


def _write_config(config: TransformerConfig) -> HFConfig:
    return {
        **write_gated(config),
        "hidden_act": "gelu_pytorch_tanh",
        "attention_bias": config.attention.bias,
    }


GEMMA = Family(
    model_type="gemma",
    architecture="GemmaForCausalLM",
    title="Gemma 1, CodeGemma",
    refused="bidirectional attention",
    read_config=_read_config,
    write_config=_write_config,
    weights=partial(gated_weights, shift=1.0),  # theirs are 0 where ours are 1
    prefix="model.",
)
