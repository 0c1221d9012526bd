"""StarCoder 2 (https://arxiv.org/abs/2402.19173): rotary positions, layer norms, plain GELU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_lm.config import AttentionConfig, TransformerConfig
from keras_lm.families.base import (
    BlockNames,
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
from keras_lm.families.llama import NORMS
from keras_lm.families.rotary import read_rotary, write_rotary

_BLOCK: BlockNames = {
    **NORMS,
    "attention/query_key_value": [f"self_attn.{part}_proj" for part in "qkv"],
    "attention/output_projection": "self_attn.o_proj",
    "feed_forward/expand": "mlp.c_fc",
    "feed_forward/contract": "mlp.c_proj",
}


def _read_config(hf: Mapping[str, Any]) -> TransformerConfig:
    dropout = hf.get("residual_dropout", 0.0)
    refuse_unless(hf, embedding_dropout=dropout)
    return TransformerConfig(
        **read_sizes(hf),
        num_kv_heads=required(hf, "num_key_value_heads"),
        feed_forward_dim=required(hf, "intermediate_size"),
        dropout=dropout,
        norm_epsilon=hf.get("norm_epsilon", 1e-5),
        activation=read_activation(hf, "hidden_act", "gelu_pytorch_tanh"),
        use_bias=hf.get("use_bias", True),
        tie_embeddings=hf.get("tie_word_embeddings", True),
        initializer_range=hf.get("initializer_range", 0.018042),
        attention=AttentionConfig(
            dropout=hf.get("attention_dropout", 0.0), sliding_window=hf.get("sliding_window")
        ),
        **read_rotary(hf, part=False),
    )


def _write_config(config: TransformerConfig) -> HFConfig:
    return {
        **write_sizes(config),
        "num_key_value_heads": config.num_kv_heads,
        "intermediate_size": config.feed_forward_dim,
        "residual_dropout": config.dropout,
        "embedding_dropout": config.dropout,
        "attention_dropout": config.attention.dropout,
        "norm_epsilon": config.norm_epsilon,
        "hidden_act": write_activation(config.activation, gelu_tanh="gelu_pytorch_tanh"),
        "use_bias": config.use_bias,
        "tie_word_embeddings": config.tie_embeddings,
        "initializer_range": config.initializer_range,
        "sliding_window": config.attention.sliding_window,
        **write_rotary(config),
    }


def _weights(config: TransformerConfig) -> list[Weight]:
    weights = token_weights(config, "model.embed_tokens.weight")
    weights += layer_norm("output_norm", "model.norm")
    for i in range(config.num_layers):
        weights += plain_block(config, f"block_{i}", f"model.layers.{i}", _BLOCK)
    return weights


STARCODER2 = Family(
    model_type="starcoder2",
    architecture="Starcoder2ForCausalLM",
    title="StarCoder 2",
    read_config=_read_config,
    write_config=_write_config,
    weights=_weights,
    prefix="model.",
)
