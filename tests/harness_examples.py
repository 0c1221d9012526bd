"""A stand-in tokenizer whose tokens are the matches of a pattern, with spans in bytes."""

from __future__ import annotations

import functools
import re
import zlib

import numpy as np
import tensorflow as tf


@functools.cache  # a tokenizer is traced once, which takes longer than most tests
def pattern_tokenizer(pattern: str) -> PatternTokenizer:
    """The tokenizer of a pattern, for tests that need many and change none."""
    return PatternTokenizer(pattern)


class PatternTokenizer(tf.Module):
    """Every match of `pattern` is a token; what lies between matches is dropped.

    An id is 10 and more; CLS is 1, SEP 2, BOS 3, EOS 4, the mask 5 and padding 0.
    """

    bos_id: int | None = 3
    eos_id: int | None = 4
    cls_id: int | None = 1
    sep_id: int | None = 2
    mask_id = 5
    pad_id = 0
    vocab_size = 1 << 20
    separators_between_texts = 1

    def __init__(self, pattern: str = r"\w{1,3}|[^\w\s]") -> None:
        super().__init__()
        self._pattern = re.compile(pattern)
        self.tokens: dict[int, str] = {}

    def __call__(self, texts: tf.Tensor, return_offsets: bool = False):
        ids, counts, spans = tf.numpy_function(self._read, [texts], [tf.int32, tf.int64, tf.int32])
        ids.set_shape([None])
        counts.set_shape([None])
        spans.set_shape([None, 2])
        ids = tf.RaggedTensor.from_row_lengths(ids, counts)
        return (ids, ids.with_values(spans)) if return_offsets else ids

    def ids(self, text: str) -> list[int]:
        """The ids of a text."""
        return [self._id(match.group()) for match in self._pattern.finditer(text)]

    def words(self, ids) -> list[str]:
        """The tokens of ids that were read before."""
        return [self.tokens.get(int(i), f"<{i}>") for i in ids]

    def _id(self, token: str) -> int:
        number = 10 + zlib.crc32(token.encode()) % (self.vocab_size - 10)
        self.tokens[number] = token
        return number

    def _read(self, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        ids, counts, spans = [], [], []
        for raw in texts:
            text = raw.decode()
            matches = list(self._pattern.finditer(text))
            counts.append(len(matches))
            for match in matches:
                ids.append(self._id(match.group()))
                start = len(text[: match.start()].encode())
                spans.append((start, start + len(match.group().encode())))
        return (
            np.array(ids, np.int32),
            np.array(counts, np.int64),
            np.array(spans, np.int32).reshape(-1, 2),
        )
