import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lm.data import TokenStore, overlapping_windows, scoring_windows, training_windows

pair_counts = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def make_store(pairs):
    """Documents of the given numbers of pairs; token i is i, document d has 10^d bytes."""
    offsets = np.concatenate([[0], np.cumsum(np.asarray(pairs) + 1)])
    num_bytes = 10 ** (np.arange(len(pairs), dtype=np.int64) % 18)
    return TokenStore(np.arange(offsets[-1], dtype=np.int32), offsets, num_bytes)


def windows_of(plan):
    """The pieces of each window as (start, length, counted_from)."""
    pieces = list(
        zip(
            plan.piece_starts.tolist(),
            plan.piece_lengths.tolist(),
            plan.counted_from.tolist(),
            strict=True,
        )
    )
    return [pieces[a:b] for a, b in zip(plan.offsets, plan.offsets[1:], strict=False)]


def counted_targets(plan):
    """Every target position that counts, in order."""
    return sorted(
        target
        for window in windows_of(plan)
        for start, length, first in window
        for target in range(start + first + 1, start + length + 1)
    )


def all_targets(store):
    """Every token but the first of its document."""
    return sorted(set(range(store.num_tokens)) - set(store.offsets[:-1].tolist()))


def test_training_windows_by_hand():
    # Tokens of the documents begin at 0, 14, 18 and 23; the first is cut into 8 + 5 pairs. By
    # size 8, 5, 4, 3, 2: the 3 fits beside the 5 best, and the 2 beside the 4.
    plan = training_windows(make_store([13, 3, 4, 2]), length=8)
    assert windows_of(plan) == [
        [(0, 8, 0)],
        [(8, 5, 0), (14, 3, 0)],
        [(18, 4, 0), (23, 2, 0)],
    ]
    assert plan.num_bytes.tolist() == [1, 10, 1100]
    assert plan.padding_share == pytest.approx(2 / 24)
    assert len(plan) == 3


def test_a_document_one_pair_too_long():
    plan = training_windows(make_store([9]), length=8)
    assert windows_of(plan) == [[(0, 8, 0)], [(8, 1, 0)]]
    assert plan.num_bytes.tolist() == [1, 0]


def test_windows_across_documents_by_hand():
    # 4 + 2 + 5 tokens are one stream of 10 pairs.
    plan = training_windows(make_store([3, 1, 4]), length=4, cross_documents=True)
    assert windows_of(plan) == [[(0, 4, 0)], [(4, 4, 0)], [(8, 2, 0)]]
    assert plan.num_bytes.tolist() == [1, 110, 0]


def test_scoring_windows_by_hand():
    # 11 pairs at stride 3: 0–4, 3–7, 6–10; of the 5 in a window 2 have been counted before.
    plan = scoring_windows(make_store([11, 2]), length=5)
    assert windows_of(plan) == [[(0, 5, 0)], [(3, 5, 2)], [(6, 5, 2)], [(12, 2, 0)]]
    assert plan.num_bytes.tolist() == [1, 0, 0, 10]


def test_last_pieces_and_short_documents_share_a_scoring_window():
    plan = scoring_windows(make_store([5, 1]), length=4)
    assert windows_of(plan) == [[(0, 4, 0)], [(2, 3, 2), (6, 1, 0)]]
    assert plan.num_bytes.tolist() == [1, 10]


@given(pair_counts, st.integers(1, 20), st.booleans())
def test_training_counts_every_target_once(pairs, length, cross_documents):
    store = make_store(pairs)
    plan = training_windows(store, length, cross_documents)
    expected = list(range(1, store.num_tokens)) if cross_documents else all_targets(store)
    assert counted_targets(plan) == expected
    check_windows(store, plan, cross_documents)


@given(pair_counts, st.integers(1, 20))
def test_scoring_counts_every_target_once_with_enough_context(pairs, length):
    store = make_store(pairs)
    plan = scoring_windows(store, length)
    assert counted_targets(plan) == all_targets(store)
    check_windows(store, plan, cross_documents=False)
    begins = set(store.offsets.tolist())
    for start, _, first in (piece for window in windows_of(plan) for piece in window):
        assert first == (0 if start in begins else length // 2)


def check_windows(store, plan, cross_documents):
    """No window is overfull or empty, no piece leaves its document, bytes count once."""
    ends = store.offsets[1:]
    for window in windows_of(plan):
        assert 1 <= sum(length for _, length, _ in window) <= plan.length
        for start, length, _ in window:
            document_end = ends[np.searchsorted(ends, start, side="right")]
            assert cross_documents or start + length < document_end
    assert plan.num_bytes.sum() == store.num_bytes.sum()
    begins = dict(zip(store.offsets.tolist(), store.num_bytes.tolist(), strict=False))
    for window, num_bytes in zip(windows_of(plan), plan.num_bytes, strict=True):
        if not cross_documents:
            assert num_bytes == sum(begins.get(start, 0) for start, _, _ in window)


@given(pair_counts, st.integers(1, 40))
@settings(max_examples=100)
def test_packing_is_best_fit_decreasing(pairs, length):
    pairs = [min(n, length) for n in pairs]
    windows: list[list[int]] = []
    for size in sorted(pairs, reverse=True):
        fitting = [w for w in windows if sum(w) + size <= length]
        if fitting:
            max(fitting, key=sum).append(size)
        else:
            windows.append([size])
    plan = training_windows(make_store(pairs), length)
    filled = [sum(n for _, n, _ in window) for window in windows_of(plan)]
    assert sorted(filled) == sorted(map(sum, windows))


def test_many_short_documents_leave_hardly_any_padding():
    sizes = np.random.default_rng(0).integers(1, 200, 20_000)
    plan = training_windows(make_store(sizes), length=256)
    assert plan.padding_share < 0.001


@given(pair_counts, st.integers(1, 20), st.sampled_from([np.int32, np.int64]))
@settings(max_examples=30, deadline=None)
def test_overlapping_windows_are_the_same_in_a_graph(pairs, length, dtype):
    lengths = np.array(pairs, dtype)
    eager = overlapping_windows(lengths, length)
    graph = graph_windows[dtype](lengths, tf.constant(length))
    for left, right in zip(eager, graph, strict=True):
        assert left.dtype == right.dtype == lengths.dtype
        np.testing.assert_array_equal(left, right)


graph_windows = {
    dtype: tf.function(
        overlapping_windows,
        input_signature=[tf.TensorSpec([None], dtype), tf.TensorSpec([], tf.int32)],
    )
    for dtype in (np.int32, np.int64)
}


@pytest.mark.parametrize("plan_windows", [training_windows, scoring_windows])
def test_bad_arguments_are_named(plan_windows):
    for length in (0, -1, 2.5, True, None):
        with pytest.raises(ValueError, match=f"length is {length!r}; it must be a positive int"):
            plan_windows(make_store([3]), length)
    empty = TokenStore(np.zeros(0, np.int32), np.zeros(1, np.int64), np.zeros(0, np.int64))
    with pytest.raises(ValueError, match="store is empty"):
        plan_windows(empty, 4)
