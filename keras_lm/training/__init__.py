"""Losses and what else Keras's own training loop does not bring."""

from keras_lm.training.curve import LossCurve
from keras_lm.training.losses import MaskedTokenLoss, NextTokenLoss
from keras_lm.training.optimizers import default_optimizer, fine_tuning_optimizer
from keras_lm.training.resume import Resume

__all__ = [
    "LossCurve",
    "MaskedTokenLoss",
    "NextTokenLoss",
    "Resume",
    "default_optimizer",
    "fine_tuning_optimizer",
]
