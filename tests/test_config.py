"""Configs: checked when they are made, and back from JSON as they were."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import harness
import pytest

import keras_lm as klm

SIZES = {"vocab_size": 9, "num_layers": 2, "hidden_dim": 8, "num_heads": 4}
CONFIG = klm.TransformerConfig(**SIZES)


def test_open_fields_are_filled_in() -> None:
    assert (CONFIG.num_kv_heads, CONFIG.feed_forward_dim) == (4, 32)
    expected = klm.AttentionConfig(head_dim=2, bias=True, output_bias=True, dropout=0.0)
    assert CONFIG.attention == expected
    assert klm.TransformerConfig(**SIZES, dropout=0.25).feed_forward_dropout == 0.0
    assert klm.TransformerConfig(**SIZES, dropout=0.25, use_bias=False).attention == (
        klm.AttentionConfig(head_dim=2, bias=False, output_bias=False, dropout=0.25)
    )


def test_what_is_given_is_kept() -> None:
    attention = {"head_dim": 6, "bias": False, "output_bias": True, "dropout": 0.5}
    config = klm.TransformerConfig(**SIZES, num_kv_heads=2, feed_forward_dim=5, attention=attention)
    assert (config.num_kv_heads, config.feed_forward_dim) == (2, 5)
    assert config.attention == klm.AttentionConfig(**attention)


@pytest.mark.parametrize("name", harness.leaf_fields(CONFIG))
def test_every_value_of_a_field_comes_back_from_json(name: str) -> None:
    for changed in harness.perturbed(CONFIG, name):
        assert changed != CONFIG
        values = json.loads(json.dumps(changed.get_config()))
        again = klm.TransformerConfig.from_config(values)
        assert again == changed
        assert hash(again) == hash(changed)


def test_short_spellings() -> None:
    word = klm.TransformerConfig(**SIZES, positions="rotary")
    full = klm.TransformerConfig(**SIZES, positions=klm.PositionConfig(kind="rotary"))
    assert word == full == klm.TransformerConfig(**SIZES, positions={"kind": "rotary"})
    assert klm.TransformerConfig(**SIZES, dropout=0).dropout == 0.0
    assert isinstance(klm.TransformerConfig(**SIZES, dropout=0).dropout, float)


def test_replace_checks_and_leaves_the_first_alone() -> None:
    assert CONFIG.replace(num_layers=5).num_layers == 5
    assert CONFIG.num_layers == 2
    with pytest.raises(ValueError, match="num_layers must be positive; got 0"):
        CONFIG.replace(num_layers=0)


def test_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CONFIG.num_layers = 3  # type: ignore[misc]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"vocab_size": 0}, "vocab_size must be positive; got 0"),
    ({"num_layers": -1}, "num_layers must be positive; got -1"),
    ({"hidden_dim": 8.0}, "hidden_dim must be of type int; got 8.0"),
    ({"num_heads": True}, "num_heads must be of type int; got True"),
    ({"num_heads": "4"}, "num_heads must be of type int; got '4'"),
    ({"num_heads": 3}, "hidden_dim must be a multiple of num_heads=3.*got 8"),
    ({"num_kv_heads": 3}, "num_kv_heads must be a divisor of num_heads=4; got 3"),
    ({"num_kv_heads": 0}, "num_kv_heads must be positive; got 0"),
    ({"feed_forward_dim": 0}, "feed_forward_dim must be positive; got 0"),
    ({"max_length": 0}, "max_length must be positive; got 0"),
    ({"max_length": None}, "max_length must be of type int; got None"),
    ({"dropout": 1.0}, r"dropout must be in \[0, 1\); got 1.0"),
    ({"dropout": float("nan")}, r"dropout must be in \[0, 1\); got nan"),
    ({"norm": "batch"}, "norm must be one of 'layer', 'rms'; got 'batch'"),
    ({"norm": ["rms"]}, r"norm must be one of 'layer', 'rms'; got \['rms'\]"),
    ({"norm_position": "mid"}, "norm_position must be one of 'pre', 'post', 'sand.*; got 'mid'"),
    ({"residual": "both"}, "residual must be one of 'sequential', 'parallel'.*got 'both'"),
    (
        {"residual": "parallel", "norm_position": "post"},
        "residual must be 'sequential' with norm_position='post'; got 'parallel'",
    ),
    ({"position_offset": -1}, "position_offset must be 0 or more; got -1"),
    ({"norm_epsilon": 0.0}, "norm_epsilon must be positive; got 0.0"),
    ({"activation": "gelu_new"}, "activation must be one of 'gelu', 'gelu_tanh'.*'gelu_new'"),
    ({"use_bias": 1}, "use_bias must be of type bool; got 1"),
    ({"initializer_range": -0.1}, "initializer_range must be .*got -0.1"),
    ({"positions": "absolute"}, "kind must be one of 'learned', 'rotary'.*got 'absolute'"),
    ({"positions": 3}, "positions must be a PositionConfig; got 3"),
    ({"positions": {"base": 1.0}}, "PositionConfig has no field 'base'"),
    ({"positions": {"rotary_base": 0}}, "rotary_base must be positive; got 0.0"),
    ({"positions": "rotary", "attention": {"head_dim": 3}}, "attention.head_dim must be even"),
    ({"positions": {"rotary_fraction": 0}}, "rotary_fraction must be above 0 and at most 1; got 0"),
    ({"positions": {"rotary_fraction": 1.5}}, "rotary_fraction must be above 0 and .*; got 1.5"),
    (
        {"positions": {"kind": "rotary", "rotary_fraction": 0.3}},
        "rotary_fraction must be enough to turn a component of 2; got 0.3",
    ),
    ({"positions": {"local_rotary_base": 0}}, "local_rotary_base must be positive, or None"),
    ({"attention": {"full_attention_every": 0}}, "full_attention_every must be positive; got 0"),
    ({"attention": {"head_dim": 0}}, "head_dim must be positive; got 0"),
    ({"attention": {"sliding_window": 0}}, "sliding_window must be positive; got 0"),
    ({"attention": {"dropout": -0.1}}, r"attention dropout must be in \[0, 1\); got -0.1"),
    ({"attention": {"scaled": 1}}, "scaled must be of type bool; got 1"),
    ({"feed_forward_dropout": 1.0}, r"feed_forward_dropout must be in \[0, 1\); got 1.0"),
    ({"positions": {"relative_buckets": 0}}, "relative_buckets must be a multiple of 4; got 0"),
    ({"positions": {"relative_buckets": 6}}, "relative_buckets must be a multiple of 4; got 6"),
    (
        {"positions": {"relative_buckets": 32, "relative_distance": 16}},
        "relative_distance must be above relative_buckets / 2 = 16; got 16",
    ),
    ({"attention": "flash"}, "attention must be a AttentionConfig; got 'flash'"),
]


@pytest.mark.parametrize(("fields", "message"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_values_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        klm.TransformerConfig(**{**SIZES, **fields})


SCALING: list[tuple[dict[str, Any], str]] = [
    ({"kind": "ntk"}, "kind must be one of 'linear', 'llama3', 'yarn', 'longrope'; got 'ntk'"),
    ({"factor": 0}, "factor must be positive; got 0.0"),
    ({"kind": "llama3"}, "original_max_length must be given with kind='llama3'; got None"),
    ({"original_max_length": 1}, "original_max_length must be above 1, or None; got 1"),
    ({"attention_factor": 0}, "attention_factor must be above 0, or None; got 0.0"),
    ({"high_frequency_factor": 1}, "high_frequency_factor must be above low_.*=1.0; got 1.0"),
    ({"beta_slow": 40}, "beta_fast must be above beta_slow=40.0; got 32.0"),
    ({"low_frequency_factor": 0}, "low_frequency_factor must be positive; got 0.0"),
    (
        {"kind": "longrope", "original_max_length": 8, "short_factors": [1]},
        r"long_factors must be one positive number for each frequency; got \(\)",
    ),
    (
        {
            "kind": "longrope",
            "original_max_length": 8,
            "short_factors": [1],
            "long_factors": [1, 1],
        },
        "long_factors must be 1 of them; got '2 numbers'",
    ),
]


@pytest.mark.parametrize(("fields", "message"), SCALING, ids=[str(i) for i in range(len(SCALING))])
def test_bad_scaling_is_named(fields: dict[str, Any], message: str) -> None:
    scaling = {"kind": "linear", "factor": 2.0, **fields}
    with pytest.raises(ValueError, match=message):
        klm.TransformerConfig(**SIZES, positions={"kind": "rotary", "rotary_scaling": scaling})


def test_yarn_needs_a_series_that_falls() -> None:
    yarn = {"kind": "yarn", "factor": 2.0, "original_max_length": 8}
    with pytest.raises(ValueError, match="rotary_base must be above 1 with yarn; got 1.0"):
        klm.TransformerConfig(
            **SIZES, positions={"kind": "rotary", "rotary_base": 1, "rotary_scaling": yarn}
        )


def test_unknown_fields_are_named() -> None:
    with pytest.raises(ValueError, match="has no field 'num_layer'; did you mean 'num_layers'"):
        klm.TransformerConfig.from_config({**SIZES, "num_layer": 3})
    with pytest.raises(ValueError, match="has no field 'zzz'; known: vocab_size, num_layers"):
        CONFIG.replace(zzz=1)


def test_missing_fields_are_named() -> None:
    with pytest.raises(ValueError, match="TransformerConfig needs num_layers, num_heads as well"):
        klm.TransformerConfig.from_config({"vocab_size": 9, "hidden_dim": 8})
