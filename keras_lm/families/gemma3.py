"""Gemma 3 (https://arxiv.org/abs/2503.19786), the text models: four norms a block, local layers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from keras_lm.config import TransformerConfig
from keras_lm.families.base import Family, HFConfig, refuse_unless, required
from keras_lm.families.llama import gated_weights, read_gated, write_gated
from keras_lm.families.rotary import read_rotary, rope_parameters

_NORMS = {
    "attention_norm": "input_layernorm",
    "attention_output_norm": "post_attention_layernorm",
    "feed_forward_norm": "pre_feedforward_layernorm",
    "feed_forward_output_norm": "post_feedforward_layernorm",
}
_KINDS = {
    "full_attention": ("rope_theta", 1e6),
    "sliding_attention": ("rope_local_base_freq", 1e4),
}
"""Layers that see all and layers with a window: the old name of their angles' base, its default."""


def _read_config(hf: Mapping[str, Any]) -> TransformerConfig:
    head_dim, bias = hf.get("head_dim", 256), hf.get("attention_bias", False)
    biases = {"bias": bias, "output_bias": bias}
    refuse_unless(
        hf,
        hidden_activation="gelu_pytorch_tanh",
        query_pre_attn_scalar=head_dim,
        attn_logit_softcapping=None,
        final_logit_softcapping=None,
        use_bidirectional_attention=False,
    )
    full, local = (_rope(hf, kind, *old) for kind, old in _KINDS.items())
    refuse_unless(local, rope_type="default")
    places, types = read_rotary(hf, full, part=False), hf.get("layer_types")
    every = hf.get("sliding_window_pattern", 6 if types is None else None)
    if isinstance(types, list) and "full_attention" in types:
        every = types.index("full_attention") + 1
    windows = {"sliding_window": required(hf, "sliding_window"), "full_attention_every": every}
    config = read_gated(
        hf,
        attention=biases | {"query_key_norm": True, "head_dim": head_dim} | windows,
        activation="geglu",
        norm_position="sandwich",
        scale_embeddings=True,
        tie_embeddings=hf.get("tie_word_embeddings", True),
        positions=places["positions"].replace(local_rotary_base=local["rope_theta"]),
        max_length=places["max_length"],
    )
    refuse_unless(hf, layer_types=_layer_types(config) if types is not None else types)
    return config


def _rope(hf: Mapping[str, Any], kind: str, base: str, default: float) -> dict[str, Any]:
    """The rotary parameters of a kind of layers, from either spelling."""
    given = hf.get("rope_parameters")
    nested = given.get(kind) if isinstance(given, Mapping) else given
    scaling = hf.get("rope_scaling") if kind == "full_attention" else None
    layer = {"rope_parameters": nested, "rope_scaling": scaling, "rope_theta": hf.get(base)}
    if layer["rope_theta"] is None:
        layer["rope_theta"] = default
    return rope_parameters(layer)


def _layer_types(config: TransformerConfig) -> list[str]:
    local, full = reversed(_KINDS)
    return [local if config.is_local(i) else full for i in range(config.num_layers)]


def _write_config(config: TransformerConfig) -> HFConfig:
    written, every = write_gated(config), config.attention.full_attention_every
    local = {"rope_type": "default", "rope_theta": config.positions.local_rotary_base}
    return {
        **{name: written[name] for name in written if name not in ("hidden_act", "rope_theta")},
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": config.attention.bias,
        "query_pre_attn_scalar": config.attention.head_dim,
        "sliding_window": config.attention.sliding_window,
        "layer_types": _layer_types(config),
        **({} if every is None else {"sliding_window_pattern": every}),
        "rope_parameters": dict(zip(_KINDS, (written["rope_parameters"], local))),
    }


GEMMA3 = Family(
    model_type="gemma3_text",
    architecture="Gemma3ForCausalLM",
    title="Gemma 3 270M and 1B, and text models of its kind",
    refused="images, bidirectional attention",
    read_config=_read_config,
    write_config=_write_config,
    weights=partial(gated_weights, norms=_NORMS, shift=1.0),  # theirs are 0 where ours are 1
    prefix="model.",
)
