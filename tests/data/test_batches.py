import itertools

import numpy as np
import pytest
import tensorflow as tf

from keras_lm.data import (
    TokenStore,
    batches,
    num_batches,
    scoring_windows,
    training_windows,
)


@pytest.fixture
def store() -> TokenStore:
    """Some tokens in 20 documents of 2 to 9 tokens; token i is i."""
    offsets = np.cumsum([0, *(2 + i % 8 for i in range(19)), 4])
    num_bytes = np.arange(1, 21)
    return TokenStore(np.arange(offsets[-1], dtype=np.int32), offsets, num_bytes)


def flatten(batch):
    x, y, weight = batch
    assert set(x) == {"token_ids", "segment_ids", "positions", "num_bytes"}
    return [np.asarray(a) for a in (*(x[name] for name in sorted(x)), y, weight)]


def take(dataset, number):
    return [flatten(batch) for batch in itertools.islice(dataset, number)]


def assert_same(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_batch_by_hand():
    # Two documents: 10 11 12 13 14 15 (5 pairs, cut into 4 + 1) and 20 21 22 (2 pairs).
    tokens = np.array([10, 11, 12, 13, 14, 15, 20, 21, 22], np.int32)
    store = TokenStore(tokens, np.array([0, 6, 9]), np.array([4, 1]))
    (batch,) = batches(store, training_windows(store, 4), batch_size=3)
    x, y, weight = batch
    assert x["token_ids"].numpy().tolist() == [[10, 11, 12, 13], [14, 20, 21, 0], [0, 0, 0, 0]]
    assert y.numpy().tolist() == [[11, 12, 13, 14], [15, 21, 22, 0], [0, 0, 0, 0]]
    assert x["segment_ids"].numpy().tolist() == [[1, 1, 1, 1], [1, 2, 2, 0], [0, 0, 0, 0]]
    assert x["positions"].numpy().tolist() == [[0, 1, 2, 3], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert weight.numpy().tolist() == [[1, 1, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0]]
    assert x["num_bytes"].numpy().tolist() == [4, 1, 0]


def test_a_scoring_batch_by_hand():
    tokens = np.array([10, 11, 12, 13, 14, 15, 20, 21], np.int32)
    store = TokenStore(tokens, np.array([0, 6, 8]), np.array([4, 0]))
    (batch,) = batches(store, scoring_windows(store, 4), batch_size=2)
    x, y, weight = batch
    assert x["token_ids"].numpy().tolist() == [[10, 11, 12, 13], [12, 13, 14, 20]]
    assert y.numpy().tolist() == [[11, 12, 13, 14], [13, 14, 15, 21]]
    assert weight.numpy().tolist() == [[1, 1, 1, 1], [0, 0, 1, 1]]
    assert x["positions"].numpy().tolist() == [[0, 1, 2, 3], [0, 1, 2, 0]]


def test_one_segment_across_documents():
    tokens = np.arange(7, dtype=np.int32)
    store = TokenStore(tokens, np.array([0, 3, 7]), np.array([1, 2]))
    plan = training_windows(store, 4, cross_documents=True)
    (batch,) = batches(store, plan, batch_size=2)
    x, y, weight = batch
    assert x["token_ids"].numpy().tolist() == [[0, 1, 2, 3], [4, 5, 0, 0]]
    assert x["segment_ids"].numpy().tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert x["positions"].numpy().tolist() == [[0, 1, 2, 3], [0, 1, 0, 0]]
    assert y.numpy().tolist() == [[1, 2, 3, 4], [5, 6, 0, 0]]
    assert weight.numpy().tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("start", [0, 5, 7, 61])
def test_a_batch_depends_on_its_address_alone(store, shuffle, start):
    plan = training_windows(store, 3)
    assert num_batches(plan, 4) == 7  # so step 5 is in epoch 0, 7 begins 1 and 61 is in 8
    whole = take(batches(store, plan, 4, shuffle, seed=5, repeat=True), 75)
    late = take(batches(store, plan, 4, shuffle, seed=5, repeat=True, start=start), 75 - start)
    assert_same(late, whole[start:])


def test_a_single_epoch_runs_from_its_start_to_its_end(store):
    plan = training_windows(store, 3)
    whole = take(batches(store, plan, 4, shuffle=True, seed=5, repeat=True), 14)
    for start, end in [(0, 7), (5, 7), (7, 14), (10, 14)]:
        dataset = batches(store, plan, 4, shuffle=True, seed=5, start=start)
        assert dataset.cardinality() == end - start
        assert_same(take(dataset, 100), whole[start:end])


def test_each_epoch_is_another_permutation_of_the_windows(store):
    plan = training_windows(store, 3)
    assert len(plan) % 4 != 0  # the last batch is short
    steps = take(batches(store, plan, 4, shuffle=True, seed=1, repeat=True), 21)
    in_order = take(batches(store, plan, 4), 7)
    epochs = [windows_seen(steps[i : i + 7]) for i in (0, 7, 14)]
    plain = windows_seen(in_order)
    assert len(plain) == len(set(plain)) == len(plan)
    for epoch in epochs:
        assert sorted(epoch) == sorted(plain)
    assert len({tuple(order) for order in [plain, *epochs]}) == 4
    for step in (6, 13, 20):  # rows of padding stand at the end
        counted = steps[step][-1].any(axis=1)
        assert counted.tolist() == [row < len(plan) % 4 for row in range(4)]


def windows_seen(steps):
    """The windows of some batches, each as its tokens and targets, without rows of padding."""
    return [
        (*tokens, *targets)
        for _, _, _, token_ids, y, weight in steps
        for tokens, targets, counted in zip(token_ids.tolist(), y.tolist(), weight, strict=True)
        if counted.any()
    ]


def test_seeds_give_different_orders_and_the_same_seed_the_same(store):
    plan = training_windows(store, 3)
    first, again, other = (
        windows_seen(take(batches(store, plan, 4, shuffle=True, seed=seed), 7))
        for seed in (3, 3, -(2**63))
    )
    assert first == again != other


@pytest.mark.parametrize("windows", [1, 2, 3])
def test_tiny_plans_shuffle(windows):
    store = TokenStore(
        np.arange(2 * windows, dtype=np.int32),
        np.arange(windows + 1) * 2,
        np.ones(windows, np.int64),
    )
    plan = training_windows(store, 1)
    for batch in take(batches(store, plan, 4, shuffle=True, repeat=True), 5):
        assert sorted(batch[3][:windows, 0]) == [2 * i for i in range(windows)]
        assert batch[-1].sum() == windows


def test_shapes_are_static_and_the_infinite_set_says_so(store):
    plan = training_windows(store, 3)
    dataset = batches(store, plan, 4, repeat=True)
    x, y, weight = dataset.element_spec
    for name in ("token_ids", "segment_ids", "positions"):
        assert x[name] == tf.TensorSpec([4, 3], tf.int32)
    assert x["num_bytes"] == tf.TensorSpec([4], tf.int32)
    assert y == tf.TensorSpec([4, 3], tf.int32)
    assert weight == tf.TensorSpec([4, 3], tf.float32)
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY


def test_tokens_may_be_a_memory_map(store, tmp_path):
    store.tokens.tofile(tmp_path / "tokens")
    mapped = TokenStore(
        np.memmap(tmp_path / "tokens", np.int32, mode="r"), store.offsets, store.num_bytes
    )
    plan = training_windows(store, 5)
    assert_same(take(batches(mapped, plan, 4), 9), take(batches(store, plan, 4), 9))


@pytest.mark.parametrize("length", [3, 4, 7, 50])
@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_sums_over_the_data_set_do_not_depend_on_the_windows(store, length, batch_size):
    """With a model that looks at one token, the windows' nats are the documents' nats."""
    nats = np.random.default_rng(0).integers(1, 1000, [store.num_tokens, store.num_tokens])
    expected = sum(
        nats[store.tokens[a : b - 1], store.tokens[a + 1 : b]].sum()
        for a, b in itertools.pairwise(store.offsets)
    )
    total = num_bytes = 0
    for x, y, weight in batches(store, scoring_windows(store, length), batch_size):
        total += (nats[x["token_ids"].numpy(), y.numpy()] * weight.numpy()).sum()
        num_bytes += x["num_bytes"].numpy().sum()
    assert (total, num_bytes) == (expected, store.num_bytes.sum())


def test_bad_arguments_are_named(store):
    plan = training_windows(store, 3)
    for arguments, message in [
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"batch_size": 2.0}, "batch_size is of type float"),
        ({"batch_size": 2, "start": -1}, "start is -1"),
        ({"batch_size": 2, "seed": "a"}, "seed is 'a'"),
        ({"batch_size": 2, "seed": 2**63}, "seed is 9223372036854775808"),
    ]:
        with pytest.raises(ValueError, match=message):
            batches(store, plan, **arguments)
