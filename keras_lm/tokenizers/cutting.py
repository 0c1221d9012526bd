"""Texts cut at added tokens, in the graph."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from keras_lm.tokenizers.rules import AddedToken
from keras_lm.tokenizers.splitting import BREAK, CLOSE, OPEN, SPACE


class Pieces(NamedTuple):
    """Stretches of texts, one after the other: added tokens, and what stands between them."""

    text: tf.Tensor  # strings [P]; an added token's takes in the white space that it has beside it
    id: tf.Tensor  # int32 [P], the token's; -1 for text
    row: tf.Tensor  # int64 [P], which text

    def text_splits(self, splits: tf.Tensor, num_texts: tf.Tensor) -> tf.Tensor:
        """Where each text begins, int64 [B + 1], from where each piece does, int64 [P + 1]."""
        return tf.gather(splits, tf.searchsorted(self.row, tf.range(num_texts + 1)))


class Cutter(tf.Module):
    """Finds added tokens in texts: the leftmost, and the longest of those that begin there.

    Args:
        added: the tokens; some take the white space before or after them along.
    """

    def __init__(self, added: Sequence[AddedToken]) -> None:
        super().__init__(name=None)
        self._any = _any_of(added)
        self._before = _any_of([token for token in added if token.lstrip])
        self._after = _any_of([token for token in added if token.rstrip])
        self._strips = _any_of([token for token in added if token.lstrip or token.rstrip])
        if added:
            with tf.init_scope(), tf.device("CPU:0"):
                self._ids = tf.lookup.StaticHashTable(
                    tf.lookup.KeyValueTensorInitializer(
                        [OPEN + token.content.encode() + CLOSE for token in added],
                        tf.constant([token.id for token in added], tf.int32),
                    ),
                    -1,
                )

    def __call__(self, texts: tf.Tensor) -> Pieces:
        """The pieces of valid UTF-8 texts [B]; there may be none of an empty text."""
        if self._any is None:
            rows = tf.range(tf.size(texts, tf.int64))
            return Pieces(texts, tf.fill(tf.shape(texts), -1), rows)
        replace = tf.strings.regex_replace
        texts = replace(texts, self._any, OPEN + rb"\0" + CLOSE)
        # What is beside a token moves into its brackets; white space between two goes left.
        if self._after:
            texts = replace(texts, rf"(\x{{d800}}{self._after})(\x{{d801}})([{SPACE}]+)", r"\1\3\2")
        if self._before:
            texts = replace(
                texts,
                rf"([{SPACE}]+)(\x{{d800}})({self._before}[{SPACE}]*\x{{d801}})",
                r"\2\1\3",
            )
        texts = replace(texts, r"\x{d800}[^\x{d801}]*\x{d801}", BREAK + rb"\0" + BREAK)
        # The older op can leave out the empty pieces between two breaks.
        indices, pieces, _ = tf.raw_ops.StringSplit(input=texts, delimiter=BREAK, skip_empty=True)
        key = pieces
        if self._strips:
            key = replace(
                key, rf"^(\x{{d800}})[{SPACE}]*({self._strips})[{SPACE}]*(\x{{d801}})$", r"\1\2\3"
            )
        text = replace(pieces, r"[\x{d800}\x{d801}]", "")
        return Pieces(text, self._ids.lookup(key), indices[:, 0])


def relative_spans(start: tf.Tensor, end: tf.Tensor, row: tf.Tensor, texts: tf.Tensor) -> tf.Tensor:
    """Spans in bytes, int32 [t, 2], from where they start and end in all texts joined.

    Args:
        start: int32 [t].
        end: int32 [t].
        row: [t], the text of each.
        texts: strings [B].
    """
    text_start = tf.gather(tf.cumsum(tf.strings.length(texts), exclusive=True), row)
    return tf.stack([start - text_start, end - text_start], 1)


def utf8_size(code: tf.Tensor) -> tf.Tensor:
    """The bytes of code points in UTF-8, int32 [n]."""
    return 1 + sum(tf.cast(code > most, tf.int32) for most in (0x7F, 0x7FF, 0xFFFF))


def put(values: tf.Tensor, places: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
    """The values [n] with new ones [m] in places [m]."""
    return tf.tensor_scatter_nd_update(values, places[:, tf.newaxis], new)


def _any_of(tokens: Sequence[AddedToken]) -> str | None:
    """A pattern that matches the content of any of the tokens, the longest that fits."""
    contents = sorted((token.content for token in tokens), key=lambda text: -len(text.encode()))
    return f"(?:{'|'.join(map(re.escape, contents))})" if contents else None
