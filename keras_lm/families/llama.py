"""Llama (https://arxiv.org/abs/2302.13971): rotary positions, RMS norm, SwiGLU, grouped queries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_lm.config import AttentionConfig, PositionConfig, TransformerConfig
from keras_lm.families.base import Family, HFConfig, Weight, refuse_unless, required


def _read_config(hf: Mapping[str, Any]) -> TransformerConfig:
    refuse_unless(hf, hidden_act="silu")
    attention_bias = hf.get("attention_bias", False)
    return TransformerConfig(
        vocab_size=required(hf, "vocab_size"),
        num_layers=required(hf, "num_hidden_layers"),
        hidden_dim=required(hf, "hidden_size"),
        num_heads=required(hf, "num_attention_heads"),
        num_kv_heads=hf.get("num_key_value_heads") or hf["num_attention_heads"],
        feed_forward_dim=required(hf, "intermediate_size"),
        max_length=required(hf, "max_position_embeddings"),
        norm="rms",
        norm_epsilon=hf.get("rms_norm_eps", 1e-6),
        activation="swiglu",
        use_bias=hf.get("mlp_bias", False),
        tie_embeddings=hf.get("tie_word_embeddings", False),
        initializer_range=hf.get("initializer_range", 0.02),
        positions=PositionConfig(kind="rotary", rotary_base=_rotary_base(hf)),
        attention=AttentionConfig(
            head_dim=hf.get("head_dim") or hf["hidden_size"] // hf["num_attention_heads"],
            bias=attention_bias,
            output_bias=attention_bias,
            dropout=hf.get("attention_dropout", 0.0),
        ),
    )


def _rotary_base(hf: Mapping[str, Any]) -> float:
    """Reads both spellings: `rope_theta` and `rope_scaling`, and `rope_parameters`."""
    for name in ("rope_parameters", "rope_scaling"):
        if not isinstance(hf.get(name) or {}, Mapping):
            raise ValueError(f"config.json has {name}={hf[name]!r}; it must be an object")
    rope = hf.get("rope_parameters") or {
        "rope_theta": hf.get("rope_theta", 10000.0),
        **(hf.get("rope_scaling") or {}),
    }
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise ValueError(f"config.json asks for rope_type={kind!r}; keras_lm supports 'default'")
    return rope.get("rope_theta", 10000.0)


def _write_config(config: TransformerConfig) -> HFConfig:
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_dim,
        "intermediate_size": config.feed_forward_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.attention.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.max_length,
        "initializer_range": config.initializer_range,
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.positions.rotary_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.positions.rotary_base},
        "attention_bias": config.attention.bias,
        "attention_dropout": config.attention.dropout,
        "mlp_bias": config.use_bias,
        "tie_word_embeddings": config.tie_embeddings,
    }


def _weights(config: TransformerConfig) -> list[Weight]:
    head_dim = config.attention.head_dim
    kv_dim = config.num_kv_heads * head_dim
    qkv_sizes = (config.num_heads * head_dim, kv_dim, kv_dim)
    gate_sizes = (config.feed_forward_dim, config.feed_forward_dim)
    weights = [
        Weight("token_embedding/embeddings", "model.embed_tokens.weight"),
        Weight("output_norm/scale", "model.norm.weight"),
    ]
    if not config.tie_embeddings:
        weights.append(Weight("token_embedding/reverse_embeddings", "lm_head.weight", True))
    for i in range(config.num_layers):
        ours, theirs = f"block_{i}", f"model.layers.{i}"
        qkv = [f"{theirs}.self_attn.{part}_proj" for part in "qkv"]
        gate_up = [f"{theirs}.mlp.gate_proj", f"{theirs}.mlp.up_proj"]
        weights += [
            Weight(f"{ours}/attention_norm/scale", f"{theirs}.input_layernorm.weight"),
            Weight(f"{ours}/feed_forward_norm/scale", f"{theirs}.post_attention_layernorm.weight"),
        ]
        for layer, names, sizes, bias in (
            ("attention/query_key_value", qkv, qkv_sizes, config.attention.bias),
            (
                "attention/output_projection",
                [f"{theirs}.self_attn.o_proj"],
                (),
                config.attention.output_bias,
            ),
            ("feed_forward/expand", gate_up, gate_sizes, config.use_bias),
            ("feed_forward/contract", [f"{theirs}.mlp.down_proj"], (), config.use_bias),
        ):
            kernels = [f"{name}.weight" for name in names]
            weights.append(Weight(f"{ours}/{layer}/kernel", kernels, True, sizes))
            if bias:
                biases = [f"{name}.bias" for name in names]
                weights.append(Weight(f"{ours}/{layer}/bias", biases, False, sizes))
    return weights


LLAMA = Family(
    model_type="llama",
    architecture="LlamaForCausalLM",
    read_config=_read_config,
    write_config=_write_config,
    weights=_weights,
    prefix="model.",
    ignored=(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",),
)
