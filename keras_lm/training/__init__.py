"""Losses and what else Keras's own training loop does not bring."""

from keras_lm.training.averaging import AverageCheckpoints
from keras_lm.training.curve import LossCurve
from keras_lm.training.generation_scores import GenerationScores
from keras_lm.training.losses import MaskedTokenLoss, NextTokenLoss
from keras_lm.training.optimizers import default_optimizer, fine_tuning_optimizer
from keras_lm.training.resume import Resume
from keras_lm.training.schedules import InverseSquareRoot, Noam

__all__ = [
    "AverageCheckpoints",
    "GenerationScores",
    "InverseSquareRoot",
    "LossCurve",
    "MaskedTokenLoss",
    "NextTokenLoss",
    "Noam",
    "Resume",
    "default_optimizer",
    "fine_tuning_optimizer",
]
