"""SentencePiece's byte-pair encoding in the graph."""

from __future__ import annotations

import itertools

import numpy as np
import tensorflow as tf

from keras_lm.tokenizers.sentencepiece import model as models
from keras_lm.tokenizers.sentencepiece.model import SPACE_MARK, ModelProto
from keras_lm.tokenizers.sentencepiece.ops import Processor
from keras_lm.tokenizers.sentencepiece.stretches import in_order, without_repeats
from keras_lm.tokenizers.tensors import checked_utf8

NUM_PLACES = 1 << 20


class MergingEncoder(tf.Module):
    """Byte-pair encoding as the op has it; character and word models as well.

    Args:
        model: the content of a model's file.
    """

    def __init__(self, model: ModelProto) -> None:
        super().__init__(name=None)
        self._processor = Processor(models.merging_model(model))

    def ids(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return self._processor.encode(checked_utf8(texts))

    def ids_and_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        ids, starts, ends = self._processor.encode_with_spans(checked_utf8(texts))
        return ids, tf.stack([starts, ends], axis=1)


class CuttingEncoder(MergingEncoder):
    """Byte-pair encoding that has the op merge each distinct word of a batch once.

        texts ─ normalize ─ cut ─┬─ words that are one piece ───┬─ ids
                                 └─ others: unique ─ op ─ ids ──┘

    Two characters that stand side by side in no piece never come together by merging. So a text
    can be cut between them, and its ids are those of what it is cut into.

    Args:
        model: the content of a model's file.
    """

    def __init__(self, model: ModelProto) -> None:
        super().__init__(model)
        self._normalize = Processor(models.normalizing_model(model))
        self._merge = Processor(models.merging_model(model, normalizes=False))
        self._unk_id = models.unknown_id(model)
        self._merges_unknown = not models.byte_ids(model)
        texts = models.texts_found(model)
        together = np.zeros(NUM_PLACES, bool)
        for text in texts:
            for left, right in itertools.pairwise(text):
                together[_place(ord(left), ord(right))] = True
        with tf.init_scope(), tf.device("CPU:0"):
            self._are_together = tf.constant(together)
            alone = self._merge.encode(tf.constant(texts, tf.string))
            is_one = alone.row_lengths() == 1
            self._pieces = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    tf.boolean_mask(tf.constant(texts, tf.string), is_one),
                    tf.cast(tf.ragged.boolean_mask(alone, is_one).values, tf.int64),
                ),
                -1,
            )

    def ids(self, texts: tf.Tensor) -> tf.RaggedTensor:
        texts = checked_utf8(texts)
        pieces = self._normalize.encode(texts, tf.string)
        rows = tf.strings.unsorted_segment_join(
            pieces.values, pieces.value_rowids(), pieces.nrows()
        )
        characters = tf.strings.unicode_decode(rows, "UTF-8")
        # Marks in the texts themselves can be taken from their ends: the op knows when.
        values, splits = tf.cond(
            tf.reduce_any(characters.values == ord(SPACE_MARK)),
            lambda: _parts(self._processor.encode(texts)),
            lambda: _parts(self._of_words(self._cut(characters))),
        )
        return tf.RaggedTensor.from_row_splits(values, splits, validate=False)

    def _cut(self, characters: tf.RaggedTensor) -> tf.RaggedTensor:
        """Words [B, None] of normalized texts, given as their code points."""
        point = characters.values
        point = tf.where(point == ord(" "), ord(SPACE_MARK), point)
        apart = ~tf.gather(self._are_together, _place(point[:-1], point[1:]))
        begins = tf.concat([tf.ones_like(point[:1], tf.bool), apart], 0)
        # Where a text begins; at the end of all there is one place more, for those that are empty.
        places = tf.shape(point, tf.int64) + 1
        first = tf.scatter_nd(
            characters.row_splits[:, tf.newaxis], tf.ones_like(characters.row_splits), places
        )
        begins |= first[:-1] > 0
        starts = tf.concat([tf.where(begins)[:, 0], tf.shape(point, tf.int64)], 0)
        before = tf.concat([[0], tf.cumsum(tf.cast(begins, tf.int64))], 0)
        words = tf.RaggedTensor.from_row_splits(point, starts, validate=False)
        return tf.RaggedTensor.from_row_splits(
            tf.strings.unicode_encode(words, "UTF-8"),
            tf.gather(before, characters.row_splits),
            validate=False,
        )

    def _of_words(self, words: tf.RaggedTensor) -> tf.RaggedTensor:
        known = self._pieces.lookup(words.values)
        rest = tf.where(known < 0)[:, 0]
        others, which = tf.unique(tf.gather(words.values, rest))
        ids, _, _ = in_order(words, known, [(rest, tf.gather(self._merge.encode(others), which))])
        if self._merges_unknown:
            ids, _ = without_repeats(ids, ids.values == self._unk_id)
        return ids


def _place(left: int | tf.Tensor, right: int | tf.Tensor) -> int | tf.Tensor:
    """Where it stands whether two code points are together; few others stand there as well."""
    return (left * 1021 + right) % NUM_PLACES


def _parts(rows: tf.RaggedTensor) -> tuple[tf.Tensor, tf.Tensor]:
    return rows.values, rows.row_splits
