"""Pooling, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from keras_lm.layers.pooling import pool, unit

HIDDEN = np.array([[[1.0, -4.0], [3.0, -2.0], [9.0, 9.0]]] * 2, "float32")
MASK = np.array([[1, 1, 0], [0, 1, 1]])


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("cls", [[1, -4], [1, -4]]),
        ("mean", [[2, -3], [6, 3.5]]),
        ("max", [[3, -2], [9, 9]]),
        ("last", [[3, -2], [9, 9]]),
    ],
)
def test_by_hand(pooling: str, expected: list[list[float]]) -> None:
    assert ops.convert_to_numpy(pool(HIDDEN, MASK, pooling)).tolist() == expected


def test_without_a_mask_all_tokens_count() -> None:
    assert ops.convert_to_numpy(pool(HIDDEN, None, "last")).tolist() == [[9, 9]] * 2
    mean = ops.convert_to_numpy(pool(HIDDEN, None, "mean"))
    np.testing.assert_allclose(mean, [[13 / 3, 1]] * 2, rtol=1e-6)


def test_a_mean_in_16_bits_is_computed_in_32() -> None:
    """In bfloat16 the sum would stop at 256."""
    hidden = ops.ones((1, 1000, 1), "bfloat16")
    assert float(pool(hidden, None, "mean")[0, 0]) == 1.0


def test_wrong_pooling() -> None:
    with pytest.raises(ValueError, match="pooling must be 'cls', 'mean', 'max' or 'last'"):
        pool(HIDDEN, MASK, "sum")


def test_unit() -> None:
    vectors = ops.convert_to_numpy(unit(np.array([[3.0, 4.0], [0.0, 0.0]], "float32")))
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0, 0]], rtol=1e-6)
