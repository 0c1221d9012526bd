"""The merges of byte-level BPE in TensorFlow ops, for many words at once.

Words lie one after the other in flat arrays, one element a byte:

    byte    <break>  h   e   l   l   o  <break>  a   h  <break>

A token is known by the position of its first byte. There stand its id, where the tokens before and
after it begin, and the row of the `MergeTables` that describes the pair of it and the token after
it; by that position the pair is known as well.

The definition is sequential: of all pairs in a word, the one of lowest rank is merged, the leftmost
among equals, until none is left. Here every round merges at once all pairs that are *safe*: whose
tokens no merge of lower rank can take away, whatever happens around them. The definition would
merge those in the end as well. In this way the rounds are few, and hardly more for a word of a
million letters than for one of ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_lm.tokenizers.merge_tables import NEVER, merge_tables

BREAK_BYTE = 255  # in no UTF-8 text, so it can stand between words
RANK_BITS = 32  # where the rank begins in a key of rank and position


class _Tokens(NamedTuple):
    """What stands at the first byte of each token; int32, one element a byte."""

    ids: tf.Tensor
    before: tf.Tensor
    after: tf.Tensor
    rows: tf.Tensor


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
        tables = merge_tables(np.array(merges, np.int64).reshape(-1, 3), nothing + 1)
        self._in_order = tables.in_order
        ids = np.array([*byte_ids[:BREAK_BYTE], nothing])
        of_bytes = tables.rows(np.repeat(ids, 256) * (nothing + 1) + np.tile(ids, 256))
        with tf.init_scope(), tf.device("CPU:0"):
            self._num_ids = tf.constant(nothing + 1, tf.int64)
            self._byte_ids = tf.constant(ids, tf.int32)
            self._byte_rows = tf.constant(of_bytes, tf.int32)
            self._rank = tf.constant(tables.rank)
            self._merged = tf.constant(tables.merged)
            self._taken_by_left = tf.constant(tables.taken_by_left)
            self._taken_by_right = tf.constant(tables.taken_by_right)
            self._left_threat = tf.constant(np.minimum(tables.rank, tables.taken_by_left))
            self._right_threat = tf.constant(np.minimum(tables.rank, tables.taken_by_right))
            self._rows = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    # No pair has the key −1; it is there because a table may not be empty.
                    tf.constant(np.concatenate([[-1], tables.pairs])),
                    tf.range(len(tables.pairs) + 1),
                ),
                0,
            )

    def __call__(self, words: tf.Tensor) -> tf.RaggedTensor:
        """Ids, ragged int32 [W, None], of words [W] of valid UTF-8."""
        break_byte = bytes([BREAK_BYTE])
        # Two breaks at both ends, so that two tokens to the left and right of a pair exist.
        padded = tf.concat([["", ""], words, ["", ""]], 0)
        text = tf.strings.reduce_join(padded, separator=break_byte)
        byte = tf.cast(tf.io.decode_raw(text, tf.uint8), tf.int32)
        is_break = byte == BREAK_BYTE
        word = tf.cumsum(tf.cast(is_break, tf.int32)) - 2  # which word each byte belongs to
        num_words = tf.size(words)
        position = tf.range(tf.size(byte))
        rows = tf.gather(self._byte_rows, 256 * byte + tf.roll(byte, -1, 0))
        tokens = _Tokens(
            ids=tf.gather(self._byte_ids, byte), before=position - 1, after=position + 1, rows=rows
        )
        pairs = tf.cast(tf.squeeze(tf.where(tf.gather(self._rank, rows) < NEVER), 1), tf.int32)

        def merge(pairs: tf.Tensor, tokens: _Tokens) -> tuple[tf.Tensor, _Tokens]:
            """One round: makes the merges that can be made and finds the pairs that are left."""
            row = tf.gather(tokens.rows, pairs)
            chosen = self._chosen(pairs, tf.gather(self._rank, row), tokens, word, num_words)
            chosen = tf.squeeze(tf.where(chosen), 1)
            start = tf.gather(pairs, chosen)
            merged = tf.gather(self._merged, tf.gather(row, chosen))
            left = tf.gather(tokens.before, start)
            second = tf.gather(tokens.after, start)
            end = tf.gather(tokens.after, second)
            ids = _put(tokens.ids, start, merged)
            before, after = _put(tokens.before, end, start), _put(tokens.after, start, end)
            # The new pairs: of what is before a new token and it, and of it and what is after.
            new_left = tf.gather(before, start)
            changed = tf.concat([new_left, start], 0)
            next_ids = tf.concat([merged, tf.gather(ids, end)], 0)
            pair = tf.cast(tf.gather(ids, changed), tf.int64) * self._num_ids
            changed_row = self._rows.lookup(pair + tf.cast(next_ids, tf.int64))
            # Where no token begins any more, the row is negative.
            rows = _put(
                tokens.rows,
                tf.concat([second, changed], 0),
                tf.concat([-second, changed_row], 0),
            )
            # Between two new tokens there is one pair, and it is the first one's.
            is_own = changed == tf.concat([left, start], 0)
            has_rank = is_own & (tf.gather(self._rank, changed_row) < NEVER)
            is_left = tf.concat([tf.gather(rows, pairs) == row, has_rank], 0)
            pairs = tf.gather(tf.concat([pairs, changed], 0), tf.squeeze(tf.where(is_left), 1))
            return pairs, _Tokens(ids, before, after, rows)

        _, tokens = tf.while_loop(lambda pairs, _: tf.size(pairs) > 0, merge, (pairs, tokens))
        starts = tf.squeeze(tf.where((tokens.rows >= 0) & ~is_break), 1)
        return tf.RaggedTensor.from_value_rowids(
            tf.gather(tokens.ids, starts), tf.gather(word, starts), num_words, validate=False
        ).with_row_splits_dtype(tf.int64)

    def _chosen(
        self,
        pairs: tf.Tensor,
        rank: tf.Tensor,
        tokens: _Tokens,
        word: tf.Tensor,
        num_words: tf.Tensor,
    ) -> tf.Tensor:
        """Which pairs to merge now; at least one.

        A pair is safe when its rank comes before all that threatens its first token from the left
        and its second one from the right.
        """
        if not self._in_order:
            return _next(pairs, rank, tf.gather(word, pairs), num_words)
        left, right = tf.gather(tokens.before, pairs), tf.gather(tokens.after, pairs)
        left_row, right_row = tf.gather(tokens.rows, left), tf.gather(tokens.rows, right)
        # Among equals the leftmost comes first.
        left_holds = rank < tf.gather(self._left_threat, left_row)
        right_holds = rank <= tf.gather(self._right_threat, right_row)
        safe = left_holds & right_holds
        in_run = tf.gather(self._rank, left_row) == rank

        def look_closer() -> tf.Tensor:
            # For an extension of a neighbour to be a threat, something must extend it before.
            further = tf.gather(tokens.rows, tf.gather(tokens.before, left))
            extended = tf.maximum(
                tf.gather(self._taken_by_left, left_row), tf.gather(self._left_threat, further)
            )
            left_holds = rank < tf.minimum(tf.gather(self._rank, left_row), extended)
            further = tf.gather(tokens.rows, tf.gather(tokens.after, right))
            extended = tf.maximum(
                tf.gather(self._taken_by_right, right_row), tf.gather(self._right_threat, further)
            )
            right_holds = rank <= tf.minimum(tf.gather(self._rank, right_row), extended)
            # As merges come in order, none can come before those of the lowest rank in a word.
            of_word = tf.gather(word, pairs)
            lowest = tf.math.unsorted_segment_min(rank, of_word, num_words + 1)
            is_lowest = rank == tf.gather(lowest, of_word)
            return _every_second(pairs, in_run, left_holds | is_lowest, right_holds | is_lowest)

        is_enough = tf.reduce_any(safe) & ~tf.reduce_any(in_run)
        return tf.cond(is_enough, lambda: safe, look_closer)


def _next(pairs: tf.Tensor, rank: tf.Tensor, word: tf.Tensor, num_words: tf.Tensor) -> tf.Tensor:
    """Which pairs come next by the definition, one in each word: for merges in any order."""
    key = tf.bitwise.left_shift(tf.cast(rank, tf.int64), RANK_BITS) + tf.cast(pairs, tf.int64)
    return key == tf.gather(tf.math.unsorted_segment_min(key, word, num_words + 1), word)


def _every_second(
    pairs: tf.Tensor, in_run: tf.Tensor, left_holds: tf.Tensor, right_holds: tf.Tensor
) -> tf.Tensor:
    """Which pairs to merge where there are runs such as "aaaaa": of each the first, the third, …

    A run is merged when its first pair is safe from the left and its last one from the right: so
    are those between, as the tokens between can be taken by each other only.
    """
    order = tf.argsort(pairs)
    is_first = ~tf.gather(in_run, order)
    run = tf.cumsum(tf.cast(is_first, tf.int32)) - 1
    first = tf.squeeze(tf.where(is_first), 1)
    last = tf.concat([first[1:], [tf.size(pairs, tf.int64)]], 0) - 1
    is_first_safe = tf.gather(left_holds, tf.gather(order, first))
    is_last_safe = tf.gather(right_holds, tf.gather(order, last))
    place = tf.range(tf.size(pairs, tf.int64)) - tf.gather(first, run)
    chosen = tf.gather(is_first_safe & is_last_safe, run) & (place % 2 == 0)
    return tf.scatter_nd(tf.expand_dims(order, 1), chosen, tf.shape(pairs))


def _put(values: tf.Tensor, positions: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
    return tf.tensor_scatter_nd_update(values, tf.expand_dims(positions, 1), new)
