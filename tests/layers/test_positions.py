"""Sinusoidal and relative positions, by hand and by what they are for."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from keras import ops

import keras_lm as klm
from keras_lm.layers import sinusoidal_positions
from keras_lm.layers.positions import RelativePositions


def test_sinusoidal_by_hand() -> None:
    vectors = ops.convert_to_numpy(sinusoidal_positions(np.array([[0, 1, 7]]), 4))
    assert vectors.shape == (1, 3, 4)
    np.testing.assert_allclose(vectors[0, 0], [0, 0, 1, 1], atol=1e-6)
    slow = 10000 ** (-2 / 4)  # frequency i is 10000^(-2i / D)
    expected = [math.sin(7), math.sin(7 * slow), math.cos(7), math.cos(7 * slow)]
    np.testing.assert_allclose(vectors[0, 2], expected, atol=1e-6)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_sinusoidal_of_any_width(width: int) -> None:
    vectors = ops.convert_to_numpy(sinusoidal_positions(np.arange(9)[None], width))
    assert vectors.shape == (1, 9, width)
    assert len({tuple(vector.round(4)) for vector in vectors[0]}) == 9


def test_sinusoids_are_the_papers() -> None:
    """PE(pos, 2i) = sin(pos / 10000^(2i/D)), PE(pos, 2i+1) its cosine; sines first here."""
    positions = np.arange(0, 700, 13)
    vectors = ops.convert_to_numpy(sinusoidal_positions(positions[None], 16))[0]
    for i in range(8):
        angles = positions / 10000 ** (2 * i / 16)
        np.testing.assert_allclose(vectors[:, i], np.sin(angles), atol=1e-4)
        np.testing.assert_allclose(vectors[:, 8 + i], np.cos(angles), atol=1e-4)


def relative(buckets: int, distance: int, bidirectional: bool) -> RelativePositions:
    config = klm.TransformerConfig(
        vocab_size=9,
        num_layers=1,
        hidden_dim=6,
        num_heads=3,
        positions={
            "kind": "relative",
            "relative_buckets": buckets,
            "relative_distance": distance,
        },
    )
    layer = RelativePositions(config, bidirectional=bidirectional)
    layer.build()
    table = np.random.default_rng(0).normal(size=(buckets, 3))
    layer.table.set_weights([table])
    return layer


def test_kinds_of_distances_by_hand() -> None:
    """Distances to 3 are single; those from 4 to 32 are, by their logarithm, of four kinds."""
    distances = np.array([0, -1, -2, -3, -4, -6, -7, -11, -12, -19, -20, -32, -900, 1, 5])
    kinds = [0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 7, 7, 0, 0]  # borders at 4 · 8^(k/4)
    assert ops.convert_to_numpy(relative(8, 32, False).kinds(distances)).tolist() == kinds
    # Half as many kinds for each side: 0, 1, 2 to 7 and farther.
    both = {0: 0, -1: 1, -2: 2, -7: 2, -8: 3, -99: 3, 1: 5, 2: 6, 7: 6, 8: 7, 99: 7}
    found = relative(8, 32, True).kinds(np.array(list(both)))
    assert ops.convert_to_numpy(found).tolist() == list(both.values())


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_distance_adds_the_same_wherever_it_is(bidirectional: bool) -> None:
    layer = relative(8, 12, bidirectional)
    table = ops.convert_to_numpy(layer.table.embeddings)
    queries, keys = np.array([[5, 9], [40, 41]]), np.array([[5, 2, 11], [0, 40, 47]])
    bias = ops.convert_to_numpy(layer(queries, keys))
    assert bias.shape == (2, 3, 2, 3)
    for b, t, s in np.ndindex(2, 2, 3):
        kind = int(layer.kinds(keys[b, s] - queries[b, t]))
        np.testing.assert_array_equal(bias[b, :, t, s], table[kind].astype("float32"))
    # A key behind the query is of the nearest kind, or of its own.
    assert (bias[0, :, 0, 2] == bias[0, :, 0, 0]).all() == (not bidirectional)


def test_relative_positions_survive_saving() -> None:
    layer = relative(8, 12, True)
    again = RelativePositions.from_config(layer.get_config())
    assert (again.config, again.bidirectional) == (layer.config, True)
    assert keras.saving.get_registered_name(RelativePositions) == "keras_lm>RelativePositions"
