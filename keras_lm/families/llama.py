"""Llama (https://arxiv.org/abs/2302.13971): rotary positions, RMS norm, SwiGLU, grouped queries.

Mistral, Qwen, Phi 3 and Gemma are made alike; what they share stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_lm.config import AttentionConfig, TransformerConfig
from keras_lm.families.base import (
    Family,
    HFConfig,
    Weight,
    linear,
    read_sizes,
    refuse_unless,
    required,
    token_weights,
    write_sizes,
)
from keras_lm.families.rotary import read_rotary, write_rotary

NORMS = {"attention_norm": "input_layernorm", "feed_forward_norm": "post_attention_layernorm"}


def read_gated(
    hf: Mapping[str, Any], attention: Mapping[str, Any] | None = None, **others: Any
) -> TransformerConfig:
    """The fields that all of them spell alike, and some others.

    Args:
        hf: their config.
        attention: fields of `AttentionConfig`; no biases unless they say so.
        others: further fields.
    """
    if "activation" not in others:
        refuse_unless(hf, hidden_act="silu")
    if "positions" not in others:
        others |= read_rotary(hf, part=False)
    return TransformerConfig(
        **{
            **read_sizes(hf),
            "num_kv_heads": hf.get("num_key_value_heads") or None,
            "feed_forward_dim": required(hf, "intermediate_size"),
            "norm": "rms",
            "norm_epsilon": hf.get("rms_norm_eps", 1e-6),
            "activation": "swiglu",
            "use_bias": False,
            "tie_embeddings": hf.get("tie_word_embeddings", False),
            "initializer_range": hf.get("initializer_range", 0.02),
            "attention": AttentionConfig(
                **{
                    "head_dim": hf.get("head_dim") or None,
                    "bias": False,
                    "output_bias": False,
                    "dropout": hf.get("attention_dropout", 0.0),
                    **(attention or {}),
                }
            ),
            **others,
        }
    )


def write_gated(config: TransformerConfig, part: bool = False) -> HFConfig:
    """The inverse of `read_gated`; `part`: the family can turn a part of a head."""
    return {
        **write_sizes(config),
        "intermediate_size": config.feed_forward_dim,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.attention.head_dim,
        "hidden_act": "silu",
        "initializer_range": config.initializer_range,
        "rms_norm_eps": config.norm_epsilon,
        "attention_dropout": config.attention.dropout,
        "tie_word_embeddings": config.tie_embeddings,
        **write_rotary(config, part),
        "rope_theta": config.positions.rotary_base,  # for Transformers 4
    }


def gated_weights(
    config: TransformerConfig,
    norms: Mapping[str, str] = NORMS,
    shift: float = 0.0,
    fused: bool = False,
) -> list[Weight]:
    """The map of all weights.

    Args:
        config: ours.
        norms: our norms of a block and theirs.
        shift: what their norms add to their weights, as Gemma's do.
        fused: queries, keys and values are one tensor there, as are gate and up.
    """
    head_dim, width = config.attention.head_dim, config.feed_forward_dim
    kv_dim = config.num_kv_heads * head_dim
    weights = [
        *token_weights(config, "model.embed_tokens.weight"),
        Weight("output_norm/scale", "model.norm.weight", shift=shift),
    ]
    for i in range(config.num_layers):
        ours, theirs = f"block_{i}", f"model.layers.{i}"
        heads, sizes = [f"{theirs}.self_attn.{part}_proj" for part in "qkv"], [kv_dim, kv_dim]
        halves = [f"{theirs}.mlp.gate_proj", f"{theirs}.mlp.up_proj"]
        scales = dict(norms)
        if config.attention.query_key_norm:
            scales |= {
                "attention/query_norm": "self_attn.q_norm",
                "attention/key_norm": "self_attn.k_norm",
            }
        weights += [
            Weight(f"{ours}/{norm}/scale", f"{theirs}.{name}.weight", shift=shift)
            for norm, name in scales.items()
        ]
        for layer, names, widths, bias in (
            (
                "attention/query_key_value",
                [f"{theirs}.self_attn.qkv_proj"] if fused else heads,
                () if fused else (config.num_heads * head_dim, *sizes),
                config.attention.bias,
            ),
            (
                "attention/output_projection",
                [f"{theirs}.self_attn.o_proj"],
                (),
                config.attention.output_bias,
            ),
            (
                "feed_forward/expand",
                [f"{theirs}.mlp.gate_up_proj"] if fused else halves,
                () if fused else (width, width),
                config.use_bias,
            ),
            ("feed_forward/contract", [f"{theirs}.mlp.down_proj"], (), config.use_bias),
        ):
            weights += linear(f"{ours}/{layer}", names, widths, bias)
    return weights


INVERSE_FREQUENCIES = r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq"
"""The tensors of old files that hold rotary frequencies."""


def _read_config(hf: Mapping[str, Any]) -> TransformerConfig:
    bias = hf.get("attention_bias", False)
    return read_gated(
        hf, attention={"bias": bias, "output_bias": bias}, use_bias=hf.get("mlp_bias", False)
    )


def _write_config(config: TransformerConfig) -> HFConfig:
    return {
        **write_gated(config),
        "attention_bias": config.attention.bias,
        "mlp_bias": config.use_bias,
    }


LLAMA = Family(
    model_type="llama",
    architecture="LlamaForCausalLM",
    title="Llama 1 to 3, SmolLM 1 and 2, TinyLlama",
    read_config=_read_config,
    write_config=_write_config,
    weights=gated_weights,
    prefix="model.",
    ignored=(INVERSE_FREQUENCIES,),
)
