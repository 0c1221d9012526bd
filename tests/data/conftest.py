"""A stand-in tokenizer whose ids are the bytes themselves, so that tests are exact by hand."""

import pytest
import tensorflow as tf

from keras_lm.tokenizers import Tokenizer


class ByteTokenizer(tf.Module):
    """A byte's id is its value; BOS is 256, EOS 257, padding 258."""

    bos_id: int | None = 256
    eos_id: int | None = 257
    pad_id: int | None = 258
    cls_id = sep_id = None
    document_ends = Tokenizer.document_ends
    vocab_size = 259

    def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return tf.cast(
            tf.strings.bytes_split(texts).with_values(
                tf.io.decode_raw(tf.strings.bytes_split(texts).values, tf.uint8)[:, 0]
            ),
            tf.int32,
        )


@pytest.fixture
def tokenizer() -> ByteTokenizer:
    return ByteTokenizer()
