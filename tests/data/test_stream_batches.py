import numpy as np
import pytest
import tensorflow as tf

from keras_lm.data import (
    TokenStore,
    batches,
    scoring_windows,
    stream_batches,
    training_windows,
)
from keras_lm.data import (
    stream as stream_module,
)

texts = ["a" * (i * 7 % 23) + f"{i}" for i in range(700)]


def bigrams(dataset):
    """How often each (input, target) counts, and the bytes: what no packing may change."""
    counts = np.zeros([259, 259], int)
    num_bytes = rows = 0
    for x, y, weight in dataset:
        np.add.at(counts, (x["token_ids"].numpy(), y.numpy()), weight.numpy().astype(int))
        num_bytes += x["num_bytes"].numpy().sum()
        rows += len(weight)
        assert not weight.numpy()[x["segment_ids"].numpy() == 0].any()
    return counts, num_bytes, rows


@pytest.mark.parametrize("scoring", [False, True])
@pytest.mark.parametrize("elements", ["scalars", "vectors"])
def test_a_stream_gives_every_pair_that_a_store_gives(tokenizer, scoring, elements):
    dataset = tf.data.Dataset.from_tensor_slices(texts)
    if elements == "vectors":
        dataset = dataset.batch(9)
    stream = stream_batches(dataset, tokenizer, length=16, batch_size=4, scoring=scoring)
    counts, num_bytes, rows = bigrams(stream)
    store = TokenStore.from_texts(texts, tokenizer)
    plan = (scoring_windows if scoring else training_windows)(store, 16)
    expected, expected_bytes, expected_rows = bigrams(batches(store, plan, 4))
    np.testing.assert_array_equal(counts, expected)
    assert num_bytes == expected_bytes
    assert expected_rows <= rows <= 1.02 * expected_rows


def test_a_stream_has_the_batches_of_a_store_where_all_fits_at_once(tokenizer):
    some = texts[:20]
    store = TokenStore.from_texts(some, tokenizer)
    stream = stream_batches(tf.data.Dataset.from_tensor_slices(some), tokenizer, 8, 5)
    stored = batches(store, training_windows(store, 8), 5)
    assert stream.element_spec == stored.element_spec
    compared = 0
    for left, right in zip(stream, stored, strict=True):
        for a, b in zip(tf.nest.flatten(left), tf.nest.flatten(right), strict=True):
            np.testing.assert_array_equal(a, b)
        compared += 1
    assert compared > 3


def test_it_begins_before_an_endless_set_ends_and_again_each_epoch(tokenizer, monkeypatch):
    monkeypatch.setattr(stream_module, "TOKENIZER_BATCH", 8)
    endless = tf.data.Dataset.from_tensor_slices(["ab", "c"]).repeat()
    stream = stream_batches(endless, tokenizer, length=4, batch_size=2)
    for _ in range(2):
        first = next(iter(stream))
        assert first[1].numpy().max() == 257
    assert stream.cardinality() == tf.data.UNKNOWN_CARDINALITY


def test_each_iteration_reads_anew(tokenizer):
    stream = stream_batches(tf.data.Dataset.from_tensor_slices(texts), tokenizer, 16, 4)
    first, second = bigrams(stream), bigrams(stream)
    np.testing.assert_array_equal(first[0], second[0])
    assert first[1:] == second[1:]


def test_bad_arguments_are_named(tokenizer):
    strings = tf.data.Dataset.from_tensor_slices(["a"])
    for dataset, message in [
        (tf.data.Dataset.range(3), "they must be strings"),
        (tf.data.Dataset.from_tensor_slices((["a"], [1])), "they must be strings"),
        (tf.data.Dataset.from_tensors([["a"]]), r"shape \(1, 1\)"),
        (strings.take(0), "dataset is empty"),
        (strings.filter(lambda text: text == "b"), "dataset is empty"),
    ]:
        with pytest.raises(ValueError, match=message):
            stream_batches(dataset, tokenizer, 4, 2)
    with pytest.raises(ValueError, match="length is 0"):
        stream_batches(strings, tokenizer, 0, 2)
    with pytest.raises(ValueError, match="batch_size is -3"):
        stream_batches(strings, tokenizer, 4, -3)
