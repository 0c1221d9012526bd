import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lm.data.addresses import address_of
from keras_lm.data.examples import ExampleStore, Sequences, bucket_plan, example_batches


def make_store(lengths, seed=0):
    """Examples of one or two sequences; the label is the number of the example, from 1."""
    rng = np.random.default_rng(seed)
    lengths = np.asarray(lengths).reshape(len(lengths), -1)
    sequences = tuple(
        Sequences(
            {name: rng.integers(1, 99, column.sum()).astype(np.int32)},
            np.concatenate([[0], np.cumsum(column)]),
        )
        for name, column in zip(("token_ids", "decoder_token_ids"), lengths.T, strict=False)
    )
    inputs = ("token_ids", "decoder_token_ids")[: len(sequences)]
    label = np.arange(1, len(lengths) + 1, dtype=np.int32)
    return ExampleStore(sequences, {"label": label}, inputs, ("label",))


def take(dataset, number):
    return [
        [array.numpy() for array in tf.nest.flatten(batch)]
        for batch in itertools.islice(dataset, number)
    ]


def assert_same(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def labels_of(steps):
    """The labels that count, in order."""
    return [label for *_, y, weight in steps for label in y[weight > 0].tolist()]


def test_a_store_reads_by_hand():
    store = ExampleStore(
        (
            Sequences({"token_ids": np.array([7, 8, 9], "int32")}, np.array([0, 2, 3])),
            Sequences(
                {
                    "decoder_token_ids": np.array([4, 5, 6], "int32"),
                    "targets": np.array([5, 4, 3], "int32"),
                },
                np.array([0, 1, 3]),
            ),
        ),
        values={"score": np.array([0.5, 2.5], "float32")},
        inputs=("token_ids", "decoder_token_ids"),
        targets=("targets", "score"),
    )
    x, y, weight = store.rows(np.array([1, -1, 0]), [2, 3])
    assert x["token_ids"].tolist() == [[9, 0], [0, 0], [7, 8]]
    assert x["padding_mask"].tolist() == [[1, 0], [1, 0], [1, 1]]
    assert x["decoder_token_ids"].tolist() == [[5, 6, 0], [0, 0, 0], [4, 0, 0]]
    assert x["decoder_padding_mask"].tolist() == [[1, 1, 0], [1, 0, 0], [1, 0, 0]]
    assert y["targets"].tolist() == [[4, 3, 0], [0, 0, 0], [5, 0, 0]]
    assert y["score"].tolist() == [2.5, 0, 0.5]
    assert weight["targets"].tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert weight["score"].tolist() == [1, 0, 1]
    assert {a.dtype.name for a in [*x.values(), y["targets"]]} == {"int32"}
    assert {a.dtype.name for a in weight.values()} == {"float32"}
    with pytest.raises(ValueError, match="row 0 has 2 tokens; the width is 1"):
        store.rows(np.array([1, 0]), [1, 3])


def test_a_store_of_parts_that_do_not_fit_is_refused():
    store = make_store([3, 2])
    with pytest.raises(ValueError, match="'word' is no column and no value"):
        dataclasses.replace(store, weights="word")
    with pytest.raises(ValueError, match=r"the parts have \[2, 3\] examples"):
        dataclasses.replace(store, values={"label": np.zeros(3, np.int32)})
    with pytest.raises(ValueError, match="column 'token_ids' has 4 entries; the offsets end at 5"):
        Sequences({"token_ids": np.zeros(4, np.int32)}, np.array([0, 5]))


lengths_of_40 = [1 + i * 7 % 23 for i in range(40)]
pairs_of_40 = [(1 + i * 7 % 23, 1 + i * 5 % 17) for i in range(40)]


@pytest.mark.parametrize("lengths", [lengths_of_40, pairs_of_40], ids=["one", "two"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_batch_depends_on_its_address_alone(lengths, shuffle):
    store = make_store(lengths)
    plan = bucket_plan(store.lengths, token_budget=90, num_buckets=3, multiple=1)
    n = plan.num_batches
    whole = take(example_batches(store, plan, shuffle, seed=5, repeat=True), 4 * n)
    for start in (0, 1, n - 1, n, 2 * n + 3):
        late = example_batches(store, plan, shuffle, seed=5, repeat=True, start=start)
        assert_same(take(late, 4 * n - start), whole[start:])
        one = example_batches(store, plan, shuffle, seed=5, start=start)
        end = (start // n + 1) * n
        assert one.cardinality() == end - start
        assert_same(take(one, 99), whole[start:end])


def test_resuming_begins_at_a_step():
    store = make_store(lengths_of_40)
    plan = bucket_plan(store.lengths, batch_size=4, num_buckets=3)
    dataset = example_batches(store, plan, shuffle=True, seed=5, repeat=True)
    whole = take(dataset, 20)
    address_of(dataset).steps_done = 13
    assert_same(take(dataset, 7), whole[13:])


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=50),
    st.integers(1, 4),
    st.integers(1, 6),
    st.integers(-(2**63), 2**63 - 1),
)
@settings(max_examples=12)
def test_each_epoch_has_every_example_once(lengths, buckets, batch_size, seed):
    store = make_store(lengths)
    plan = bucket_plan(store.lengths, batch_size=batch_size, num_buckets=buckets, multiple=1)
    n = plan.num_batches
    steps = take(example_batches(store, plan, shuffle=True, seed=seed, repeat=True), 2 * n)
    shapes = {(len(weight), tokens.shape[1]) for _, tokens, _, weight in steps}
    assert shapes == set(plan.shapes)
    for epoch in (steps[:n], steps[n:]):
        assert sorted(labels_of(epoch)) == list(range(1, len(lengths) + 1))
    rows = store.sequences[0].dense(np.arange(len(store)), 30)["token_ids"]
    for mask, tokens, y, weight in steps:
        for m, t, label, counts in zip(mask, tokens, y, weight, strict=True):
            if counts:
                np.testing.assert_array_equal(t, rows[label - 1][: len(t)])
                assert m.sum() == max(lengths[label - 1], 1)
            else:
                assert not t.any()
                assert m.sum() == 1
                assert label == 0


def test_orders_differ_between_epochs_and_seeds_and_mix_the_buckets():
    store = make_store(lengths_of_40)
    plan = bucket_plan(store.lengths, batch_size=2, num_buckets=3, multiple=1)
    n = plan.num_batches
    steps = take(example_batches(store, plan, shuffle=True, seed=1, repeat=True), 2 * n)
    epochs = [labels_of(steps[:n]), labels_of(steps[n:])]
    other = labels_of(take(example_batches(store, plan, shuffle=True, seed=2), n))
    plain = labels_of(take(example_batches(store, plan), n))
    assert len({tuple(order) for order in [*epochs, other, plain]}) == 4
    widths = [tokens.shape[1] for _, tokens, _, _ in steps[:n]]
    assert widths != sorted(widths)
    members = [set(label) for *_, label, _ in (steps[:n] + steps[n:])]
    assert len({frozenset(m) for m in members}) > n  # other examples share a batch
    expected = [i + 1 for k in range(n) for i in plan.examples_of(k) if i >= 0]
    assert plain == expected


def test_one_shape_is_static_and_several_leave_open_what_differs():
    store = make_store(lengths_of_40)
    one = bucket_plan(store.lengths, batch_size=4, num_buckets=1)
    x, y, weight = example_batches(store, one).element_spec
    assert x["token_ids"] == x["padding_mask"] == tf.TensorSpec([4, 23], tf.int32)
    assert (y, weight) == (tf.TensorSpec([4], tf.int32), tf.TensorSpec([4], tf.float32))
    several = bucket_plan(store.lengths, batch_size=4, num_buckets=3)
    x, y, _ = example_batches(store, several, repeat=True).element_spec
    assert x["token_ids"] == tf.TensorSpec([4, None], tf.int32)
    assert y == tf.TensorSpec([4], tf.int32)
    budget = bucket_plan(store.lengths, token_budget=64, num_buckets=3)
    dataset = example_batches(store, budget, repeat=True)
    assert dataset.element_spec[1] == tf.TensorSpec([None], tf.int32)
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY


def test_a_function_is_traced_once_for_each_bucket():
    store = make_store(lengths_of_40)
    plan = bucket_plan(store.lengths, batch_size=4, num_buckets=3)
    assert len(plan.shapes) == 3
    step = tf.function(lambda x, y, weight: tf.reduce_sum(x["token_ids"]), jit_compile=True)
    for batch in example_batches(store, plan, shuffle=True, repeat=True).take(3 * plan.num_batches):
        step(*batch)
    assert step.experimental_get_tracing_count() == 3


def test_columns_may_be_memory_maps(tmp_path):
    store = make_store(lengths_of_40)
    (sequence,) = store.sequences
    sequence.columns["token_ids"].tofile(tmp_path / "ids")
    mapped = Sequences(
        {"token_ids": np.memmap(tmp_path / "ids", np.int32, mode="r")}, sequence.offsets
    )
    plan = bucket_plan(store.lengths, batch_size=4, num_buckets=3)
    on_disk = dataclasses.replace(store, sequences=(mapped,))
    assert_same(take(example_batches(on_disk, plan), 99), take(example_batches(store, plan), 99))


def test_a_change_is_drawn_by_the_address():
    store = make_store(lengths_of_40)
    plan = bucket_plan(store.lengths, batch_size=8, num_buckets=2)

    def hide(batch, rng):
        x, y, weight = batch
        hidden = rng.random(x["token_ids"].shape) < 0.5
        return {**x, "hidden": hidden.astype(np.int32)}, y, weight

    n = plan.num_batches
    whole = take(example_batches(store, plan, seed=3, repeat=True, change=hide), 2 * n)
    late = take(example_batches(store, plan, seed=3, repeat=True, change=hide, start=4), 2 * n - 4)
    assert_same(late, whole[4:])
    assert any((a[0] != b[0]).any() for a, b in zip(whole[:n], whole[n:], strict=True))
    other = take(example_batches(store, plan, seed=4, change=hide), n)
    assert any((a[0] != b[0]).any() for a, b in zip(whole[:n], other, strict=True))


def test_a_model_that_divides_by_the_length_fits_on_them():
    store = make_store(lengths_of_40)
    store = dataclasses.replace(store, values={"label": store.values["label"] % 2})
    plan = bucket_plan(store.lengths, batch_size=5, num_buckets=3)
    assert -1 in plan.examples_of(plan.num_batches - 1)
    tokens = keras.Input([None], dtype="int32", name="token_ids")
    mask = keras.Input([None], dtype="int32", name="padding_mask")
    embedded = keras.layers.Embedding(100, 4)(tokens)
    mean = keras.layers.GlobalAveragePooling1D()(embedded, mask=keras.ops.cast(mask, "bool"))
    model = keras.Model([tokens, mask], keras.layers.Dense(2)(mean))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    dataset = example_batches(store, plan, shuffle=True, repeat=True)
    history = model.fit(
        dataset, steps_per_epoch=plan.num_batches, epochs=2, shuffle=False, verbose=0
    )
    assert np.isfinite(history.history["loss"]).all()


def test_bad_arguments_are_named():
    store = make_store([3, 2])
    plan = bucket_plan(store.lengths, batch_size=1)
    with pytest.raises(ValueError, match="plan is of 2 examples; there are 3"):
        example_batches(make_store([3, 2, 1]), plan)
    with pytest.raises(ValueError, match="seed is 'a'"):
        example_batches(store, plan, seed="a")
    with pytest.raises(ValueError, match="start is -1"):
        example_batches(store, plan, start=-1)
