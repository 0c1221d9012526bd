"""Correlation of predicted numbers with true ones, over a whole data set."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lm.metrics.sums import ExactSum, row_weights


def _flat(y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
    """True and predicted numbers and their weights, float32 [n] each."""
    y_pred = ops.reshape(ops.cast(y_pred, "float32"), (-1,))
    y_true = ops.reshape(ops.cast(y_true, "float32"), (-1,))
    weights = row_weights(
        None if sample_weight is None else ops.reshape(sample_weight, (-1,)), y_true
    )
    # Padding may hold what is not a number.
    return ops.where(weights > 0, y_true, 0.0), ops.where(weights > 0, y_pred, 0.0), weights


@keras.saving.register_keras_serializable("keras_lm")
class PearsonCorrelation(keras.metrics.Metric):
    """Pearson's correlation of predictions with true numbers, over all batches.

    It keeps six sums, so its cost does not grow. They are of float32 products: where a mean is m
    times the standard deviation, the result is exact to about m² · 1e-7.

    Args:
        name: default `"pearson_correlation"`.
        dtype: as in any Keras metric; the sums are kept in pairs of float32 whatever it is.

    Example:

    >>> import numpy as np
    >>> metric = PearsonCorrelation()
    >>> metric.update_state(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]))
    >>> round(float(metric.result()), 4)
    0.5
    """

    _direction = "up"

    def __init__(self, name: str = "pearson_correlation", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self._sums = ExactSum(self, "sums", (6,))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
            y_true: [B] or [B, 1].
            y_pred: [B] or [B, 1].
            sample_weight: [B]; default 1 everywhere.
        """
        x, y, weights = _flat(y_true, y_pred, sample_weight)
        terms = ops.stack([ops.ones_like(x), x, y, x * x, y * y, x * y])
        self._sums.add(ops.sum(weights * terms, axis=1))

    def result(self) -> Any:
        """float32 scalar, -1 to 1; 0 where either never changes."""
        count, x, y, xx, yy, xy = ops.unstack(self._sums.rounded(), 6)
        count = ops.maximum(count, 1e-30)
        covariance = xy - x * (y / count)
        spread = ops.sqrt(ops.maximum(xx - x * (x / count), 0.0))
        spread = spread * ops.sqrt(ops.maximum(yy - y * (y / count), 0.0))
        return ops.divide_no_nan(covariance, spread)


@keras.saving.register_keras_serializable("keras_lm")
class SpearmanCorrelation(keras.metrics.Metric):
    """Spearman's rank correlation of predictions with true numbers, over all batches.

    Ranks are those among all pairs, so all are kept: `12 · max_pairs` bytes, and two sorts of as
    many numbers whenever the result is asked for, which Keras does after each batch (a few
    milliseconds for the default). Of more than `max_pairs` pairs the last ones count. Ties share
    the mean of their ranks, as in SciPy. It is for one device: replicas do not add up.

    Args:
        max_pairs: the most pairs that are kept; default 32,768.
        name: default `"spearman_correlation"`.
        dtype: as in any Keras metric; the pairs are float32 whatever it is.

    Raises:
        ValueError: `max_pairs` is no positive int.

    Example:

    >>> import numpy as np
    >>> metric = SpearmanCorrelation()
    >>> metric.update_state(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.2, 90.0]))
    >>> round(float(metric.result()), 4)
    1.0
    """

    _direction = "up"

    def __init__(
        self,
        max_pairs: int = 32_768,
        name: str = "spearman_correlation",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        if not isinstance(max_pairs, int) or max_pairs < 1:
            raise ValueError(f"max_pairs is {max_pairs!r}; it must be an int, at least 1")
        self.max_pairs = max_pairs
        # One more place, for what is not kept.
        self._pairs = self.add_variable((max_pairs + 1, 2), "zeros", dtype="float32", name="pairs")
        self._next = self.add_variable((), "zeros", dtype="int32", name="next")
        self._kept = self.add_variable((), "zeros", dtype="int32", name="kept")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
            y_true: [B] or [B, 1].
            y_pred: [B] or [B, 1].
            sample_weight: [B]; a pair of weight 0 is left out, other weights count 1.
        """
        x, y, weights = _flat(y_true, y_pred, sample_weight)
        number = ops.cumsum(ops.cast(weights > 0, "int32"))
        count = ops.max(ops.append(number, 0))
        is_kept = (weights > 0) & (number > count - self.max_pairs)
        place = ops.mod(self._next + number - 1, self.max_pairs)
        place = ops.where(is_kept, place, self.max_pairs)
        pairs = ops.convert_to_tensor(self._pairs)
        self._pairs.assign(
            ops.scatter_update(pairs, ops.expand_dims(place, -1), ops.stack([x, y], axis=1))
        )
        self._next.assign(ops.mod(self._next + count, self.max_pairs))
        self._kept.assign(ops.minimum(self._kept + count, self.max_pairs))

    def result(self) -> Any:
        """float32 scalar, -1 to 1; 0 where either never changes."""
        kept = ops.convert_to_tensor(self._kept)
        pairs = ops.convert_to_tensor(self._pairs)[:-1]
        is_kept = ops.arange(self.max_pairs, dtype="int32") < kept
        x, y = (_centred_ranks(pairs[:, i], is_kept) for i in range(2))
        spread = ops.sqrt(ops.sum(x * x)) * ops.sqrt(ops.sum(y * y))
        return ops.divide_no_nan(ops.sum(x * y), spread)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "max_pairs": self.max_pairs}


def _centred_ranks(numbers: Any, is_kept: Any) -> Any:
    """Ranks less their mean, over their number; 0 for what is not kept. float32 [n]."""
    size = numbers.shape[0]
    numbers = ops.where(is_kept, numbers, np.inf)
    order = ops.argsort(numbers)
    in_order = ops.take(numbers, order)
    is_larger = ops.cast(in_order[1:] != in_order[:-1], "int32")
    group = ops.concatenate([ops.zeros_like(is_larger[:1]), ops.cumsum(is_larger)])
    kept = ops.cast(ops.take(is_kept, order), "int32")
    in_group = ops.segment_sum(kept, group, num_segments=size)
    up_to_group = ops.cumsum(in_group)
    # Of equal numbers the mean rank, twice and from the middle: a whole number.
    twice = 2 * up_to_group - in_group - up_to_group[-1]
    share = ops.cast(twice, "float32") / ops.cast(ops.maximum(up_to_group[-1], 1), "float32")
    ranks = ops.take(share, group) * ops.cast(kept, "float32")
    return ops.scatter_update(ops.zeros_like(ranks), ops.expand_dims(order, -1), ranks)
