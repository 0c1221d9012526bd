"""Metrics of classification that need all counts at once: F1 and Matthews correlation."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
from keras import ops

from keras_lm.metrics.sums import ExactSum, row_weights


class ClassCounts(keras.metrics.Metric):
    """What the metrics here share: how often each class was right, predicted and true."""

    _direction = "up"  # for Keras's callbacks with mode="auto"
    _is_multi_label = False

    def __init__(self, num_classes: int, name: str, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        least = 1 if self._is_multi_label else 2
        if not isinstance(num_classes, int) or num_classes < least:
            raise ValueError(f"num_classes is {num_classes!r}; it must be an int, at least {least}")
        self.num_classes = num_classes
        self._counts = ExactSum(self, "counts", (3, num_classes))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
            y_true: int [B], classes; multi-label: 0 or 1 [B, C]. More axes before C, such as T in
                tagging, are more rows.
            y_pred: float [B, C], logits, or anything that orders the classes as they do;
                multi-label: what is above 0 is predicted.
            sample_weight: float [B]; default 1. A row of weight 0 is left out.

        Raises:
            ValueError: C is not `num_classes`.
        """
        if y_pred.shape[-1] != self.num_classes:
            raise ValueError(
                f"y_pred has {y_pred.shape[-1]} classes; num_classes is {self.num_classes}"
            )
        if self._is_multi_label:
            predicted = ops.cast(ops.greater(y_pred, 0), "float32")
            true = ops.cast(ops.greater(y_true, 0), "float32")
        else:
            predicted = ops.one_hot(ops.argmax(y_pred, axis=-1), self.num_classes, dtype="float32")
            true = ops.one_hot(ops.reshape(ops.cast(y_true, "int32"), (-1,)), self.num_classes)
        weights = row_weights(sample_weight, predicted[..., 0])
        predicted, true = (
            ops.reshape(table, (-1, self.num_classes)) for table in (predicted, true)
        )
        both = ops.stack([predicted * true, predicted, ops.cast(true, "float32")])
        self._counts.add(ops.sum(both * ops.reshape(weights, (1, -1, 1)), axis=1))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes}


@keras.saving.register_keras_serializable("keras_lm")
class F1(ClassCounts):
    """F1, the harmonic mean of precision and recall, over all batches.

    As scikit-learn's `f1_score`: a class that never occurs, neither in the labels nor in the
    predictions, does not enter the macro average, unless `multi_label`, where it counts 0.

    Args:
        num_classes: C.
        average: `"macro"` is the mean over the classes; `"weighted"` weighs them by how often
            they are true; `"micro"` counts all classes together (the accuracy, where each row has
            one label); `"binary"` is the F1 of class 1.
        multi_label: whether a row has any number of labels, given as 0 or 1 for each class.
        name: default `"f1"`.
        dtype: as in any Keras metric; the counts are kept in pairs of float32 whatever it is.

    Raises:
        ValueError: `num_classes` or `average` is none of those.

    Example:

    >>> import numpy as np
    >>> metric = F1(num_classes=2, average="binary")
    >>> metric.update_state(np.array([1, 1, 0]), np.array([[0.0, 2.0], [1.0, 0.0], [3.0, 1.0]]))
    >>> round(float(metric.result()), 4)    # precision 1, recall 1/2
    0.6667
    """

    AVERAGES: ClassVar[tuple[str, ...]] = ("macro", "micro", "weighted", "binary")

    def __init__(
        self,
        num_classes: int,
        average: str = "macro",
        multi_label: bool = False,
        name: str = "f1",
        dtype: Any = None,
    ) -> None:
        self._is_multi_label = multi_label
        super().__init__(num_classes, name=name, dtype=dtype)
        if average not in self.AVERAGES:
            raise ValueError(f"average is {average!r}; it must be one of {self.AVERAGES}")
        if average == "binary" and (num_classes != 2 or multi_label):
            raise ValueError(
                "average='binary' is for two classes of which a row has one; "
                f"num_classes is {num_classes}, multi_label is {multi_label}"
            )
        self.average = average

    def result(self) -> Any:
        """float32 scalar, 0 to 1; 0 before the first batch."""
        right, predicted, true = ops.unstack(self._counts.rounded(), 3)
        if self.average == "micro":
            return ops.divide_no_nan(2 * ops.sum(right), ops.sum(predicted) + ops.sum(true))
        of_class = ops.divide_no_nan(2 * right, predicted + true)
        if self.average == "binary":
            return of_class[1]
        if self.average == "weighted":
            return ops.divide_no_nan(ops.sum(of_class * true), ops.sum(true))
        if self._is_multi_label:
            return ops.mean(of_class)
        occurs = ops.cast(predicted + true > 0, "float32")
        return ops.divide_no_nan(ops.sum(of_class), ops.sum(occurs))

    def get_config(self) -> dict[str, Any]:
        own = {"average": self.average, "multi_label": self._is_multi_label}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("keras_lm")
class MatthewsCorrelation(ClassCounts):
    """The correlation of labels and predictions over all batches, for two classes or more.

    Gorodkin's R_K (https://doi.org/10.1016/j.compbiolchem.2004.09.006): with 1-of-C vectors for
    labels and predictions, their covariance over the square root of the product of their own. For
    two classes this is Matthews' coefficient. 0 where either never changes, as in scikit-learn.

    Args:
        num_classes: C; default 2.
        name: default `"matthews_correlation"`.
        dtype: as in any Keras metric.

    Raises:
        ValueError: `num_classes` is below 2 or no int.

    Example:

    >>> import numpy as np
    >>> metric = MatthewsCorrelation()
    >>> logits = np.array([[0.0, 2.0], [1.0, 0.0], [3.0, 1.0], [0.0, 1.0]])
    >>> metric.update_state(np.array([1, 0, 0, 0]), logits)
    >>> round(float(metric.result()), 4)
    0.5774
    """

    def __init__(
        self, num_classes: int = 2, name: str = "matthews_correlation", dtype: Any = None
    ) -> None:
        super().__init__(num_classes, name=name, dtype=dtype)

    def result(self) -> Any:
        """float32 scalar, -1 to 1; 0 before the first batch."""
        right, predicted, true = ops.unstack(self._counts.rounded(), 3)
        total = ops.maximum(ops.sum(true), 1e-30)  # 0 before the first batch
        # Differences are taken of counts, which are whole: shares close to 1 would lose them.
        too_many, missed = predicted - right, true - right
        neither = total - predicted - missed
        covariance = ops.sum(right * (neither / total) - too_many * (missed / total))
        variances = [ops.sum(count * ((total - count) / total)) for count in (predicted, true)]
        spread = ops.sqrt(variances[0]) * ops.sqrt(variances[1])
        return ops.divide_no_nan(covariance, spread)
