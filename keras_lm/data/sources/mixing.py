"""Mixtures: one sequence of documents from several sources, in given proportions."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, overload

import numpy as np
import tensorflow as tf


class Mixture(Sequence[Any]):
    """Documents of several sources as one sequence; `mixture` makes it.

    Document i has an address, and nothing is read or copied until it is asked for.

    Args:
        sources: the sources.
        source_of: int32 [documents]; which source document i comes from.
        index_of: int64 [documents]; which document of that source it is.
    """

    def __init__(
        self, sources: Sequence[Sequence[Any]], source_of: np.ndarray, index_of: np.ndarray
    ) -> None:
        self.sources, self.source_of, self.index_of = sources, source_of, index_of

    def __len__(self) -> int:
        return len(self.source_of)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.sources[self.source_of[index]][int(self.index_of[index])]


def mixture(
    sources: Sequence[Sequence[Any]],
    weights: Sequence[float] | None = None,
    seed: int = 0,
    num_documents: int | None = None,
) -> Mixture:
    """Mixes sources so that each has its share at every point, to within one document.

    Document i is a function of the sources, the weights, `seed` and i alone: a longer mixture
    begins with the shorter one. A source is gone through in a shuffled order, without repetition
    until all of it was read, and then anew in another order. Sources that stream, data sets of
    `tf.data`, are mixed by `tf.data.Dataset.sample_from_datasets`.

    Args:
        sources: lists, other mixtures, or anything with a length and an index.
        weights: the share of each source in the documents, in any unit; None (default) gives
            each as many shares as it has documents, so that all end together.
        seed: of the orders.
        num_documents: the length; None (default) is that of all sources together.

    Returns:
        A `Mixture`; `list(mixture(…))` goes into `fit`, and it goes as it is into
        `TokenStore.from_texts`.

    Raises:
        ValueError: there is no source, one is empty or has no length, or is a string; a weight is
            missing, not above 0 or not finite; `num_documents` is below 1.

    Example:

    >>> mixed = mixture([["a", "b"], ["1", "2", "3"]], weights=[0.25, 0.75], num_documents=8)
    >>> mixed.source_of.tolist()
    [1, 1, 0, 1, 1, 1, 0, 1]
    >>> sorted(mixed)
    ['1', '1', '2', '2', '3', '3', 'a', 'b']
    """
    _check_sources(sources)
    shares = _shares(sources, weights)
    total = sum(map(len, sources)) if num_documents is None else num_documents
    if total < 1:
        raise ValueError(f"num_documents is {num_documents}; it must be 1 or more")
    source_of = _assigned(shares, total)
    index_of = np.empty(total, np.int64)
    for number, source in enumerate(sources):
        places = np.flatnonzero(source_of == number)
        index_of[places] = _order(len(source), len(places), seed, number, len(sources))
    return Mixture(list(sources), source_of, index_of)


def _check_sources(sources: Sequence[Sequence[Any]]) -> None:
    if not sources:
        raise ValueError("sources is empty; give at least one source")
    for number, source in enumerate(sources):
        what = f"sources[{number}]"
        if isinstance(source, str | bytes):
            raise ValueError(f"{what} is one {type(source).__name__}; give a list of documents")
        if isinstance(source, tf.data.Dataset):
            raise ValueError(
                f"{what} is a tf.data set; mix those by tf.data.Dataset.sample_from_datasets"
            )
        is_list = hasattr(source, "__len__") and hasattr(source, "__getitem__")
        if not is_list or isinstance(source, Mapping):
            raise ValueError(
                f"{what} is a {type(source).__name__}; give a list of documents, such as one "
                "column of a table"
            )
        if not len(source):
            raise ValueError(f"{what} is empty; it must hold at least one document")


def _shares(
    sources: Sequence[Sequence[Any]], weights: Sequence[float] | None
) -> list[tuple[int, int]]:
    """The share of each source as an exact fraction of all: (numerator, denominator)."""
    if weights is None:
        weights = [len(source) for source in sources]
    if len(weights) != len(sources):
        raise ValueError(f"weights has {len(weights)} numbers for {len(sources)} sources")
    for number, weight in enumerate(weights):
        if not (math.isfinite(weight) and weight > 0):
            raise ValueError(f"weights[{number}] is {weight}; it must be a number above 0")
    exact = [Fraction(weight) for weight in weights]
    return [(weight / sum(exact)).as_integer_ratio() for weight in exact]


def _assigned(shares: list[tuple[int, int]], total: int) -> np.ndarray:
    """The source of each document, int32 [total].

    The r-th document of a source with share p (r from 0) may stand at the places from floor(r / p)
    up to ceil((r + 1) / p) - 1: that is what "within one document of its share" means. Taking the
    document whose last place comes first always finds a place for all (Liu and Layland's
    earliest deadline first, for the unit jobs of Baruah et al. 1996, "Proportionate progress").
    Whole numbers keep it exact: a rounded bound could leave a document without a place.
    """
    source_of = np.empty(total, np.int32)
    ranks = [0] * len(shares)
    waiting = [(0, source) for source in range(len(shares))]  # by first place
    ready: list[tuple[int, int]] = []  # by last place
    for place in range(total):
        while waiting and waiting[0][0] <= place:
            source = heapq.heappop(waiting)[1]
            share, whole = shares[source]
            heapq.heappush(ready, (-(-(ranks[source] + 1) * whole // share) - 1, source))
        source = heapq.heappop(ready)[1]
        source_of[place] = source
        ranks[source] += 1
        share, whole = shares[source]
        heapq.heappush(waiting, (ranks[source] * whole // share, source))
    return source_of


def _order(length: int, count: int, seed: int, source: int, num_sources: int) -> np.ndarray:
    """The documents that `count` readings of a source give, int64 [count]: a new order a pass."""
    passes = [
        tf.random.experimental.index_shuffle(
            tf.range(min(length, count - start), dtype=tf.int64),
            seed=tf.constant([seed, start // length * num_sources + source], tf.int64),
            max_index=tf.constant(length - 1, tf.int64),
        ).numpy()
        for start in range(0, count, length)
    ]
    return np.concatenate([np.empty(0, np.int64), *passes])
