"""Phi 3 (https://arxiv.org/abs/2404.14219): a Llama with fused projections, for long texts too."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from keras_lm.config import TransformerConfig
from keras_lm.families.base import Family, HFConfig, refuse_unless
from keras_lm.families.llama import gated_weights, read_gated, write_gated
from keras_lm.families.rotary import read_rotary


def _read_config(hf: Mapping[str, Any]) -> TransformerConfig:
    dropout = hf.get("resid_pdrop", 0.0)
    refuse_unless(hf, embd_pdrop=dropout, attention_bias=False)
    return read_gated(
        hf,
        attention={"sliding_window": hf.get("sliding_window")},
        dropout=dropout,
        norm_epsilon=hf.get("rms_norm_eps", 1e-5),
        **read_rotary(hf),
    )


def _write_config(config: TransformerConfig) -> HFConfig:
    scaling = config.positions.rotary_scaling
    original = config.max_length if scaling is None else scaling.original_max_length
    return {
        **write_gated(config, part=True),
        "original_max_position_embeddings": original,
        "sliding_window": config.attention.sliding_window,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "pad_token_id": None,  # left out it is 32000, which Transformers wants in the vocabulary
    }


PHI3 = Family(
    model_type="phi3",
    architecture="Phi3ForCausalLM",
    title="Phi 3 and 3.5 mini and medium, Phi 4, Phi 4 mini",
    refused="texts beyond the original length of the long models",
    read_config=_read_config,
    write_config=_write_config,
    weights=partial(gated_weights, fused=True),
    prefix="model.",
)
