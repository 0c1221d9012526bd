import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_lm.data.examples import bucket_plan


def test_buckets_by_hand():
    plan = bucket_plan(np.array([3, 30, 5, 12, 9, 31, 14]), token_budget=64, num_buckets=3)
    assert plan.shapes == ((2, 8), (3, 16), (2, 31))  # 31 is the longest of all
    assert [plan.examples_of(k).tolist() for k in range(3)] == [[0, 2], [3, 4, 6], [1, 5]]
    assert plan.num_batches == 3
    assert plan.padding_share == pytest.approx(1 - 104 / (16 + 48 + 62))
    assert str(plan).splitlines() == [
        "length  batch  batches  examples  padding",
        "     8      2        1         2    50.0%",
        "    16      3        1         3    27.1%",
        "    31      2        1         2     1.6%",
        "all                  3         7    17.5%",
    ]


def test_two_lengths_by_hand():
    pairs = np.array([[3, 9], [8, 2], [20, 22], [17, 30], [1, 40]])
    plan = bucket_plan(pairs, batch_size=2, num_buckets=3, multiple=1)
    # A bucket is as wide as its longest source and its longest target. 2 × 10 + 2 × 43 + 2 × 50
    # positions are the least that three can have.
    assert plan.shapes == ((2, 8, 2), (2, 3, 40), (2, 20, 30))
    assert [plan.examples_of(k).tolist() for k in range(3)] == [[1, -1], [0, 4], [2, 3]]


def test_batches_of_a_budget_are_of_equal_size():
    plan = bucket_plan(np.full(33, 10), token_budget=320, num_buckets=4)
    assert plan.shapes == ((17, 10),)  # 32 would fit, and leave 31 rows of padding
    assert plan.examples_of(1).tolist() == [*range(17, 33), -1]
    assert bucket_plan(np.full(33, 10), batch_size=32).shapes == ((32, 10),)


def test_a_cut_that_only_fills_up_batches_is_not_made():
    lengths = np.array([8] * 4 + [16] * 4)
    assert bucket_plan(lengths, batch_size=8).shapes == ((8, 16),)
    assert bucket_plan(lengths, batch_size=4).shapes == ((4, 8), (4, 16))


def test_boundaries_that_are_given():
    lengths = np.array([3, 30, 5, 12, 9])
    plan = bucket_plan(lengths, token_budget=64, boundaries=[16, 8, 24, 32])
    assert plan.shapes == ((2, 8), (2, 16), (1, 32))  # nothing is between 17 and 24
    pairs = np.array([[3, 9], [9, 3], [30, 31]])
    plan = bucket_plan(pairs, batch_size=2, boundaries=[(32, 32), (4, 16), (16, 4)])
    assert plan.shapes == ((2, 4, 16), (2, 16, 4), (2, 32, 32))
    assert plan.members.tolist() == [0, 1, 2]


one_length = st.lists(st.integers(0, 70), min_size=1, max_size=80)
two_lengths = st.lists(st.tuples(st.integers(0, 70), st.integers(0, 40)), min_size=1, max_size=60)


@given(
    st.one_of(one_length, two_lengths),
    st.integers(1, 7),
    st.sampled_from([1, 4, 8]),
    st.booleans(),
    st.integers(0, 300),
)
def test_every_example_once_in_a_shape_that_it_fits(lengths, buckets, multiple, by_budget, more):
    lengths = np.array(lengths)
    longest = lengths.reshape(len(lengths), -1).max(axis=0)
    budget = int(-(-np.maximum(longest, 1) // multiple).sum() * multiple) + more
    size = {"token_budget": budget} if by_budget else {"batch_size": 1 + more % 9}
    plan = bucket_plan(lengths, **size, num_buckets=buckets, multiple=multiple)
    assert len(plan.shapes) <= buckets
    assert len(set(plan.shapes)) == len(plan.shapes)
    seen, positions, tokens = [], 0, 0
    for batch in range(plan.num_batches):
        numbers = plan.examples_of(batch)
        shapes = [s for s in plan.shapes if s[0] == len(numbers)]
        inside = numbers[numbers >= 0]
        assert len(inside) > 0
        fitting = [s for s in shapes if (lengths[inside] <= np.squeeze(s[1:])).all()]
        assert fitting
        seen += inside.tolist()
        tokens += lengths[inside].sum()
    assert sorted(seen) == list(range(len(lengths)))
    for (rows, *widths), number in zip(plan.shapes, plan.batches_per_bucket, strict=True):
        positions += number * rows * sum(widths)
        if by_budget:
            assert rows * sum(widths) <= budget
        else:
            assert rows == size["batch_size"]
        for width, most in zip(widths, longest, strict=True):
            assert width % multiple == 0 or width == max(most, 1)
    assert plan.padding_share == pytest.approx(1 - tokens / positions)


def test_padding_is_near_the_least_that_is_possible():
    lengths = np.random.default_rng(0).integers(1, 257, 20_000)
    shares = [
        bucket_plan(lengths, token_budget=8192, num_buckets=n).padding_share for n in (1, 2, 4, 8)
    ]
    # n equal buckets of lengths from 1 to 256 waste 1 / (n + 1) of all positions.
    np.testing.assert_allclose(shares, [1 / 2, 1 / 3, 1 / 5, 1 / 9], atol=0.015)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give token_budget or batch_size"),
        ({"token_budget": 9, "batch_size": 9}, "and not both"),
        ({"token_budget": 11}, "token_budget is 11; the longest row takes 12"),
        ({"batch_size": 0}, "batch_size is 0; it must be an int, at least 1"),
        ({"batch_size": 2, "num_buckets": 0}, "num_buckets is 0"),
        ({"batch_size": 2, "multiple": True}, "multiple is True"),
        ({"batch_size": 2, "boundaries": [8]}, r"example 1 has \[12\] tokens and fits none"),
        ({"batch_size": 2, "boundaries": [(8, 9)]}, "must hold 1 positive ints"),
        ({"batch_size": 2, "boundaries": [0, 12]}, "must hold 1 positive ints"),
        ({"batch_size": 2, "boundaries": []}, "must hold 1 positive ints"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        bucket_plan(np.array([3, 12]), **arguments)


@pytest.mark.parametrize("lengths", [np.array([1.5]), np.zeros(0, int), np.zeros([2, 2, 2], int)])
def test_bad_lengths_are_named(lengths):
    with pytest.raises(ValueError, match="lengths is"):
        bucket_plan(lengths, batch_size=2)
