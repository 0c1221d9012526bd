"""Sums that stay exact over a data set, on every Keras backend."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


class ExactSum:
    """A running sum of float32 numbers that loses nothing to its own size.

    A float32 counter stops at 2^24: adding 1 to it changes nothing any more, and a sum of nats
    gets coarse long before. float64 is no way out, JAX and accelerators do without it. So the sum
    is a pair `high + low`: every addition's rounding error is computed exactly and kept in `low`
    (Knuth's TwoSum, The Art of Computer Programming 4.2.2), which gives 48 bits. The pair is
    linear, so replicas may add up theirs, and it needs only + and -, which XLA does not reorder.

    Args:
        metric: whose variables it is kept in.
        name: what they are called.
        shape: of the sum; default: a scalar.
    """

    def __init__(
        self, metric: keras.metrics.Metric, name: str, shape: tuple[int, ...] = ()
    ) -> None:
        self._high = metric.add_variable(shape, "zeros", dtype="float32", name=f"{name}_high")
        self._low = metric.add_variable(shape, "zeros", dtype="float32", name=f"{name}_low")

    def add(self, number: Any) -> None:
        """Adds float32 numbers of the sum's shape."""
        old = ops.convert_to_tensor(self._high)
        total = old + number
        added = total - old
        low = ops.convert_to_tensor(self._low) + ((old - (total - added)) + (number - added))
        high = total + low
        self._high.assign(high)
        self._low.assign(low - (high - total))

    def number(self) -> float:
        """The sum, a scalar, as a Python float."""
        return float(self.numbers())

    def numbers(self) -> np.ndarray:
        """The sums, in float64."""
        high, low = (ops.convert_to_numpy(part) for part in (self._high, self._low))
        return high.astype(np.float64) + low

    def rounded(self) -> Any:
        """The sum in float32."""
        return self._high + self._low

    def divided_by(self, divisor: ExactSum) -> Any:
        """The quotient in float32; 0 where nothing has been added."""
        return ops.divide_no_nan(self.rounded(), divisor.rounded())


def row_weights(sample_weight: Any, rows: Any) -> Any:
    """Weights as float32 of the shape of `rows`.

    Args:
        sample_weight: of that shape, or with fewer axes (those on the left), or with a last one
            of size 1 more; None: 1 everywhere.
        rows: a tensor of the wanted shape.
    """
    ones = ops.ones_like(rows, dtype="float32")
    if sample_weight is None:
        return ones
    weights = ops.cast(sample_weight, "float32")
    if len(weights.shape) > len(ones.shape):
        weights = ops.squeeze(weights, -1)
    while len(weights.shape) < len(ones.shape):
        weights = ops.expand_dims(weights, -1)
    return weights * ones
