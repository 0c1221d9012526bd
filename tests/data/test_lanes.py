from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from keras_lm.data import TokenStore, lane_batches, lane_windows, num_batches
from keras_lm.data.addresses import address_of
from keras_lm.data.batches import gather_windows


def store_of(lengths: list[int]) -> TokenStore:
    """Documents of so many tokens; token i is i, document d has d + 1 bytes."""
    offsets = np.cumsum([0, *lengths])
    tokens = np.arange(offsets[-1], dtype=np.int32)
    return TokenStore(tokens, offsets, np.arange(1, len(lengths) + 1))


def test_batches_by_hand() -> None:
    # Pairs 0-4 of the first document, 6-7 of the second, 9 of the third: 8, in 2 lanes of 4.
    store = store_of([6, 3, 2])
    first, second = lane_batches(store, lane_windows(store, 3, 2))
    x, y, weights = first
    assert x["token_ids"].numpy().tolist() == [[0, 1, 2], [4, 6, 7]]
    assert y.numpy().tolist() == [[1, 2, 3], [5, 7, 8]]
    assert weights.numpy().tolist() == [[1, 1, 1], [1, 1, 1]]
    assert x["segment_ids"].numpy().tolist() == [[1, 1, 1], [1, 2, 2]]
    assert x["continues"].numpy().tolist() == [0, 0]
    assert x["num_bytes"].numpy().tolist() == [1, 2]
    x, y, weights = second
    assert x["token_ids"].numpy().tolist() == [[3, 0, 0], [9, 0, 0]]
    assert y.numpy().tolist() == [[4, 0, 0], [10, 0, 0]]
    assert weights.numpy().tolist() == [[1, 0, 0], [1, 0, 0]]
    assert x["segment_ids"].numpy().tolist() == [[1, 0, 0], [1, 0, 0]]
    assert x["positions"].numpy().tolist() == [[0, 0, 0], [0, 0, 0]]
    assert x["continues"].numpy().tolist() == [1, 0]  # the third document begins
    assert x["num_bytes"].numpy().tolist() == [0, 3]
    assert {array.dtype for array in x.values()} == {tf.int32}


documents = st.lists(st.integers(2, 12), min_size=1, max_size=12)


@given(lengths=documents, length=st.integers(1, 9), batch_size=st.integers(1, 7))
def test_every_pair_once_and_rows_that_follow(
    lengths: list[int], length: int, batch_size: int
) -> None:
    store = store_of(lengths)
    pairs = [i for a, b in itertools.pairwise(store.offsets) for i in range(a, b - 1)]
    if len(pairs) < batch_size:
        with pytest.raises(ValueError, match=f"batch_size is {batch_size}; the store has"):
            lane_windows(store, length, batch_size)
        return
    plan = lane_windows(store, length, batch_size)
    assert len(plan) == batch_size * num_batches(plan, batch_size)
    rows = gather_windows(store, plan, np.arange(len(plan)))
    inputs = rows.token_ids
    real = rows.weights > 0
    assert sorted(inputs[real].tolist()) == pairs
    np.testing.assert_array_equal(rows.targets[real], inputs[real] + 1)
    assert rows.num_bytes.sum() == store.num_bytes.sum()
    read: list[int] = []
    for lane in range(batch_size):
        mine = np.arange(lane, len(plan), batch_size)
        tokens = [inputs[window][real[window]].tolist() for window in mine]
        read += itertools.chain(*tokens)
        for number, window in enumerate(mine):
            part = tokens[number]
            follows = number > 0 and bool(part) and part[0] - 1 in tokens[number - 1]
            begins = bool(part) and part[0] in store.offsets
            assert plan.continues[window] == (follows and not begins)
            # A segment ends where, and only where, a document does.
            ends = np.diff(rows.segment_ids[window][real[window]]) > 0
            np.testing.assert_array_equal(ends, np.diff(part) > 1)
    assert read == pairs  # the lanes one after the other are the documents in their order
    assert real.size - real.sum() < batch_size * (length + 1)


def arrays(batch: Any) -> list[np.ndarray]:
    x, y, weights = batch
    return [np.asarray(a) for a in (*(x[name] for name in sorted(x)), y, weights)]


def test_a_later_start_sees_the_same() -> None:
    store = store_of([7, 5, 9, 2, 4])
    plan = lane_windows(store, 2, 3)
    endless = lane_batches(store, plan, repeat=True)
    steps = num_batches(plan, 3)
    whole = [arrays(batch) for batch in endless.take(2 * steps + 3)]
    for start in (0, 1, steps, steps + 2):
        later = lane_batches(store, plan, repeat=True, start=start).take(3)
        for batch, expected in zip(later, whole[start:]):
            for one, other in zip(arrays(batch), expected, strict=True):
                np.testing.assert_array_equal(one, other)
    rest = list(lane_batches(store, plan, start=steps + 1))
    assert len(rest) == steps - 1
    address_of(endless).steps_done = 2  # as `Resume` does
    for one, other in zip(arrays(next(iter(endless))), whole[2], strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(whole[1][3], whole[2][3])


def test_bad_input() -> None:
    store = store_of([4, 3])
    for wrong in (0, -1, 2.0, True, None):
        with pytest.raises(ValueError, match=f"length is {wrong!r}; it must be a positive int"):
            lane_windows(store, wrong, 2)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=f"batch_size is {wrong!r}; it must be a positive"):
            lane_windows(store, 2, wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch_size is 6; the store has 5 pairs only"):
        lane_windows(store, 2, 6)
    empty = TokenStore(np.zeros(0, np.int32), np.zeros(1, np.int64), np.zeros(0, np.int64))
    with pytest.raises(ValueError, match="store is empty"):
        lane_windows(empty, 2, 1)
    for wrong in (-1, 1.5, True):
        with pytest.raises(ValueError, match=f"start is {wrong!r}; it must be an int, at least 0"):
            lane_batches(store, lane_windows(store, 2, 2), start=wrong)  # type: ignore[arg-type]
