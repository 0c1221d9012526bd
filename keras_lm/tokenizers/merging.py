"""The merges of byte-level BPE in TensorFlow ops, for many words at once.

All words lie in one array, one element a token, with breaks around them; at first each byte is a
token. The row of the `MergeTables` stands beside each token that describes the pair of it and the
token after it:

    token   <break>   h   e   l   l   o   <break>   a   h   <break>
    row        -     he   el  ll  lo  -      -     ah   -      -

The definition is sequential: of all pairs in a word, the one of lowest rank is merged, the leftmost
among equals, until none is left. Here every round merges at once all pairs that are *safe*: whose
tokens no merge of lower rank can take away, whatever happens around them. The definition would
merge those in the end as well. In this way the rounds are few, and hardly more for a word of a
million letters than for one of ten.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from keras_lm.tokenizers.merge_tables import are_in_order, merge_tables, merges_that_happen

BREAK_BYTE = 255  # in no UTF-8 text, so it can stand between words
LOOKS = 5  # how many tokens further to look for threats where the neighbours do not settle it


class Merger(tf.Module):
    """Merges words into tokens, exactly as the reference does.

    Args:
        merges: pairs of ids in order of rank, each with the id that it becomes.
        token_bytes: the bytes of each id.
        byte_ids: the id of each of the 256 bytes; None: it is dropped from words.
    """

    def __init__(
        self,
        merges: Sequence[tuple[int, int, int]],
        token_bytes: Sequence[bytes],
        byte_ids: Sequence[int | None],
    ) -> None:
        super().__init__(name=None)
        # One more id, for the break; it merges with nothing.
        self._break = num_ids = len(token_bytes)
        known = np.array([num_ids if i is None else i for i in byte_ids])
        # Of a pair that stands there twice, the reference knows the last place only.
        places = {(first, second): place for place, (first, second, _) in enumerate(merges)}
        chosen = np.array([merges[place] for place in sorted(places.values())], np.int64)
        chosen = chosen.reshape(-1, 3)
        if not are_in_order(chosen, num_ids):
            chosen = merges_that_happen(chosen, token_bytes, known)
        tables = merge_tables(chosen, num_ids + 1)
        self._in_order = tables.in_order
        self._never = tables.num_merges
        ids = np.array([*known[:BREAK_BYTE], self._break])
        self._drops = None in byte_ids[:BREAK_BYTE]
        of_bytes = tables.rows(np.repeat(ids, 256) * (num_ids + 1) + np.tile(ids, 256))
        rank = np.minimum(np.arange(len(tables.merged)), self._never)
        with tf.init_scope(), tf.device("CPU:0"):
            self._byte_ids = tf.constant(ids, tf.int32)
            self._is_kept = tf.constant([*(i is not None for i in byte_ids[:BREAK_BYTE]), True])
            self._byte_rows = tf.constant(of_bytes, tf.int32)
            self._merged = tf.constant(tables.merged)
            self._taken_by_left = tf.constant(tables.taken_by_left)
            self._taken_by_right = tf.constant(tables.taken_by_right)
            self._left_threat = tf.constant(np.minimum(rank, tables.taken_by_left), tf.int32)
            self._right_threat = tf.constant(np.minimum(rank, tables.taken_by_right), tf.int32)
            self._rows = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    # No pair has the key −1; it is there because a table may not be empty.
                    tf.constant(np.append(tables.pairs, -1)),
                    tf.range(len(tables.merged)),
                ),
                len(tables.pairs),
            )

    def __call__(self, words: tf.Tensor) -> tf.RaggedTensor:
        """Ids, ragged int32 [W, None], of words [W] of valid UTF-8."""
        break_byte = bytes([BREAK_BYTE])
        text = tf.strings.reduce_join(tf.concat([[""], words, [""]], 0), separator=break_byte)
        byte = tf.cast(tf.io.decode_raw(text, tf.uint8), tf.int32)
        if self._drops:
            byte = tf.boolean_mask(byte, tf.gather(self._is_kept, byte))
        ids = tf.gather(self._byte_ids, byte)
        rows = tf.gather(self._byte_rows, 256 * byte + tf.roll(byte, -1, 0))

        def merge(ids: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            chosen = self._safe(ids, rows) if self._in_order else self._next(ids, rows)
            ids = tf.where(chosen, tf.gather(self._merged, rows), ids)
            ids = tf.gather(ids, tf.squeeze(tf.where(~tf.roll(chosen, 1, 0)), 1))
            pairs = tf.cast(ids, tf.int64) * (self._break + 1)
            return ids, self._rows.lookup(pairs + tf.cast(tf.roll(ids, -1, 0), tf.int64))

        ids, _ = tf.while_loop(
            lambda _, rows: tf.reduce_any(rows < self._never),
            merge,
            (ids, rows),
            shape_invariants=(tf.TensorShape([None]), tf.TensorShape([None])),
        )
        is_break = ids == self._break
        breaks = tf.squeeze(tf.where(is_break), 1)
        return tf.RaggedTensor.from_row_splits(
            tf.boolean_mask(ids, ~is_break),
            breaks - tf.range(tf.size(breaks, tf.int64)),
            validate=False,
        )

    def _safe(self, ids: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Which pairs to merge in a round, at least one, where merges are in order: bool [n].

        A pair is safe when its rank comes before all that threatens its first token from the left
        and its second one from the right.
        """
        # Among equals the leftmost comes first.
        safe = (rows < tf.roll(tf.gather(self._left_threat, rows), 1, 0)) & (
            rows <= tf.roll(tf.gather(self._right_threat, rows), -1, 0)
        )
        in_run = (rows == tf.roll(rows, 1, 0)) & (rows < self._never)

        def look_closer() -> tf.Tensor:
            rank = tf.minimum(rows, self._never)
            by_left, by_right = (
                tf.gather(taken, rows) for taken in (self._taken_by_left, self._taken_by_right)
            )
            left, right = tf.minimum(rank, by_left), tf.minimum(rank, by_right)
            for _ in range(LOOKS):
                # For an extension of a neighbour to be a threat, something must extend it before.
                left = tf.minimum(rank, tf.maximum(by_left, tf.roll(left, 1, 0)))
                right = tf.minimum(rank, tf.maximum(by_right, tf.roll(right, -1, 0)))
            left_holds, right_holds = rank < tf.roll(left, 1, 0), rank <= tf.roll(right, -1, 0)
            # As merges are in order, nothing can come before the lowest rank of a word.
            is_lowest = rank == self._lowest(rank, ids)
            return (rank < self._never) & _every_second(
                in_run, left_holds | is_lowest, right_holds | is_lowest
            )

        is_enough = tf.reduce_any(safe) & ~tf.reduce_any(in_run)
        return tf.cond(is_enough, lambda: safe, look_closer)

    def _next(self, ids: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Which pairs come next by the definition, one in each word that has any: bool [n]."""
        size = tf.size(rows, tf.int64)
        rank = tf.cast(tf.minimum(rows, self._never), tf.int64)
        key = rank * size + tf.range(size)
        return (key == self._lowest(key, ids)) & (rows < self._never)

    def _lowest(self, keys: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        """The lowest of the keys [n] in the word of each [n]."""
        word = tf.cumsum(tf.cast(ids == self._break, tf.int32))
        return tf.gather(tf.math.segment_min(keys, word), word)


def _every_second(in_run: tf.Tensor, left_holds: tf.Tensor, right_holds: tf.Tensor) -> tf.Tensor:
    """Which pairs to merge where there are runs such as "aaaaa": of each the first, the third, …

    A run is merged when its first pair is safe from the left and its last one from the right: so
    are those between, as the tokens between can be taken by each other only.

    Args:
        in_run: bool [n], whether a pair is the same as the one before.
        left_holds: bool [n], whether it is safe from the left.
        right_holds: bool [n], whether it is safe from the right.
    """
    run = tf.cumsum(tf.cast(~in_run, tf.int32)) - tf.cast(~in_run[0], tf.int32)
    first = tf.squeeze(tf.where(~in_run), 1)
    last = tf.concat([first[1:], [tf.size(in_run, tf.int64)]], 0) - 1
    holds = tf.gather(left_holds, first) & tf.gather(right_holds, last)
    place = tf.range(tf.size(in_run, tf.int64)) - tf.gather(first, run)
    return tf.gather(holds, run) & (place % 2 == 0)
