"""Rotary positions: by hand, by what they are for, and against those of Transformers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras import ops

import keras_lm as klm
from keras_lm.families.rotary import read_rotary
from keras_lm.layers import apply_rotary, rotary_angles, rotary_frequencies

CASES = json.loads((Path(__file__).parents[1] / "golden" / "rotary.json").read_text())


def rotary(**fields: Any) -> klm.PositionConfig:
    return klm.PositionConfig(kind="rotary", **fields)


def turned(vector: list[float], position: int, **fields: Any) -> np.ndarray:
    """One head's vector at a position."""
    head = np.array(vector, "float32").reshape(1, 1, 1, -1)
    frequencies = rotary_frequencies(rotary(**fields), len(vector))
    angles = rotary_angles(np.array([[position]]), frequencies)
    return ops.convert_to_numpy(apply_rotary(head, angles))[0, 0, 0]


def test_two_dimensions_turn_by_one_radian_a_position() -> None:
    np.testing.assert_allclose(turned([1, 0], 1), [math.cos(1), math.sin(1)], atol=1e-6)
    np.testing.assert_allclose(turned([0, 1], 1), [-math.sin(1), math.cos(1)], atol=1e-6)
    np.testing.assert_allclose(turned([3, 4], 0), [3, 4], atol=1e-6)


def test_component_i_is_paired_with_i_plus_half() -> None:
    # Base 100 and H = 4: pair 0 turns by 1 a position, pair 1 by 100^(-2/4) = 0.1.
    expected = [math.cos(2), math.cos(0.2), math.sin(2), math.sin(0.2)]
    np.testing.assert_allclose(turned([1, 1, 0, 0], 2, rotary_base=100.0), expected, atol=1e-6)


def test_a_part_of_a_head_is_turned() -> None:
    """The first half of six, as if the head were that wide: three components are two pairs, and
    the second pair turns by 100^(-2/3) a position.
    """
    slow = 2 * 100 ** (-2 / 3)
    expected = [math.cos(2), math.cos(slow), math.sin(2), math.sin(slow), 5, 6]
    out = turned([1, 1, 0, 0, 5, 6], 2, rotary_base=100.0, rotary_fraction=0.5)
    np.testing.assert_allclose(out, expected, atol=1e-6)


@pytest.mark.parametrize("base", [10000.0, 500.0])
def test_products_depend_on_the_distance_alone(base: float) -> None:
    random = np.random.default_rng(0)
    query, key = random.normal(size=(2, 8)).tolist()

    def product(first: int, second: int) -> Any:
        places = {"rotary_base": base}
        return turned(query, first, **places) @ turned(key, second, **places)

    products = [product(3 + k, k) for k in (0, 1, 40)]
    np.testing.assert_allclose(products, products[0], atol=1e-4)
    assert abs(product(5, 0) - products[0]) > 1e-2


def test_turning_keeps_the_length() -> None:
    vector = np.random.default_rng(0).normal(size=6)
    assert np.linalg.norm(turned(vector.tolist(), 17)) == pytest.approx(np.linalg.norm(vector))


def test_half_precision_heads_stay_so() -> None:
    heads = ops.ones((1, 2, 1, 4), "bfloat16")
    angles = rotary_angles(np.array([[0, 5000]]), rotary_frequencies(rotary(), 4))
    out = apply_rotary(heads, angles)
    assert out.dtype == heads.dtype
    # The angle itself is float32: bfloat16 cannot tell 5000 from 4992.
    value = float(ops.convert_to_numpy(ops.cast(out, "float32"))[0, 1, 0, 0])
    assert value == pytest.approx(math.cos(5000) - math.sin(5000), abs=0.02)


def test_magnitude_multiplies_sines_and_cosines() -> None:
    frequencies = rotary_frequencies(rotary(), 4)
    plain = rotary_angles(np.arange(3)[None], frequencies)
    larger = rotary_angles(np.arange(3)[None], frequencies, 1.5)
    for one, other in zip(plain, larger, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(one) * 1.5, other, rtol=1e-6)


# ---- scaling


@pytest.mark.parametrize("case", CASES, ids=[str(i) for i in range(len(CASES))])
def test_frequencies_are_those_of_transformers(case: dict[str, Any]) -> None:
    """Read from their config; the model is long where the text is."""
    longest = case["max_position_embeddings"]
    read = read_rotary({"max_position_embeddings": longest, "rope_parameters": case["config"]})
    positions = read["positions"]
    max_length = longest if case["is_long"] else read["max_length"]
    frequencies = rotary_frequencies(positions, case["head_dim"], max_length)
    np.testing.assert_allclose(frequencies, case["frequencies"], rtol=1e-6)
    assert positions.rotary_scaling.magnitude == pytest.approx(case["magnitude"], rel=1e-12)


def test_llama3_by_hand() -> None:
    """H = 8, base 10,000: 1, 0.1, 0.01 and 0.001 a position turn 159, 15.9, 1.59 and 0.159 times in
    1,000: the first two stay, the third is blended, the last is divided.
    """
    scaling = {"kind": "llama3", "factor": 10.0, "original_max_length": 1000}
    blend = (10 / (2 * math.pi) - 1) / 3
    expected = [1, 0.1, 0.01 * (blend + (1 - blend) / 10), 0.0001]
    frequencies = rotary_frequencies(rotary(rotary_scaling=scaling), 8)
    np.testing.assert_allclose(frequencies, expected, rtol=1e-12)


def test_long_factors_need_a_long_model() -> None:
    scaling = {
        "kind": "longrope",
        "factor": 2.0,
        "original_max_length": 8,
        "short_factors": [1, 2],
        "long_factors": [4, 5],
    }
    config = rotary(rotary_scaling=scaling, rotary_base=100.0)
    for max_length, expected in ((None, [1, 0.05]), (8, [1, 0.05]), (9, [0.25, 0.02])):
        np.testing.assert_allclose(rotary_frequencies(config, 4, max_length), expected)


# Every field of a scaling that counts for its kind changes what it should.
CHANGES = [
    ("linear", "factor", "frequencies"),
    ("llama3", "factor", "frequencies"),
    ("llama3", "original_max_length", "frequencies"),
    ("llama3", "low_frequency_factor", "frequencies"),
    ("llama3", "high_frequency_factor", "frequencies"),
    ("yarn", "factor", "both"),
    ("yarn", "original_max_length", "frequencies"),
    ("yarn", "beta_fast", "frequencies"),
    ("yarn", "beta_slow", "frequencies"),
    ("yarn", "attention_factor", "magnitude"),
    ("longrope", "factor", "magnitude"),
    ("longrope", "original_max_length", "magnitude"),
    ("longrope", "attention_factor", "magnitude"),
    ("longrope", "short_factors", "frequencies"),
]


@pytest.mark.parametrize(("kind", "name", "effect"), CHANGES)
def test_every_field_of_a_scaling_has_its_effect(kind: str, name: str, effect: str) -> None:
    factors = {"short_factors": [1.0] * 16, "long_factors": [2.0] * 16}
    base = klm.RotaryScaling(
        kind=kind,  # type: ignore[arg-type]
        factor=4.0,
        original_max_length=64,
        **(factors if kind == "longrope" else {}),  # type: ignore[arg-type]
    )
    values = {"original_max_length": 200, "attention_factor": 0.5, "short_factors": [1.5] * 16}
    other = base.replace(**{name: values.get(name, 3.0)})
    assert klm.RotaryScaling.from_config(json.loads(json.dumps(other.get_config()))) == other
    frequencies = [rotary_frequencies(rotary(rotary_scaling=s), 32) for s in (base, other)]
    seen = {
        "frequencies": not np.array_equal(*frequencies),
        "magnitude": base.magnitude != other.magnitude,
    }
    assert {key for key, value in seen.items() if value} == (
        {"frequencies", "magnitude"} if effect == "both" else {effect}
    )
