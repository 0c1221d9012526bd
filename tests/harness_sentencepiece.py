"""What the tests of SentencePiece share."""

import sentencepiece

from keras_lm.tokenizers import SentencePieceTokenizer

TEXTS = ["The value of an object.", "", "naïve  中文 ▁"]
LETTERS = ["the cat sat on the mat and the dog sat on the cat"] * 9


def definition_of(tokenizer: SentencePieceTokenizer) -> bytes:
    return tokenizer._files()["spiece.model"]


def reference_of(tokenizer: SentencePieceTokenizer) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=definition_of(tokenizer))


def changed(definition: bytes, change) -> bytes:
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto.FromString(definition)
    change(model)
    return model.SerializeToString()


def with_added(tokenizer: SentencePieceTokenizer, **settings) -> SentencePieceTokenizer:
    return SentencePieceTokenizer(definition_of(tokenizer), settings)
