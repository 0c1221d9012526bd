"""Packing: which pieces of which documents make up each window of a data set.

    documents   |aaaaaaaaaaaaa|bbb|cccc|dd|          cut into pieces of at most T pairs,
    windows T=8 |aaaaaaaa| |aaaaabbb| |ccccdd..|     each piece a segment of its own

A plan is an index of a few numbers per piece; the tokens themselves stay in the store.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_lm.data.store import TokenStore


@dataclass(frozen=True, eq=False)
class WindowPlan:
    """Which pieces of a token store stand in which window; `len(plan)` is the number of windows.

    A piece of n pairs that begins at s has the inputs `tokens[s:s + n]` and the targets
    `tokens[s + 1:s + n + 1]`. Window w holds, from its left edge, the pieces
    `offsets[w]` to `offsets[w + 1] - 1`; what is left of its `length` is padding.

    Args:
        length: T, pairs of input and target in a window.
        piece_starts: int64 [pieces], where in the store's tokens each piece begins.
        piece_lengths: int64 [pieces], pairs in each piece, 1 to T.
        counted_from: int64 [pieces], the first pair of each piece whose target counts; those
            before it are context that another window has counted.
        offsets: int64 [windows + 1], where in the pieces each window begins.
        num_bytes: int64 [windows], the UTF-8 bytes of the documents whose first piece lies in the
            window, so that the sum over all windows counts each document once.

    Example:

    >>> import numpy as np
    >>> store = TokenStore(tokens=np.array([0, 7, 8, 1, 0, 9, 1], "int32"),
    ...                    offsets=np.array([0, 4, 7]), num_bytes=np.array([2, 1]))
    >>> plan = training_windows(store, length=4)
    >>> len(plan), plan.piece_starts.tolist(), plan.piece_lengths.tolist(), plan.padding_share
    (2, [0, 4], [3, 2], 0.375)
    """

    length: int
    piece_starts: np.ndarray
    piece_lengths: np.ndarray
    counted_from: np.ndarray
    offsets: np.ndarray
    num_bytes: np.ndarray

    def __len__(self) -> int:
        return len(self.num_bytes)

    @property
    def padding_share(self) -> float:
        """The share of all positions that is padding, 0 to 1."""
        return 1.0 - int(self.piece_lengths.sum()) / (len(self) * self.length)


def training_windows(store: TokenStore, length: int, cross_documents: bool = False) -> WindowPlan:
    """Plans windows for training: every pair of every document once, with little padding.

    Documents of more than `length` pairs are cut into consecutive pieces; the pieces are packed
    best-fit-decreasing (https://arxiv.org/abs/2404.10830). Each piece is a segment of its own: no
    token sees another document, nor another piece of its own.

    Args:
        store: the tokenized documents.
        length: T, pairs of input and target in a window.
        cross_documents: True reads all documents as one stream, cut every `length` pairs into
            windows of one segment: no padding but in the last, and tokens see the documents
            before them. The target after an EOS is then the next document's BOS.

    Raises:
        ValueError: the store is empty, or `length` is not a positive int.

    Example:

    >>> import numpy as np
    >>> store = TokenStore(tokens=np.arange(9, dtype="int32"),
    ...                    offsets=np.array([0, 2, 7, 9]), num_bytes=np.array([1, 4, 1]))
    >>> plan = training_windows(store, length=4)    # pieces of 1, 4 and 1 pairs
    >>> [plan.piece_starts[a:b].tolist() for a, b in zip(plan.offsets, plan.offsets[1:])]
    [[0, 7], [2]]
    >>> training_windows(store, length=4, cross_documents=True).piece_starts.tolist()
    [0, 4]
    """
    _check(store, length)
    if not cross_documents:
        return _pack(store, length, stride=length)
    starts = np.arange(0, store.num_tokens - 1, length)
    first_window = store.offsets[:-1] // length
    num_bytes = np.zeros(len(starts), np.int64)
    np.add.at(num_bytes, first_window, store.num_bytes)
    return WindowPlan(
        length=length,
        piece_starts=starts,
        piece_lengths=np.minimum(store.num_tokens - 1 - starts, length),
        counted_from=np.zeros_like(starts),
        offsets=np.arange(len(starts) + 1),
        num_bytes=num_bytes,
    )


def scoring_windows(store: TokenStore, length: int) -> WindowPlan:
    """Plans windows for evaluation: every target counted once, with as much context as fits.

    Documents of more than `length` pairs are read in windows that overlap by half, as
    `overlapping_windows` says; short documents and last pieces are packed together. The nats
    summed over all windows, with their weights, are the sum of each document's own.

    Args:
        store: the tokenized documents.
        length: T, pairs of input and target in a window; the model's length.

    Raises:
        ValueError: the store is empty, or `length` is not a positive int.

    Example:

    >>> import numpy as np
    >>> store = TokenStore(tokens=np.arange(9, dtype="int32"), offsets=np.array([0, 9]),
    ...                    num_bytes=np.array([7]))
    >>> plan = scoring_windows(store, length=4)
    >>> plan.piece_starts.tolist(), plan.piece_lengths.tolist(), plan.counted_from.tolist()
    ([0, 2, 4], [4, 4, 4], [0, 2, 2])
    """
    _check(store, length)
    return _pack(store, length, stride=length - length // 2)


def overlapping_windows(
    lengths: tf.Tensor | np.ndarray, length: int | tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Cuts documents into windows that overlap by half and count every target once.

    A document of n pairs that fits gives one window. A longer one gives windows `length -
    length // 2` pairs apart; in each but the first, the leading `length // 2` pairs are context
    that the window before has counted. The last window may be shorter: it holds
    `min(length, n - start)` pairs. Works eagerly and in a graph.

    Args:
        lengths: int32 or int64 [documents], pairs of input and target in each, at least 1.
        length: T, the most pairs in a window.

    Returns:
        Three tensors [windows] of the dtype of `lengths`, in the order of the documents: the
        document, the pair at which the window begins, and how many of its leading pairs do not
        count.

    Example:

    >>> document, start, counted_from = overlapping_windows(np.array([3, 9]), length=4)
    >>> document.numpy().tolist(), start.numpy().tolist(), counted_from.numpy().tolist()
    ([0, 1, 1, 1, 1], [0, 0, 2, 4, 6], [0, 0, 2, 2, 2])
    """
    lengths = tf.convert_to_tensor(lengths)
    length = tf.cast(length, lengths.dtype)
    return _windows(lengths, length, length - length // 2)


def _windows(
    lengths: tf.Tensor, length: tf.Tensor, stride: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    further = -((length - lengths) // stride)  # windows after the first: rounded up
    counts = 1 + tf.maximum(further, tf.zeros_like(further))
    document = tf.repeat(tf.range(tf.shape(lengths, out_type=lengths.dtype)[0]), counts)
    number = tf.range(tf.reduce_sum(counts)) - tf.gather(
        tf.cumsum(counts, exclusive=True), document
    )
    counted_from = tf.where(number > 0, length - stride, tf.zeros_like(number))
    return document, number * stride, counted_from


def _check(store: TokenStore, length: int) -> None:
    if not isinstance(length, int | np.integer) or isinstance(length, bool) or length < 1:
        raise ValueError(f"length is {length!r}; it must be a positive int")
    if store.num_documents == 0:
        raise ValueError("store is empty; it must hold at least one document")


def _pack(store: TokenStore, length: int, stride: int) -> WindowPlan:
    """Cuts every document into pieces `stride` apart and packs the pieces into windows."""
    pairs = np.diff(store.offsets) - 1
    cut = _windows(tf.constant(pairs), tf.constant(length, tf.int64), tf.constant(stride, tf.int64))
    document, start, counted_from = (tensor.numpy() for tensor in cut)
    piece_lengths = np.minimum(pairs[document] - start, length)
    piece_bytes = np.where(start == 0, store.num_bytes[document], 0)
    window = _best_fit_decreasing(piece_lengths, length)
    order = np.argsort(window, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(window))])
    return WindowPlan(
        length=length,
        piece_starts=(store.offsets[document] + start)[order],
        piece_lengths=piece_lengths[order],
        counted_from=counted_from[order],
        offsets=offsets,
        num_bytes=np.add.reduceat(piece_bytes[order], offsets[:-1]),
    )


def _best_fit_decreasing(sizes: np.ndarray, capacity: int) -> np.ndarray:
    """The window of each piece: the longest pieces first, each where the least room remains.

    Pieces of one size are placed together, and windows with the same room are interchangeable, so
    the work is one slice for each (size, room) that meet: a million pieces take about a second.
    Windows are numbered in the order of the first piece that each holds.
    """
    window = np.empty(len(sizes), np.int64)
    num_windows = 0
    with_room: dict[int, list[int]] = {}  # room → the windows that have just so much left
    rooms: list[int] = []  # its keys, sorted

    def put(room: int, windows: list[int]) -> None:
        if room and windows:
            if room not in with_room:
                insort(rooms, room)
                with_room[room] = []
            with_room[room] += windows

    for size, pieces in _by_decreasing_size(sizes):
        while len(pieces):
            tightest = bisect_left(rooms, size)
            room = rooms[tightest] if tightest < len(rooms) else capacity
            # Once a piece lies in the tightest window, that window is the tightest still.
            each = room // size
            needed = -(-len(pieces) // each)
            if tightest < len(rooms):
                chosen = with_room[room][-needed:]
                del with_room[room][-needed:]
                if not with_room[room]:
                    del with_room[rooms.pop(tightest)]
            else:
                chosen = list(range(num_windows, num_windows + needed))
                num_windows += needed
            placed = min(len(pieces), each * len(chosen))
            window[pieces[:placed]] = np.repeat(chosen, each)[:placed]
            full, rest = divmod(placed, each)
            put(room - each * size, chosen[:full])
            put(room - rest * size, chosen[full:])
            pieces = pieces[placed:]

    first_piece = np.empty(num_windows, np.int64)
    first_piece[window[::-1]] = np.arange(len(sizes))[::-1]  # the last write is the first piece
    rank = np.empty(num_windows, np.int64)
    rank[np.argsort(first_piece)] = np.arange(num_windows)
    return rank[window]


def _by_decreasing_size(sizes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each size that occurs, the greatest first, with the pieces that have it."""
    order = np.argsort(-sizes, kind="stable")
    ends = np.flatnonzero(np.diff(sizes[order], append=0)) + 1
    for begin, end in zip(np.concatenate([[0], ends[:-1]]), ends, strict=True):
        yield int(sizes[order[begin]]), order[begin:end]
