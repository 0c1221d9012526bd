"""Lanes: texts in parallel streams, for models that carry their state from batch to batch.

documents |aaaaaaaaaa|bbb|cccccc|dd|        the pairs of all documents, one after the other,
lane 0    |aaaa|aaaa|aab|                   cut into B lanes of the same length, each of which
lane 1    |bbcc|cccc|dd.|                   is read in windows of T: batch k has window k of
            k=0  k=1  k=2                   every lane, and its rows go on from batch k - 1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from keras_lm.data.addresses import numbered_steps
from keras_lm.data.batches import as_batch, gather_windows, row_specs, without_autotune
from keras_lm.data.packing import WindowPlan
from keras_lm.data.python_calls import python_call
from keras_lm.data.store import TokenStore


@dataclass(frozen=True, eq=False)
class LanePlan(WindowPlan):
    """A `WindowPlan` whose window k · B + b is window k of lane b.

    Args:
        batch_size: B, the number of lanes.
        continues: int32 [windows], 1 where a window begins in the middle of a document whose
            pairs before stand at the end of the lane's window before.
    """

    batch_size: int
    continues: np.ndarray


def lane_windows(store: TokenStore, length: int, batch_size: int) -> LanePlan:
    """Plans windows for training with carried state: every pair of every document once.

    The documents are read in their order. Each piece of one is a segment, and a model's state
    starts from zero where a document begins; a document that is cut where a lane ends goes on in
    the next lane, without what came before. Only the last windows of a lane hold padding.

    Args:
        store: the tokenized documents.
        length: T, pairs of input and target in a window, through which gradients flow.
        batch_size: B, lanes read in parallel.

    Raises:
        ValueError: the store is empty, `length` or `batch_size` is not a positive int, or there
            are more lanes than pairs.

    Example:

    >>> store = TokenStore(tokens=np.arange(13, dtype="int32"),
    ...                    offsets=np.array([0, 9, 13]), num_bytes=np.array([7, 2]))
    >>> plan = lane_windows(store, length=2, batch_size=2)    # pairs 0-7 and 9-11: 6 and 5
    >>> plan.piece_starts.tolist(), plan.piece_lengths.tolist()
    ([0, 6, 2, 9, 4, 11], [2, 2, 2, 2, 2, 1])
    >>> plan.continues.tolist()
    [0, 0, 1, 0, 1, 1]
    """
    for name, value in (("length", length), ("batch_size", batch_size)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} is {value!r}; it must be a positive int")
    if store.num_documents == 0:
        raise ValueError("store is empty; it must hold at least one document")
    ends = np.cumsum(np.diff(store.offsets) - 1)  # of the documents, in the stream of pairs
    if (num_pairs := int(ends[-1])) < batch_size:
        raise ValueError(f"batch_size is {batch_size}; the store has {num_pairs} pairs only")
    lane_length = -(-num_pairs // batch_size)
    per_lane = -(-lane_length // length)

    # Pieces begin where a document, a lane or a window does.
    lane_starts = np.arange(0, num_pairs, lane_length)
    window_starts = (lane_starts[:, None] + np.arange(0, lane_length, length)).ravel()
    starts = np.concatenate([[0], ends[:-1], window_starts])
    starts = np.unique(starts[starts < num_pairs])
    document = np.searchsorted(ends, starts, side="right")
    lane, place = starts // lane_length, starts % lane_length
    window = place // length * batch_size + lane
    order = np.argsort(window, kind="stable")
    sizes = np.diff(starts, append=num_pairs)

    begins = starts == np.concatenate([[0], ends[:-1]])[document]
    num_windows = per_lane * batch_size
    num_bytes = np.zeros(num_windows, np.int64)
    np.add.at(num_bytes, window[begins], store.num_bytes[document[begins]])
    continues = np.zeros(num_windows, np.int32)
    first_in_window = (place % length == 0) & ~begins & (place > 0)
    continues[window[first_in_window]] = 1
    offsets = np.concatenate([[0], np.cumsum(np.bincount(window, minlength=num_windows))])
    return LanePlan(
        length=length,
        piece_starts=(starts + document)[order],  # every document before has one token more
        piece_lengths=sizes[order],
        counted_from=np.zeros_like(starts),
        offsets=offsets,
        num_bytes=num_bytes,
        batch_size=batch_size,
        continues=continues,
    )


def lane_batches(
    store: TokenStore, plan: LanePlan, repeat: bool = False, start: int = 0
) -> tf.data.Dataset:
    """Reads the windows of lanes as batches of static shape, each by its address.

    Steps are numbered through all epochs, as in `batches`: step s is batch `s % n` of epoch
    `s // n`, with n = `num_batches(plan, plan.batch_size)`. There is nothing to shuffle.

    Args:
        store: the tokens.
        plan: of `lane_windows`.
        repeat: True goes on through all epochs without end; False stops at the end of the epoch
            in which `start` lies, with known cardinality.
        start: the first step, counted from the beginning of epoch 0.

    Returns:
        A data set of `(x, y, sample_weight)` as `batches` gives it, where x has one array more:
        `continues`, int32 [B], 1 where a row goes on where the same row of the batch before
        ended. It is 0 in the first batch of an epoch.

    Raises:
        ValueError: `start` is not an int, at least 0.

    Example:

    >>> store = TokenStore(tokens=np.arange(13, dtype="int32"),
    ...                    offsets=np.array([0, 9, 13]), num_bytes=np.array([7, 2]))
    >>> for x, y, weight in lane_batches(store, lane_windows(store, length=2, batch_size=2)):
    ...     x["token_ids"].numpy().tolist(), y.numpy().tolist(), x["continues"].numpy().tolist()
    ([[0, 1], [6, 7]], [[1, 2], [7, 8]], [0, 0])
    ([[2, 3], [9, 10]], [[3, 4], [10, 11]], [1, 0])
    ([[4, 5], [11, 0]], [[5, 6], [12, 0]], [1, 1])
    """
    if not isinstance(start, int | np.integer) or isinstance(start, bool) or start < 0:
        raise ValueError(f"start is {start!r}; it must be an int, at least 0")
    lanes = plan.batch_size
    per_epoch = len(plan) // lanes
    specs = [*row_specs(lanes, plan.length), tf.TensorSpec([lanes], tf.int32)]

    def make_batch(step: int) -> list[np.ndarray]:
        windows = int(step) % per_epoch * lanes + np.arange(lanes)
        return [*gather_windows(store, plan, windows), plan.continues[windows]]

    def read(step: tf.Tensor) -> Any:
        *rows, continues = python_call(make_batch, [step], specs)
        x, y, weights = as_batch(tuple(rows))
        return {**x, "continues": continues}, y, weights

    end = (start // per_epoch + 1) * per_epoch
    steps = numbered_steps(start, None if repeat else end)
    return without_autotune(steps.map(read).prefetch(2))
