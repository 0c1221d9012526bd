"""GPT-2 (Radford et al. 2019): learned positions, pre-norm, tanh GELU, tied embeddings."""

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
    refuse_unless,
    required,
    token_weights,
    write_activation,
)

_BLOCK: BlockNames = {
    "attention_norm": "ln_1",
    "feed_forward_norm": "ln_2",
    "attention/query_key_value": "attn.c_attn",
    "attention/output_projection": "attn.c_proj",
    "feed_forward/expand": "mlp.c_fc",
    "feed_forward/contract": "mlp.c_proj",
}


def _read_config(hf: Mapping[str, Any]) -> TransformerConfig:
    refuse_unless(
        hf,
        scale_attn_weights=True,
        scale_attn_by_inverse_layer_idx=False,
        add_cross_attention=False,
    )
    dropout = hf.get("resid_pdrop", 0.1)
    refuse_unless(hf, embd_pdrop=dropout)
    return TransformerConfig(
        vocab_size=required(hf, "vocab_size"),
        num_layers=required(hf, "n_layer"),
        hidden_dim=required(hf, "n_embd"),
        num_heads=required(hf, "n_head"),
        max_length=required(hf, "n_positions"),
        dropout=dropout,
        norm_epsilon=hf.get("layer_norm_epsilon", 1e-5),
        activation=read_activation(hf, "activation_function", "gelu_new"),
        tie_embeddings=hf.get("tie_word_embeddings", True),
        initializer_range=hf.get("initializer_range", 0.02),
        attention=AttentionConfig(dropout=hf.get("attn_pdrop", 0.1)),
        **({} if hf.get("n_inner") is None else {"feed_forward_dim": hf["n_inner"]}),
    )


def _write_config(config: TransformerConfig) -> HFConfig:
    return {
        "vocab_size": config.vocab_size,
        "n_positions": config.max_length,
        "n_embd": config.hidden_dim,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_inner": config.feed_forward_dim,
        "activation_function": write_activation(config.activation),
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.attention.dropout,
        "layer_norm_epsilon": config.norm_epsilon,
        "initializer_range": config.initializer_range,
        "tie_word_embeddings": config.tie_embeddings,
    }


def _weights(config: TransformerConfig) -> list[Weight]:
    weights = [
        *token_weights(config, "transformer.wte.weight"),
        Weight("position_embedding/embeddings", "transformer.wpe.weight"),
        *layer_norm("output_norm", "transformer.ln_f"),
    ]
    for i in range(config.num_layers):
        names = f"block_{i}", f"transformer.h.{i}"
        weights += plain_block(config, *names, _BLOCK, transpose=False)  # theirs are Conv1D
    return weights


GPT2 = Family(
    model_type="gpt2",
    architecture="GPT2LMHeadModel",
    title="GPT-2, DistilGPT-2",
    read_config=_read_config,
    write_config=_write_config,
    weights=_weights,
    prefix="transformer.",
    ignored=(r"transformer\.h\.\d+\.attn\.(masked_)?bias",),
)
