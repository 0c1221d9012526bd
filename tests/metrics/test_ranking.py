"""Measures of rankings: against trec_eval, by hand, and what holds of any ranking."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lm.metrics import MRR, NDCG, HitsAtK, MeanAveragePrecision, RecallAtK

GOLDEN = Path(__file__).parents[1] / "golden" / "ranking.json"
CASES = json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]
NAMES = {"map_cut": MeanAveragePrecision, "ndcg_cut": NDCG, "recall": RecallAtK, "success": HitsAtK}
ALL = (MRR, NDCG, MeanAveragePrecision, RecallAtK, HitsAtK)


def metric_for(measure):
    if measure in ("map", "recip_rank", "ndcg"):
        return {"map": MeanAveragePrecision, "recip_rank": MRR, "ndcg": NDCG}[measure](None)
    name, cut = measure.rsplit("_", 1)
    return NAMES[name](int(cut))


def score(metric, relevant, ranked):
    metric.update_state([relevant], [ranked])
    return float(metric.result())


@pytest.mark.parametrize("measure", CASES[0]["measures"])
def test_as_in_trec_eval(measure):
    values = [case["measures"][measure] for case in CASES]
    assert len(values) == 8
    assert len(set(values)) > 2 or measure.startswith("success")  # the cases tell something
    for case, value in zip(CASES, values, strict=True):
        found = score(metric_for(measure), case["grades"], case["ranked"])
        assert found == pytest.approx(value, abs=1e-6), case
    whole = metric_for(measure)
    for start in (0, 3):  # in two batches
        part = CASES[start:3] if start == 0 else CASES[start:]
        whole.update_state([case["grades"] for case in part], [case["ranked"] for case in part])
    assert float(whole.result()) == pytest.approx(np.mean(values), abs=1e-6)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (MRR(), 1 / 2),
        (MRR(1), 0),
        (MRR(2), 1 / 2),
        (HitsAtK(1), 0),
        (HitsAtK(2), 1),
        (RecallAtK(1), 0),
        (RecallAtK(3), 1 / 3),
        (RecallAtK(100), 2 / 3),
        (MeanAveragePrecision(), (1 / 2 + 2 / 4) / 3),
        (MeanAveragePrecision(3), (1 / 2) / 3),
        # a: grade 3, b: 1, c: 1, not found.
        (NDCG(), (1 / np.log2(3) + 3 / np.log2(5)) / (3 + 1 / np.log2(3) + 1 / 2)),
        (NDCG(2), (1 / np.log2(3)) / (3 + 1 / np.log2(3))),
        (NDCG(None), (1 / np.log2(3) + 3 / np.log2(5)) / (3 + 1 / np.log2(3) + 1 / 2)),
    ],
    ids=lambda value: value.name if isinstance(value, keras.metrics.Metric) else "",
)
def test_by_hand(metric, expected):
    metric.reset_state()
    found = score(metric, {"a": 3, "b": 1, "c": 1, "no": 0}, ["no", "b", "other", "a"])
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("relevant", [[], {"x": 0}, {"x": -1, "y": 0}])
def test_query_without_anything_relevant_is_left_out(kind, relevant):
    metric = kind()
    assert float(metric.result()) == 0
    metric.update_state([{"x"}, relevant], [["x"], ["x", "y"]])
    assert float(metric.result()) == 1
    metric.update_state([["x"]], [[]])  # this one counts, with 0
    assert float(metric.result()) == 0.5


def test_ids_of_any_kind():
    for kind in ALL:
        listed = score(kind(3), [4, 2], [1, 2, 3, 4])
        assert 0 < listed < 1 or kind is HitsAtK
        assert score(kind(3), np.array([4, 2]), np.array([1, 2, 3, 4])) == listed
        assert score(kind(3), {4: 1, 2: True, 1: 0.0}, (1, 2, 3, 4)) == listed
        assert score(kind(3), {2, 4}, [1, 2, 3, 4]) == listed


def test_ranks():
    metric, hits = MRR(), HitsAtK(3)
    for each in (metric, hits):
        each.update_ranks(np.array([1, 2, 4]))
        each.update_ranks([3.5, 2.5])
    expected = (1 + 1 / 2 + 1 / 4 + 1 / 3.5 + 1 / 2.5) / 5
    assert float(metric.result()) == pytest.approx(expected, rel=1e-6)
    assert float(hits.result()) == pytest.approx(3 / 5, rel=1e-6)
    first_two = MRR(2)
    first_two.update_ranks([1, 2, 3])
    assert float(first_two.result()) == pytest.approx((1 + 1 / 2) / 3, rel=1e-6)


def test_many_ranks_lose_nothing():
    metric = HitsAtK(1)
    for _ in range(4):
        metric.update_ranks(np.ones(2**23 + 1))
    assert metric._sum.number() == 2**25 + 4  # a float32 has no such number


rankings = st.lists(st.integers(0, 12), unique=True, max_size=10)
grades = st.dictionaries(st.integers(0, 12), st.integers(-1, 3), min_size=1)


@settings(max_examples=40)
@given(grades, rankings, st.integers(1, 12))
def test_what_holds_of_any_ranking(known, ranked, k):
    right = {each for each, grade in known.items() if grade > 0}
    best = sorted(known, key=known.get, reverse=True)
    for kind in ALL:
        value = score(kind(k), known, ranked)
        assert 0 <= value <= 1
        # What comes after the first k does not matter; nor does what is not relevant at the end.
        assert score(kind(k), known, ranked[:k]) == value
        assert score(kind(k), known, [*ranked, "x"]) == value
        if right and kind not in (RecallAtK, MeanAveragePrecision):
            assert score(kind(k), known, best) == 1
    # A relevant one moved to the front is never worse.
    moved = [*(each for each in ranked if each in right), *(e for e in ranked if e not in right)]
    for kind in (MRR, MeanAveragePrecision, RecallAtK, HitsAtK):
        assert score(kind(k), known, moved) >= score(kind(k), known, ranked)
    if right:
        # One relevant document: its rank says it all.
        one = sorted(right)[0]
        metrics, by_rank = [MRR(k), HitsAtK(k)], [MRR(k), HitsAtK(k)]
        rank = ranked.index(one) + 1 if one in ranked else 1e9
        for metric, other in zip(metrics, by_rank, strict=True):
            other.update_ranks([rank])
            value = score(metric, [one], ranked)
            assert value == pytest.approx(float(other.result()), abs=1e-8)


@pytest.mark.parametrize("kind", ALL)
def test_reset_and_serialization(kind):
    metric = kind(7, name="mine")
    assert score(metric, ["a"], ["a"]) == 1
    metric.reset_state()
    assert float(metric.result()) == 0
    config = keras.saving.serialize_keras_object(metric)
    restored = keras.saving.deserialize_keras_object(config)
    assert restored.get_config() == metric.get_config()
    assert (restored.k, restored.name) == (7, "mine")


def test_names():
    assert [kind().name for kind in ALL] == [
        "mrr",
        "ndcg_at_10",
        "map",
        "recall_at_10",
        "hits_at_10",
    ]
    assert [kind(5).name.endswith("_at_5") for kind in ALL] == [True] * 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([["a"]], []), "ranked has 0 items; relevant has 1"),
        ((["a"], [["a"]]), r"relevant\[0\] is 'a'; it must be a list of ids, or a dict to grades"),
        (([["a"]], ["a"]), r"ranked\[0\] is 'a'; it must be a list of ids"),
        (([["a"]], [{"a"}]), r"ranked\[0\] is {'a'}; it must be a list"),  # a set has no order
        (({"a": 1}, [["a"]]), "relevant and ranked must be lists with an item for each query"),
        (([["a"]], "a"), "relevant and ranked must be lists with an item for each query"),
        (([["a"]], [["a"], ["b"]]), "ranked has 2 items; relevant has 1"),
        (([["a"]], [["b", "a", "c", "a"]]), r"ranked\[0\] has 'a' twice"),
        (([{"a": "b"}], [["a"]]), r"relevant\[0\]\['a'\] is 'b'; a grade must be a number"),
        (([{"a": np.nan}], [["a"]]), r"relevant\[0\]\['a'\] is nan; a grade must be a number"),
        (([["a"]], [[["a"]]]), r"ranked\[0\] holds what cannot be an id"),
        (([[["a"]]], [["a"]]), r"relevant\[0\] holds what cannot be an id"),
    ],
)
def test_bad_input(arguments, message):
    for kind in ALL:
        metric = kind()
        metric.update_state([["a"]], [["a"]])
        with pytest.raises(ValueError, match=message):
            metric.update_state(*arguments)
        assert float(metric.result()) == 1  # nothing of it was counted


@pytest.mark.parametrize("ranks", [[0], [1, -2], [np.nan], [0.5], ["1"], 3, [[1]], [True]])
def test_bad_ranks(ranks):
    for metric in (MRR(), HitsAtK()):
        with pytest.raises(ValueError, match=r"ranks (is|holds) "):
            metric.update_ranks(ranks)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("k", [0, -1, 2.0, True, "3"])
def test_bad_k(kind, k):
    with pytest.raises(ValueError, match="it must be an int of 1 or more"):
        kind(k)


@pytest.mark.parametrize("kind", [RecallAtK, HitsAtK])
def test_k_is_needed(kind):
    with pytest.raises(ValueError, match="k is None; it must be an int of 1 or more"):
        kind(None)
