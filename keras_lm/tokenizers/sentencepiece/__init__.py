"""SentencePiece in the graph: unigram and byte-pair encoding, byte fallback; Marian's pair."""

from keras_lm.tokenizers.sentencepiece.marian import MarianTokenizer
from keras_lm.tokenizers.sentencepiece.tokenizer import SentencePieceTokenizer

__all__ = ["MarianTokenizer", "SentencePieceTokenizer"]
