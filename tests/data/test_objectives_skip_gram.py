import collections

import numpy as np
import pytest

from keras_lm.data.batches import Rows, address_random
from keras_lm.data.objectives import ContinuousBagOfWords, SkipGram
from keras_lm.data.objectives.drawing import AliasTable

V = 50


def rows_of(token_ids, segment_ids=None):
    token_ids = np.asarray(token_ids, np.int32)
    segments = np.ones_like(token_ids) if segment_ids is None else np.asarray(segment_ids)
    return Rows(token_ids, segments, segments, token_ids, segments, segments[:, 0])


def pairs_of(objective, rows, step=0):
    x, _, weight = objective(rows, address_random(0, step))
    used = weight > 0
    return list(zip(x["target"][used].tolist(), x["context"][used, 0].tolist(), strict=True))


def everything(architecture=SkipGram, **arguments):
    defaults = {"counts": np.ones(V, int), "window": 1, "negatives": 2, "subsample": 0, "room": 99}
    return architecture(**{**defaults, **arguments})


def test_pairs_by_hand():
    # Special tokens (0) are left out and what is left moves together; segments stay apart.
    rows = rows_of(
        [[0, 3, 0, 4, 5, 6], [7, 0, 8, 0, 9, 9]], [[1, 1, 1, 1, 2, 2], [1, 1, 1, 1, 0, 0]]
    )
    pairs = pairs_of(everything(special_ids=(0,)), rows)
    assert sorted(pairs) == [(3, 4), (4, 3), (5, 6), (6, 5), (7, 8), (8, 7)]


def test_every_token_has_a_reach_of_its_own():
    token_ids = np.arange(40)[np.newaxis]
    seen = collections.Counter()
    steps = 3000
    for step in range(steps):
        pairs = pairs_of(everything(window=3, negatives=0), rows_of(token_ids), step)
        assert len(pairs) == len(set(pairs))
        left = collections.Counter(target for target, context in pairs if context < target)
        right = collections.Counter(target for target, context in pairs if context > target)
        # In the middle, a token looks equally far to either side, at each distance up to there.
        assert all(left[i] == right[i] for i in range(3, 37))
        seen[left[20]] += 1
        assert {abs(a - b) for a, b in pairs if a == 20} == set(range(1, left[20] + 1))
    assert sorted(seen) == [1, 2, 3]
    deviation = np.sqrt(steps * 2 / 9)
    assert max(abs(count - steps / 3) for count in seen.values()) < 5 * deviation


def test_frequent_tokens_are_thinned_out_as_word2vec_does():
    counts = np.zeros(V, int)
    counts[[1, 2, 3]] = [900, 90, 10]
    objective = everything(counts=counts, subsample=1e-2)
    share = counts / 1000
    expected = np.minimum(np.sqrt(1e-2 / share[1:4]) + 1e-2 / share[1:4], 1)
    assert expected[2] == 1
    token_ids = np.random.default_rng(0).choice(V, (64, 512), p=share)
    tokens, _, _ = objective._neighbours(rows_of(token_ids), address_random(0, 0))
    there = np.bincount(token_ids.ravel(), minlength=V)[1:4]
    kept = np.bincount(tokens, minlength=V)[1:4]
    assert (np.abs(kept - there * expected) <= 5 * np.sqrt(there * expected * (1 - expected))).all()


def test_negatives_follow_the_counts_to_the_power_of_three_quarters_and_are_never_true():
    counts = np.zeros(V, int)
    counts[[0, 1, 2, 3]] = [500, 1, 16, 81]
    objective = everything(counts=counts, special_ids=(0,), negatives=7)
    rows = rows_of(np.random.default_rng(1).choice([1, 2, 3], (64, 512)))
    x, y, weight = objective(rows, address_random(0, 0))
    true, negatives = x["context"][weight > 0, 0], x["context"][weight > 0, 1:]
    assert not (negatives == true[:, np.newaxis]).any()
    noise = np.array([0, 1, 8, 27])
    for token in (1, 2, 3):
        drawn = negatives[true == token].ravel()
        expected = noise / (36 - noise[token]) * len(drawn)
        expected[token] = 0
        found = np.bincount(drawn, minlength=V)
        assert not found[4:].any()
        assert (np.abs(found[:4] - expected) <= 5 * np.sqrt(expected) + 1e-9).all()
    assert y[weight > 0].tolist() == [[1] + [0] * 7] * int(weight.sum())


def test_a_batch_with_more_pairs_than_room_keeps_some_at_random():
    objective = everything(room=0.25)
    token_ids = np.arange(40)[np.newaxis]
    all_pairs = set(pairs_of(everything(), rows_of(token_ids)))
    assert len(all_pairs) == 78
    seen = collections.Counter()
    for step in range(200):
        pairs = pairs_of(objective, rows_of(token_ids), step)
        assert len(set(pairs)) == len(pairs) == objective.num_pairs(1, 40) == 20
        seen.update(pairs)
    assert set(seen) == all_pairs
    assert max(seen.values()) < 200 * 20 / 78 + 5 * np.sqrt(200 * 20 / 78)


def test_the_expected_number_of_pairs_fits():
    random = np.random.default_rng(0)
    token_ids = np.minimum(random.zipf(1.3, (320, 128)), V) - 1
    counts = np.bincount(token_ids.ravel(), minlength=V)
    for architecture in (SkipGram, ContinuousBagOfWords):
        objective = architecture(counts, special_ids=(0,), subsample=1e-2)
        used = [
            objective(rows_of(token_ids[i : i + 32]), address_random(0, i))[2].mean()
            for i in range(0, 320, 32)
        ]
        assert max(used) < 1  # nothing was dropped
        assert np.mean(used) > 0.6


def test_a_bag_by_hand():
    rows = rows_of([[3, 4, 5, 0, 9]], [[1, 1, 1, 1, 2]])
    x, y, weight = everything(ContinuousBagOfWords, special_ids=(0,))(rows, address_random(0, 0))
    assert x["context"][:3].tolist() == [[0, 4], [3, 5], [4, 0]]
    assert x["context_mask"][:3].tolist() == [[0, 1], [1, 1], [1, 0]]
    assert x["target"][:3, 0].tolist() == [3, 4, 5]
    assert weight.tolist() == [1, 1, 1, 0, 0]  # 9 stands alone
    assert y[:3].tolist() == [[1, 0, 0]] * 3
    assert not y[3:].any()


def test_a_bag_holds_the_pairs_of_skip_gram():
    random = np.random.default_rng(0)
    rows = rows_of(random.integers(0, V, (4, 64)), np.sort(random.integers(1, 4, (4, 64)), axis=1))
    x, _, weight = everything(ContinuousBagOfWords, window=4)(rows, address_random(0, 7))
    bag = [
        (target, context)
        for target, contexts, mask in zip(
            x["target"][:, 0], x["context"], x["context_mask"], strict=True
        )
        for context in contexts[mask > 0]
    ]
    assert bag == pairs_of(everything(window=4), rows, 7)
    assert weight.sum() == 4 * 64


def test_an_alias_table_draws_what_its_weights_say():
    weights = np.array([0, 5, 0.001, 1, 1, 0, 30, 2, 0])
    drawn = AliasTable(weights).draw(np.random.default_rng(0), (400, 500))
    assert drawn.dtype == np.int32
    counts = np.bincount(drawn.ravel(), minlength=9)
    expected = weights / weights.sum() * drawn.size
    assert (np.abs(counts - expected) <= 5 * np.sqrt(expected)).all()


@pytest.mark.parametrize("exponent", [0, 1, 3])
def test_an_alias_table_is_exact(exponent):
    """The shares of all slots, added up, are the probabilities."""
    weights = np.random.default_rng(0).random(1000) ** exponent
    weights[::7] = 0
    table = AliasTable(weights)
    found = np.zeros(1000)
    np.add.at(found, table._own_id, table._own_share)
    np.add.at(found, table._other_id, 1 - table._own_share)
    np.testing.assert_allclose(found / found.sum(), weights / weights.sum(), rtol=1e-9, atol=1e-15)


def test_bad_arguments_are_named():
    for arguments, message in [
        ({"window": 0}, "window is 0; it must be an int, at least 1"),
        ({"negatives": -1}, "negatives is -1"),
        ({"negatives": 1.5}, "negatives is 1.5"),
        ({"subsample": -1e-3}, "subsample is -0.001"),
        ({"room": 0}, "room is 0"),
        ({"room": float("inf")}, "room is inf"),
        ({"counts": np.ones(5)}, r"counts is float64 \[5\]"),
        ({"counts": -np.ones(5, int)}, "counts is int64"),
        ({"counts": np.eye(5, dtype=int)[0]}, "fewer than two ids"),
        ({"counts": np.ones(2, int), "special_ids": (0,)}, "fewer than two ids"),
        ({"counts": np.ones(2, int), "special_ids": (2,)}, "special id 2 is outside"),
    ]:
        with pytest.raises(ValueError, match=message):
            everything(**arguments)
