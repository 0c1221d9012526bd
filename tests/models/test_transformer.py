"""The decoder, under every contract of a language model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import harness
import keras
import numpy as np
import pytest

import keras_lm as klm
from keras_lm.models import Decoder, LanguageModel

BASE = klm.TransformerConfig(
    vocab_size=11, num_layers=2, hidden_dim=8, num_heads=4, num_kv_heads=2, max_length=16
)
LLAMA = BASE.replace(
    norm="rms",
    activation="swiglu",
    use_bias=False,
    tie_embeddings=False,
    positions="rotary",
    attention={"head_dim": 8, "query_key_norm": True, "sliding_window": 4},
)
GEMMA = LLAMA.replace(
    norm_position="sandwich",
    activation="geglu",
    scale_embeddings=True,
    positions={"kind": "rotary", "rotary_base": 50.0, "local_rotary_base": 3.0},
    attention={**LLAMA.attention.get_config(), "full_attention_every": 2},
)
T5 = BASE.replace(
    norm="rms",
    feed_forward_dropout=0.2,
    positions={"kind": "relative", "relative_buckets": 4, "relative_distance": 10},
    attention={"scaled": False},
)
CONFIGS = {
    "gpt2": BASE.replace(dropout=0.2, attention={}),
    "llama": LLAMA.replace(attention={"head_dim": 4, "query_key_norm": True}),
    "gemma": GEMMA,
    "neox": BASE.replace(
        residual="parallel", positions={"kind": "rotary", "rotary_fraction": 0.5}, num_heads=2
    ),
    "falcon": BASE.replace(
        residual="parallel_one_norm",
        num_kv_heads=1,
        use_bias=False,
        attention={},
        positions={
            "kind": "rotary",
            "rotary_scaling": {"kind": "yarn", "factor": 4.0, "original_max_length": 4},
        },
    ),
    "opt": BASE.replace(position_offset=2, scale_embeddings=True, activation="relu"),
    "post_norm_window": BASE.replace(
        norm_position="post", positions="sinusoidal", attention={"sliding_window": 3}
    ),
    "t5": T5,
    "no_positions": BASE.replace(positions="none", num_kv_heads=1),
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
    "residual": "outputs",
    "activation": "outputs",
    "use_bias": "shapes",
    "tie_embeddings": "shapes",
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
}


@pytest.fixture(params=list(CONFIGS))
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return harness.random_model(Decoder, CONFIGS[request.param])


def test_every_field_is_perturbed() -> None:
    assert harness.leaf_fields(BASE) == list(EFFECTS)


@pytest.mark.parametrize("name", list(EFFECTS))
def test_field_survives_and_has_its_effect(name: str, tmp_path: Path) -> None:
    harness.check_field_has_effect(Decoder, [BASE, LLAMA, T5, GEMMA], name, EFFECTS[name])
    harness.check_serialization(Decoder, harness.perturbed(BASE, name)[0], tmp_path)


@pytest.mark.parametrize("kind", ["learned", "rotary", "sinusoidal", "relative", "none"])
def test_positions_tell_the_order(kind: str) -> None:
    """Without positions, one layer cannot tell in which order the tokens before came."""
    model = harness.random_model(Decoder, BASE.replace(positions=kind, num_layers=1))
    one, other = np.array([[1, 2, 3, 4]], "int32"), np.array([[2, 1, 3, 4]], "int32")
    difference = harness.logits_of(model, one)[:, -1] - harness.logits_of(model, other)[:, -1]
    assert (np.abs(difference).max() < 1e-5) == (kind == "none")
    assert (np.abs(difference).max() > 1e-3) == (kind != "none")


def test_cached_equals_uncached(model: LanguageModel) -> None:
    harness.check_cached_equals_uncached(model)


def test_no_future_leak(model: LanguageModel) -> None:
    harness.check_no_future_leak(model)


def test_segments_are_apart(model: LanguageModel) -> None:
    harness.check_segments_are_apart(model)


def test_padding_changes_nothing(model: LanguageModel) -> None:
    harness.check_padding_changes_nothing(model)


def test_log_probs(model: LanguageModel) -> None:
    harness.check_log_probs(model)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma", "falcon", "t5"])
def test_mixed_precision(name: str) -> None:
    harness.check_mixed_precision(Decoder, CONFIGS[name])


@pytest.mark.parametrize("name", ["gemma", "falcon"])
def test_jit(name: str) -> None:
    harness.check_jit(harness.random_model(Decoder, CONFIGS[name]))


def test_generation_traces_once() -> None:
    harness.check_generation_traces_once(harness.random_model(Decoder, BASE))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_fit(name: str) -> None:
    harness.check_fit(Decoder, CONFIGS[name].replace(hidden_dim=16))


def test_mixed_precision_survives_saving(tmp_path: Path) -> None:
    Decoder(BASE, dtype="mixed_bfloat16").save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.dtype_policy.name == "mixed_bfloat16"
    assert loaded.blocks[0].attention.compute_dtype == "bfloat16"


def test_initial_weights_have_gpt2_scale() -> None:
    config = klm.TransformerConfig(
        vocab_size=500, num_layers=8, hidden_dim=64, num_heads=4, initializer_range=0.05
    )
    weights = {w.path.split("/", 1)[1]: w for w in Decoder(config).weights}
    for path, weight in weights.items():
        values = keras.ops.convert_to_numpy(weight)
        if path.endswith(("beta", "bias")):
            assert not values.any(), path
        elif path.endswith("gamma"):
            assert (values == 1).all(), path
        else:
            residual = "output_projection" in path or "contract" in path
            expected = 0.05 / 4 if residual else 0.05  # √(2 · 8) is 4
            assert values.std() == pytest.approx(expected, rel=0.05), path
            assert abs(values.mean()) < 0.05 * expected * 2, path


def test_sliding_window_sees_just_its_tokens() -> None:
    config = BASE.replace(num_layers=1, attention={"sliding_window": 3})
    model = harness.random_model(Decoder, config)
    ids = harness.random_ids(model, 1, 8)
    before = harness.logits_of(model, ids)
    ids[0, 2] = (ids[0, 2] + 1) % 11
    moved = np.abs(harness.logits_of(model, ids) - before).max(axis=-1)[0] > 1e-6
    assert moved.tolist() == [False, False, True, True, True, False, False, False]


def test_every_other_layer_sees_all() -> None:
    """A window of 2, and none in layers 2 and 4; the angles of both are their own."""
    attention = {"sliding_window": 2, "full_attention_every": 2}
    positions = {"kind": "rotary", "rotary_base": 100.0, "local_rotary_base": 5.0}
    config = BASE.replace(num_layers=4, attention=attention, positions=positions)
    model = harness.random_model(Decoder, config)
    maps = keras.ops.convert_to_numpy(model.attention_maps(harness.random_ids(model, 1, 5)))
    for layer, attended in enumerate(maps[:, 0]):
        window = 2 if layer in (0, 2) else 9
        seen = np.array([[0 <= t - s < window for s in range(5)] for t in range(5)])
        assert ((attended > 0) == seen).all()
    bases = [config.positions.of_layer(config.is_local(layer)).rotary_base for layer in range(4)]
    assert bases == [5.0, 100.0, 5.0, 100.0]


def test_attention_maps_are_the_softmax_that_was_used() -> None:
    model = harness.random_model(Decoder, CONFIGS["post_norm_window"])
    maps = keras.ops.convert_to_numpy(model.attention_maps(harness.random_ids(model, 2, 6)))
    assert maps.shape == (2, 2, 4, 6, 6)
    np.testing.assert_allclose(maps.sum(-1), 1.0, atol=1e-5)
    seen = np.array([[0 <= t - s < 3 for s in range(6)] for t in range(6)])
    assert (maps[..., ~seen] == 0).all()
    assert (maps[..., seen] > 0).all()


def test_int_arrays_of_every_width_are_token_ids(model: LanguageModel) -> None:
    ids = harness.random_ids(model)
    expected = harness.logits_of(model, ids)
    for kind in ("int64", "uint8"):
        np.testing.assert_array_equal(harness.logits_of(model, ids.astype(kind)), expected)


def test_base_class_says_what_is_missing() -> None:
    class Half(LanguageModel):
        pass

    half: Any = Half()
    for call in (
        lambda: half.hidden_states([[1]]),
        lambda: half.logits([[1.0]]),
        lambda: half.initial_state(1, 1),
        lambda: half.step([[1]], {}),
    ):
        with pytest.raises(NotImplementedError, match="Half does not define"):
            call()
    assert half.output_kernel() is None


def test_tokens_beyond_the_table_of_positions_are_named() -> None:
    model = Decoder(BASE.replace(positions="learned", max_length=4))
    ids = np.ones((2, 6), "int32")
    with pytest.raises(ValueError, match="token_ids has rows of 5 tokens; the model has 4 pos"):
        model(ids[:, :5])
    mask = np.array([[1, 1, 0, 0, 1, 1], [1, 1, 1, 1, 1, 0]])
    with pytest.raises(ValueError, match="token_ids has rows of 5 tokens; the model has 4 pos"):
        model({"token_ids": ids, "padding_mask": mask})
    mask[1, 0] = 0  # filled up, with a place for each token
    assert model({"token_ids": ids, "padding_mask": mask}).shape[:2] == (2, 6)
