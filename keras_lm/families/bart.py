"""BART (https://arxiv.org/abs/1910.13461): learned positions, embedding norm, post-norm, tied.

Marian names its layers alike; what they share stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_lm.config import AttentionConfig, EncoderDecoderConfig
from keras_lm.families.base import (
    BlockNames,
    Family,
    HFConfig,
    Weight,
    layer_norm,
    linear,
    plain_block,
    read_activation,
    refuse_unless,
    required,
    special_id,
    write_activation,
)

BLOCK: BlockNames = {
    "attention/query_key_value": [f"self_attn.{part}_proj" for part in "qkv"],
    "attention/output_projection": "self_attn.out_proj",
    "attention_norm": "self_attn_layer_norm",
    "feed_forward/expand": "fc1",
    "feed_forward/contract": "fc2",
    "feed_forward_norm": "final_layer_norm",
}
"""The names of a block's layers, by the paths of ours."""


def read_both_halves(hf: Mapping[str, Any], **others: Any) -> EncoderDecoderConfig:
    """The fields that BART and Marian spell alike, and some others."""
    for name in ("attention_heads", "ffn_dim"):  # one for both halves
        refuse_unless(hf, **{f"decoder_{name}": required(hf, f"encoder_{name}")})
    refuse_unless(
        hf,
        is_encoder_decoder=True,
        is_decoder=False,
        encoder_layerdrop=0.0,
        decoder_layerdrop=0.0,
        # These stand in old files.
        normalize_before=False,
        add_final_layer_norm=False,
    )
    return EncoderDecoderConfig(
        **{
            "vocab_size": required(hf, "vocab_size"),
            "num_layers": required(hf, "decoder_layers"),
            "encoder_layers": required(hf, "encoder_layers"),
            "hidden_dim": required(hf, "d_model"),
            "num_heads": hf["encoder_attention_heads"],
            "feed_forward_dim": hf["encoder_ffn_dim"],
            "max_length": required(hf, "max_position_embeddings"),
            "dropout": hf.get("dropout", 0.1),
            "feed_forward_dropout": hf.get("activation_dropout", 0.0),
            "norm_position": "post",
            "activation": read_activation(hf, "activation_function", "gelu"),
            "initializer_range": hf.get("init_std", 0.02),
            "scale_embeddings": hf.get("scale_embedding", False),
            "output_bias": True,
            "attention": AttentionConfig(dropout=hf.get("attention_dropout", 0.0)),
            **others,
        }
    )


def write_both_halves(config: EncoderDecoderConfig, **activations: str) -> HFConfig:
    """The inverse of `read_both_halves`; `activations`: the family's own names of some."""
    return {
        "vocab_size": config.vocab_size,
        "d_model": config.hidden_dim,
        "encoder_layers": config.encoder_layers,
        "decoder_layers": config.num_layers,
        "encoder_attention_heads": config.num_heads,
        "decoder_attention_heads": config.num_heads,
        "encoder_ffn_dim": config.feed_forward_dim,
        "decoder_ffn_dim": config.feed_forward_dim,
        "max_position_embeddings": config.max_length,
        "activation_function": write_activation(config.activation, **activations),
        "dropout": config.dropout,
        "attention_dropout": config.attention.dropout,
        "activation_dropout": config.feed_forward_dropout,
        "init_std": config.initializer_range,
        "scale_embedding": config.scale_embeddings,
        "is_encoder_decoder": True,
        "tie_word_embeddings": config.tie_embeddings,
        "decoder_start_token_id": config.decoder_start_id,
        "eos_token_id": config.eos_id,
        "pad_token_id": config.pad_id,
    }


def layer_weights(config: EncoderDecoderConfig) -> list[Weight]:
    """The map of all blocks, and of the bias of the logits."""
    # A file without a head for text has no bias.
    weights = [Weight("bias", "final_logits_bias", optional=True)]
    width = config.hidden_dim
    for half, layers in (("encoder", config.encoder_layers), ("decoder", config.num_layers)):
        for i in range(layers):
            ours, theirs = f"{half}/block_{i}", f"model.{half}.layers.{i}"
            weights += plain_block(config, ours, theirs, BLOCK)
            if half == "decoder":
                cross = f"{theirs}.encoder_attn"
                heads = [f"{cross}.{part}_proj" for part in "kv"]
                weights += [
                    *linear(f"{ours}/cross_attention/query", f"{cross}.q_proj"),
                    *linear(f"{ours}/cross_attention/key_value", heads, (width,) * 2),
                    *linear(f"{ours}/cross_attention/output_projection", f"{cross}.out_proj"),
                    *layer_norm(f"{ours}/cross_attention_norm", f"{cross}_layer_norm"),
                ]
    return weights


def _read_config(hf: Mapping[str, Any]) -> EncoderDecoderConfig:
    refuse_unless(
        hf, tie_word_embeddings=True, static_position_embeddings=False, normalize_embedding=True
    )
    return read_both_halves(
        hf,
        embedding_norm=True,
        position_offset=2,  # of all BARTs, whatever their padding is
        decoder_start_id=special_id(hf, "decoder_start_token_id", 2),
        eos_id=special_id(hf, "eos_token_id", 2),
        pad_id=special_id(hf, "pad_token_id", 1),
    )


def _weights(config: EncoderDecoderConfig) -> list[Weight]:
    weights = [Weight("token_embedding/embeddings", "model.shared.weight")]
    for half in ("encoder", "decoder"):
        places = f"model.{half}.embed_positions.weight"
        weights += [
            Weight(f"{half}/position_embedding/embeddings", places),
            *layer_norm(f"{half}/embedding_norm", f"model.{half}.layernorm_embedding"),
        ]
    return weights + layer_weights(config)


BART = Family(
    model_type="bart",
    architecture="BartForConditionalGeneration",
    title="BART",
    read_config=_read_config,
    write_config=write_both_halves,
    weights=_weights,
    prefix="model.",
    ignored=(r"model\.(encoder|decoder)\.(embed_tokens\.weight|version)",),
    config_class=EncoderDecoderConfig,
)
