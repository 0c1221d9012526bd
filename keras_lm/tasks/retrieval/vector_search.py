"""Exact search of vectors in the graph: never more scores at once than those of a chunk."""

from __future__ import annotations

import tensorflow as tf

CHUNK = 16_384
"""Vectors that are compared at once: scores [B, CHUNK] exist, never [B, n]."""


def nearest(queries: tf.Tensor, vectors: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The vectors whose product with a query is largest.

    Args:
        queries: float32 [B, D].
        vectors: float32 [n, D], n ≥ 1.
        k: int32 scalar, 1 to n.

    Returns:
        Numbers int32 [B, k] of the vectors, and scores float32 [B, k], largest first; of equal
        scores the smaller number is first.

    Example:

    >>> numbers, scores = nearest(
    ...     tf.constant([[1.0, 0.0]]), tf.constant([[0.0, 1.0], [3.0, 0.0]]), tf.constant(2))
    >>> numbers.numpy().tolist(), scores.numpy().tolist()
    ([[1, 0]], [[3.0, 0.0]])
    """
    count, rows = tf.shape(vectors)[0], tf.shape(queries)[0]

    def better(start: tf.Tensor, numbers: tf.Tensor, scores: tf.Tensor) -> tuple[tf.Tensor, ...]:
        size = tf.minimum(CHUNK, count - start)
        # A slice of whole rows shares the vectors' memory.
        chunk = tf.matmul(queries, tf.slice(vectors, [start, 0], [size, -1]), transpose_b=True)
        found = tf.math.top_k(chunk, tf.minimum(k, size))
        every = tf.concat([scores, found.values], axis=1)
        best = tf.math.top_k(every, tf.minimum(k, tf.shape(every)[1]))
        of = tf.concat([numbers, found.indices + start], axis=1)
        return start + size, tf.gather(of, best.indices, batch_dims=1), best.values

    none = tf.constant(0), tf.zeros([rows, 0], tf.int32), tf.zeros([rows, 0], tf.float32)
    _, numbers, scores = tf.while_loop(
        lambda start, *_: start < count,
        better,
        none,
        shape_invariants=(
            tf.TensorShape([]),
            tf.TensorShape([None, None]),
            tf.TensorShape([None, None]),
        ),
        parallel_iterations=1,
    )
    return numbers, scores
