"""Steps: the numbers that every batch follows from, and where a resumed run takes them up."""

from __future__ import annotations

import hashlib
from typing import Any

import tensorflow as tf

from keras_lm.data.python_calls import python_call

# What gives one element for each that it takes, in the same order: step k stays step k.
_KEEP_STEPS = {"_MapDataset", "_ParallelMapDataset", "_PrefetchDataset", "_OptionsDataset"}


class Address:
    """Where the next iterator of one endless data set begins, beyond the set's own start."""

    def __init__(self) -> None:
        self.steps_done: int | None = None
        """Steps to leave out. The next iterator takes the number, and leaves None."""


def numbered_steps(start: int, end: int | None = None) -> tf.data.Dataset:
    """Step numbers, int64: from `start` up to `end`, or endless, and then with an `Address`.

    An iterator of the endless set reads where to begin when its first element is asked for.

    Example:

    >>> [int(step) for step in numbered_steps(3, 6)]
    [3, 4, 5]
    >>> steps = numbered_steps(3).map(lambda step: 10 * step)
    >>> address_of(steps).steps_done = 2
    >>> [int(step) for step in steps.take(2)], [int(step) for step in steps.take(2)]
    ([50, 60], [30, 40])
    """
    if end is not None:
        return tf.data.Dataset.range(start, end)
    address = Address()

    def first_step() -> list[int]:
        done, address.steps_done = address.steps_done, None
        return [start + (done or 0)]

    def counter(_: tf.Tensor) -> tf.data.Dataset:
        (first,) = python_call(first_step, [], [tf.TensorSpec([], tf.int64)])
        return tf.data.Dataset.counter(first)

    endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    steps = tf.data.Dataset.range(1).flat_map(counter).apply(endless)
    steps.keras_lm_address = address
    return steps


def address_of(dataset: Any) -> Address:
    """The address of an endless data set of `keras_lm.data`, whatever was mapped over it.

    Raises:
        ValueError: it has none, or something between, such as `batch` or `shuffle`, does not
            give one element for each step.
    """
    place, above = dataset, []
    while (address := getattr(place, "keras_lm_address", None)) is None:
        inputs = place._inputs() if isinstance(place, tf.data.Dataset) else []
        if not inputs:
            raise ValueError(
                "x has no address, as it is no endless set of klm.data; give lists of strings to "
                "a task's fit, or klm.data.batches(..., repeat=True) with steps_per_epoch=n"
            )
        above.append(place)
        place = inputs[0]
    for place in above:
        in_order = getattr(place, "_deterministic", None) != "false"
        if type(place).__name__ not in _KEEP_STEPS or not in_order:
            raise ValueError(
                f"x has lost its address in a {type(place).__name__.strip('_')}; over a set of "
                "klm.data give only prefetch, and map with deterministic=True"
            )
    if dataset.options().deterministic is False:
        raise ValueError("x has the option deterministic=False, and with it no address; leave it")
    found: Address = address
    return found


def fingerprint(batch: Any) -> str:
    """A hash of the numbers and strings of a batch.

    Example:

    >>> fingerprint({"a": tf.constant([1, 2])}) == fingerprint({"a": tf.constant([2, 1])})
    False
    """
    digest = hashlib.sha256()
    for part in tf.nest.flatten(batch, expand_composites=True):
        digest.update(tf.io.serialize_tensor(part).numpy())
    return digest.hexdigest()
