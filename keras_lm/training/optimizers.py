"""The optimizer that a task takes when the user names none."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("keras_lm")
class MatrixAdamW(keras.optimizers.AdamW):
    """AdamW that decays matrices alone. Keras's own forgets on saving what does not decay."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "scale"])


def default_optimizer(learning_rate: Any = 3e-4) -> keras.optimizers.Optimizer:
    """AdamW as GPT models are trained: β₂ 0.95, weight decay 0.1, gradients clipped to norm 1.

    Biases and the gains of norms do not decay (Radford et al. 2018, Brown et al. 2020).

    Args:
        learning_rate: a float or a schedule.
    """
    return MatrixAdamW(
        learning_rate, weight_decay=0.1, beta_2=0.95, epsilon=1e-8, global_clipnorm=1.0
    )


def fine_tuning_optimizer(learning_rate: Any = 5e-5) -> keras.optimizers.Optimizer:
    """AdamW as BERT is fine-tuned: weight decay 0.01, gradients clipped to norm 1.

    Devlin et al. 2018, appendix A.3 (https://arxiv.org/abs/1810.04805). A schedule with warm-up
    that ends at 0, such as `keras.optimizers.schedules.CosineDecay`, does a little better.

    Args:
        learning_rate: a float or a schedule. A model that was not pretrained wants more, 1e-3.
    """
    return MatrixAdamW(learning_rate, weight_decay=0.01, epsilon=1e-8, global_clipnorm=1.0)
