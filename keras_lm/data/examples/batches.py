"""Batches of examples with an address: batch k of epoch e is a function of (seed, e, k).

step → (epoch, k) → the epoch's k-th batch of the plan → the numbers of its examples → their rows
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from keras_lm.data.addresses import numbered_steps
from keras_lm.data.batches import address_random, check_seed, without_autotune
from keras_lm.data.examples.buckets import BucketPlan
from keras_lm.data.examples.store import Batch
from keras_lm.data.examples.tokenizing import check_count
from keras_lm.data.python_calls import python_call


class Examples(Protocol):
    """What `example_batches` reads: an `ExampleStore`, or anything that makes rows in NumPy.

    `rows` must depend on its arguments alone, and its arrays' shapes on those of the numbers and
    on the widths; the number -1 is a row of padding, of weight 0.
    """

    def __len__(self) -> int: ...

    def rows(
        self, numbers: np.ndarray, widths: Sequence[int], rng: np.random.Generator
    ) -> Batch: ...


def example_batches(
    examples: Examples,
    plan: BucketPlan,
    shuffle: bool = False,
    seed: int = 0,
    repeat: bool = False,
    start: int = 0,
    change: Callable[[Batch, np.random.Generator], Batch] | None = None,
) -> tf.data.Dataset:
    """Reads the examples of a plan as batches, each by its address.

    Steps are numbered through all epochs: step s is batch `s % n` of epoch `s // n`, where n is
    `plan.num_batches`. A batch depends on (seed, epoch, number) alone, so a run that begins at
    `start=s` sees exactly what a run from 0 sees from its step s on.

    Args:
        examples: what the plan was made of.
        plan: the buckets.
        shuffle: whether each epoch has an order of its own, by `seed` and the epoch's number: of
            the batches, and of the examples within each bucket.
        seed: any int64; what is drawn afresh in each batch follows from it as well.
        repeat: True goes on through all epochs without end; False stops at the end of the epoch
            in which `start` lies, with known cardinality.
        start: the first step, counted from the beginning of epoch 0.
        change: a last step in NumPy, such as masking: it takes a batch and a random generator
            that the address alone decides, and gives a batch. What it adds to a row of weight 0
            must have weight 0 as well.

    Returns:
        A data set of `(x, y, sample_weight)` as `ExampleStore.rows` describes it. Each batch has
        one of `plan.shapes`; in `element_spec` the sizes that differ among them are None.

    Raises:
        ValueError: the plan is of another number of examples, or `seed` or `start` is out of
            range.

    Example:

    >>> from keras_lm.data.examples.buckets import bucket_plan
    >>> from keras_lm.data.examples.sequences import Sequences
    >>> from keras_lm.data.examples.store import ExampleStore
    >>> store = ExampleStore(
    ...     (Sequences({"token_ids": np.array([7, 8, 9], "int32")}, np.array([0, 2, 3])),),
    ...     values={"label": np.array([1, 0], "int32")},
    ...     inputs=("token_ids",), targets=("label",))
    >>> plan = bucket_plan(store.lengths, batch_size=2)
    >>> ((x, y, weight),) = example_batches(store, plan)
    >>> x["token_ids"].numpy().tolist(), y.numpy().tolist()
    ([[7, 8], [9, 0]], [1, 0])
    """
    if len(plan) != len(examples):
        raise ValueError(f"plan is of {len(plan)} examples; there are {len(examples)}")
    check_seed(seed)
    check_count(start, "start", least=0)
    per_epoch = plan.num_batches
    place = _places(plan, shuffle, seed)

    def batch_of(step: int, bucket: int, slots: np.ndarray) -> Batch:
        rng = address_random(seed, int(step))
        batch = examples.rows(plan.take(bucket, slots), plan.shapes[bucket][1:], rng)
        return batch if change is None else change(batch, rng)

    # A batch of padding from each bucket shows which arrays there are, and of which sizes.
    padding = [
        batch_of(0, bucket, np.full(shape[0], len(plan)))
        for bucket, shape in enumerate(plan.shapes)
    ]
    specs = tf.nest.map_structure(_common_spec, *padding)

    def read(step: tf.Tensor) -> Any:
        arrays = python_call(
            lambda *address: tf.nest.flatten(batch_of(*address)),
            [step, *place(step // per_epoch, step % per_epoch)],
            tf.nest.flatten(specs),
        )
        return tf.nest.pack_sequence_as(specs, arrays)

    end = (start // per_epoch + 1) * per_epoch
    steps = numbered_steps(start, None if repeat else end)
    return without_autotune(steps.map(read).prefetch(2))


def _places(
    plan: BucketPlan, shuffle: bool, seed: int
) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """A graph function (epoch, number) → the bucket of that batch, and its slots [B] there."""
    num_buckets = len(plan.shapes)
    batch_ends = np.cumsum(plan.batches_per_bucket)
    batch_sizes = np.array([shape[0] for shape in plan.shapes])
    sizes = np.diff(plan.offsets)

    def shuffled(
        index: tf.Tensor, epoch: tf.Tensor, order: tf.Tensor, size: tf.Tensor
    ) -> tf.Tensor:
        """One of the orders of an epoch: 0 is that of the batches, b + 1 that within bucket b."""
        which = epoch * (num_buckets + 1) + order
        return tf.random.experimental.index_shuffle(
            index, seed=tf.stack([tf.constant(seed, tf.int64), which]), max_index=size - 1
        )

    def place(epoch: tf.Tensor, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if shuffle:
            zero = tf.zeros_like(epoch)
            number = shuffled(number, epoch, zero, tf.constant(plan.num_batches, tf.int64))
        ends = tf.constant(batch_ends, tf.int64)
        bucket = tf.searchsorted(ends, number[tf.newaxis], side="right", out_type=tf.int64)[0]
        batch_size = tf.gather(tf.constant(batch_sizes, tf.int64), bucket)
        first = tf.gather(ends - plan.batches_per_bucket, bucket)
        slots = (number - first) * batch_size + tf.range(batch_size)
        if shuffle:
            size = tf.gather(tf.constant(sizes, tf.int64), bucket)
            inside = shuffled(tf.minimum(slots, size - 1), epoch, bucket + 1, size)
            slots = tf.where(slots < size, inside, slots)
        return bucket, slots

    return place


def _common_spec(*arrays: np.ndarray) -> tf.TensorSpec:
    """The dtype of some arrays, and their shape with None where they differ."""
    shapes = [array.shape for array in arrays]
    common = [sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*shapes, strict=True)]
    return tf.TensorSpec(common, arrays[0].dtype)
