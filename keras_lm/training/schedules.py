"""Learning rates that rise while a model warms up, and then fall with the root of the steps."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("keras_lm")
class InverseSquareRoot(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that rises in a straight line to `peak`, and then falls as 1 / √step.

        rate(t) = peak · min(t / warmup_steps, √(warmup_steps / t))

    t counts steps from 1: the first step, Keras's number 0, has the rate `peak / warmup_steps`,
    and step number `warmup_steps` the peak. Vaswani et al. 2017, equation 3
    (https://arxiv.org/abs/1706.03762), with the peak named.

    Args:
        peak: the highest rate.
        warmup_steps: the steps until it is reached.

    Raises:
        ValueError: an argument is no positive number.

    Example:

    >>> rate = InverseSquareRoot(peak=1e-3, warmup_steps=100)
    >>> [round(float(rate(step)), 6) for step in (0, 49, 99, 399)]
    [1e-05, 0.0005, 0.001, 0.0005]
    """

    def __init__(self, peak: float, warmup_steps: int) -> None:
        self.peak = _positive(peak, "peak")
        self.warmup_steps = _count(warmup_steps, "warmup_steps")

    def __call__(self, step: Any) -> Any:
        """The rate of a step, which counts from 0; a float32 scalar."""
        return _rate(step, self.peak, self.warmup_steps)

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "warmup_steps": self.warmup_steps}


@keras.saving.register_keras_serializable("keras_lm")
class Noam(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate of Vaswani et al. 2017, equation 3 (https://arxiv.org/abs/1706.03762).

        rate(t) = factor · hidden_dim^−½ · min(t^−½, t · warmup_steps^−3/2)

    t counts steps from 1. This is `InverseSquareRoot` with the peak
    `factor / √(hidden_dim · warmup_steps)`: 0.0007 for the paper's base model. The paper's Adam
    has `beta_2=0.98, epsilon=1e-9`.

    Args:
        hidden_dim: D, the model's width.
        warmup_steps: the steps until the rate falls; default 4,000.
        factor: a multiple of all rates; default 1.

    Raises:
        ValueError: an argument is no positive number.

    Example:

    >>> rate = Noam(hidden_dim=512)
    >>> [round(float(rate(step)), 7) for step in (0, 3999, 99999)]
    [2e-07, 0.0006988, 0.0001398]
    """

    def __init__(self, hidden_dim: int, warmup_steps: int = 4000, factor: float = 1.0) -> None:
        self.hidden_dim = _count(hidden_dim, "hidden_dim")
        self.warmup_steps = _count(warmup_steps, "warmup_steps")
        self.factor = _positive(factor, "factor")

    def __call__(self, step: Any) -> Any:
        """The rate of a step, which counts from 0; a float32 scalar."""
        peak = self.factor / math.sqrt(self.hidden_dim * self.warmup_steps)
        return _rate(step, peak, self.warmup_steps)

    def get_config(self) -> dict[str, Any]:
        return {
            "hidden_dim": self.hidden_dim,
            "warmup_steps": self.warmup_steps,
            "factor": self.factor,
        }


def _rate(step: Any, peak: float, warmup_steps: int) -> Any:
    share = (ops.cast(step, "float32") + 1.0) / warmup_steps
    return peak * ops.minimum(share, ops.rsqrt(share))


def _positive(number: Any, name: str) -> float:
    is_number = isinstance(number, int | float | np.number) and not isinstance(number, bool)
    if not is_number or not 0 < number < math.inf:
        raise ValueError(f"{name} is {number!r}; it must be a positive number")
    return float(number)


def _count(number: Any, name: str) -> int:
    is_int = isinstance(number, int | np.integer) and not isinstance(number, bool)
    if not is_int or number < 1:
        raise ValueError(f"{name} is {number!r}; it must be an int, at least 1")
    return int(number)
