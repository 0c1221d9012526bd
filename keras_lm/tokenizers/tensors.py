"""Texts and ids on their way in and out: what a user gives as tensors, and tensors as strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

Texts: TypeAlias = str | bytes | Sequence[str | bytes] | tf.Tensor
Ids: TypeAlias = Sequence[int] | Sequence[Sequence[int]] | np.ndarray | tf.Tensor | tf.RaggedTensor
Encoded: TypeAlias = tf.Tensor | tf.RaggedTensor

# Every character that UTF-8 may spell; RE2 reads the bytes of surrogates as characters too.
VALID_UTF8 = r"[^\x{d800}-\x{dfff}]*"


def checked_utf8(texts: tf.Tensor) -> tf.Tensor:
    """The texts, once each is known to be valid UTF-8."""
    is_utf8 = tf.reduce_all(tf.strings.regex_full_match(texts, VALID_UTF8))
    check = tf.debugging.Assert(is_utf8, ["texts must be valid UTF-8"])
    with tf.control_dependencies([check]):
        return tf.identity(texts)


def shaped(
    rows: tf.RaggedTensor, texts: tf.Tensor, sequence_length: int | None, padding: int | None
) -> Encoded:
    """Rows [B, None, …] as they are to be given back: cut and padded, or one text alone."""
    if sequence_length is not None:
        shape = [None, sequence_length, *rows.values.shape[1:]]
        dense = rows.to_tensor(padding, shape=shape)
        return dense if texts.shape.rank else dense[0]
    return rows if texts.shape.rank else rows.values


def string_tensor(texts: Texts) -> tf.Tensor:
    """Texts as a string tensor of rank 0 or 1."""
    if isinstance(texts, list | tuple):
        for position, text in enumerate(texts):
            if not isinstance(text, str | bytes):
                raise ValueError(
                    f"texts[{position}] is of type {type(text).__name__}; texts must be strings"
                )
        tensor = tf.constant(texts, tf.string, shape=[len(texts)])
    else:
        tensor = tf.convert_to_tensor(texts)
    if tensor.dtype != tf.string or tensor.shape.rank not in (0, 1):
        raise ValueError(
            f"texts must be a string, a list of strings or a string tensor [B], not a "
            f"{tensor.dtype.name} tensor of shape {tensor.shape}"
        )
    return tensor


def id_tensor(ids: Any, vocab_size: int) -> tf.Tensor | tf.RaggedTensor:
    """Ids given in Python as a tensor [T] or ragged [B, None], each in its range."""
    is_batch = len(ids) > 0 and isinstance(ids[0], Sequence | np.ndarray)
    rows = ids if is_batch else [ids]
    # An empty list has no type that NumPy could know.
    flat = np.concatenate([np.zeros(0, np.int32), *(np.asarray(row) for row in rows if len(row))])
    if flat.dtype.kind not in "iu":
        raise ValueError(f"ids must be integers, not {flat.dtype.name}")
    wrong = flat[(flat < 0) | (flat >= vocab_size)]
    if wrong.size:
        raise ValueError(f"ids holds {wrong[0]}; ids must be in [0, {vocab_size})")
    values = tf.constant(flat.astype(np.int32))
    if not is_batch:
        return values
    return tf.RaggedTensor.from_row_lengths(values, tf.constant([len(row) for row in rows]))


@tf.function(reduce_retracing=True, autograph=False)
def join_rows(ids: tf.RaggedTensor, first: tf.Tensor, later: tf.Tensor) -> tf.Tensor:
    """Strings [B]: the bytes of each row's ids, with U+FFFD for what is not UTF-8.

    As Rust's `from_utf8_lossy` does, every maximal part of an invalid sequence gives one U+FFFD.
    """
    with tf.device("CPU:0"):
        words = tf.gather(later, ids.values)
        if first is not later:
            starts = tf.gather(ids.row_starts(), tf.squeeze(tf.where(ids.row_lengths() > 0), 1))
            firsts = tf.gather(first, tf.gather(ids.values, starts))
            words = tf.tensor_scatter_nd_update(words, starts[:, tf.newaxis], firsts)
        texts = tf.strings.unsorted_segment_join(words, ids.value_rowids(), ids.nrows())
        return tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", replacement_char=0xFFFD)
