"""The optimizer that a task takes when the user names none."""

from __future__ import annotations

from typing import Any

import keras


def default_optimizer(learning_rate: Any = 3e-4) -> keras.optimizers.Optimizer:
    """AdamW as GPT models are trained: β₂ 0.95, weight decay 0.1, gradients clipped to norm 1.

    Biases and the gains of norms do not decay (Radford et al. 2018, Brown et al. 2020).

    Args:
        learning_rate: a float or a schedule.
    """
    optimizer = keras.optimizers.AdamW(
        learning_rate, weight_decay=0.1, beta_2=0.95, epsilon=1e-8, global_clipnorm=1.0
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "scale"])
    return optimizer
