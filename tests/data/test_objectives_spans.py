import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lm.data.batches import Rows
from keras_lm.data.objectives import SpanCorruption
from keras_lm.data.objectives.corruption import _random_segments

EOS, START = 1, 2
SENTINELS = tuple(range(1000, 900, -1))


def random_text(lengths, length):
    """Rows of text ids, 100 and above; each row's tokens are distinct and ascending."""
    text = 100 + np.arange(length, dtype=np.int32) + np.zeros((len(lengths), 1), np.int32)
    return np.where(np.arange(length) < np.asarray(lengths)[:, None], text, 0).astype(np.int32)


def substituted(inputs, targets):
    """What the reader of input and target understands: each sentinel replaced by its span."""
    spans = {}
    for token in targets:
        if token in SENTINELS:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    parts = [spans.pop(token) if token in SENTINELS else [token] for token in inputs]
    assert not spans  # every span of the target has its place in the input
    return list(itertools.chain(*parts))


@given(
    st.lists(st.integers(0, 70), min_size=1, max_size=5),
    st.floats(0.02, 0.9),
    st.floats(1, 12),
    st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=200)
def test_putting_the_spans_back_restores_the_text(lengths, density, mean, seed):
    length = max(1, *lengths)
    objective = SpanCorruption(SENTINELS, EOS, START, (), density, mean)
    text = random_text(lengths, length)
    x, y, weight = objective.corrupt(text, np.array(lengths), np.random.default_rng(seed))
    for row, n in enumerate(lengths):
        inputs = x["token_ids"][row, x["padding_mask"][row] > 0].tolist()
        targets = y[row, weight[row] > 0].tolist()
        read = x["decoder_token_ids"][row, x["decoder_padding_mask"][row] > 0].tolist()
        assert not x["token_ids"][row, len(inputs) :].any()
        assert not y[row, len(targets) :].any()
        assert not x["decoder_token_ids"][row, len(read) :].any()
        if n < 2:
            assert inputs == [*text[row, :n], EOS][: n and n + 1]
            assert not targets
            continue
        assert read == [START, *targets[:-1]]
        assert (inputs.pop(), targets.pop()) == (EOS, EOS)
        assert substituted(inputs, targets) == text[row, :n].tolist()
        # As many tokens and spans as T5 cuts out; a text begins with what is kept.
        num_noise = min(max(round(n * density), 1), n - 1)
        num_spans = min(max(round(num_noise / mean), 1), n - num_noise)
        used = [token for token in inputs if token in SENTINELS]
        assert used == list(SENTINELS[:num_spans])
        assert inputs[0] == text[row, 0]
        assert targets[0] == SENTINELS[0]
        assert len(targets) == num_noise + num_spans
        assert len(inputs) == n - num_noise + num_spans
        # Spans do not touch: between two sentinels of the input there is text.
        assert all(a not in SENTINELS or b not in SENTINELS for a, b in itertools.pairwise(inputs))


def test_a_case_by_hand():
    # Two tokens: one is kept, and the other is the only span.
    objective = SpanCorruption(SENTINELS, EOS, START)
    text = np.array([[50, 60]], np.int32)
    x, y, weight = objective.corrupt(text, np.array([2]), np.random.default_rng(0))
    assert x["token_ids"].tolist() == [[50, 1000, EOS]]
    assert x["decoder_token_ids"].tolist() == [[START, 1000, 60]]
    assert y.tolist() == [[1000, 60, EOS]]
    assert weight.tolist() == [[1, 1, 1]]


def test_lengths_are_those_of_t5():
    # The settings of the paper, and the lengths that its models were trained with.
    objective = SpanCorruption(SENTINELS, EOS, 0)
    assert objective.window_length(512) == 568
    assert objective.lengths(568) == (512, 114)


@pytest.mark.parametrize(("density", "mean"), [(0.15, 3.0), (0.5, 3.0), (0.15, 8.0), (0.3, 1.0)])
@pytest.mark.parametrize("inputs_length", [3, 20, 511])
def test_a_window_is_the_longest_whose_input_fits(inputs_length, density, mean):
    objective = SpanCorruption(range(999), EOS, 0, (), density, mean)
    window = objective.window_length(inputs_length)
    for length in (window, window + 1):
        text = random_text([length], length)
        x, _, weight = objective.corrupt(text, np.array([length]), np.random.default_rng(0))
        assert (x["padding_mask"].sum(), weight.sum()) == objective.lengths(length)
        assert (x["padding_mask"].sum() <= inputs_length) == (length == window)


@given(st.floats(0.01, 0.99), st.floats(1, 20))
@settings(deadline=None, max_examples=100)
def test_no_shorter_row_needs_more_room(density, mean):
    objective = SpanCorruption(SENTINELS, EOS, 0, (), density, mean)
    lengths = np.array([objective.lengths(n) for n in range(1, 200)])
    assert (np.diff(lengths, axis=0) >= 0).all()


def test_all_ways_to_cut_are_alike():
    n = 60_000
    sizes = _random_segments(np.full(n, 6), np.full(n, 3), 3, np.random.default_rng(0))
    ways, counts = np.unique(sizes, axis=0, return_counts=True)
    assert len(ways) == 10  # 5 choose 2
    assert (ways.sum(axis=1) == 6).all()
    assert (ways > 0).all()
    assert np.abs(counts - n / 10).max() < 5 * np.sqrt(n * 0.1 * 0.9)


def test_a_window_is_read_as_one_text_without_bos_and_eos():
    tokens = np.array([[0, 50, 51, EOS, 0, 52, 53, EOS, 9, 9]], np.int32)
    segments = np.array([[1, 1, 1, 1, 2, 2, 2, 2, 0, 0]], np.int32)
    rows = Rows(tokens, segments, segments, tokens, segments, segments[:, 0])
    objective = SpanCorruption(SENTINELS, EOS, START, dropped_ids=(0, EOS))
    x, y, weight = objective(rows, np.random.default_rng(0))
    inputs = x["token_ids"][0, x["padding_mask"][0] > 0].tolist()[:-1]
    targets = y[0, weight[0] > 0].tolist()[:-1]
    assert substituted(inputs, targets) == [50, 51, 52, 53]


def test_bad_arguments_are_named():
    for arguments, message in [
        ({"noise_density": 0.0}, "noise_density is 0.0"),
        ({"noise_density": 1}, "noise_density is 1"),
        ({"mean_span_length": 0.5}, "mean_span_length is 0.5; it must be 1 or more"),
        ({"mean_span_length": float("nan")}, "mean_span_length is nan"),
        ({"sentinel_ids": ()}, "sentinel_ids must be distinct ids, at least one"),
        ({"sentinel_ids": (5, 5)}, "sentinel_ids must be distinct"),
    ]:
        with pytest.raises(ValueError, match=message):
            SpanCorruption(**{"sentinel_ids": SENTINELS, "eos_id": EOS, **arguments})
    objective = SpanCorruption((7, 8), EOS)
    assert objective.specs(4, 40)
    with pytest.raises(ValueError, match="2 ids, but a window of 512 tokens has 26 spans"):
        objective.specs(4, 512)
    with pytest.raises(ValueError, match="2 ids, but a window of 512 tokens has 26 spans"):
        objective.corrupt(random_text([512], 512), np.array([512]), np.random.default_rng(0))
    with pytest.raises(ValueError, match="inputs_length is 2"):
        objective.window_length(2)
