"""Span corruption: spans of text are cut out of the input, and the decoder writes them.

    text     thank you for inviting me to your party last week
    input    thank you <X> me to your party <Y> week </s>
    target   <X> for inviting <Y> last </s>

Raffel et al. 2020 (https://arxiv.org/abs/1910.10683), with the lengths and the random segments of
T5's own code (`random_spans_noise_mask`): the target ends with EOS, without a last sentinel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import tensorflow as tf

from keras_lm.data.batches import Rows
from keras_lm.data.objectives.slots import left_slots
from keras_lm.data.objectives.vocabulary import check_rate

if TYPE_CHECKING:
    from keras_lm.tokenizers.base import Tokenizer


@dataclass(frozen=True, eq=False)
class SpanCorruption:
    """Cuts random spans out of each row and puts a sentinel in the place of each.

    Of a row of n tokens, `noise_density · n` are cut out, rounded, in spans of `mean_span_length`
    tokens on average: the noise and the rest are each cut at random places into as many segments
    as there are spans, and the segments alternate, the rest first.

    A row is one running text: its segments are joined, as T5 joins documents. Plan with
    `token_windows(store, T, cross_documents=True)` for windows that are full, where T is
    `window_length(inputs_length)`. Since noise comes last, a row so short that it has one span
    only always loses its end, as in T5.

    A batch: x a dict of the encoder's `token_ids` and `padding_mask` (1, padding 0), int32 [B, S],
    and the decoder's `decoder_token_ids` (the start id and the targets but the last) and
    `decoder_padding_mask`, int32 [B, U]; y the targets, int32 [B, U]; sample_weight float32 [B, U].
    S and U are `lengths(T)`. A row of fewer than two tokens has no target and no weight.

    Args:
        sentinel_ids: the ids that stand for the first, the second, … span of a row.
        eos_id: the id that ends the input and the target.
        start_id: the decoder's first input; T5 takes its padding id.
        dropped_ids: ids that are left out of the rows first: a store's BOS and EOS.
        noise_density: the share of tokens that is cut out, 0 to 1.
        mean_span_length: tokens in a span, on average; at least 1.

    Raises:
        ValueError: a share or a length is out of range, or sentinels repeat; later, windows are so
            long that a row would have more spans than there are sentinels.

    Example:

    >>> objective = SpanCorruption(sentinel_ids=(99, 98), eos_id=1, noise_density=0.4)
    >>> tokens = np.arange(10, 20, dtype="int32")[np.newaxis]
    >>> x, y, weight = objective.corrupt(tokens, np.array([10]), np.random.default_rng(3))
    >>> x["token_ids"].tolist(), x["decoder_token_ids"].tolist(), y.tolist()
    ([[10, 11, 12, 13, 14, 15, 99, 1]], [[0, 99, 16, 17, 18, 19]], [[99, 16, 17, 18, 19, 1]])
    """

    sentinel_ids: Sequence[int]
    eos_id: int
    start_id: int = 0
    dropped_ids: Sequence[int] = ()
    noise_density: float = 0.15
    mean_span_length: float = 3.0

    def __post_init__(self) -> None:
        check_rate("noise_density", self.noise_density)
        if not self.mean_span_length >= 1:
            raise ValueError(f"mean_span_length is {self.mean_span_length!r}; it must be 1 or more")
        if not len(set(self.sentinel_ids)) == len(self.sentinel_ids) > 0:
            raise ValueError("sentinel_ids must be distinct ids, at least one")

    @classmethod
    def for_tokenizer(
        cls, tokenizer: Tokenizer, noise_density: float = 0.15, mean_span_length: float = 3.0
    ) -> Self:
        """The objective for a tokenizer with T5's sentinels `<extra_id_0>`, `<extra_id_1>`, ….

        Raises:
            ValueError: the tokenizer has no `<extra_id_0>`, no EOS or no padding id.
        """
        eos_id, pad_id = tokenizer.eos_id, tokenizer.pad_id
        if eos_id is None or pad_id is None:
            raise ValueError(
                f"tokenizer has eos_id {eos_id} and pad_id {pad_id}; span corruption needs both"
            )
        sentinels = [tokenizer.token_to_id("<extra_id_0>")]
        for number in range(1, tokenizer.vocab_size):
            try:
                sentinels.append(tokenizer.token_to_id(f"<extra_id_{number}>"))
            except ValueError:
                break
        ends = eos_id if tokenizer.bos_id is None else tokenizer.bos_id, eos_id, pad_id
        return cls(
            tuple(sentinels),
            eos_id,
            pad_id,
            tuple(sorted(set(ends))),
            noise_density,
            mean_span_length,
        )

    def lengths(self, length: int) -> tuple[int, int]:
        """S and U, the tokens of the input and of the target of a full row of T, EOS included.

        Raises:
            ValueError: such a row has more spans than there are sentinels.

        Example:

        >>> SpanCorruption(sentinel_ids=range(100), eos_id=1).lengths(568)
        (512, 114)
        """
        num_noise, num_spans = (int(n) for n in self._noise(np.array(length)))
        if num_spans > len(self.sentinel_ids):
            raise ValueError(
                f"sentinel_ids has {len(self.sentinel_ids)} ids, but a window of {length} tokens "
                f"has {num_spans} spans; give more sentinels or shorter windows"
            )
        return length - num_noise + num_spans + 1, num_noise + num_spans + 1

    def window_length(self, inputs_length: int) -> int:
        """T, the longest window whose input has at most `inputs_length` tokens.

        Raises:
            ValueError: no window fits, because `inputs_length` is below 3, or there are too few
                sentinels for windows of that length.

        Example:

        >>> SpanCorruption(sentinel_ids=range(100), eos_id=1).window_length(512)
        568
        """
        if inputs_length < 3:
            raise ValueError(f"inputs_length is {inputs_length}; it must be 3 or more")
        length = 2
        while self.lengths(length + 1)[0] <= inputs_length:
            length += 1
        return length

    def specs(self, batch_size: int, length: int) -> Any:
        inputs, targets = (tf.TensorSpec([batch_size, n], tf.int32) for n in self.lengths(length))
        x = {
            "token_ids": inputs,
            "padding_mask": inputs,
            "decoder_token_ids": targets,
            "decoder_padding_mask": targets,
        }
        return x, targets, tf.TensorSpec(targets.shape, tf.float32)

    def __call__(self, rows: Rows, random: np.random.Generator) -> Any:
        kept = (rows.segment_ids > 0) & ~np.isin(rows.token_ids, self.dropped_ids)
        row, column, slot = left_slots(kept)
        text = np.zeros_like(rows.token_ids)
        text[row, slot] = rows.token_ids[row, column]
        return self.corrupt(text, kept.sum(axis=1), random)

    def corrupt(self, text: np.ndarray, lengths: np.ndarray, random: np.random.Generator) -> Any:
        """A batch of texts: what the objective does, for rows that come from elsewhere.

        Args:
            text: int32 [B, T], each row from its left edge.
            lengths: int64 [B], the tokens of each row.
            random: the source of all choices.
        """
        num_rows, length = text.shape
        inputs_length, targets_length = self.lengths(length)
        is_noise = self._noise_mask(lengths, length, random)
        begins = is_noise & ~np.pad(is_noise, ((0, 0), (1, 0)))[:, :-1]
        span = np.cumsum(begins, axis=1)  # counted from 1
        sentinels = np.asarray(self.sentinel_ids, np.int32)[np.maximum(span, 1) - 1]
        num_spans, num_noise = begins.sum(axis=1), is_noise.sum(axis=1)

        token_ids = np.zeros((num_rows, inputs_length), np.int32)
        is_text = np.arange(length) < lengths[:, np.newaxis]
        row, column, slot = left_slots(is_text & (~is_noise | begins))
        token_ids[row, slot] = np.where(begins, sentinels, text)[row, column]
        present = np.flatnonzero(lengths)
        inputs = lengths - num_noise + num_spans
        token_ids[present, inputs[present]] = self.eos_id

        y = np.zeros((num_rows, targets_length), np.int32)
        row, column, slot = left_slots(is_noise)
        slot += span[row, column]  # the sentinels up to here stand before it
        y[row, slot] = text[row, column]
        first = begins[row, column]
        y[row[first], slot[first] - 1] = sentinels[row[first], column[first]]
        present = np.flatnonzero(num_spans)
        targets = num_noise + num_spans
        y[present, targets[present]] = self.eos_id

        counts = np.arange(targets_length) < np.where(num_spans, targets + 1, 0)[:, np.newaxis]
        before = np.pad(y, ((0, 0), (1, 0)), constant_values=self.start_id)[:, :-1]
        in_input = np.arange(inputs_length) < np.where(lengths, inputs + 1, 0)[:, np.newaxis]
        x = {
            "token_ids": token_ids,
            "padding_mask": in_input.astype(np.int32),
            "decoder_token_ids": np.where(counts, before, 0).astype(np.int32),
            "decoder_padding_mask": counts.astype(np.int32),
        }
        return x, y, counts.astype(np.float32)

    def _noise(self, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many tokens are cut out of rows of n tokens, and in how many spans."""
        num_noise = np.maximum(np.rint(lengths * self.noise_density), 1)
        num_noise = np.where(lengths < 2, 0, np.minimum(num_noise, lengths - 1)).astype(np.int64)
        num_spans = np.maximum(np.rint(num_noise / self.mean_span_length), 1).astype(np.int64)
        return num_noise, np.minimum(num_spans, np.minimum(num_noise, lengths - num_noise))

    def _noise_mask(
        self, lengths: np.ndarray, length: int, random: np.random.Generator
    ) -> np.ndarray:
        """Which tokens are cut out, bool [B, T]."""
        num_noise, num_spans = self._noise(lengths)
        most = max(1, int(num_spans.max()))
        pieces = np.stack(
            [
                _random_segments(lengths - num_noise, num_spans, most, random),
                _random_segments(num_noise, num_spans, most, random),
            ],
            axis=2,
        ).reshape(len(lengths), 2 * most)
        # Every end of a piece changes from text to noise or back.
        ends = np.cumsum(pieces, axis=1)[:, :-1] + np.arange(len(lengths))[:, None] * (length + 1)
        changes = np.bincount(ends.ravel(), minlength=len(lengths) * (length + 1))
        number = np.cumsum(changes.reshape(len(lengths), length + 1), axis=1)[:, :length]
        return (number % 2 == 1) & (np.arange(length) < lengths[:, np.newaxis])


def _random_segments(
    num_items: np.ndarray, num_segments: np.ndarray, most: int, random: np.random.Generator
) -> np.ndarray:
    """Cuts n items into k segments, none empty, all ways alike: sizes [B, most], 0 beyond k."""
    width = max(1, int(num_items.max()))
    item = np.arange(width)
    keys = random.random((len(num_items), width), np.float32)
    keys[:, 0] = -1  # the first item begins the first segment
    keys[item >= num_items[:, np.newaxis]] = 2
    begins = np.zeros(keys.shape, bool)
    np.put_along_axis(begins, np.argsort(keys, axis=1), item < num_segments[:, np.newaxis], axis=1)
    segment = np.cumsum(begins, axis=1) - 1 + np.arange(len(num_items))[:, np.newaxis] * most
    in_row = (item < num_items[:, np.newaxis]) & (num_segments > 0)[:, np.newaxis]
    return np.bincount(segment[in_row], minlength=len(num_items) * most).reshape(-1, most)
