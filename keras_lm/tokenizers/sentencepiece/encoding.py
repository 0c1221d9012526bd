"""SentencePiece in the graph: texts to ids and their spans, through tensorflow-text's ops."""

from __future__ import annotations

from typing import Protocol

import tensorflow as tf

from keras_lm.tokenizers.sentencepiece import model as models
from keras_lm.tokenizers.sentencepiece.merging import CuttingEncoder, MergingEncoder
from keras_lm.tokenizers.sentencepiece.model import SPACE_MARK, ModelProto
from keras_lm.tokenizers.sentencepiece.ops import Processor, Search
from keras_lm.tokenizers.sentencepiece.stretches import without_repeats
from keras_lm.tokenizers.tensors import checked_utf8

SURROGATES = r"\x{d800}-\x{dfff}"


class Encoder(Protocol):
    """What gives ids, and ids with their spans in bytes."""

    def ids(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Ids, ragged int32 [B, None], of strings [B]; those that are not UTF-8 are refused."""

    def ids_and_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """The ids and their spans in bytes, int32 [n, 2]."""


class Encoding:
    """What a tokenizer that has an `Encoder` encodes texts with."""

    _encoder: Encoder

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def _encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        with tf.device("CPU:0"):
            return self._encoder.ids(texts)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def _encode_with_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        with tf.device("CPU:0"):
            return self._encoder.ids_and_spans(texts)


def encoder_of(model: ModelProto) -> Encoder:
    """What encodes texts as a model does."""
    if model.trainer_spec.model_type == models.UNIGRAM:
        return UnigramEncoder(model)
    return CuttingEncoder(model) if models.can_be_cut(model) else MergingEncoder(model)


class UnigramEncoder(tf.Module):
    """The segmentation of the highest probability; Kudo 2018, https://arxiv.org/abs/1804.10959.

        plain texts ───────────────────────── search that normalizes ─┐
                                                                      ├─ codes ─ ids
        others ─ normalize ─ spell ▁ and NUL ─ search ────────────────┘

    A code is an id, or stands for a byte of a character that the model does not know. A batch is
    plain when all its texts are such that the faster op normalizes them as the library does.

    Args:
        model: the content of a model's file.
    """

    def __init__(self, model: ModelProto) -> None:
        super().__init__(name=None)
        self._normalize = Processor(models.normalizing_model(model))
        self._align = Processor(models.aligning_model(model))
        self._search = Search(models.searching_model(model, normalizes=False))
        self._search_plain = None
        if models.normalizes_alike(model):
            self._search_plain = Search(models.searching_model(model, normalizes=True))
            others = models.characters_normalized_otherwise(model)
            points = "".join(f"\\x{{{ord(character):x}}}" for character in others)
            self._plain = f"[^{SURROGATES}{points}]*"
        with tf.init_scope(), tf.device("CPU:0"):
            self._set_tables(model)
        self._strips = model.normalizer_spec.remove_extra_whitespaces

    def _set_tables(self, model: ModelProto) -> None:
        """What codes stand for, and how long their texts and those of the alignment are."""
        unknown = models.unknown_bytes(model)
        byte_ids = models.byte_ids(model)
        unk_id = models.unknown_id(model)
        self._num_ids = len(model.pieces)
        self._merges_unknown = not byte_ids
        nul_apart = [0 if byte == models.NUL_SPELLED else byte for byte in unknown]
        self._id_of_code = tf.constant(
            [*range(self._num_ids), *(byte_ids.get(byte, unk_id) for byte in nul_apart)], tf.int32
        )
        sizes = [len(piece.piece) for piece in model.pieces]
        begins = [int(not 0x80 <= byte < 0xC0) for byte in unknown]
        self._code_sizes = tf.constant([*sizes, *begins], tf.int32)
        symbols = [p.piece for p in model.pieces if p.type == models.USER_DEFINED]
        begins = [int(not 0x80 <= byte < 0xC0) for byte in range(256)]
        self._aligned_sizes = tf.constant([*(len(text) for text in symbols), *begins], tf.int32)

    def ids(self, texts: tf.Tensor) -> tf.RaggedTensor:
        codes = self._codes(texts)
        values, splits = tf.cond(
            tf.reduce_max(codes.values) < self._num_ids,
            lambda: (codes.values, codes.row_splits),
            lambda: self._resolve(codes)[:2],
        )
        return tf.RaggedTensor.from_row_splits(values, splits, validate=False)

    def ids_and_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        codes = self._codes(texts)
        values, splits, kept = self._resolve(codes)
        starts, ends, row_starts = self._places(texts)
        size = tf.gather(self._code_sizes, codes.values)
        before = tf.cumsum(tf.concat([[0], size], 0))
        row = codes.value_rowids()
        # The alignment has more where marks of spaces have been taken from the end of a text.
        first = before[:-1] + tf.gather(row_starts - tf.gather(before, codes.row_starts()), row)
        begins = size > 0
        is_last = tf.concat([begins[1:], tf.ones_like(begins[:1])], 0)
        start = tf.gather(starts, first - tf.cast(~begins, tf.int32))
        # The last byte of a character has its end; the bytes before it end where they start.
        end = tf.where(is_last, tf.gather(ends, first + size - 1), start)
        # What is left out belongs to the one before it.
        first = tf.where(kept)[:, 0]
        last = tf.concat([first[1:], tf.shape(kept, tf.int64)], 0)[: tf.size(first)] - 1
        spans = tf.stack([tf.gather(start, first), tf.gather(end, last)], axis=1)
        return tf.RaggedTensor.from_row_splits(values, splits, validate=False), spans

    def _codes(self, texts: tf.Tensor) -> tf.RaggedTensor:
        if self._search_plain is None:
            values, splits = self._search_normalized(texts)
        else:
            search = self._search_plain
            # All at once, with a byte between them that completes no character.
            whole = tf.strings.reduce_join(texts, separator=" ")
            values, splits = tf.cond(
                tf.strings.regex_full_match(whole, self._plain),
                lambda: search(texts),
                lambda: self._search_normalized(texts),
            )
        return tf.RaggedTensor.from_row_splits(values, splits, validate=False)

    def _search_normalized(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pieces = self._normalize.encode(checked_utf8(texts), tf.string)
        rows = tf.strings.unsorted_segment_join(
            pieces.values, pieces.value_rowids(), pieces.nrows()
        )
        if self._strips:
            # What the op has left, because it stands before a mark that is in the text itself.
            end = f"[ {SPACE_MARK}]*{SPACE_MARK}[ {SPACE_MARK}]*$"
            rows = tf.strings.regex_replace(rows, end, "")
        rows = tf.strings.regex_replace(rows, SPACE_MARK, " ")
        rows = tf.strings.regex_replace(rows, r"\x00", bytes([models.NUL_SPELLED]))
        return self._search(rows)

    def _resolve(self, codes: tf.RaggedTensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Ids, their row splits, and which of the codes they are."""
        ids = codes.with_values(tf.gather(self._id_of_code, codes.values))
        kept = tf.ones_like(ids.values, tf.bool)
        if self._merges_unknown:
            # Unknown characters side by side are one unknown piece.
            ids, kept = without_repeats(ids, codes.values >= self._num_ids)
        return ids.values, ids.row_splits, kept

    def _places(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Where the characters of the normalized texts come from: starts, ends; the rows' first."""
        ids, starts, ends = self._align.encode_with_spans(texts)
        size = tf.gather(self._aligned_sizes, ids.values)
        row_starts = tf.gather(tf.cumsum(tf.concat([[0], size], 0)), ids.row_starts())
        # Of the bytes of a character the first has its start, and the last its end.
        first = tf.where(size > 0)[:, 0]
        last = tf.concat([first[1:], [tf.size(size, tf.int64)]], 0)[: tf.size(first)] - 1
        start, end = tf.gather(starts, first), tf.gather(ends, last)
        # A symbol is taken over as it is; its characters are all where it starts.
        size = tf.gather(size, first)
        start, end = tf.repeat(start, size), tf.repeat(end, size)
        is_last = tf.scatter_nd(
            tf.cumsum(size)[:, tf.newaxis] - 1, tf.ones_like(size), [tf.reduce_sum(size)]
        )
        return start, tf.where(is_last > 0, end, start), row_starts
