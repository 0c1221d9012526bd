import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lm.data.batches import Rows
from keras_lm.data.objectives import MaskedLM, ReplacedTokens
from keras_lm.data.objectives.masked import choose_tokens

V, MASK = 1000, 999
SPECIAL = (0, 1, 2)


def rows_of(token_ids, segment_ids=None):
    token_ids = np.asarray(token_ids, np.int32)
    segment_ids = np.ones_like(token_ids) if segment_ids is None else np.asarray(segment_ids)
    return Rows(
        token_ids,
        segment_ids.astype(np.int32),
        np.zeros_like(token_ids),
        token_ids,
        np.ones(token_ids.shape, np.float32),
        np.zeros(len(token_ids), np.int32),
    )


def ordinary_rows(num_rows, length, seed=0):
    return rows_of(np.random.default_rng(seed).integers(3, MASK, (num_rows, length)))


def within(count, n, p):
    """Whether a count of n draws is where a binomial of probability p lies, to 5 deviations."""
    return abs(count - n * p) < 5 * np.sqrt(n * p * (1 - p))


@st.composite
def any_rows(draw):
    """Rows of ids, special ones among them, in segments with padding behind."""
    shape = draw(st.integers(1, 4)), draw(st.integers(1, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    token_ids = random.integers(0, draw(st.sampled_from([4, 8, V])), shape)
    segment_ids = 1 + np.sort(random.integers(0, 3, shape), axis=1)
    padding = np.arange(shape[1]) >= random.integers(0, shape[1] + 1, (shape[0], 1))
    return rows_of(np.where(padding, 0, token_ids), np.where(padding, 0, segment_ids))


@given(
    any_rows(),
    st.floats(0.01, 0.99),
    st.booleans(),
    st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=150)
def test_writing_the_targets_back_restores_the_row(rows, rate, whole_words, seed):
    starts = np.arange(V) % 3 == 0 if whole_words else None
    objective = MaskedLM(MASK, V, SPECIAL, rate, starts)
    x, y, weight = objective(rows, np.random.default_rng(seed))
    restored = x["token_ids"].copy()
    row, slot = np.nonzero(weight)
    position = x["masked_positions"][row, slot]
    restored[row, position] = y[row, slot]
    np.testing.assert_array_equal(restored, rows.token_ids)
    assert not np.isin(y[row, slot], [*SPECIAL, MASK]).any()
    assert (rows.segment_ids[row, position] > 0).all()
    # Slots are filled from the left, ascending, and hold nothing where they are not needed.
    assert (np.diff(position)[np.diff(row) == 0] > 0).all()
    assert (np.diff(weight, axis=1) <= 0).all()
    assert not x["masked_positions"][weight == 0].any()
    assert not y[weight == 0].any()
    eligible = ~np.isin(rows.token_ids, [*SPECIAL, MASK]) & (rows.segment_ids > 0)
    n = eligible.sum(axis=1)
    expected = np.where(n > 0, np.maximum(1, np.rint(rate * n)), 0)
    chosen = weight.sum(axis=1)
    assert (chosen <= expected).all()
    assert whole_words or (chosen == expected).all()


def test_shares_are_those_of_bert():
    rows = ordinary_rows(64, 512)
    objective = MaskedLM(MASK, V, SPECIAL)
    changed = masked = kept = 0
    drawn = []
    places = np.zeros(512)
    for step in range(10):
        x, y, weight = objective(rows, np.random.default_rng(step))
        assert weight.all()
        assert weight.shape == (64, 77)  # 15 % of 512, exactly, in every row
        now = np.take_along_axis(x["token_ids"], x["masked_positions"], axis=1)
        masked += (now == MASK).sum()
        kept += (now == y).sum()
        changed += now.size
        drawn.append(now[(now != MASK) & (now != y)])
        places += np.bincount(x["masked_positions"].ravel(), minlength=512)
    drawn = np.concatenate(drawn)
    assert within(masked, changed, 0.8)
    assert within(len(drawn), changed, 0.1 * (1 - 1 / 996))
    assert within(kept, changed, 0.1 + 0.1 / 996)
    # Random tokens are uniform over the vocabulary but for the special ones; so are the places.
    counts = np.bincount(drawn, minlength=V)
    assert not counts[[*SPECIAL, MASK]].any()
    expected = len(drawn) / 996
    chi_squared = ((counts[3:MASK] - expected) ** 2 / expected).sum()
    assert abs(chi_squared - 995) < 5 * np.sqrt(2 * 995)
    expected = changed / 512
    variance = expected * (1 - 77 / 512)  # without replacement within a row
    assert np.abs(places - expected).max() < 5 * np.sqrt(variance)


def test_whole_words_are_masked_whole_and_reach_the_rate():
    random = np.random.default_rng(0)
    starts = np.zeros(V, bool)
    starts[3:400] = True  # words of some 2.5 tokens
    objective = MaskedLM(MASK, V, SPECIAL, word_starts=starts)
    rows = ordinary_rows(64, 256)
    _, _, weight = objective(rows, random)
    budget = round(0.15 * 256)
    assert weight.sum() > 0.995 * 64 * budget
    begins = starts[rows.token_ids]
    begins[:, 0] = True
    word = np.cumsum(begins, axis=1)
    sizes = [np.bincount(row) for row in word]
    x, _, weight = objective(rows, random)
    for row in range(64):
        chosen = word[row, x["masked_positions"][row][weight[row] > 0]]
        for number in np.unique(chosen):
            assert (chosen == number).sum() == sizes[row][number]


def test_words_end_at_special_tokens_and_segments():
    # a ##b | SEP | ##c ##d || ##e: three words, though three tokens are no beginnings.
    starts = np.zeros(V, bool)
    starts[3] = True
    tokens = [[3, 4, 2, 5, 6, 7]]
    segments = [[1, 1, 1, 1, 1, 2]]
    objective = MaskedLM(MASK, V, SPECIAL, rate=0.4, word_starts=starts)
    seen = set()
    for seed in range(50):
        x, _, weight = objective(rows_of(tokens, segments), np.random.default_rng(seed))
        seen.add(tuple(x["masked_positions"][0][weight[0] > 0].tolist()))
    assert seen == {(0, 1), (3, 4), (5,)}


def test_words_that_do_not_fit_are_passed_over():
    begins = np.array([[True, False, False, True, True, False, True, False, False, False]])
    eligible = np.ones_like(begins)  # words of 3, 1, 2 and 4 tokens, and room for 3
    sizes = set()
    for seed in range(60):
        chosen = choose_tokens(eligible, 0.3, np.random.default_rng(seed), begins)
        assert not chosen[0, 6:].any()
        sizes.add(tuple(np.flatnonzero(chosen[0]).tolist()))
    assert sizes == {(0, 1, 2), (3, 4, 5)}


def test_a_row_too_short_for_its_words_and_one_without_tokens():
    starts = np.zeros(V, bool)
    objective = MaskedLM(MASK, V, SPECIAL, word_starts=starts)
    _, _, weight = objective(rows_of([[0, 5, 6, 7, 1], [0, 1, 0, 0, 2]]), np.random.default_rng(0))
    assert not weight.any()
    _, _, weight = MaskedLM(MASK, V, SPECIAL)(
        rows_of([[0, 5, 6, 7, 1], [0, 1, 0, 0, 2]]), np.random.default_rng(0)
    )
    assert weight.tolist() == [[1], [0]]  # at least one, where there is one


def test_examples_are_masked_beside_their_labels():
    objective = MaskedLM(MASK, V, SPECIAL, rate=0.5)
    x = {
        "token_ids": np.array([[0, 5, 6, 1, 7, 1, 0]], np.int32),
        "padding_mask": np.array([[1, 1, 1, 1, 1, 1, 0]], np.int32),
        "token_types": np.array([[0, 0, 0, 0, 1, 1, 0]], np.int32),
    }
    labels, weights = np.array([1], np.int32), np.array([1], np.float32)
    changed, y, weight = objective.change((x, labels, weights), np.random.default_rng(0))
    assert sorted(changed) == ["masked_positions", "padding_mask", "token_ids", "token_types"]
    assert y["label"] is labels
    assert weight["label"] is weights
    assert weight["masked_tokens"].sum() == 2
    assert x["token_ids"].tolist() == [[0, 5, 6, 1, 7, 1, 0]]  # the batch itself is left alone
    several = {"start": labels}, {"start": weights}
    _, y, weight = objective.change((x, *several), np.random.default_rng(0))
    assert sorted(y) == sorted(weight) == ["masked_tokens", "start"]


@given(any_rows(), st.integers(0, 2**32))
@settings(deadline=None, max_examples=60)
def test_replaced_tokens_are_those_that_differ(rows, seed):
    objective = ReplacedTokens(V, SPECIAL, rate=0.3)
    x, y, weight = objective(rows, np.random.default_rng(seed))
    np.testing.assert_array_equal(y, x["token_ids"] != rows.token_ids)
    eligible = ~np.isin(rows.token_ids, SPECIAL) & (rows.segment_ids > 0)
    np.testing.assert_array_equal(weight, eligible)
    assert not y[~eligible].any()
    n = eligible.sum(axis=1)
    assert (y.sum(axis=1) <= np.where(n > 0, np.maximum(1, np.rint(0.3 * n)), 0)).all()


def test_replacements_follow_the_weights():
    weights = np.zeros(V)
    weights[[0, 10, 20]] = [50, 3, 1]  # id 0 is special, and never drawn
    rows = ordinary_rows(64, 512)
    x, y, _ = ReplacedTokens(V, SPECIAL, weights=weights)(rows, np.random.default_rng(0))
    drawn = x["token_ids"][y == 1]
    assert set(drawn.tolist()) == {10, 20}
    assert within((drawn == 10).sum(), len(drawn), 0.75)
    assert len(drawn) > 0.99 * 64 * 77


@pytest.mark.parametrize("objective", [MaskedLM, ReplacedTokens])
def test_bad_arguments_are_named(objective):
    first = {"mask_id": 5} if objective is MaskedLM else {}
    cases = [
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"vocab_size": 10, "special_ids": (10,)}, "special id 10 is outside"),
        ({"vocab_size": 10, "special_ids": range(10)}, "special_ids are all 10 ids"),
        ({"vocab_size": 10, "rate": 0}, "rate is 0; it must lie between 0 and 1"),
        ({"vocab_size": 10, "rate": 1.0}, "rate is 1.0"),
    ]
    if objective is MaskedLM:
        cases += [
            ({"vocab_size": 5}, "special id 5 is outside"),
            ({"vocab_size": 9, "word_starts": np.ones(9)}, r"word_starts is float64 \[9\]"),
            ({"vocab_size": 9, "word_starts": np.ones(8, bool)}, r"word_starts is bool \[8\]"),
        ]
    else:
        cases += [
            ({"vocab_size": 9, "weights": np.ones(8)}, r"weights has shape \(8,\)"),
            ({"vocab_size": 9, "weights": -np.ones(9)}, "weights must be finite and at least 0"),
            ({"vocab_size": 9, "weights": np.eye(9)[0], "special_ids": (0,)}, "weights are 0 for"),
        ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            objective(**first, **arguments)
