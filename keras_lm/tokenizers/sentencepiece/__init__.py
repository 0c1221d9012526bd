"""SentencePiece in the graph: unigram and byte-pair encoding, byte fallback."""

from keras_lm.tokenizers.sentencepiece.tokenizer import SentencePieceTokenizer

__all__ = ["SentencePieceTokenizer"]
