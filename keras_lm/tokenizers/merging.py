"""The merge loop of byte-level BPE in TensorFlow ops, for many words at once.

Words lie one after the other in flat arrays, one element a byte:

    byte    <break>  h   e   l   l   o  <break>  a   h  <break>
    id         -     h   he ...

A token is known by the position of its first byte; its id stands there and at its last byte, so
that a neighbour on either side finds it. `key[i]` is what the merge of the token at i with the
token after it would be: rank in the high half, i in the low half; so the smallest key of a word is
the merge that comes next, lowest rank first and leftmost among equals. Every round makes one
merge in each word that has any left. So a batch takes as many rounds as its hardest word has
merges; a word of many thousand letters is slow (0.3 s for 10,000), and its time grows with the
square of its length.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

BREAK_BYTE = 255  # in no UTF-8 text, so it can stand between words
RANK_BITS = 32  # where the rank begins in a key
NO_MERGE = 1 << 61  # a key from here on says that the token does not merge with the next one
SWALLOWED = 1 << 62  # key of a byte at which no token begins any more


class Merger(tf.Module):
    """Merges words into tokens, exactly as the reference does.

    Args:
        merges: pairs of ids in order of rank, each with the id that it becomes.
        token_bytes: the bytes of each id.
        byte_ids: the id of each of the 256 bytes.
    """

    def __init__(
        self,
        merges: Sequence[tuple[int, int, int]],
        token_bytes: Sequence[bytes],
        byte_ids: Sequence[int],
    ) -> None:
        super().__init__(name=None)
        # One more id, for the break: one byte long, merging with nothing.
        nothing = len(token_bytes)
        length = np.array([len(token) for token in token_bytes] + [1])
        first, second, merged = np.array(merges, np.int64).reshape(-1, 3).T
        # Of a pair that stands there twice, the reference knows the last place only.
        pairs = (first * (nothing + 1) + second).tolist()
        # No pair has the key -1; it is there because a table may not be empty.
        keys = {-1: NO_MERGE} | {pair: rank << RANK_BITS for rank, pair in enumerate(pairs)}
        with tf.init_scope(), tf.device("CPU:0"):
            self._num_ids = tf.constant(nothing + 1, tf.int64)
            self._byte_ids = tf.constant([*byte_ids[:BREAK_BYTE], nothing], tf.int64)
            self._length = tf.constant(length, tf.int64)
            self._outcome = tf.constant(np.stack([merged, length[first], length[merged]], axis=1))
            self._rank = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    tf.constant(list(keys.keys()), tf.int64),
                    tf.constant(list(keys.values()), tf.int64),
                ),
                NO_MERGE,
            )

    def __call__(self, words: tf.Tensor) -> tf.RaggedTensor:
        """Ids, ragged int32 [W, None], of words [W] of valid UTF-8."""
        break_byte = bytes([BREAK_BYTE])
        text = tf.strings.reduce_join(tf.concat([[""], words, [""]], 0), separator=break_byte)
        byte = tf.cast(tf.io.decode_raw(text, tf.uint8), tf.int32)
        is_break = byte == BREAK_BYTE
        word = tf.cumsum(tf.cast(is_break, tf.int32)) - 1  # which word each byte belongs to
        num_words = tf.size(words)
        ids = tf.gather(self._byte_ids, byte)
        position = tf.range(tf.size(ids, tf.int64))
        keys = self._key(ids, tf.roll(ids, -1, 0), position)

        def next_merges(keys: tf.Tensor) -> tf.Tensor:
            smallest = tf.math.unsorted_segment_min(keys, word, num_words + 1)
            return tf.gather(smallest, tf.squeeze(tf.where(smallest < NO_MERGE), 1))

        def merge(chosen: tf.Tensor, keys: tf.Tensor, ids: tf.Tensor) -> tuple[tf.Tensor, ...]:
            """Makes the chosen merges and finds the next; one for each word that is not done."""
            start = tf.bitwise.bitwise_and(chosen, (1 << RANK_BITS) - 1)
            rank = tf.bitwise.right_shift(chosen, RANK_BITS)
            merged, first_length, length = tf.unstack(tf.gather(self._outcome, rank), 3, axis=1)
            end = start + length
            left, right = tf.gather(ids, start - 1), tf.gather(ids, end)
            left_start = start - tf.gather(self._length, left)
            changed = tf.concat([left_start, start], 0)
            new_keys = self._key(
                tf.concat([left, merged], 0), tf.concat([merged, right], 0), changed
            )
            swallowed = tf.fill(tf.shape(start), tf.constant(SWALLOWED, tf.int64))
            ids = _put(ids, tf.concat([start, end - 1], 0), tf.concat([merged, merged], 0))
            keys = _put(
                keys,
                tf.concat([changed, start + first_length], 0),
                tf.concat([new_keys, swallowed], 0),
            )
            return next_merges(keys), keys, ids

        _, keys, ids = tf.while_loop(
            lambda chosen, keys, ids: tf.size(chosen) > 0, merge, (next_merges(keys), keys, ids)
        )
        tokens = tf.squeeze(tf.where((keys < SWALLOWED) & ~is_break), 1)
        return tf.RaggedTensor.from_value_rowids(
            tf.cast(tf.gather(ids, tokens), tf.int32),
            tf.gather(word, tokens),
            num_words,
            validate=False,
        ).with_row_splits_dtype(tf.int64)

    def _key(self, first: tf.Tensor, second: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        """Keys of the pairs (first, second) of ids of which the first begins at `position`."""
        return self._rank.lookup(first * self._num_ids + second) + position


def _put(values: tf.Tensor, positions: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
    return tf.tensor_scatter_nd_update(values, tf.expand_dims(positions, 1), new)
