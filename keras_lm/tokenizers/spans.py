"""Where tokens stand in their texts: from bytes to characters."""

from __future__ import annotations

import tensorflow as tf


@tf.function(reduce_retracing=True, autograph=False)
def character_spans(texts: tf.Tensor, spans: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Spans in bytes as spans in characters; part of a character counts as the whole.

    Args:
        texts: valid UTF-8, strings [B].
        spans: int32 [n, 2], half-open, in bytes of their text.
        rows: [n], the text of each.

    Returns:
        int32 [n, 2].

    Example:

    >>> spans = tf.constant([[0, 1], [1, 3], [2, 3]])
    >>> character_spans(tf.constant(["aé"]), spans, tf.constant([0, 0, 0])).numpy().tolist()
    [[0, 1], [1, 2], [1, 2]]
    """
    with tf.device("CPU:0"):
        # One more byte, so that the end of the last text is a place as well.
        text = tf.strings.join([tf.strings.reduce_join(texts), " "])
        byte = tf.cast(tf.io.decode_raw(text, tf.uint8), tf.int32)
        begins = tf.cast(tf.bitwise.bitwise_and(byte, 0xC0) != 0x80, tf.int32)
        before = tf.cumsum(begins, exclusive=True)  # characters that begin before each byte
        row_start = tf.cumsum(tf.strings.length(texts), exclusive=True)
        place = spans + tf.gather(row_start, rows)[:, tf.newaxis]
        start, end = tf.unstack(place, axis=1)
        first = tf.gather(before, tf.gather(row_start, rows))
        inside = 1 - tf.gather(begins, start)
        return tf.stack(
            [tf.gather(before, start) - inside - first, tf.gather(before, end) - first], axis=1
        )
