"""The decoder families: what each reads in either spelling, writes, and must refuse."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pytest
from harness_files import DECODERS, load_golden

import keras_lm as klm
from keras_lm.checkpoints import load_model, save_model
from keras_lm.families import FAMILIES, Family, Weight, family_for, family_named, table
from keras_lm.families.base import order_of_groups
from keras_lm.families.falcon import FALCON
from keras_lm.families.gpt_neox import GPT_NEOX
from keras_lm.families.llama import LLAMA
from keras_lm.families.mistral import MISTRAL
from keras_lm.families.phi3 import PHI3
from keras_lm.models import Decoder
from keras_lm.storage import read_json

HFConfig = dict[str, Any]
ROOT = Path(__file__).parents[2]
RECORDED = {name: json.loads(str(load_golden(name)["config_json"])) for name in DECODERS}


def read(config: HFConfig) -> klm.TransformerConfig:
    return family_named(config).read_config(config)


def changed(name: str, **changes: Any) -> HFConfig:
    return {**RECORDED[name], **changes}


# ---- which family


@pytest.mark.parametrize("name", list(DECODERS))
def test_a_recorded_config_stays_in_its_family(name: str) -> None:
    config = read(RECORDED[name])
    assert family_for(config).model_type == DECODERS[name]


def test_the_simplest_family_is_written() -> None:
    """A Mistral without a window is a Llama, and a Phi 3 with one and nothing else a Mistral."""
    config = read(RECORDED["mistral"])
    assert family_for(config) is MISTRAL
    assert family_for(config.replace(attention={"head_dim": 6, "bias": False})) is LLAMA
    plain = {"kind": "rotary", "rotary_base": 500.0}
    phi = read(RECORDED["phi3"])
    assert family_for(phi) is PHI3
    assert family_for(phi.replace(positions=plain)) is MISTRAL
    assert family_for(phi.replace(positions={**plain, "rotary_fraction": 0.5})) is PHI3


def test_a_phi_3_names_no_padding_that_its_vocabulary_may_lack() -> None:
    """Left out it is 32000 to Transformers' class, which refuses a smaller vocabulary then."""
    assert PHI3.write_config(read(RECORDED["phi3"]))["pad_token_id"] is None


def test_a_directory_keeps_its_family(tmp_path: Path) -> None:
    """Where it can say the model; a changed model is of another."""
    plain = read(RECORDED["mistral"]).replace(attention={"head_dim": 6, "bias": False})
    model = harness.random_model(Decoder, plain)
    model.family = "mistral"
    for number in (0, 1):
        save_model(model, tmp_path / str(number))
        model = load_model(tmp_path / str(number))
        assert read_json(tmp_path / str(number) / "config.json")["model_type"] == "mistral"
        assert model.family == "mistral"
    other = Decoder(plain.replace(use_bias=True))
    other.family = "mistral"
    save_model(other, tmp_path / "other")
    assert read_json(tmp_path / "other" / "config.json")["model_type"] == "llama"
    # A family that is none, of a model that a user has made.
    other.family = "unknown"
    save_model(other, tmp_path / "other")


@pytest.mark.parametrize("name", [name for name in DECODERS if name not in ("gpt2", "llama")])
def test_no_field_is_lost_whatever_the_family(name: str) -> None:
    """What a family cannot say another does, or our own; changed or not, the config comes back."""
    config = read(RECORDED[name])
    for field in harness.leaf_fields(config):
        if field.startswith("positions.rotary_scaling."):  # the layers' tests change these
            continue
        try:
            others = harness.perturbed(config, field)
        except AssertionError:  # nothing else is right for it in this config
            alone = ("norm_position", "residual", "positions.rotary_fraction", "attention.head_dim")
            assert field in alone
            continue
        for other in others:
            family = family_for(other)
            written = json.loads(json.dumps(family.write_config(other)))
            assert family.read_config(written) == other, field


@pytest.mark.parametrize("name", list(DECODERS))
def test_the_weight_map_names_every_weight_once(name: str) -> None:
    config = read(RECORDED[name])
    for other in (config, config.replace(tie_embeddings=not config.tie_embeddings)):
        weights = FAMILIES[DECODERS[name]].weights
        assert weights is not None
        ours = sorted(weight.path.split("/", 1)[1] for weight in Decoder(other).weights)
        assert sorted(weight.ours for weight in weights(other)) == ours
        theirs = [part for weight in weights(other) for part in weight.names]
        assert len(set(theirs)) == len(theirs)


# ---- both spellings


def older(config: HFConfig) -> HFConfig:
    """A config as Transformers 4 wrote it: the base of the angles beside a `rope_scaling`."""
    config = dict(config)
    rope = dict(config.pop("rope_parameters"))
    config["torch_dtype"] = config.pop("dtype")
    if config["model_type"] == "gemma3_text":
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = dict(rope["full_attention"])
        config["sliding_window_pattern"] = 2
        del config["layer_types"]
    base, part = "rope_theta", "partial_rotary_factor"
    if config["model_type"] == "gpt_neox":
        base, part = "rotary_emb_base", "rotary_pct"
    config[base] = rope.pop("rope_theta")
    if "partial_rotary_factor" in rope:
        config[part] = rope.pop("partial_rotary_factor")
    if config["model_type"] == "phi3":
        del rope["original_max_position_embeddings"]  # stands beside it
        rope["type"] = rope.pop("rope_type")
    config["rope_scaling"] = None if rope == {"rope_type": "default"} else rope
    return config


ROTARY = [name for name, config in RECORDED.items() if "rope_parameters" in config]


@pytest.mark.parametrize("name", ROTARY)
def test_both_spellings_say_the_same(name: str) -> None:
    old = older(RECORDED[name])
    assert "rope_parameters" not in old
    assert read(old) == read(RECORDED[name])


def test_what_published_files_leave_out() -> None:
    """Falcon's has no length, Pythia's no biases, Qwen's a window that is switched off."""
    falcon = changed("falcon")
    del falcon["max_position_embeddings"], falcon["ffn_hidden_size"]
    assert read(falcon).max_length == 2048
    assert read(falcon).feed_forward_dim == 64
    neox = changed("gpt_neox", rope_parameters=None)
    del neox["attention_bias"]
    assert read(neox).attention.bias
    assert read(neox).positions.rotary_fraction == 0.25
    qwen = changed("qwen2", use_sliding_window=False, sliding_window=32768, max_window_layers=28)
    assert read(qwen) == read(RECORDED["qwen2"])
    mistral = changed("mistral", sliding_window=None)
    del mistral["head_dim"]
    assert read(mistral).attention.head_dim == 4
    assert read(mistral).attention.sliding_window is None
    del mistral["sliding_window"]
    assert read(mistral).attention.sliding_window == 4096


def test_longrope_is_read_for_texts_of_the_original_length() -> None:
    """Theirs changes its factors beyond 96 tokens; ours is one of the two models."""
    config = read(RECORDED["phi3"])
    assert (RECORDED["phi3"]["max_position_embeddings"], config.max_length) == (384, 96)
    model = Decoder(config)
    with pytest.raises(ValueError, match="token_ids has rows of 97 tokens; the model has 96 pos"):
        model(np.zeros((1, 97), "int32"))
    long = config.replace(max_length=384)
    assert family_for(long).model_type == "keras_lm_decoder"  # no file of theirs says just this
    ids = harness.random_ids(model, 1, 9)
    other = harness.random_model(Decoder, long)
    other.set_weights(model.get_weights())
    assert np.abs(harness.logits_of(model, ids) - harness.logits_of(other, ids)).max() > 1e-6


@pytest.mark.parametrize(
    ("types", "every"),
    [("sssss", None), ("sfsfs", 2), ("ssfss", 3), ("fffff", 1), ("ssssf", 5)],
)
def test_patterns_of_local_layers(types: str, every: int | None) -> None:
    kinds = {"s": "sliding_attention", "f": "full_attention"}
    config = changed("gemma3", num_hidden_layers=5, layer_types=[kinds[t] for t in types])
    assert read(config).attention.full_attention_every == every
    assert [read(config).is_local(i) for i in range(5)] == [t == "s" for t in types]
    del config["layer_types"]
    assert read(config).attention.full_attention_every == 6


# ---- refusals

YARN = {"rope_type": "yarn", "rope_theta": 9.0, "factor": 2.0}
REFUSED: list[tuple[str, HFConfig, str]] = [
    ("mistral", {"hidden_act": "gelu"}, "hidden_act='gelu'; keras_lm supports 'silu' only"),
    ("mistral", {"sliding_window": 0}, "sliding_window must be positive; got 0"),
    ("mistral", {"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5; keras_lm supports 1.0"),
    ("qwen2", {"use_sliding_window": True}, "use_sliding_window=True; keras_lm supports False"),
    ("qwen3", {"layer_types": ["sliding_attention"] * 2}, "layer_types=.*'full_attention' in all"),
    ("qwen2", {"layer_types": "full"}, "layer_types='full'"),
    ("phi3", {"embd_pdrop": 0.1}, "embd_pdrop=0.1; keras_lm supports 0.0 only"),
    ("gpt_neox", {"hidden_act": "mish"}, "hidden_act='mish'; supported: gelu_new"),
    ("opt", {"do_layer_norm_before": False}, "do_layer_norm_before=False; keras_lm supports True"),
    ("opt", {"word_embed_proj_dim": 8}, "word_embed_proj_dim=8; keras_lm supports 16 only"),
    ("opt", {"_remove_final_layer_norm": True}, "_remove_final_layer_norm=True"),
    ("opt", {"layer_norm_elementwise_affine": False}, "layer_norm_elementwise_affine=False"),
    ("falcon", {"alibi": True}, "alibi=True; keras_lm supports False only"),
    ("falcon", {"attention_dropout": 0.1}, "attention_dropout=0.1; keras_lm supports 0.0 only"),
    ("gemma3", {"query_pre_attn_scalar": 5}, "query_pre_attn_scalar=5; keras_lm supports 6 only"),
    ("gemma3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping=50.0"),
    ("gemma3", {"final_logit_softcapping": 30.0}, "final_logit_softcapping=30.0"),
    ("gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention=True"),
    ("gemma3", {"hidden_activation": "gelu"}, "hidden_activation='gelu'"),
    ("gemma3", {"sliding_window": None}, "config.json lacks 'sliding_window'"),
    (
        "gemma3",
        {"layer_types": ["full_attention", "sliding_attention", "sliding_attention"]},
        "layer_types=.*keras_lm supports .*'full_attention', 'full_attention'.* only",
    ),
    (
        "gemma3",
        {"rope_parameters": {"sliding_attention": YARN}},
        "rope_type='yarn'.*'default' only",
    ),
    (
        "gemma3",
        {"rope_parameters": {"full_attention": {"partial_rotary_factor": 0.5}}},
        "partial_rotary_factor=0.5; keras_lm supports 1.0 only",
    ),
    ("gemma3", {"rope_parameters": "default"}, "rope_parameters='default'; it must be an object"),
    ("llama", {"rope_parameters": {**YARN, "truncate": False}}, "turns by truncate=False"),
    ("llama", {"rope_parameters": {**YARN, "mrope_section": [1]}}, r"turns by mrope_section=\[1\]"),
    (
        "llama",
        {"rope_parameters": {**YARN, "factor": "x"}},
        "factor must be of type float; got 'x'",
    ),
    (
        "llama",
        {"rope_parameters": {**YARN, "mscale": -1, "mscale_all_dim": 1}},
        "mscale=-1; it must be a positive number",
    ),
    (
        "llama",
        {"original_max_position_embeddings": 1, "rope_parameters": YARN},
        "original_max_position_embeddings=1; it must be an int above 1",
    ),
    (
        "llama",
        {"rope_parameters": {"rope_type": "longrope", "rope_theta": 9.0, "short_factor": [1.0]}},
        "long_factors must be one positive number for each frequency",
    ),
    (
        "phi3",
        {
            "rope_parameters": {
                **RECORDED["phi3"]["rope_parameters"],
                "long_factor": [1.0, 2.0],
            }
        },
        "long_factors must be 3 of them; got '2 numbers'",
    ),
]


@pytest.mark.parametrize(
    ("name", "changes", "message"), REFUSED, ids=[str(i) for i in range(len(REFUSED))]
)
def test_what_we_cannot_compute_is_refused_by_name(
    name: str, changes: HFConfig, message: str
) -> None:
    read(RECORDED[name])
    with pytest.raises(ValueError, match=message):
        read(changed(name, **changes))


@pytest.mark.parametrize("wrong", [None, "x", -1, 0, 2.5, [], ["x"], {}, True])
@pytest.mark.parametrize("name", ROTARY)
def test_no_rotary_value_gives_another_error(name: str, wrong: Any) -> None:
    """Foreign files may hold anything: each value is read, or refused with a ValueError."""
    for config in (RECORDED[name], older(RECORDED[name])):
        for field in ("rope_parameters", "rope_scaling"):
            rope = config.get(field) or {}
            for key in rope:
                with contextlib.suppress(ValueError):
                    read({**config, field: {**rope, key: wrong}})


# ---- weights that are not side by side


def test_an_order_is_undone_in_saving() -> None:
    weight = Weight("ours", "theirs", transpose=True, order=(2, 0, 1))
    theirs = np.arange(6.0).reshape(3, 2)
    ours = weight.join([theirs])
    assert ours.tolist() == [[4, 0, 2], [5, 1, 3]]
    np.testing.assert_array_equal(weight.split(ours)["theirs"], theirs)
    assert weight.shapes((2, 3)) == {"theirs": (3, 2)}


def test_a_shift_is_undone_in_saving() -> None:
    from ml_dtypes import bfloat16

    weight = Weight("ours", "theirs", shift=1.0)
    theirs = np.array([0.5, -0.007812, 3e-5], bfloat16)
    ours = weight.join([theirs])
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, theirs.astype("float32") + 1)
    np.testing.assert_array_equal(weight.split(ours)["theirs"].astype(bfloat16), theirs)


def test_the_order_of_groups_by_hand() -> None:
    """Two groups of two queries, a key and a value, with heads of one component."""
    config = klm.TransformerConfig(
        vocab_size=9, num_layers=1, hidden_dim=4, num_heads=4, num_kv_heads=2
    )
    theirs = ["q0", "q1", "k0", "v0", "q2", "q3", "k1", "v1"]
    ours = [theirs[place] for place in order_of_groups(config)]
    assert ours == ["q0", "q1", "q2", "q3", "k0", "k1", "v0", "v1"]


def test_falcons_with_one_key_for_all_and_with_one_for_each() -> None:
    """Old files say it without groups; the tensors are the same."""
    for kv_heads, says in ((1, {"multi_query": True}), (4, {"multi_query": False})):
        config = read(RECORDED["falcon"]).replace(num_kv_heads=kv_heads)
        written = FALCON.write_config(config)
        assert {name: written[name] for name in says} == says
        assert not written["new_decoder_architecture"]
        assert FALCON.read_config(written) == config
    two = read(RECORDED["falcon"]).replace(num_kv_heads=2)
    written = FALCON.write_config(two)
    assert written["new_decoder_architecture"]
    assert (written["num_kv_heads"], written["num_ln_in_parallel_attn"]) == (2, 1)
    assert FALCON.read_config(written) == two


def test_pythia_without_parallel_branches() -> None:
    config = read(changed("gpt_neox", use_parallel_residual=False))
    assert config.residual == "sequential"
    assert GPT_NEOX.expresses(config)


# ---- the list of families


def with_weights(check: Callable[[Family], Any]) -> list[Any]:
    return [check(family) for family in FAMILIES.values() if family.weights is not None]


def test_every_family_has_its_row_in_the_readme() -> None:
    assert all(with_weights(lambda family: family.title))
    rows = table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == with_weights(lambda family: family.model_type)
    assert table() in (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_family_is_a_small_file() -> None:
    """Adding a decoder family costs one file of under 100 lines (llama's is what others share)."""
    for model_type in sorted(set(DECODERS.values()) - {"gpt2", "llama"}):
        path = ROOT / "keras_lm" / "families" / f"{model_type.removesuffix('_text')}.py"
        assert len(path.read_text(encoding="utf-8").splitlines()) < 100, path
