"""Metrics that are exact over a data set, on every Keras backend."""

from keras_lm.metrics.answers import AnswerScore
from keras_lm.metrics.classification import F1, MatthewsCorrelation
from keras_lm.metrics.correlation import PearsonCorrelation, SpearmanCorrelation
from keras_lm.metrics.entities import EntityF1, entity_scores
from keras_lm.metrics.perplexity import BitsPerByte, CrossEntropy, Perplexity

__all__ = [
    "F1",
    "AnswerScore",
    "BitsPerByte",
    "CrossEntropy",
    "EntityF1",
    "MatthewsCorrelation",
    "PearsonCorrelation",
    "Perplexity",
    "SpearmanCorrelation",
    "entity_scores",
]
