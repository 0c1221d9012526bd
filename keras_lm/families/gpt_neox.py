"""GPT-NeoX (https://arxiv.org/abs/2204.06745): parallel branches; a part of each head is turned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_lm.config import AttentionConfig, TransformerConfig
from keras_lm.families.base import (
    Family,
    HFConfig,
    Weight,
    layer_norm,
    linear,
    order_of_groups,
    read_activation,
    read_sizes,
    required,
    token_weights,
    write_activation,
    write_sizes,
)
from keras_lm.families.rotary import read_rotary, rope_parameters, write_rotary


def _read_config(hf: Mapping[str, Any]) -> TransformerConfig:
    bias = hf.get("attention_bias", True)
    return TransformerConfig(
        **read_sizes(hf),
        feed_forward_dim=required(hf, "intermediate_size"),
        dropout=hf.get("hidden_dropout", 0.0),
        norm_epsilon=hf.get("layer_norm_eps", 1e-5),
        residual="parallel" if hf.get("use_parallel_residual", True) else "sequential",
        activation=read_activation(hf, "hidden_act", "gelu"),
        tie_embeddings=hf.get("tie_word_embeddings", False),
        initializer_range=hf.get("initializer_range", 0.02),
        attention=AttentionConfig(
            bias=bias, output_bias=bias, dropout=hf.get("attention_dropout", 0.0)
        ),
        **read_rotary(hf, rope_parameters(hf, "rotary_emb_base", "rotary_pct", 0.25)),
    )


def _write_config(config: TransformerConfig) -> HFConfig:
    return {
        **write_sizes(config),
        "intermediate_size": config.feed_forward_dim,
        "hidden_act": write_activation(config.activation),
        "hidden_dropout": config.dropout,
        "attention_dropout": config.attention.dropout,
        "layer_norm_eps": config.norm_epsilon,
        "use_parallel_residual": config.residual == "parallel",
        "attention_bias": config.attention.bias,
        "tie_word_embeddings": config.tie_embeddings,
        "initializer_range": config.initializer_range,
        **write_rotary(config, part=True),
    }


def _weights(config: TransformerConfig) -> list[Weight]:
    weights = [
        *token_weights(config, "gpt_neox.embed_in.weight", "embed_out.weight"),
        *layer_norm("output_norm", "gpt_neox.final_layer_norm"),
    ]
    for i in range(config.num_layers):
        ours, theirs = f"block_{i}", f"gpt_neox.layers.{i}"
        weights += [
            *layer_norm(f"{ours}/attention_norm", f"{theirs}.input_layernorm"),
            *layer_norm(f"{ours}/feed_forward_norm", f"{theirs}.post_attention_layernorm"),
            *fused_layers(config, ours, f"{theirs}.attention", f"{theirs}.mlp"),
        ]
    return weights


def fused_layers(config: TransformerConfig, ours: str, attention: str, mlp: str) -> list[Weight]:
    """The map of the dense layers of a block, which Falcon names alike."""
    fused, out = f"{attention}.query_key_value", f"{attention}.dense"
    order, bias = order_of_groups(config), config.attention.bias
    return [
        *linear(f"{ours}/attention/query_key_value", fused, bias=bias, order=order),
        *linear(f"{ours}/attention/output_projection", out, bias=bias),
        *linear(f"{ours}/feed_forward/expand", f"{mlp}.dense_h_to_4h", bias=config.use_bias),
        *linear(f"{ours}/feed_forward/contract", f"{mlp}.dense_4h_to_h", bias=config.use_bias),
    ]


GPT_NEOX = Family(
    model_type="gpt_neox",
    architecture="GPTNeoXForCausalLM",
    title="Pythia, GPT-NeoX 20B, Dolly 2",
    read_config=_read_config,
    write_config=_write_config,
    weights=_weights,
    prefix="gpt_neox.",
    ignored=(r"gpt_neox\.layers\.\d+\.attention\.(masked_bias|bias|rotary_emb\.inv_freq)",),
)
