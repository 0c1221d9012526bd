"""The encoder, under every contract of a backbone, and the real all-MiniLM-L6-v2."""

from __future__ import annotations

from pathlib import Path

import harness
import keras
import numpy as np
import pytest

import keras_lm as klm
from keras_lm.models import Encoder

BASE = klm.EncoderConfig(
    vocab_size=8,
    num_layers=2,
    hidden_dim=8,
    num_heads=4,
    num_kv_heads=2,
    max_length=16,
    dropout=0.2,
    norm_epsilon=1e-5,
)
ROTARY = BASE.replace(
    norm="rms",
    norm_position="pre",
    activation="swiglu",
    use_bias=False,
    positions="rotary",
    token_types=0,
    pooler=None,
    embedding_norm=False,
    attention={"head_dim": 8, "query_key_norm": True, "sliding_window": 3},
)
T5 = BASE.replace(positions={"kind": "relative", "relative_buckets": 8, "relative_distance": 10})
CONFIGS = {
    "bert": BASE,
    "rotary": ROTARY,
    "electra_window": BASE.replace(
        embedding_dim=6, positions="sinusoidal", attention={"sliding_window": 3}
    ),
    "t5": T5,
    "roberta": BASE.replace(position_offset=2, token_types=1),
}
EFFECTS = {
    "vocab_size": "shapes",
    "num_layers": "shapes",
    "hidden_dim": "shapes",
    "num_heads": "shapes",
    "num_kv_heads": "shapes",
    "feed_forward_dim": "shapes",
    "max_length": "shapes",
    "dropout": "training",
    "feed_forward_dropout": "training",
    "norm": "shapes",
    "norm_epsilon": "outputs",
    "norm_position": "shapes",
    "activation": "outputs",
    "use_bias": "shapes",
    "scale_embeddings": "outputs",
    "position_offset": "shapes",
    "initializer_range": "initial",
    "positions.kind": "shapes",
    "positions.rotary_base": "outputs",
    "positions.rotary_fraction": "outputs",
    "positions.rotary_scaling": "outputs",
    "positions.local_rotary_base": "outputs",
    "positions.relative_buckets": "shapes",
    "positions.relative_distance": "outputs",
    "attention.head_dim": "shapes",
    "attention.bias": "shapes",
    "attention.output_bias": "shapes",
    "attention.dropout": "training",
    "attention.scaled": "outputs",
    "attention.query_key_norm": "shapes",
    "attention.sliding_window": "outputs",
    "attention.full_attention_every": "outputs",
    "token_types": "shapes",
    "embedding_dim": "shapes",
    "embedding_norm": "shapes",
    "pooler": "shapes",
}


@pytest.fixture(params=list(CONFIGS))
def model(request: pytest.FixtureRequest) -> Encoder:
    return harness.random_model(Encoder, CONFIGS[request.param])


def test_every_field_is_perturbed() -> None:
    # Tied or not is the affair of the head that tells masked tokens.
    fixed = ("residual", "tie_embeddings")
    assert [name for name in harness.leaf_fields(BASE) if name not in fixed] == list(EFFECTS)


@pytest.mark.parametrize("name", list(EFFECTS))
def test_field_survives_and_has_its_effect(name: str, tmp_path: Path) -> None:
    bases = [BASE, ROTARY, T5, BASE.replace(pooler="relu")]
    harness.check_field_has_effect(Encoder, bases, name, EFFECTS[name])
    harness.check_serialization(Encoder, harness.perturbed(BASE, name)[-1], tmp_path)


def test_segments_are_apart(model: Encoder) -> None:
    harness.check_segments_are_apart(model)


def test_padding_changes_nothing(model: Encoder) -> None:
    harness.check_padding_changes_nothing(model)


def test_every_token_sees_every_other(model: Encoder) -> None:
    ids = harness.random_ids(model)
    before = harness.logits_of(model, ids)
    for t in (0, 4, 8):
        changed = ids.copy()
        changed[:, t] = (changed[:, t] + 1) % 8
        moved = np.abs(harness.logits_of(model, changed) - before).max(axis=-1)
        assert moved.min() > 0 or model.config.attention.sliding_window  # two layers see 4 around


def test_a_window_sees_just_its_tokens() -> None:
    config = BASE.replace(num_layers=1, attention={"sliding_window": 3})
    model = harness.random_model(Encoder, config)
    ids = harness.random_ids(model)
    changed = ids.copy()
    changed[:, 4] = (changed[:, 4] + 1) % 8
    moved = np.abs(harness.logits_of(model, changed) - harness.logits_of(model, ids)).max(-1)
    assert (moved[:, 2:7] > 0).all()
    assert not moved[:, :2].any()
    assert not moved[:, 7:].any()


def test_token_types() -> None:
    model = harness.random_model(Encoder, BASE)
    ids = harness.random_ids(model)
    plain = harness.logits_of(model, ids)
    zeros = {"token_ids": ids, "token_types": np.zeros_like(ids)}
    np.testing.assert_array_equal(harness.logits_of(model, zeros), plain)
    ones = {"token_ids": ids, "token_types": np.ones_like(ids)}
    assert np.abs(harness.logits_of(model, ones) - plain).max() > 1e-3
    single = harness.random_model(Encoder, CONFIGS["roberta"])
    np.testing.assert_array_equal(harness.logits_of(single, ones), harness.logits_of(single, zeros))


def test_pooler() -> None:
    model = harness.random_model(Encoder, BASE)
    hidden = model(harness.random_ids(model))
    kernel, bias = (keras.ops.convert_to_numpy(w) for w in model.pooler.weights)
    expected = np.tanh(keras.ops.convert_to_numpy(hidden)[:, 0] @ kernel + bias)
    np.testing.assert_allclose(model.pooled(hidden), expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"config.pooler is None; make the encoder with"):
        Encoder(ROTARY).pooled(hidden)


def test_attention_maps(model: Encoder) -> None:
    ids = harness.random_ids(model)
    mask = np.ones_like(ids)
    mask[:, 6:] = 0
    maps = keras.ops.convert_to_numpy(
        model.attention_maps({"token_ids": ids, "padding_mask": mask})
    )
    assert maps.shape == (2, 3, 4, 9, 9)
    np.testing.assert_allclose(maps[..., :6, :].sum(-1), 1, atol=1e-5)
    assert not maps[..., :6, 6:].any()


def test_jit() -> None:
    harness.check_jit(
        harness.random_model(Encoder, BASE.replace(dropout=0.0, pooler=None, attention={}))
    )


@pytest.mark.parametrize("name", ["bert", "t5"])
def test_mixed_precision(name: str) -> None:
    full = harness.random_model(Encoder, CONFIGS[name])
    mixed = harness.random_model(Encoder, CONFIGS[name], dtype="mixed_bfloat16")
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    ids = harness.random_ids(full)
    expected = harness.logits_of(full, ids)
    hidden = mixed(ids)
    assert keras.backend.standardize_dtype(hidden.dtype) == "bfloat16"
    error = np.abs(keras.ops.convert_to_numpy(keras.ops.cast(hidden, "float32")) - expected)
    assert 0 < error.max() < 0.1 * np.abs(expected).max()


def test_wrong_configs() -> None:
    with pytest.raises(ValueError, match="config must be an EncoderConfig"):
        Encoder(klm.TransformerConfig(vocab_size=8, num_layers=1, hidden_dim=8, num_heads=2))
    for name, value in (("pooler", "swish"), ("token_types", -1), ("embedding_dim", 0)):
        with pytest.raises(ValueError, match=name):
            BASE.replace(**{name: value})


def test_tokens_beyond_the_table_of_positions_are_named() -> None:
    model, ids = Encoder(BASE.replace(max_length=4)), np.ones((1, 6), "int32")
    for more in ({}, {"padding_mask": np.ones((1, 6), "int32")}):
        with pytest.raises(ValueError, match="token_ids has rows of 6 tokens; the model has 4 pos"):
            model({"token_ids": ids, **more})
    mask = np.array([[0, 1, 1, 1, 1, 0]])  # filled up, with a place for each token
    assert model({"token_ids": ids, "padding_mask": mask}).shape == (1, 6, 8)
