"""Length buckets: a bounded set of static shapes, each for the examples that it fits best.

lengths 3 5 | 9 12 14 | 30 31      token budget 64, three buckets
shapes  (8, 8)  (4, 16)  (2, 32)   batch × length, so that XLA compiles three programs
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_lm.data.examples.sequences import offsets_of
from keras_lm.data.examples.tokenizing import check_count


@dataclass(frozen=True, eq=False)
class BucketPlan:
    """Which examples share a batch, and the shape of every batch; `print(plan)` shows it.

    An epoch has `num_batches` batches, each from one bucket, and every example once. Where the
    examples of a bucket do not fill its last batch, rows of padding do.

    Args:
        shapes: the shape of each bucket's batches: (B, T), or (B, T source, T target).
        members: int64 [examples], the examples, bucket after bucket.
        offsets: int64 [buckets + 1], where in the members each bucket begins.
        num_tokens: int64 [buckets], the tokens of each bucket's examples.

    Example:

    >>> plan = bucket_plan(np.array([3, 30, 5, 12, 9, 31, 14]), token_budget=64, num_buckets=3)
    >>> print(plan)
    length  batch  batches  examples  padding
         8      2        1         2    50.0%
        16      3        1         3    27.1%
        31      2        1         2     1.6%
    all                  3         7    17.5%
    >>> plan.examples_of(1).tolist()
    [3, 4, 6]
    """

    shapes: tuple[tuple[int, ...], ...]
    members: np.ndarray
    offsets: np.ndarray
    num_tokens: np.ndarray

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self.members)

    @property
    def batches_per_bucket(self) -> np.ndarray:
        """int64 [buckets]."""
        return -(-np.diff(self.offsets) // [shape[0] for shape in self.shapes])

    @property
    def num_batches(self) -> int:
        """Batches in an epoch: always the same number."""
        return int(self.batches_per_bucket.sum())

    @property
    def padding_share(self) -> float:
        """The share of all positions of an epoch that is padding, filled up rows included."""
        return 1.0 - float(self.num_tokens.sum() / self._positions.sum())

    @property
    def _positions(self) -> np.ndarray:
        return self.batches_per_bucket * [shape[0] * sum(shape[1:]) for shape in self.shapes]

    def take(self, bucket: int, slots: np.ndarray) -> np.ndarray:
        """The examples in some places of a bucket; -1 beyond its last."""
        places = self.offsets[bucket] + slots
        inside = places < self.offsets[bucket + 1]
        return np.where(inside, self.members[np.where(inside, places, 0)], -1)

    def examples_of(self, batch: int) -> np.ndarray:
        """The examples of a batch of an epoch that is not shuffled, int64 [B]; -1 is padding."""
        ends = np.cumsum(self.batches_per_bucket)
        bucket = int(np.searchsorted(ends, batch, side="right"))
        size = self.shapes[bucket][0]
        number = batch - (ends[bucket - 1] if bucket else 0)
        return self.take(bucket, number * size + np.arange(size))

    def __str__(self) -> str:
        lines = [f"{'length':<8}{'batch':>5}{'batches':>9}{'examples':>10}{'padding':>9}"]
        rows = zip(
            self.shapes,
            self.batches_per_bucket,
            np.diff(self.offsets),
            1 - self.num_tokens / self._positions,
            strict=True,
        )
        for (size, *lengths), number, examples, share in rows:
            length = " + ".join(map(str, lengths))
            lines.append(f"{length:>6}{size:>7}{number:>9}{examples:>10}{share:>9.1%}")
        lines.append(f"{'all':<13}{self.num_batches:>9}{len(self):>10}{self.padding_share:>9.1%}")
        return "\n".join(lines)


def bucket_plan(
    lengths: np.ndarray,
    token_budget: int | None = None,
    batch_size: int | None = None,
    num_buckets: int = 8,
    multiple: int = 8,
    boundaries: Sequence[int] | Sequence[Sequence[int]] | None = None,
) -> BucketPlan:
    """Plans batches of few shapes with little padding.

    Without `boundaries`, all examples begin as one bucket; the cut that saves most positions is
    made again and again, until there are `num_buckets` or no cut saves any. Rows that would only
    fill up a last batch are positions as well.

    Args:
        lengths: int [examples], or [examples, 2] for pairs of sequences: `store.lengths`.
        token_budget: the most positions in a batch: B times the length of a row (for pairs, of
            both sequences together). A bucket's batches are made as equal as they can be.
        batch_size: instead of a budget, the same B for every bucket.
        num_buckets: the most shapes.
        multiple: lengths of buckets are multiples of it, but for the longest of all.
        boundaries: instead of `num_buckets`, the length of each bucket, or for pairs two lengths
            of each. An example goes where it fits with the least padding.

    Raises:
        ValueError: not exactly one of `token_budget` and `batch_size` is given, an example does
            not fit, or an argument is out of range.

    Example:

    >>> pairs = np.array([[3, 9], [8, 2], [20, 22], [17, 30]])
    >>> bucket_plan(pairs, batch_size=2, num_buckets=2).shapes
    ((2, 8, 16), (2, 20, 30))
    >>> bucket_plan(pairs, token_budget=120, boundaries=[(8, 16), (32, 32)]).shapes
    ((2, 8, 16), (1, 32, 32))
    """
    lengths = np.asarray(lengths)
    if lengths.ndim == 1:
        lengths = lengths[:, np.newaxis]
    if lengths.ndim != 2 or not np.issubdtype(lengths.dtype, np.integer) or lengths.size == 0:
        raise ValueError(
            f"lengths is {lengths.dtype} of shape {lengths.shape}; it must be int [examples] or "
            "[examples, 2], with at least one example"
        )
    if (token_budget is None) == (batch_size is None):
        raise ValueError("give token_budget or batch_size, and not both")
    given = {"token_budget": token_budget, "batch_size": batch_size}
    for name, value in (given | {"num_buckets": num_buckets, "multiple": multiple}).items():
        if value is not None:
            check_count(value, name, least=1)
    if boundaries is not None:
        widths, bucket = _fit(lengths, np.asarray(boundaries))
        widest = int(widths.sum(axis=1).max())
    else:
        rounded = -(-np.maximum(lengths, 1) // multiple) * multiple
        rounded = np.minimum(rounded, np.maximum(lengths.max(axis=0), 1))
        widest = int(rounded.max(axis=0).sum())
    if token_budget is not None and token_budget < widest:
        raise ValueError(f"token_budget is {token_budget}; the longest row takes {widest}")
    sizes = _Sizes(token_budget or 0, batch_size)
    if boundaries is None:
        widths, bucket = _split(rounded, sizes, num_buckets)
    counts = np.bincount(bucket, minlength=len(widths))
    rows = sizes.batch_size(counts, widths.sum(axis=1))
    return BucketPlan(
        shapes=tuple(
            (int(size), *map(int, width)) for size, width in zip(rows, widths, strict=True)
        ),
        members=np.argsort(bucket, kind="stable"),
        offsets=offsets_of(counts),
        num_tokens=np.bincount(bucket, lengths.sum(axis=1)).astype(np.int64),
    )


@dataclass(frozen=True)
class _Sizes:
    """How many rows a batch has, by the budget or the fixed size that was asked for."""

    token_budget: int
    fixed: int | None

    def batch_size(self, counts: np.ndarray, widths: np.ndarray) -> np.ndarray:
        """Rows in the batches of buckets with so many examples and positions in a row."""
        if self.fixed is not None:
            return np.full(np.shape(counts), self.fixed)
        most = self.token_budget // widths
        return -(-counts // -(-counts // most))  # as many batches as need be, of equal size

    def positions(self, counts: np.ndarray, widths: np.ndarray) -> np.ndarray:
        """Positions in all batches of such buckets."""
        size = self.batch_size(counts, widths)
        return -(-counts // size) * size * widths


def _fit(lengths: np.ndarray, boundaries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The boundaries that are used, by size, and the place among them of every example."""
    if boundaries.ndim == 1:
        boundaries = boundaries[:, np.newaxis]
    if (
        boundaries.ndim != 2
        or boundaries.shape[1] != lengths.shape[1]
        or not np.issubdtype(boundaries.dtype, np.integer)
        or boundaries.min(initial=1) < 1
    ):
        raise ValueError(
            f"boundaries is {boundaries.tolist()}; it must hold {lengths.shape[1]} positive ints "
            "for each bucket"
        )
    boundaries = boundaries[np.argsort(boundaries.sum(axis=1), kind="stable")]
    bucket = np.full(len(lengths), -1)
    for number, limits in reversed(list(enumerate(boundaries))):
        bucket[(lengths <= limits).all(axis=1)] = number
    if bucket.min() < 0:
        example = int(np.argmin(bucket))
        raise ValueError(
            f"boundaries is {boundaries.tolist()}; example {example} has {lengths[example]} "
            "tokens and fits none of them"
        )
    used, bucket = np.unique(bucket, return_inverse=True)
    return boundaries[used], bucket


def _split(widths: np.ndarray, sizes: _Sizes, num_buckets: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts the examples into buckets; the widths of each, by size, and the bucket of every one."""
    # All examples of one width behave alike, and there are few widths.
    kinds, kind, counts = np.unique(widths, axis=0, return_inverse=True, return_counts=True)
    waiting = [(*_best_cut(kinds, counts, sizes), np.arange(len(kinds)))]
    heapq.heapify(waiting)
    while len(waiting) < num_buckets and waiting[0][0] < 0:
        _, _, low, group = heapq.heappop(waiting)
        for part in (group[low], group[~low]):
            heapq.heappush(waiting, (*_best_cut(kinds[part], counts[part], sizes), part))
    groups = [group for *_, group in waiting]
    groups.sort(key=lambda group: (int(kinds[group].max(axis=0).sum()), int(group[0])))
    bucket_of_kind = np.empty(len(kinds), np.int64)
    for number, group in enumerate(groups):
        bucket_of_kind[group] = number
    return np.stack([kinds[group].max(axis=0) for group in groups]), bucket_of_kind[kind.ravel()]


def _best_cut(
    kinds: np.ndarray, counts: np.ndarray, sizes: _Sizes
) -> tuple[int, tuple[int, ...], np.ndarray]:
    """The cut of a group in two that costs least: the change in positions, its place, its low side.

    The place only keeps the order of groups with equal costs the same on every machine.
    """
    whole = sizes.positions(counts.sum(), kinds.max(axis=0).sum())
    best: tuple[int, tuple[int, ...], np.ndarray] = (0, tuple(kinds[0]), np.ones(len(kinds), bool))
    for axis in range(kinds.shape[1]):
        order = np.argsort(kinds[:, axis], kind="stable")
        ascending = kinds[order]
        cuts = np.flatnonzero(np.diff(ascending[:, axis]))  # the last row of each low side
        if len(cuts) == 0:
            continue
        below = np.cumsum(counts[order])
        low = np.maximum.accumulate(ascending)[cuts].sum(axis=1)
        high = np.maximum.accumulate(ascending[::-1])[::-1][cuts + 1].sum(axis=1)
        costs = sizes.positions(below[cuts], low) + sizes.positions(below[-1] - below[cuts], high)
        chosen = int(np.argmin(costs))
        if costs[chosen] - whole < best[0]:
            is_low = kinds[:, axis] <= ascending[cuts[chosen], axis]
            best = (int(costs[chosen] - whole), tuple(kinds[0]), is_low)
    return best
