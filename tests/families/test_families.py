"""Config mappings: what a family can say, and what it must refuse."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import harness
import numpy as np
import pytest

import keras_lm as klm
from keras_lm.families import FAMILIES, Weight, family_for, family_named
from keras_lm.families.gpt2 import GPT2
from keras_lm.families.llama import LLAMA
from keras_lm.families.native import NATIVE
from keras_lm.models import Decoder

DECODER = NATIVE[0]
SIZES = {"vocab_size": 9, "num_layers": 2, "hidden_dim": 8, "num_heads": 4, "max_length": 16}
GPT2_LIKE = klm.TransformerConfig(**SIZES)
LLAMA_LIKE = klm.TransformerConfig(
    **SIZES,
    norm="rms",
    activation="swiglu",
    use_bias=False,
    tie_embeddings=False,
    positions="rotary",
)


def test_the_family_that_can_say_it_is_chosen() -> None:
    assert family_for(GPT2_LIKE) is GPT2
    assert family_for(GPT2_LIKE.replace(tie_embeddings=False, activation="relu")) is GPT2
    assert family_for(LLAMA_LIKE) is LLAMA
    assert family_for(LLAMA_LIKE.replace(num_kv_heads=2, attention={"head_dim": 6})) is LLAMA
    assert family_for(GPT2_LIKE.replace(norm_position="post")) is DECODER


@pytest.mark.parametrize("config", [GPT2_LIKE, LLAMA_LIKE], ids=["gpt2", "llama"])
@pytest.mark.parametrize("name", harness.leaf_fields(GPT2_LIKE))
def test_no_field_is_lost_whatever_the_family(config: klm.TransformerConfig, name: str) -> None:
    for changed in harness.perturbed(config, name):
        family = family_for(changed)
        written = json.loads(json.dumps(family.write_config(changed)))
        assert family.read_config(written) == changed


@pytest.mark.parametrize("config", [GPT2_LIKE, LLAMA_LIKE], ids=["gpt2", "llama"])
def test_the_weight_map_names_every_weight_once(config: klm.TransformerConfig) -> None:
    for changed in (config, config.replace(tie_embeddings=not config.tie_embeddings)):
        model = Decoder(changed)
        family = family_for(changed)
        assert family.weights is not None
        weights = family.weights(changed)
        ours = sorted(weight.path.split("/", 1)[1] for weight in model.weights)
        assert sorted(weight.ours for weight in weights) == ours
        theirs = [name for weight in weights for name in weight.names]
        assert len(set(theirs)) == len(theirs)


def test_a_weight_of_several_tensors() -> None:
    weight = Weight("ours", ["q", "k"], transpose=True, sizes=(2, 1))
    ours = np.arange(12.0).reshape(4, 3)
    parts = weight.split(ours)
    assert parts["q"].tolist() == ours[:, :2].T.tolist()
    assert parts["k"].tolist() == ours[:, 2:].T.tolist()
    assert weight.shapes((4, 3)) == {"q": (2, 4), "k": (1, 4)}
    np.testing.assert_array_equal(weight.join([parts["q"], parts["k"]]), ours)


def config_of(golden: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    return {**json.loads(str(golden["config_json"])), **changes}


REFUSED = [
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=True"),
    ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights=False"),
    ("gpt2", {"add_cross_attention": True}, "add_cross_attention=True"),
    ("gpt2", {"embd_pdrop": 0.5}, "embd_pdrop=0.5; keras_lm supports 0.1 only"),
    ("gpt2", {"activation_function": "mish"}, "activation_function='mish'; supported: gelu_new"),
    ("gpt2", {"n_head": None}, "lacks 'n_head'"),
    ("gpt2", {"n_head": 3}, "num_heads=3"),
    ("gpt2", {"vocab_size": "61"}, "vocab_size must be of type int; got '61'"),
    ("llama", {"hidden_act": "relu"}, "hidden_act='relu'; keras_lm supports 'silu' only"),
    ("llama", {"num_key_value_heads": 3}, "num_kv_heads must be a divisor of num_heads=4; got 3"),
    (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1.0}},
        "rope_type='dynamic'; supported: default, linear, llama3, yarn, longrope",
    ),
    (
        "llama",
        {"rope_parameters": None, "rope_scaling": {"type": "linear"}},
        "lacks 'factor' in its rope parameters of type 'linear'",
    ),
    ("llama", {"rope_parameters": "default"}, "rope_parameters"),
    ("llama", {"rope_parameters": None, "rope_scaling": 2.0}, "rope_scaling"),
    ("gpt2", {"model_type": "bloom"}, "model_type='bloom' is not a family.*gpt2, llama"),
    ("gpt2", {"model_type": None}, "model_type=None is not a family"),
    ("gpt2", {"model_type": ["gpt2"]}, r"model_type=\['gpt2'\] is not a family"),
]


@pytest.mark.parametrize(
    ("name", "changes", "message"), REFUSED, ids=[str(i) for i in range(len(REFUSED))]
)
def test_what_we_cannot_compute_is_refused_by_name(
    name: str, changes: dict[str, Any], message: str, request: pytest.FixtureRequest
) -> None:
    config = config_of(request.getfixturevalue(name), **changes)
    with pytest.raises(ValueError, match=message):
        family_named(config).read_config(config)


@pytest.mark.parametrize("wrong", [None, "x", -1, 0, 2.5, [], {}, True])
def test_no_value_of_a_config_gives_another_error(golden: Any, wrong: Any) -> None:
    """Foreign files may hold anything: each field is read, or refused with a ValueError."""
    for name in config_of(golden):
        config = config_of(golden, **{name: wrong})
        with contextlib.suppress(ValueError):
            read = family_named(config).read_config(config)
            assert isinstance(read, klm.TransformerConfig)


def test_native_configs() -> None:
    with pytest.raises(ValueError, match="lacks 'config'"):
        DECODER.read_config({"model_type": "keras_lm_decoder"})
    with pytest.raises(ValueError, match="num_layers"):
        DECODER.read_config({"config": {**GPT2_LIKE.get_config(), "num_layers": 0}})
    assert list(FAMILIES)[:3] == ["gpt2", "llama", "mistral"]
