"""Losses and what else Keras's own training loop does not bring."""

from keras_lm.training.curve import LossCurve
from keras_lm.training.losses import NextTokenLoss
from keras_lm.training.optimizers import default_optimizer
from keras_lm.training.resume import Resume

__all__ = ["LossCurve", "NextTokenLoss", "Resume", "default_optimizer"]
