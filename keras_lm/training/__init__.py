"""Losses and what else Keras's own training loop does not bring."""

from keras_lm.training.curve import LossCurve
from keras_lm.training.losses import NextTokenLoss
from keras_lm.training.optimizers import default_optimizer

__all__ = ["LossCurve", "NextTokenLoss", "default_optimizer"]
