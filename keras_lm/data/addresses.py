"""Steps: the numbers that every batch follows from, and where a resumed run takes them up."""

from __future__ import annotations

import tensorflow as tf


class _Position:
    """How many steps of a training run lie behind it, for endless sets that begin from now on."""

    def __init__(self) -> None:
        self.steps_done = 0
        self.was_read = False


_position = _Position()


def begin_after(steps_done: int) -> None:
    """Lets every endless data set whose iteration begins from now on skip so many steps.

    `keras_lm.training.Resume` calls it: with what its checkpoint says before the first step, and
    with 0 after it.
    """
    _position.steps_done = steps_done
    _position.was_read = False


def was_read() -> bool:
    """Whether an endless data set has begun since `begin_after` was called."""
    return _position.was_read


def numbered_steps(start: int, end: int | None = None) -> tf.data.Dataset:
    """Step numbers, int64: from `start` up to `end`, or without end, then honouring `begin_after`.

    An iterator of the endless set reads where to begin when its first element is asked for.

    Example:

    >>> [int(step) for step in numbered_steps(3, 6)]
    [3, 4, 5]
    >>> [int(step) for step in numbered_steps(3).take(2)]
    [3, 4]
    """
    if end is not None:
        return tf.data.Dataset.range(start, end)

    def first_step() -> int:
        _position.was_read = True
        return start + _position.steps_done

    def counter(_: tf.Tensor) -> tf.data.Dataset:
        first = tf.numpy_function(first_step, [], tf.int64)
        first.set_shape([])
        return tf.data.Dataset.counter(first)

    endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    return tf.data.Dataset.range(1).flat_map(counter).apply(endless)
