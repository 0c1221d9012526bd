"""Strings to what an encoder reads, in the graph; and from the graph's rows to Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_lm.data.examples.tokenizing import check_string, cls_and_sep
from keras_lm.tokenizers import Tokenizer

TEXT = tf.TensorSpec([None], tf.string, "text")
INPUTS = (
    tf.TensorSpec([None, None], tf.int32, "token_ids"),
    tf.TensorSpec([None, None], tf.int32, "token_types"),
    tf.TensorSpec([None, None], tf.int32, "padding_mask"),
)
"""What the functions of models take that read texts with a beginning and ends."""


class Reader(tf.Module):
    """Texts, or pairs of texts, as rows [CLS] text [SEP] or [CLS] text [SEP] text [SEP].

    Args:
        tokenizer: the tokenizer.
        max_length: T, the most tokens of a row; more are cut as `data.classification` cuts them.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        super().__init__()
        self.tokenizer, self._max_length = tokenizer, max_length
        self.ends = cls_and_sep(tokenizer)
        self._separators = tokenizer.separators_between_texts

    def __call__(
        self, text: tf.Tensor, second: tf.Tensor | None = None
    ) -> tuple[tuple[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]:
        """The three `INPUTS` int32 [B, T] of strings [B], and whether a row was cut, bool [B]."""
        texts = [text] if second is None else [text, second]
        ids: list[Any] = [self.tokenizer(part) for part in texts]
        lengths = [part.row_lengths() for part in ids]
        room = self._max_length - 2 - (0 if second is None else self._separators)
        kept = [tf.minimum(lengths[0], room)]
        if second is not None:
            kept = _longest_first(lengths[0], lengths[1], room)
        was_cut = tf.add_n(lengths) > tf.add_n(kept)
        cut = [_first(part, n) for part, n in zip(ids, kept, strict=True)]
        column = tf.ones([tf.shape(text)[0], 1], tf.int32)
        cls, sep = (column * end for end in self.ends)
        parts = [tf.concat([cls, cut[0], sep], axis=1)]
        if second is not None:
            between = [sep] * (self._separators - 1)
            parts.append(tf.concat([*between, cut[1], sep], axis=1))
        rows = tf.concat(parts, axis=1)
        types = tf.concat([tf.zeros_like(parts[0]), *map(tf.ones_like, parts[1:])], axis=1)
        return (dense(rows), dense(types), dense(tf.ones_like(rows))), was_cut


def dense(rows: tf.RaggedTensor, value: int = 0) -> tf.Tensor:
    """Rows [B, None] filled up to the longest, [B, T].

    T is 1 at least: what looks at the first place does so where there are no rows, too.

    Example:

    >>> dense(tf.ragged.constant([[3, 1], [2]])).numpy().tolist()
    [[3, 1], [2, 0]]
    >>> dense(tf.ragged.constant([], ragged_rank=1)).shape
    TensorShape([0, 1])
    """
    width = tf.maximum(rows.bounding_shape(1), 1)
    return rows.to_tensor(value, shape=tf.stack([-1, width]))


def _first(ids: tf.RaggedTensor, counts: tf.Tensor) -> tf.RaggedTensor:
    """The first ids of each row."""
    dense = ids.to_tensor(0)
    return tf.RaggedTensor.from_tensor(dense, lengths=tf.cast(counts, ids.row_splits.dtype))


def _longest_first(first: tf.Tensor, second: tf.Tensor, room: int) -> list[tf.Tensor]:
    """How much to keep of two texts: `data.examples.sequences.longest_first` in the graph."""
    shorter = tf.minimum(tf.minimum(first, second), room // 2)
    longer = tf.minimum(tf.maximum(first, second), room - shorter)
    is_shorter = first <= second
    return [tf.where(is_shorter, shorter, longer), tf.where(is_shorter, longer, shorter)]


def rows_of(
    function: Callable[..., dict[str, tf.Tensor]], *columns: Sequence[str], batch_size: int = 32
) -> list[dict[str, Any]]:
    """Calls a graph function of strings [B] on lists of any length, and gives its rows in order.

    Texts of about one length share a batch, so that little is padding.

    Args:
        function: columns of strings [B] → tensors whose first axis is B.
        columns: lists of strings, all of one length.
        batch_size: texts in a batch.

    Returns:
        A dict for each row, of NumPy values.
    """
    sizes = [sum(map(len, row)) for row in zip(*columns, strict=True)]
    order = np.argsort(sizes, kind="stable")
    rows: list[dict[str, Any]] = [{} for _ in sizes]
    for start in range(0, len(order), batch_size):
        numbers = order[start : start + batch_size]
        parts = [tf.constant([column[number] for number in numbers]) for column in columns]
        outputs = {name: tensor.numpy() for name, tensor in function(*parts).items()}
        for row, number in enumerate(numbers):
            rows[number] = {name: array[row] for name, array in outputs.items()}
    return rows


def check_texts(name: str, text: Any) -> list[str]:
    """Texts as a list, from one or a list; `ValueError` unless they are strings and not empty."""
    if isinstance(text, bytes) or not isinstance(text, str | Sequence | np.ndarray):
        raise ValueError(f"{name} must be a string or a list of strings; got {text!r}")
    texts = [text] if isinstance(text, str) else list(text)
    if not texts:
        raise ValueError(f"{name} is an empty list; give at least one string")
    for row, value in enumerate(texts):
        place = name if isinstance(text, str) else f"{name}[{row}]"
        if not isinstance(value, str):
            raise ValueError(f"{place} must be a string; got {type(value).__name__}")
        if not value.strip():
            raise ValueError(f"{place} is an empty text; give at least one word")
        check_string(value, place)
    return texts
