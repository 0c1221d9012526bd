"""The convolutional encoder: what it computes, and the contracts of a backbone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import harness
import keras
import numpy as np
import pytest

import keras_lm as klm
from keras_lm.models import ConvolutionalEncoder

BASE = klm.ConvolutionalConfig(
    vocab_size=11, hidden_dim=12, widths=(2, 3), embedding_dim=5, max_length=16, dropout=0.2
)
EFFECTS = {
    "vocab_size": "shapes",
    "hidden_dim": "shapes",
    "widths": "shapes",
    "embedding_dim": "shapes",
    "activation": "outputs",
    "max_length": "nothing",
    "dropout": "training",
    "initializer_range": "initial",
}


def test_every_field_is_perturbed() -> None:
    assert harness.leaf_fields(BASE) == list(EFFECTS)


@pytest.mark.parametrize("name", list(EFFECTS))
def test_field_survives_and_has_its_effect(name: str, tmp_path: Path) -> None:
    for changed in harness.perturbed(BASE, name):
        values = json.loads(json.dumps(changed.get_config()))
        assert klm.ConvolutionalConfig.from_config(values) == changed != BASE
    harness.check_field_has_effect(ConvolutionalEncoder, [BASE], name, EFFECTS[name])
    harness.check_serialization(ConvolutionalEncoder, harness.perturbed(BASE, name)[0], tmp_path)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"vocab_size": 0}, "vocab_size must be positive; got 0"),
    ({"hidden_dim": 8.0}, "hidden_dim must be of type int; got 8.0"),
    ({"hidden_dim": 8}, r"hidden_dim must be a multiple of 3, .*widths=\(3, 4, 5\); got 8"),
    ({"widths": ()}, r"widths must be one positive number or more; got \(\)"),
    ({"widths": (3, 0)}, r"widths must be one positive number or more; got \(3, 0\)"),
    ({"widths": 3}, "widths must be a list; got 3"),
    ({"embedding_dim": 0}, "embedding_dim must be positive; got 0"),
    ({"activation": "swish"}, "activation must be one of 'relu', 'tanh', 'gelu'; got 'swish'"),
    ({"max_length": 0}, "max_length must be positive, or None for no limit; got 0"),
    ({"dropout": -0.1}, r"dropout must be in \[0, 1\); got -0.1"),
    ({"initializer_range": 0}, "initializer_range must be >0; got 0.0"),
]


@pytest.mark.parametrize(("fields", "message"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_fields_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        klm.ConvolutionalConfig(**{"vocab_size": 9, "hidden_dim": 6, **fields})


def test_filters_by_hand() -> None:
    """Token t of width 2 sees t and t + 1, of width 3 t - 1, t and t + 1; outside is 0."""
    model = harness.random_model(ConvolutionalEncoder, BASE)
    ids = harness.random_ids(model, batch=1, length=4)
    vectors = np.pad(model.token_embedding.get_weights()[0][ids[0]], [(1, 1), (0, 0)])
    two, three = (layer.get_weights() for layer in model.convolutions)
    for t in range(4):
        expected = [
            np.einsum("we,wef->f", vectors[t + 1 : t + 3], two[0]) + two[1],
            np.einsum("we,wef->f", vectors[t : t + 3], three[0]) + three[1],
        ]
        got = harness.logits_of(model, ids)[0, t]
        np.testing.assert_allclose(got, np.maximum(np.concatenate(expected), 0), atol=1e-5)


@pytest.mark.parametrize("widths", [(2, 3), (1, 4, 5)])
def test_padding_changes_nothing(widths: tuple[int, ...]) -> None:
    model = harness.random_model(ConvolutionalEncoder, BASE.replace(widths=widths))
    harness.check_padding_changes_nothing(model)


def test_no_rows() -> None:
    model = ConvolutionalEncoder(BASE)
    for length in (1, 7):
        assert model(np.zeros((0, length), "int32")).shape == (0, length, BASE.hidden_dim)


def test_another_config_is_refused() -> None:
    config = klm.RecurrentConfig(vocab_size=9, num_layers=1, hidden_dim=6)
    with pytest.raises(ValueError, match=r"config must be a ConvolutionalConfig; got Recurrent"):
        ConvolutionalEncoder(config)


def test_packed_rows_are_refused() -> None:
    model = ConvolutionalEncoder(BASE)
    ids = harness.random_ids(model)
    with pytest.raises(ValueError, match="'segment_ids'; a ConvolutionalEncoder reads one text"):
        model({"token_ids": ids, "segment_ids": np.ones_like(ids)})


def test_jit() -> None:
    harness.check_jit(harness.random_model(ConvolutionalEncoder, BASE.replace(dropout=0.0)))


def test_mixed_precision() -> None:
    full = harness.random_model(ConvolutionalEncoder, BASE)
    mixed = harness.random_model(ConvolutionalEncoder, BASE, dtype="mixed_bfloat16")
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    ids = harness.random_ids(mixed)
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    hidden = mixed.hidden_states(inputs)
    assert keras.backend.standardize_dtype(hidden.dtype) == "bfloat16"
    expected = harness.logits_of(full, ids)
    error = np.abs(np.asarray(hidden, "float32") - expected).max()
    assert 0 < error < 0.05 * np.abs(expected).max()
