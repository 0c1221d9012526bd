"""Token ids in, logits out."""

from keras_lm.models.base import LanguageModel
from keras_lm.models.ngram import NGramLM
from keras_lm.models.recurrent import RecurrentLM
from keras_lm.models.transformer import Decoder
from keras_lm.models.word_vectors import GloVe, Word2Vec, WordVectors

__all__ = [
    "Decoder",
    "GloVe",
    "LanguageModel",
    "NGramLM",
    "RecurrentLM",
    "Word2Vec",
    "WordVectors",
]
