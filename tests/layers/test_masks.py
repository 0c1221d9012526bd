"""Masks against literal matrices."""

from __future__ import annotations

import numpy as np
from keras import ops

from keras_lm.layers import causal_mask, same_segment_mask


def rows(mask: object) -> list[str]:
    """The mask of the first sequence, a string a query."""
    array = ops.convert_to_numpy(mask)
    assert array.dtype == bool
    assert array.shape[1] == 1
    return ["".join("x" if seen else "." for seen in row) for row in array[0, 0]]


ORDER = np.arange(5)[None]


def test_causal() -> None:
    assert rows(causal_mask(ORDER, ORDER)) == ["x....", "xx...", "xxx..", "xxxx.", "xxxxx"]


def test_sliding_window() -> None:
    assert rows(causal_mask(ORDER, ORDER, 2)) == ["x....", "xx...", ".xx..", "..xx.", "...xx"]
    assert rows(causal_mask(ORDER, ORDER, 1)) == ["x....", ".x...", "..x..", "...x.", "....x"]
    assert rows(causal_mask(ORDER, ORDER, 99)) == rows(causal_mask(ORDER, ORDER))


def test_empty_slots_are_never_seen() -> None:
    keys = np.array([[0, -1, 1, 2, -1]])
    assert rows(causal_mask(np.array([[1, 2]]), keys)) == ["x.x..", "x.xx."]
    assert rows(causal_mask(np.array([[2]]), keys, 2)) == ["..xx."]


def test_a_padded_query_is_not_a_key() -> None:
    keys = np.array([[-1, -1, 2, 3, 4]])
    assert rows(causal_mask(ORDER, keys)) == [".....", ".....", "..x..", "..xx.", "..xxx"]


def test_rows_of_a_batch_have_their_own_order() -> None:
    queries, keys = np.array([[0], [2]]), np.array([[0, 1, 2], [0, 1, 2]])
    mask = ops.convert_to_numpy(causal_mask(queries, keys))
    assert mask[:, 0, 0].tolist() == [[True, False, False], [True, True, True]]


def test_segments() -> None:
    segments = np.array([[1, 1, 2, 2, 0]])
    assert rows(same_segment_mask(segments)) == ["xx...", "xx...", "..xx.", "..xx.", "....x"]
