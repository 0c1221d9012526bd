"""Tokenizers: text to ids and back inside the TensorFlow graph, equal to their references."""

from keras_lm.tokenizers.base import Tokenizer
from keras_lm.tokenizers.bytepair import BytePairTokenizer

__all__ = ["BytePairTokenizer", "Tokenizer"]
