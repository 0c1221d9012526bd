"""Tokenizers: text to ids and back inside the TensorFlow graph, equal to their references."""

from keras_lm.tokenizers.base import Tokenizer
from keras_lm.tokenizers.byte import ByteTokenizer
from keras_lm.tokenizers.bytepair import BytePairTokenizer
from keras_lm.tokenizers.character import CharacterTokenizer
from keras_lm.tokenizers.sentencepiece import MarianTokenizer, SentencePieceTokenizer
from keras_lm.tokenizers.word import WordTokenizer
from keras_lm.tokenizers.wordpiece import WordPieceTokenizer

__all__ = [
    "BytePairTokenizer",
    "ByteTokenizer",
    "CharacterTokenizer",
    "MarianTokenizer",
    "SentencePieceTokenizer",
    "Tokenizer",
    "WordPieceTokenizer",
    "WordTokenizer",
]
