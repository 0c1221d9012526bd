"""The encoder–decoder Transformer, under every contract of a language model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import harness
import harness_files
import harness_seq2seq
import numpy as np
import pytest
from keras import ops

import keras_lm as klm
from keras_lm.models import EncoderDecoder, Transformer

BASE = klm.EncoderDecoderConfig(
    vocab_size=11,
    num_layers=2,
    hidden_dim=8,
    num_heads=4,
    num_kv_heads=2,
    max_length=16,
    dropout=0.2,
    norm_epsilon=0.1,
)
PAPER = BASE.replace(
    num_layers=1,
    num_kv_heads=4,
    norm_position="post",
    activation="relu",
    positions="sinusoidal",
    scale_embeddings=True,
    feed_forward_dropout=0.1,
)
T5 = BASE.replace(
    num_layers=1,
    encoder_layers=2,
    norm="rms",
    activation="geglu",
    use_bias=False,
    scale_outputs=True,
    positions={"kind": "relative", "relative_buckets": 8, "relative_distance": 10},
    attention={"head_dim": 6, "scaled": False, "dropout": 0.1, "query_key_norm": True},
)
BART = BASE.replace(
    encoder_layers=1,
    norm_position="post",
    embedding_norm=True,
    position_offset=2,
    output_bias=True,
    attention={},
)
TWO = BASE.replace(
    num_layers=1,
    encoder_layers=1,
    source_vocab_size=13,
    share_embeddings=False,
    tie_embeddings=False,
    max_source_length=12,
    positions="none",
    output_bias=True,
)
CONFIGS = {"paper": PAPER, "t5": T5, "bart": BART, "two_vocabularies": TWO}
EFFECTS = {
    "source_vocab_size": "shapes",
    "share_embeddings": "shapes",
    "encoder_layers": "shapes",
    "max_source_length": "shapes",
    "decoder_start_id": "nothing",
    "eos_id": "nothing",
    "pad_id": "outputs",
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
    "tie_embeddings": "shapes",
    "scale_embeddings": "outputs",
    "position_offset": "shapes",
    "initializer_range": "initial",
    "positions.kind": "shapes",
    "positions.rotary_base": "nothing",
    "positions.rotary_fraction": "nothing",
    "positions.rotary_scaling": "nothing",
    "positions.local_rotary_base": "nothing",
    "positions.relative_buckets": "shapes",
    "positions.relative_distance": "outputs",
    "attention.head_dim": "shapes",
    "attention.bias": "shapes",
    "attention.output_bias": "shapes",
    "attention.dropout": "training",
    "attention.scaled": "outputs",
    "attention.query_key_norm": "shapes",
    "attention.full_attention_every": "nothing",
    "scale_outputs": "outputs",
    "embedding_norm": "shapes",
    "output_bias": "shapes",
}
BASES = {
    "vocab_size": TWO,
    "source_vocab_size": TWO,
    "positions.relative_buckets": T5,
    "positions.relative_distance": T5,
}


@pytest.fixture(params=list(CONFIGS))
def model(request: pytest.FixtureRequest) -> EncoderDecoder:
    return harness.random_model(Transformer, CONFIGS[request.param])


# ---- configs


def test_every_field_is_perturbed() -> None:
    fixed = ("residual", "attention.sliding_window")
    assert [name for name in harness.leaf_fields(BASE) if name not in fixed] == list(EFFECTS)


@pytest.mark.parametrize("name", list(EFFECTS))
def test_field_survives_and_has_its_effect(name: str) -> None:
    base = BASES.get(name, BASE)
    for changed in harness.perturbed(base, name):
        values = json.loads(json.dumps(changed.get_config()))
        assert klm.EncoderDecoderConfig.from_config(values) == changed != base
    harness_seq2seq.check_field_has_effect(Transformer, [base], name, EFFECTS[name])


@pytest.mark.parametrize("name", list(CONFIGS))
def test_serialization(name: str, tmp_path: Path) -> None:
    harness_seq2seq.check_serialization(Transformer, CONFIGS[name], tmp_path)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"positions": "rotary"}, "positions.kind must be 'learned', 'sinusoidal'.*; got 'rotary'"),
    ({"attention": {"sliding_window": 2}}, "attention.sliding_window must be None.*; got 2"),
    ({"position_offset": -1}, "position_offset must be 0 or more; got -1"),
    ({"encoder_layers": 0}, "encoder_layers must be positive; got 0"),
    ({"max_source_length": 0}, "max_source_length must be positive, or None; got 0"),
    ({"eos_id": 9}, "eos_id must be from 0 to 8, or None; got 9"),
    (
        {"source_vocab_size": 7, "share_embeddings": True},
        "share_embeddings must be False with source_vocab_size=7 and vocab_size=9; got True",
    ),
]


@pytest.mark.parametrize(("fields", "message"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_fields_are_named(fields: dict[str, Any], message: str) -> None:
    sizes = {"vocab_size": 9, "num_layers": 1, "hidden_dim": 8, "num_heads": 2}
    with pytest.raises(ValueError, match=message):
        klm.EncoderDecoderConfig(**{**sizes, **fields})


def test_a_decoders_config_gets_defaults() -> None:
    decoder = klm.TransformerConfig(vocab_size=9, num_layers=2, hidden_dim=8, num_heads=2)
    config = Transformer(decoder).config
    assert isinstance(config, klm.EncoderDecoderConfig)
    assert (config.encoder_layers, config.source_vocab_size, config.max_source_length) == (
        2,
        9,
        1024,
    )
    assert config.share_embeddings
    assert {k: v for k, v in config.get_config().items() if hasattr(decoder, k)} == (
        decoder.get_config()
    )
    encoder = klm.EncoderConfig(vocab_size=9, num_layers=2, hidden_dim=8, num_heads=2)
    with pytest.raises(ValueError, match="must be one of TransformerConfig, EncoderDecoderConfig"):
        Transformer(encoder)


def test_open_ids_are_the_tokenizers() -> None:
    class Tokenizer:
        bos_id, eos_id, pad_id = None, 2, 3

    model = Transformer(BASE.replace(eos_id=5))
    model.adopt(Tokenizer())
    assert (model.config.decoder_start_id, model.config.eos_id, model.config.pad_id) == (3, 5, 3)
    assert Transformer.from_config(model.get_config()).config == model.config


# ---- the contracts


def test_cached_equals_uncached(model: EncoderDecoder) -> None:
    harness_seq2seq.check_cached_equals_uncached(model)


def test_state_moves_with_rows(model: EncoderDecoder) -> None:
    harness_seq2seq.check_state_moves_with_rows(model)


def test_no_future_leak(model: EncoderDecoder) -> None:
    harness_seq2seq.check_no_future_leak(model)


def test_every_source_token_is_heard(model: EncoderDecoder) -> None:
    harness_seq2seq.check_every_source_token_is_heard(model)


def test_source_padding_changes_nothing(model: EncoderDecoder) -> None:
    harness_seq2seq.check_source_padding_changes_nothing(model)


def test_padding_of_the_target_changes_nothing(model: EncoderDecoder) -> None:
    """On either side, whatever stands in it."""
    inputs = harness_seq2seq.random_inputs(model, length=5)
    expected = harness.logits_of(model, inputs)
    for left, right in ((0, 3), (3, 0), (1, 2)):
        pads = [(0, 0), (left, right)]
        targets = np.pad(inputs["decoder_token_ids"], pads, constant_values=4)
        mask = np.pad(np.ones((3, 5), "int32"), pads)
        padded = {**inputs, "decoder_token_ids": targets, "decoder_padding_mask": mask}
        logits = harness.logits_of(model, padded)[:, left : left + 5]
        np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=0)
        if left and model.config.positions.kind != "none":
            del padded["decoder_padding_mask"]
            assert np.abs(harness.logits_of(model, padded)[:, left : left + 5] - expected).max() > (
                1e-3
            )


def test_log_probs(model: EncoderDecoder) -> None:
    harness_seq2seq.check_log_probs(model)


def test_every_weight_learns(model: EncoderDecoder) -> None:
    harness_seq2seq.check_every_weight_learns(model)


def test_attention_maps(model: EncoderDecoder) -> None:
    harness_seq2seq.check_attention_maps(model)
    inputs = harness_seq2seq.random_inputs(model)
    maps = {name: ops.convert_to_numpy(part) for name, part in model.attention_maps(inputs).items()}
    config = model.config
    assert set(maps) == {"encoder", "decoder", "cross"}
    assert maps["encoder"].shape == (config.encoder_layers, 3, 4, 6, 6)
    assert maps["decoder"].shape == (config.num_layers, 3, 4, 8, 8)
    for part in maps.values():
        np.testing.assert_allclose(part.sum(-1), 1, atol=1e-5)
    assert not maps["decoder"][..., ~np.tri(8, dtype=bool)].any()
    assert not maps["encoder"][:, 1, :, :, harness_seq2seq.LENGTHS[1] :].any()


def test_bad_inputs() -> None:
    harness_seq2seq.check_bad_inputs(Transformer(BASE))


def test_jit() -> None:
    config = T5.replace(dropout=0.0, attention={"scaled": False})
    harness_seq2seq.check_jit(harness.random_model(Transformer, config))


@pytest.mark.parametrize("name", ["bart", "t5"])
def test_second_call_traces_nothing(name: str) -> None:
    harness_seq2seq.check_second_call_traces_nothing(
        harness.random_model(Transformer, CONFIGS[name])
    )


@pytest.mark.parametrize("name", list(CONFIGS))
def test_mixed_precision(name: str) -> None:
    config = CONFIGS[name].replace(dropout=0.0, attention={})
    harness_seq2seq.check_mixed_precision(Transformer, config)


# ---- elsewhere


_PROGRAM = """
import sys
import jax, keras, numpy as np
import keras_lm.models
assert keras.backend.backend() == "jax"
model = keras.saving.load_model(sys.argv[1])
inputs = dict(np.load(sys.argv[2]))
expected = inputs.pop("expected")

@jax.jit
def run(inputs):
    targets = inputs["decoder_token_ids"]
    _, state = model.step(targets[:, :7], model.initial_state(3, 9, inputs))
    return model(inputs), model.step(targets[:, 7:], state)[0]

whole, last = run(inputs)
np.testing.assert_allclose(whole, expected, atol=1e-5)
np.testing.assert_allclose(last, expected[:, 7:], atol=1e-5)
print("same")
"""


def test_jax_backend(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    model = harness.random_model(Transformer, T5)
    model.save(tmp_path / "model.keras")
    inputs = harness_seq2seq.random_inputs(model)
    np.savez(tmp_path / "inputs.npz", **inputs, expected=harness.logits_of(model, inputs))
    files = (str(tmp_path / name) for name in ("model.keras", "inputs.npz"))
    assert harness_files.run_python(_PROGRAM, *files, cwd=tmp_path, KERAS_BACKEND="jax") == "same"


def test_base_class_says_what_is_missing() -> None:
    class Half(EncoderDecoder):
        pass

    half: Any = Half()
    for call in (lambda: half.initial_state(1, 1), lambda: half.attention_maps({})):
        with pytest.raises(NotImplementedError, match="Half does not define"):
            call()
    assert half.reads_source
