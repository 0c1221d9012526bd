"""A unigram model and one of byte-pair encoding, and the library's own reading of the first."""

from pydoc_data.topics import topics

import pytest
import sentencepiece
from harness_sentencepiece import reference_of

from keras_lm.tokenizers import SentencePieceTokenizer


@pytest.fixture(scope="package")
def tokenizer() -> SentencePieceTokenizer:
    return SentencePieceTokenizer.train(texts=list(topics.values())[:60], vocab_size=800)


@pytest.fixture(scope="package")
def bpe() -> SentencePieceTokenizer:
    return SentencePieceTokenizer.train(
        texts=list(topics.values())[:60],
        vocab_size=1000,
        model_type="bpe",
        byte_fallback=True,
        normalization="identity",
    )


@pytest.fixture
def reference(tokenizer) -> sentencepiece.SentencePieceProcessor:
    return reference_of(tokenizer)
