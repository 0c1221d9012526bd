"""OPT (https://arxiv.org/abs/2205.01068): a GPT-2 with ReLU, whose positions begin at row 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_lm.config import AttentionConfig, TransformerConfig
from keras_lm.families.bart import BLOCK
from keras_lm.families.base import (
    Family,
    HFConfig,
    Weight,
    layer_norm,
    plain_block,
    read_activation,
    read_sizes,
    refuse_unless,
    required,
    token_weights,
    write_activation,
    write_sizes,
)


def _read_config(hf: Mapping[str, Any]) -> TransformerConfig:
    refuse_unless(
        hf,
        do_layer_norm_before=True,
        _remove_final_layer_norm=False,
        layer_norm_elementwise_affine=True,
        layerdrop=0.0,
        activation_dropout=0.0,
    )
    if hf.get("word_embed_proj_dim") is not None:
        refuse_unless(hf, word_embed_proj_dim=hf.get("hidden_size"))
    return TransformerConfig(
        **read_sizes(hf),
        feed_forward_dim=required(hf, "ffn_dim"),
        max_length=required(hf, "max_position_embeddings"),
        # Of the embeddings too, in training; theirs has none there.
        dropout=hf.get("dropout", 0.1),
        activation=read_activation(hf, "activation_function", "relu"),
        use_bias=hf.get("enable_bias", True),
        tie_embeddings=hf.get("tie_word_embeddings", True),
        position_offset=2,
        initializer_range=hf.get("init_std", 0.02),
        attention=AttentionConfig(dropout=hf.get("attention_dropout", 0.0)),
    )


def _write_config(config: TransformerConfig) -> HFConfig:
    return {
        **write_sizes(config),
        "word_embed_proj_dim": config.hidden_dim,
        "ffn_dim": config.feed_forward_dim,
        "max_position_embeddings": config.max_length,
        "dropout": config.dropout,
        "attention_dropout": config.attention.dropout,
        "activation_function": write_activation(config.activation),
        "enable_bias": config.use_bias,
        "tie_word_embeddings": config.tie_embeddings,
        "init_std": config.initializer_range,
    }


def _weights(config: TransformerConfig) -> list[Weight]:
    root = "model.decoder"
    weights = [
        *token_weights(config, f"{root}.embed_tokens.weight"),
        Weight("position_embedding/embeddings", f"{root}.embed_positions.weight"),
        *layer_norm("output_norm", f"{root}.final_layer_norm"),
    ]
    for i in range(config.num_layers):
        weights += plain_block(config, f"block_{i}", f"{root}.layers.{i}", BLOCK)
    return weights


OPT = Family(
    model_type="opt",
    architecture="OPTForCausalLM",
    title="OPT 125M and 1.3B to 66B",
    refused="OPT 350M, which normalises behind its branches",
    read_config=_read_config,
    write_config=_write_config,
    weights=_weights,
    prefix="model.",
)
