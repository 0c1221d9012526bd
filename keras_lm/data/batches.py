"""Batches with an address: batch k of epoch e is a function of (seed, e, k), and of nothing else.

step → (epoch, k) → windows k·B … k·B + B - 1 of the epoch's order → the plan → the store
                  → random numbers of (seed, step) → the objective: what is masked, replaced, drawn
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from keras_lm.data.addresses import numbered_steps
from keras_lm.data.packing import WindowPlan
from keras_lm.data.python_calls import python_call
from keras_lm.data.store import TokenStore


class Rows(NamedTuple):
    """Windows as dense rows, R of T tokens each; padding is 0 throughout."""

    token_ids: np.ndarray  # int32 [R, T]
    segment_ids: np.ndarray  # int32 [R, T]: documents from 1, padding 0
    positions: np.ndarray  # int32 [R, T], from 0 in each segment
    targets: np.ndarray  # int32 [R, T], the next tokens
    weights: np.ndarray  # float32 [R, T], 1 where a target counts
    num_bytes: np.ndarray  # int32 [R]


class Objective(Protocol):
    """What a model learns from rows of tokens; `keras_lm.data.objectives` holds the usual ones."""

    def specs(self, batch_size: int, length: int) -> Any:
        """The static shapes of a batch of B windows of T tokens: a nest of `tf.TensorSpec`."""

    def __call__(self, rows: Rows, random: np.random.Generator) -> Any:
        """A batch `(x, y, sample_weight)` of NumPy arrays, nested as `specs` says.

        All randomness comes from `random`, so that the same rows and numbers give the same batch.
        """


@dataclass(frozen=True)
class NextTokens:
    """Every token from those before it: what `batches` gives without an objective."""

    def specs(self, batch_size: int, length: int) -> Any:
        return as_batch(row_specs(batch_size, length))

    def __call__(self, rows: Rows, random: np.random.Generator) -> Any:
        return as_batch(rows)


def num_batches(plan: WindowPlan, batch_size: int) -> int:
    """How many batches an epoch has; the last may hold fewer than `batch_size` windows.

    Raises:
        ValueError: `batch_size` is not a positive int.

    Example:

    >>> import numpy as np
    >>> from keras_lm.data.packing import training_windows
    >>> store = TokenStore(tokens=np.arange(21, dtype="int32"), offsets=np.array([0, 21]),
    ...                    num_bytes=np.array([19]))
    >>> num_batches(training_windows(store, length=4), batch_size=2)    # 20 pairs, 5 windows
    3
    """
    if not isinstance(batch_size, int | np.integer) or isinstance(batch_size, bool):
        raise ValueError(f"batch_size is of type {type(batch_size).__name__}; it must be an int")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    return -(-len(plan) // batch_size)


def batches(
    store: TokenStore,
    plan: WindowPlan,
    batch_size: int,
    shuffle: bool = False,
    seed: int = 0,
    repeat: bool = False,
    start: int = 0,
    objective: Objective | None = None,
) -> tf.data.Dataset:
    """Reads the windows of a plan as batches of static shape, each by its address.

    Steps are numbered through all epochs: step s is batch `s % n` of epoch `s // n`, where n is
    `num_batches(plan, batch_size)`. A batch depends on (seed, epoch, number) alone, so a run that
    begins at `start=s` sees exactly what a run from 0 sees from its step s on.

    Args:
        store: the tokens.
        plan: the windows of length T.
        batch_size: B, windows in a batch. Where the last batch of an epoch falls short, it is
            filled with rows of padding: segment 0, weight 0, no bytes.
        shuffle: whether each epoch has an order of its own, by `seed` and the epoch's number.
        seed: any int64.
        repeat: True goes on through all epochs without end; False stops at the end of the epoch
            in which `start` lies, with known cardinality.
        start: the first step, counted from the beginning of epoch 0.
        objective: what is learnt from the windows, planned by `token_windows`: masked tokens,
            corrupted spans, … Its random numbers follow from (seed, step), so that with `repeat`
            every epoch masks anew. None is the next token, with windows planned by
            `training_windows` or `scoring_windows`.

    Returns:
        A data set of `(x, y, sample_weight)`, as the objective says. Without one: x a dict of
        `token_ids`, `segment_ids` (0 is padding, documents count from 1) and `positions` (from 0
        in each segment), int32 [B, T], and `num_bytes`, int32 [B]; y the next tokens, int32
        [B, T]; sample_weight float32 [B, T], 1 where a target counts. Padding is 0 throughout.

    Raises:
        ValueError: `batch_size` is not a positive int, `seed` or `start` is out of range, the
            windows are of the wrong kind, or the objective cannot read them.

    Example:

    >>> import numpy as np
    >>> store = TokenStore(tokens=np.array([0, 7, 8, 1, 0, 9, 1], "int32"),
    ...                    offsets=np.array([0, 4, 7]), num_bytes=np.array([2, 1]))
    >>> from keras_lm.data.packing import training_windows
    >>> x, y, weight = next(iter(batches(store, training_windows(store, 6), batch_size=1)))
    >>> x["token_ids"].numpy().tolist(), x["segment_ids"].numpy().tolist()
    ([[0, 7, 8, 0, 9, 0]], [[1, 1, 1, 2, 2, 0]])
    >>> y.numpy().tolist(), weight.numpy().tolist()
    ([[7, 8, 1, 9, 1, 0]], [[1.0, 1.0, 1.0, 1.0, 1.0, 0.0]])
    """
    per_epoch = num_batches(plan, batch_size)
    check_seed(seed)
    if not isinstance(start, int | np.integer) or isinstance(start, bool) or start < 0:
        raise ValueError(f"start is {start!r}; it must be an int, at least 0")
    make = NextTokens() if objective is None else objective
    holds_last = np.any(plan.piece_starts + plan.piece_lengths >= store.num_tokens)
    if isinstance(make, NextTokens) and holds_last:
        raise ValueError(
            "plan holds the store's last token, which has no next one: without an objective, plan "
            "with training_windows or scoring_windows"
        )
    last_window = len(plan) - 1
    structure = make.specs(batch_size, plan.length)
    specs = tf.nest.flatten(structure)

    def make_batch(windows: np.ndarray, step: int) -> list[np.ndarray]:
        batch = make(gather_windows(store, plan, windows), address_random(seed, int(step)))
        return tf.nest.flatten(batch)

    # One batch now, so that what cannot work fails here and not inside of TensorFlow.
    _check_arrays(make_batch(np.arange(batch_size), start), specs, make)

    def window_numbers(step: tf.Tensor) -> tf.Tensor:
        slots = step % per_epoch * batch_size + tf.range(batch_size, dtype=tf.int64)
        if not shuffle:
            return slots  # those beyond the last window become padding
        shuffled = tf.random.experimental.index_shuffle(
            tf.minimum(slots, last_window),
            seed=tf.stack([tf.constant(seed, tf.int64), step // per_epoch]),
            max_index=tf.constant(last_window, tf.int64),
        )
        return tf.where(slots > last_window, slots, shuffled)

    def read(step: tf.Tensor) -> Any:
        arrays = python_call(make_batch, [window_numbers(step), step], specs)
        return tf.nest.pack_sequence_as(structure, arrays)

    end = (start // per_epoch + 1) * per_epoch
    steps = numbered_steps(start, None if repeat else end)
    return without_autotune(steps.map(read).prefetch(2))


def check_seed(seed: int) -> None:
    """ValueError unless `seed` is an int of 64 bits."""
    if not isinstance(seed, int | np.integer) or not -(2**63) <= seed < 2**63:
        raise ValueError(f"seed is {seed!r}; it must be an int of 64 bits")


def address_random(seed: int, step: int) -> np.random.Generator:
    """The random numbers of a step: a counter-based generator, made in some microseconds.

    Example:

    >>> address_random(-1, 5).integers(100, size=3).tolist()
    [2, 5, 7]
    """
    key = np.array([seed % 2**64, step % 2**64], np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def _check_arrays(arrays: list[np.ndarray], specs: list[tf.TensorSpec], objective: Any) -> None:
    """ValueError unless an objective's batch is what its specs say."""
    name = type(objective).__name__
    if len(arrays) != len(specs):
        raise ValueError(f"{name} gives {len(arrays)} arrays where its specs have {len(specs)}")
    for array, spec in zip(arrays, specs, strict=True):
        if array.dtype != spec.dtype.as_numpy_dtype or array.shape != tuple(spec.shape):
            raise ValueError(
                f"{name} gives {array.dtype} {list(array.shape)} where its specs say "
                f"{spec.dtype.name} {spec.shape.as_list()}"
            )


def gather_windows(store: TokenStore, plan: WindowPlan, windows: np.ndarray) -> Rows:
    """Reads windows of a plan as dense rows; a number at or beyond `len(plan)` gives padding.

    Args:
        store: the tokens.
        plan: the windows of length T.
        windows: int64 [R].

    Example:

    >>> from keras_lm.data.packing import training_windows
    >>> store = TokenStore(tokens=np.array([0, 7, 8, 1, 0, 9, 1], "int32"),
    ...                    offsets=np.array([0, 4, 7]), num_bytes=np.array([2, 1]))
    >>> rows = gather_windows(store, training_windows(store, 6), np.array([0, 1]))
    >>> rows[0].tolist(), rows[-1].tolist()
    ([[0, 7, 8, 0, 9, 0], [0, 0, 0, 0, 0, 0]], [3, 0])
    """
    num_rows = len(windows)
    present = windows < len(plan)
    windows = np.where(present, windows, 0)
    piece_counts = np.where(present, plan.offsets[windows + 1] - plan.offsets[windows], 0)
    pieces = _ranges(plan.offsets[windows], piece_counts)
    lengths = plan.piece_lengths[pieces]
    row_of_piece = np.repeat(np.arange(num_rows), piece_counts)
    row_lengths = np.bincount(row_of_piece, lengths, minlength=num_rows).astype(np.int64)

    source = _ranges(plan.piece_starts[pieces], lengths)
    position = _ranges(np.zeros_like(lengths), lengths)
    segment = np.repeat(_ranges(np.ones_like(piece_counts), piece_counts), lengths)
    counts = position >= np.repeat(plan.counted_from[pieces], lengths)
    # Pieces fill a row from its left edge without gaps.
    target = _ranges(np.arange(num_rows) * plan.length, row_lengths)

    def place(values: np.ndarray, dtype: type) -> np.ndarray:
        dense: np.ndarray = np.zeros(num_rows * plan.length, dtype)
        dense[target] = values
        return dense.reshape(num_rows, plan.length)

    # The store's last token has no next one; only objectives without next tokens read it.
    following = np.minimum(source + 1, store.num_tokens - 1)
    return Rows(
        place(store.tokens[source], np.int32),
        place(segment, np.int32),
        place(position, np.int32),
        place(store.tokens[following], np.int32),
        place(counts, np.float32),
        np.where(present, plan.num_bytes[windows], 0).astype(np.int32),
    )


def row_specs(num_rows: int | None, length: int) -> tuple[tf.TensorSpec, ...]:
    """The shapes and dtypes of the arrays that `gather_windows` gives."""
    tokens = tf.TensorSpec([num_rows, length], tf.int32)
    weights = tf.TensorSpec([num_rows, length], tf.float32)
    return tokens, tokens, tokens, tokens, weights, tf.TensorSpec([num_rows], tf.int32)


def as_batch(rows: tuple[Any, ...]) -> tuple[dict[str, Any], Any, Any]:
    """Names the arrays of `gather_windows` as Keras's `(x, y, sample_weight)`."""
    token_ids, segment_ids, positions, targets, weights, num_bytes = rows
    x = {
        "token_ids": token_ids,
        "segment_ids": segment_ids,
        "positions": positions,
        "num_bytes": num_bytes,
    }
    return x, targets, weights


def without_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Switches tf.data's autotuning off, for the steps before these as well.

    There is nothing to tune in these short pipelines, and its thread would keep the process idle
    for up to seconds after the last batch.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Ranges one after the other: starts [2, 7], counts [3, 2] → [2, 3, 4, 7, 8]."""
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(ends[-1] if len(ends) else 0)
