"""Texts in stretches that are encoded apart, and their ids back in the order of the texts."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def in_order(
    stretches: tf.RaggedTensor,
    known: tf.Tensor,
    encoded: Sequence[tuple[tf.Tensor, tf.RaggedTensor]],
) -> tuple[tf.RaggedTensor, tf.Tensor, tf.Tensor]:
    """The ids of texts of which each stretch has one id, or several.

    Args:
        stretches: [B, None]; only the shape is read.
        known: int64 [n], the one id of each stretch, or -1.
        encoded: for every other stretch, its ids: which stretches, int64 [m], and ragged ids
            [m, None], once or more often.

    Returns:
        Ids, ragged int32 [B, None]; for each its place among `known` and all `encoded` in their
        order, int64; and its stretch, int64.

    Example:

    >>> stretches = tf.ragged.constant([["a", "bc"], ["d"]])
    >>> ids, place, stretch = in_order(
    ...     stretches, tf.constant([7, -1, 8], tf.int64),
    ...     [(tf.constant([1], tf.int64), tf.ragged.constant([[1, 2]], row_splits_dtype=tf.int64))])
    >>> ids.to_list(), place.numpy().tolist(), stretch.numpy().tolist()
    ([[7, 1, 2], [8]], [0, 3, 4, 2], [0, 1, 1, 2])
    """
    # Every stretch is a part of this pool: its one id, or the ids that it was given.
    pool = [tf.cast(known, tf.int32)]
    taken = num_stretches = tf.size(known, tf.int64)
    start, length = tf.range(num_stretches), tf.ones_like(known)
    for places, ids in encoded:
        where = places[:, tf.newaxis]
        start = tf.tensor_scatter_nd_update(start, where, taken + ids.row_starts())
        length = tf.tensor_scatter_nd_update(length, where, ids.row_lengths())
        pool.append(ids.values)
        taken += tf.size(ids.values, tf.int64)
    order = tf.ragged.range(start, start + length)
    ids = tf.RaggedTensor.from_row_splits(
        tf.gather(tf.concat(pool, 0), order.values),
        tf.gather(order.row_splits, stretches.row_splits),
        validate=False,
    )
    return ids, order.values, order.value_rowids()


def without_repeats(ids: tf.RaggedTensor, repeated: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
    """The ids but those that are `repeated`, bool [n], as the one before them in their row is.

    Returns:
        Ids, ragged [B, None], and which of the given ones they are, bool [n].

    Example:

    >>> ids = tf.ragged.constant([[0, 0, 5], [0]], row_splits_dtype=tf.int64)
    >>> without_repeats(ids, ids.values == 0)[0].to_list()
    [[0, 5], [0]]
    """
    row = ids.value_rowids()
    again = repeated[1:] & repeated[:-1] & (row[1:] == row[:-1])
    kept = tf.concat([tf.ones_like(repeated[:1]), ~again], 0)
    before = tf.concat([[0], tf.cumsum(tf.cast(kept, tf.int64))], 0)
    fewer = tf.RaggedTensor.from_row_splits(
        tf.boolean_mask(ids.values, kept), tf.gather(before, ids.row_splits), validate=False
    )
    return fewer, kept
