"""Falcon (https://arxiv.org/abs/2311.16867): parallel branches, fused groups of heads, no biases.

The 7B has one key and value and one norm for both branches, its successors groups of heads and two
norms ("new decoder architecture"), or one again (Falcon 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_lm.config import AttentionConfig, TransformerConfig
from keras_lm.families.base import (
    Family,
    HFConfig,
    Weight,
    layer_norm,
    read_activation,
    read_sizes,
    refuse_unless,
    token_weights,
    write_activation,
    write_sizes,
)
from keras_lm.families.gpt_neox import fused_layers
from keras_lm.families.rotary import read_rotary, write_rotary

NORMS = {
    "sequential": ["input_layernorm", "post_attention_layernorm"],
    "parallel": ["ln_attn", "ln_mlp"],
    "parallel_one_norm": ["input_layernorm"],
}


def _read_config(hf: Mapping[str, Any]) -> TransformerConfig:
    refuse_unless(hf, alibi=False, attention_dropout=0.0)  # theirs drops something else
    residual: Any = "parallel_one_norm" if hf.get("parallel_attn", True) else "sequential"
    kv_heads: Any = 1 if hf.get("multi_query", True) else None
    width: Any = hf.get("ffn_hidden_size")
    if hf.get("new_decoder_architecture", False):
        residual = "parallel_one_norm" if hf.get("num_ln_in_parallel_attn") == 1 else "parallel"
        kv_heads = hf.get("num_kv_heads")
    return TransformerConfig(
        **read_sizes(hf),
        num_kv_heads=kv_heads,
        feed_forward_dim=width,
        dropout=hf.get("hidden_dropout", 0.0),
        norm_epsilon=hf.get("layer_norm_epsilon", 1e-5),
        residual=residual,
        activation=read_activation(hf, "activation", "gelu"),
        use_bias=hf.get("bias", False),
        tie_embeddings=hf.get("tie_word_embeddings", True),
        initializer_range=hf.get("initializer_range", 0.02),
        attention=AttentionConfig(dropout=0.0),
        **read_rotary({"max_position_embeddings": 2048, **hf}, part=False),
    )


def _write_config(config: TransformerConfig) -> HFConfig:
    is_new = config.residual == "parallel" or config.num_kv_heads not in (1, config.num_heads)
    return {
        **write_sizes(config),
        "num_kv_heads": config.num_kv_heads if is_new else config.num_heads,
        "ffn_hidden_size": config.feed_forward_dim,
        "hidden_dropout": config.dropout,
        "layer_norm_epsilon": config.norm_epsilon,
        "new_decoder_architecture": is_new,
        "num_ln_in_parallel_attn": len(NORMS[config.residual]) if is_new else None,
        "multi_query": is_new or config.num_kv_heads == 1,
        "parallel_attn": config.residual != "sequential",
        "activation": write_activation(config.activation),
        "bias": config.use_bias,
        "tie_word_embeddings": config.tie_embeddings,
        "initializer_range": config.initializer_range,
        **write_rotary(config),
    }


def _weights(config: TransformerConfig) -> list[Weight]:
    weights = token_weights(config, "transformer.word_embeddings.weight")
    weights += layer_norm("output_norm", "transformer.ln_f")
    for i in range(config.num_layers):
        ours, theirs = f"block_{i}", f"transformer.h.{i}"
        for norm, name in zip(("attention_norm", "feed_forward_norm"), NORMS[config.residual]):
            weights += layer_norm(f"{ours}/{norm}", f"{theirs}.{name}")
        weights += fused_layers(config, ours, f"{theirs}.self_attention", f"{theirs}.mlp")
    return weights


FALCON = Family(
    model_type="falcon",
    architecture="FalconForCausalLM",
    title="Falcon 7B, 11B, 40B and 180B",
    refused="ALiBi (the RW models)",
    read_config=_read_config,
    write_config=_write_config,
    weights=_weights,
    prefix="transformer.",
)
