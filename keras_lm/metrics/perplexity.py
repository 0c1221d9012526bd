"""Cross-entropy, perplexity and bits per byte: exact over a data set, however it is batched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lm.metrics.sums import ExactSum


class _NatsMetric(keras.metrics.Metric):
    """What the metrics here share: the sum of nats, and how a Keras model's outputs become nats."""

    _direction = "down"  # less is better: for Keras's callbacks with mode="auto"

    def __init__(self, name: str, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self._nats = ExactSum(self, "nats")

    def _nats_and_weights(self, y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[Any, Any]:
        logits = ops.cast(y_pred, "float32")
        nats = ops.sparse_categorical_crossentropy(y_true, logits, from_logits=True)
        weights = ops.ones_like(nats)
        mask = getattr(y_pred, "_keras_mask", None)  # how Keras's layers mark padding
        for factor in (sample_weight, mask):
            if factor is not None:
                factor = ops.cast(factor, "float32")
                while len(factor.shape) < len(weights.shape):  # a weight for each row
                    factor = ops.expand_dims(factor, -1)
                weights = weights * factor
        return nats, weights


def _weighted_sum(values: Any, weights: Any) -> Any:
    """Sum of values × weights, where weight 0 leaves out even what is not a number."""
    values, weights = ops.cast(values, "float32"), ops.cast(weights, "float32")
    return ops.sum(ops.where(weights > 0, values * weights, 0.0))


@keras.saving.register_keras_serializable("keras_lm")
class CrossEntropy(_NatsMetric):
    """Mean nats per counted token over all batches.

    Unlike the `loss` that Keras reports, which averages over batches, this divides one sum by
    one count, so it is the same however the data are batched. For use in `compile`, give it as a
    `weighted_metrics` entry: Keras passes sample weights, and with them the padding, to those.

    Args:
        name: default `"cross_entropy"`.
        dtype: as in any Keras metric; the sums are kept in pairs of float32 whatever it is.

    Example:

    >>> import numpy as np
    >>> metric = CrossEntropy()
    >>> metric.update_nats(np.array([[1.0, 3.0, 9.0]]), np.array([[1.0, 1.0, 0.0]]))
    >>> float(metric.result())
    2.0
    """

    def __init__(self, name: str = "cross_entropy", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self._count = ExactSum(self, "count")

    def update_nats(self, nats: Any, weights: Any) -> None:
        """Adds a batch.

        Args:
            nats: float [B, T], -ln p of each target.
            weights: float [B, T], 1 where a target counts and 0 where not.
        """
        self._nats.add(_weighted_sum(nats, weights))
        self._count.add(ops.sum(ops.cast(weights, "float32")))

    @property
    def totals(self) -> tuple[float, float]:
        """The nats, and the tokens that they are of, as Python floats."""
        return self._nats.number(), self._count.number()

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch of any Keras model.

        Args:
            y_true: int [B, T], the targets.
            y_pred: float [B, T, V], logits.
            sample_weight: float [B, T] or [B]; default 1 everywhere.
        """
        self.update_nats(*self._nats_and_weights(y_true, y_pred, sample_weight))

    def result(self) -> Any:
        """float32 scalar: nats per token; 0 before the first batch."""
        return self._nats.divided_by(self._count)


@keras.saving.register_keras_serializable("keras_lm")
class Perplexity(CrossEntropy):
    """The exponential of the mean nats per counted token over all batches.

    Args:
        name: default `"perplexity"`.
        dtype: as in any Keras metric.

    Example:

    >>> import numpy as np
    >>> metric = Perplexity()
    >>> metric.update_state(np.array([[1, 0]]), np.zeros([1, 2, 5]))    # 5 equal chances
    >>> round(float(metric.result()), 4)
    5.0
    """

    def __init__(self, name: str = "perplexity", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)

    def result(self) -> Any:
        """float32 scalar: e to the nats per token; 1 before the first batch."""
        return ops.exp(super().result())


@keras.saving.register_keras_serializable("keras_lm")
class BitsPerByte(_NatsMetric):
    """The summed nats of all batches over ln 2 and over the UTF-8 bytes of their texts.

    It compares models whatever their vocabulary: the nats of every token of a text and of its
    end, spread over the bytes of the text.

    Args:
        token_bytes: int [V], the UTF-8 bytes that each token stands for (0 for special tokens);
            wanted only by `update_state`, which has nothing but token ids to count bytes by.
        name: default `"bits_per_byte"`.
        dtype: as in any Keras metric.

    Example:

    >>> import math, numpy as np
    >>> metric = BitsPerByte()
    >>> metric.update_nats(np.full([1, 4], math.log(2)), np.array([[1, 1, 1, 0]]), np.array([2]))
    >>> float(metric.result())    # 3 bits over 2 bytes
    1.5
    """

    def __init__(
        self,
        token_bytes: Sequence[int] | np.ndarray | None = None,
        name: str = "bits_per_byte",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self._bytes = ExactSum(self, "bytes")
        self._token_bytes = None if token_bytes is None else _checked_table(token_bytes)

    def update_nats(self, nats: Any, weights: Any, num_bytes: Any) -> None:
        """Adds a batch.

        Args:
            nats: float [B, T], -ln p of each target.
            weights: float [B, T], 1 where a target counts and 0 where not.
            num_bytes: int [B], the bytes of the texts that each row stands for.
        """
        self._nats.add(_weighted_sum(nats, weights))
        # One row may stand for a long document, and float32 holds whole numbers up to 2^24 only:
        # sum the multiples of 2^12 and the remainders apart, each exactly.
        num_bytes = ops.cast(num_bytes, "int32")
        remainder = ops.bitwise_and(num_bytes, 4095)
        for part in (num_bytes - remainder, remainder):
            self._bytes.add(ops.sum(ops.cast(part, "float32")))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch of any Keras model; needs `token_bytes`.

        Args:
            y_true: int [B, T], the targets.
            y_pred: float [B, T, V], logits.
            sample_weight: float [B, T] or [B]; default 1 everywhere. A token that does not count
                brings neither nats nor bytes.

        Raises:
            ValueError: the metric was made without `token_bytes`, or V is not its length.
        """
        if self._token_bytes is None:
            raise ValueError(
                "token_bytes is None; update_state needs the UTF-8 bytes of each token, "
                "so make the metric as BitsPerByte(token_bytes)"
            )
        if y_pred.shape[-1] != len(self._token_bytes):
            raise ValueError(
                f"token_bytes has {len(self._token_bytes)} entries, "
                f"but y_pred has logits for {y_pred.shape[-1]} tokens"
            )
        nats, weights = self._nats_and_weights(y_true, y_pred, sample_weight)
        self._nats.add(_weighted_sum(nats, weights))
        token_bytes = ops.take(ops.convert_to_tensor(self._token_bytes), ops.cast(y_true, "int32"))
        self._bytes.add(_weighted_sum(token_bytes, weights))

    def result(self) -> Any:
        """float32 scalar: bits per byte; 0 before the first batch."""
        return self._nats.divided_by(self._bytes) / math.log(2)

    def get_config(self) -> dict[str, Any]:
        table = None if self._token_bytes is None else self._token_bytes.tolist()
        return {**super().get_config(), "token_bytes": table}


def _checked_table(token_bytes: Sequence[int] | np.ndarray) -> np.ndarray:
    table = np.asarray(token_bytes)
    if table.ndim != 1 or not np.issubdtype(table.dtype, np.integer) or np.any(table < 0):
        raise ValueError(
            f"token_bytes is {table.dtype} of shape {table.shape}; "
            "it must be ints [V], none below 0"
        )
    return table.astype(np.int32)
