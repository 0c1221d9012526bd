"""Metrics that are exact over a data set, on every Keras backend."""

from keras_lm.metrics.answers import AnswerScore
from keras_lm.metrics.classification import F1, MatthewsCorrelation
from keras_lm.metrics.correlation import PearsonCorrelation, SpearmanCorrelation
from keras_lm.metrics.entities import EntityF1, entity_scores
from keras_lm.metrics.perplexity import BitsPerByte, CrossEntropy, Perplexity
from keras_lm.metrics.ranking import MRR, NDCG, HitsAtK, MeanAveragePrecision, RecallAtK
from keras_lm.metrics.relations import RelationF1
from keras_lm.metrics.summaries import ROUGE
from keras_lm.metrics.translation import BLEU, ChrF

__all__ = [
    "BLEU",
    "F1",
    "MRR",
    "NDCG",
    "ROUGE",
    "AnswerScore",
    "BitsPerByte",
    "ChrF",
    "CrossEntropy",
    "EntityF1",
    "HitsAtK",
    "MatthewsCorrelation",
    "MeanAveragePrecision",
    "PearsonCorrelation",
    "Perplexity",
    "RecallAtK",
    "RelationF1",
    "SpearmanCorrelation",
    "entity_scores",
]
