"""T5 (https://arxiv.org/abs/1910.10683), its version 1.1 and Flan-T5: relative positions, RMS norm.

Version 1.0 has a ReLU, and its output layer is the token embeddings, scaled; the later ones have a
gated GELU and an output layer of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_lm.config import AttentionConfig, EncoderDecoderConfig, PositionConfig
from keras_lm.families.base import (
    Family,
    HFConfig,
    Weight,
    linear,
    refuse_unless,
    required,
    special_id,
    translated,
)

_ACTIVATIONS = {
    "relu": "relu",
    "gated-gelu": "geglu",
    "gated-gelu_new": "geglu",
    "gated-silu": "swiglu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "silu": "silu",
}
_OURS = ("initializer_range", "max_source_length")
"""Keys of our own in their config."""


def _read_config(hf: Mapping[str, Any]) -> EncoderDecoderConfig:
    refuse_unless(hf, is_encoder_decoder=True, is_decoder=False)
    layers, decoder_layers = required(hf, "num_layers"), hf.get("num_decoder_layers")
    dropout = hf.get("dropout_rate", 0.1)
    tied = hf.get("tie_word_embeddings", True)
    return EncoderDecoderConfig(
        vocab_size=required(hf, "vocab_size"),
        num_layers=layers if decoder_layers is None else decoder_layers,
        encoder_layers=layers,
        hidden_dim=required(hf, "d_model"),
        num_heads=required(hf, "num_heads"),
        feed_forward_dim=required(hf, "d_ff"),
        # Not a limit of the model, but what it was trained on.
        max_length=hf.get("n_positions", 512),
        dropout=dropout,
        feed_forward_dropout=dropout,
        norm="rms",
        norm_epsilon=hf.get("layer_norm_epsilon", 1e-6),
        activation=translated(
            _ACTIVATIONS, "feed_forward_proj", hf.get("feed_forward_proj", "relu")
        ),
        use_bias=False,
        tie_embeddings=tied,
        # In older files, being tied says this too.
        scale_outputs=hf.get("scale_decoder_outputs", tied),
        positions=PositionConfig(
            kind="relative",
            relative_buckets=hf.get("relative_attention_num_buckets", 32),
            relative_distance=hf.get("relative_attention_max_distance", 128),
        ),
        attention=AttentionConfig(head_dim=required(hf, "d_kv"), dropout=dropout, scaled=False),
        decoder_start_id=special_id(hf, "decoder_start_token_id"),
        eos_id=special_id(hf, "eos_token_id", 1),
        pad_id=special_id(hf, "pad_token_id", 0),
        **{name: hf[name] for name in _OURS if name in hf},
    )


def _write_config(config: EncoderDecoderConfig) -> HFConfig:
    ours = {value: key for key, value in reversed(_ACTIVATIONS.items())}
    return {
        "vocab_size": config.vocab_size,
        "d_model": config.hidden_dim,
        "d_kv": config.attention.head_dim,
        "d_ff": config.feed_forward_dim,
        "num_layers": config.encoder_layers,
        "num_decoder_layers": config.num_layers,
        "num_heads": config.num_heads,
        "relative_attention_num_buckets": config.positions.relative_buckets,
        "relative_attention_max_distance": config.positions.relative_distance,
        "dropout_rate": config.dropout,
        "layer_norm_epsilon": config.norm_epsilon,
        "feed_forward_proj": translated(ours, "activation", config.activation),
        "n_positions": config.max_length,
        "is_encoder_decoder": True,
        "tie_word_embeddings": config.tie_embeddings,
        "scale_decoder_outputs": config.scale_outputs,
        "decoder_start_token_id": config.decoder_start_id,
        "eos_token_id": config.eos_id,
        "pad_token_id": config.pad_id,
        **{name: getattr(config, name) for name in _OURS},
    }


def _weights(config: EncoderDecoderConfig) -> list[Weight]:
    weights = [Weight("token_embedding/embeddings", "shared.weight")]
    if not config.tie_embeddings:
        weights.append(Weight("token_embedding/reverse_embeddings", "lm_head.weight", True))
    for half, layers in (("encoder", config.encoder_layers), ("decoder", config.num_layers)):
        first = f"{half}.block.0.layer.0.SelfAttention"
        weights += [
            Weight(
                f"{half}/relative_positions/table/embeddings",
                f"{first}.relative_attention_bias.weight",
            ),
            Weight(f"{half}/output_norm/scale", f"{half}.final_layer_norm.weight"),
        ]
        for i in range(layers):
            weights += _block(config, f"{half}/block_{i}", f"{half}.block.{i}.layer")
    return weights


def _block(config: EncoderDecoderConfig, ours: str, theirs: str) -> list[Weight]:
    """The map of one layer, whose parts they number."""
    width, first = config.num_heads * config.attention.head_dim, f"{theirs}.0.SelfAttention"
    heads, last = [f"{first}.{part}" for part in "qkv"], 1
    weights = [
        Weight(f"{ours}/attention_norm/scale", f"{theirs}.0.layer_norm.weight"),
        *linear(f"{ours}/attention/query_key_value", heads, (width,) * 3, bias=False),
        *linear(f"{ours}/attention/output_projection", f"{first}.o", bias=False),
    ]
    if theirs.startswith("decoder"):
        cross, last = f"{theirs}.1.EncDecAttention", 2
        heads = [f"{cross}.{part}" for part in "kv"]
        weights += [
            Weight(f"{ours}/cross_attention_norm/scale", f"{theirs}.1.layer_norm.weight"),
            *linear(f"{ours}/cross_attention/query", f"{cross}.q", bias=False),
            *linear(f"{ours}/cross_attention/key_value", heads, (width,) * 2, bias=False),
            *linear(f"{ours}/cross_attention/output_projection", f"{cross}.o", bias=False),
        ]
    fed = f"{theirs}.{last}.DenseReluDense"
    is_gated = config.activation in ("geglu", "swiglu")
    expand = [f"{fed}.wi_0", f"{fed}.wi_1"] if is_gated else [f"{fed}.wi"]
    sizes = (config.feed_forward_dim,) * 2 if is_gated else ()
    return [
        *weights,
        Weight(f"{ours}/feed_forward_norm/scale", f"{theirs}.{last}.layer_norm.weight"),
        *linear(f"{ours}/feed_forward/expand", expand, sizes, bias=False),
        *linear(f"{ours}/feed_forward/contract", f"{fed}.wo", bias=False),
    ]


T5 = Family(
    model_type="t5",
    architecture="T5ForConditionalGeneration",
    title="T5, T5 1.1, Flan-T5",
    read_config=_read_config,
    write_config=_write_config,
    weights=_weights,
    ignored=(
        r"(encoder|decoder)\.embed_tokens\.weight",
        r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
    ),
    config_class=EncoderDecoderConfig,
)
