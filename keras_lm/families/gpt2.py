"""GPT-2 (Radford et al. 2019): learned positions, pre-norm, tanh GELU, tied embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_lm.config import AttentionConfig, TransformerConfig
from keras_lm.families.base import (
    Family,
    HFConfig,
    Weight,
    read_activation,
    refuse_unless,
    required,
    write_activation,
)


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
        Weight("token_embedding/embeddings", "transformer.wte.weight"),
        Weight("position_embedding/embeddings", "transformer.wpe.weight"),
        Weight("output_norm/gamma", "transformer.ln_f.weight"),
        Weight("output_norm/beta", "transformer.ln_f.bias"),
    ]
    if not config.tie_embeddings:
        weights.append(Weight("token_embedding/reverse_embeddings", "lm_head.weight", True))
    for i in range(config.num_layers):
        for ours, theirs in (
            ("attention_norm", "ln_1"),
            ("feed_forward_norm", "ln_2"),
        ):
            weights += [
                Weight(f"block_{i}/{ours}/gamma", f"transformer.h.{i}.{theirs}.weight"),
                Weight(f"block_{i}/{ours}/beta", f"transformer.h.{i}.{theirs}.bias"),
            ]
        for ours, theirs in (
            ("attention/query_key_value", "attn.c_attn"),
            ("attention/output_projection", "attn.c_proj"),
            ("feed_forward/expand", "mlp.c_fc"),
            ("feed_forward/contract", "mlp.c_proj"),
        ):  # their Conv1D is [in, out], as ours is
            weights += [
                Weight(f"block_{i}/{ours}/kernel", f"transformer.h.{i}.{theirs}.weight"),
                Weight(f"block_{i}/{ours}/bias", f"transformer.h.{i}.{theirs}.bias"),
            ]
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
