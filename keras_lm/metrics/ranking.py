"""How high the right ones stand in a ranking: the measures of search and of link prediction."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import keras
import numpy as np

from keras_lm.metrics.sums import ExactSum

Relevant = Collection[Any] | Mapping[Any, float]
"""Ids of what is relevant to a query, or ids and grades."""


class RankingMetric(keras.metrics.Metric):
    """The mean over queries of a number that tells how well one was answered.

    The numbers are those of trec_eval (https://github.com/usnistgov/trec_eval). A query that found
    nothing counts 0. One to which nothing is relevant is left out: no ranking of it is better than
    another. (trec_eval leaves out those without judgements, and counts 0 where all are of grade 0.)

    Rankings are read in Python: the metric is not for `compile`.

    Args:
        k: how many of a ranking count, from its best on; None: all.
        name: what it is called.
        dtype: as in any Keras metric; the sums are kept in pairs of float32 whatever it is.

    Raises:
        ValueError: k is no int of 1 or more.
    """

    _direction = "up"

    def __init__(self, k: int | None, name: str, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        if k is not None and (not isinstance(k, int) or isinstance(k, bool) or k < 1):
            raise ValueError(f"k is {k!r}; it must be an int of 1 or more")
        self.k = k
        self._sum = ExactSum(self, "sum")
        self._count = ExactSum(self, "count")

    def score(self, gains: list[float], best: list[float]) -> float:
        """What one query counts.

        Args:
            gains: the grade of what stands at each rank up to k, 0 for what is not relevant.
            best: the grades above 0 of all that is relevant, largest first; never empty.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define score")

    def update_state(self, relevant: Sequence[Relevant], ranked: Sequence[Sequence[Any]]) -> None:
        """Adds queries.

        Args:
            relevant: for each the ids of what is relevant to it, or a dict from id to grade; a
                grade of 0 or less is that of what is not relevant.
            ranked: for each the ids that were found, best first, each once.

        Raises:
            ValueError: the lists differ in length, an id comes twice in a ranking, or something
                is of a wrong type.
        """
        if isinstance(ranked, str) or isinstance(relevant, str | Mapping):
            raise ValueError("relevant and ranked must be lists with an item for each query")
        if len(relevant) != len(ranked):
            raise ValueError(f"ranked has {len(ranked)} items; relevant has {len(relevant)}")
        scores = []
        for number, (known, found) in enumerate(zip(relevant, ranked, strict=True)):
            grades = _grades(known, f"relevant[{number}]")
            ids = _distinct(found, f"ranked[{number}]")
            if grades:
                gains = [grades.get(each, 0.0) for each in islice(ids, self.k)]
                scores.append(self.score(gains, sorted(grades.values(), reverse=True)))
        self._add(scores)

    def _add(self, scores: Collection[float]) -> None:
        self._sum.add(math.fsum(scores))
        self._count.add(float(len(scores)))

    def result(self) -> Any:
        """float32 scalar, 0 to 1; 0 before the first query."""
        return self._sum.divided_by(self._count)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k": self.k}


class FirstRankMetric(RankingMetric):
    """A metric of the rank of the first that is relevant; beyond k it counts 0."""

    def worth(self, ranks: np.ndarray) -> np.ndarray:
        """What ranks up to k count, float64 [n]."""
        raise NotImplementedError(f"{type(self).__name__} does not define worth")

    def score(self, gains: list[float], best: list[float]) -> float:
        first = next((rank for rank, gain in enumerate(gains, 1) if gain), None)
        return 0.0 if first is None else float(self.worth(np.array([first], np.float64))[0])

    def update_ranks(self, ranks: Any) -> None:
        """Adds queries of which only the rank of the right answer is known.

        Args:
            ranks: numbers [n], 1 for the best; halves are well where ties share their mean rank.

        Raises:
            ValueError: a rank is below 1 or no number.
        """
        numbers = _checked_ranks(ranks)
        self._add(np.where(numbers <= (self.k or math.inf), self.worth(numbers), 0.0))


@keras.saving.register_keras_serializable("keras_lm")
class MRR(FirstRankMetric):
    """Mean reciprocal rank: 1 / the rank of the first that is relevant, 0 where there is none.

    Args:
        k: ranks beyond it count 0; default None: none is.
        name: default `"mrr"`, or `"mrr_at_10"` for k = 10.
        dtype: as in any Keras metric.

    Raises:
        ValueError: k is no int of 1 or more.

    Example:

    >>> metric = MRR()
    >>> metric.update_state([{"a"}, {"c", "d"}], [["b", "a"], ["d", "c"]])
    >>> float(metric.result())
    0.75
    """

    def __init__(self, k: int | None = None, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(k, name or _name("mrr", k), dtype)

    def worth(self, ranks: np.ndarray) -> np.ndarray:
        return 1 / ranks


@keras.saving.register_keras_serializable("keras_lm")
class HitsAtK(FirstRankMetric):
    """The share of queries with something relevant among the first k (trec_eval's `success`).

    Args:
        k: how many of a ranking count; default 10.
        name: default `"hits_at_10"` for k = 10.
        dtype: as in any Keras metric.

    Raises:
        ValueError: k is no int of 1 or more.

    Example:

    >>> metric = HitsAtK(1)
    >>> metric.update_state([{"a"}, {"c", "d"}], [["b", "a"], ["d", "c"]])
    >>> metric.update_ranks([1, 2.5])
    >>> float(metric.result())
    0.5
    """

    def __init__(self, k: int = 10, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(_required(k), name or _name("hits", k), dtype)

    def worth(self, ranks: np.ndarray) -> np.ndarray:
        return np.ones_like(ranks)


@keras.saving.register_keras_serializable("keras_lm")
class RecallAtK(RankingMetric):
    """The share of what is relevant that stands among the first k.

    Args:
        k: how many of a ranking count; default 10.
        name: default `"recall_at_10"` for k = 10.
        dtype: as in any Keras metric.

    Raises:
        ValueError: k is no int of 1 or more.

    Example:

    >>> metric = RecallAtK(2)
    >>> metric.update_state([["a", "b", "c", "d"]], [["b", "x", "a"]])
    >>> float(metric.result())
    0.25
    """

    def __init__(self, k: int = 10, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(_required(k), name or _name("recall", k), dtype)

    def score(self, gains: list[float], best: list[float]) -> float:
        return sum(map(bool, gains)) / len(best)


@keras.saving.register_keras_serializable("keras_lm")
class MeanAveragePrecision(RankingMetric):
    """Mean average precision: the precision at the rank of each that is relevant, 0 if not found.

    Args:
        k: what stands beyond it counts as not found; default None: nothing does.
        name: default `"map"`, or `"map_at_10"` for k = 10.
        dtype: as in any Keras metric.

    Raises:
        ValueError: k is no int of 1 or more.

    Example:

    >>> metric = MeanAveragePrecision()
    >>> metric.update_state([["a", "b"]], [["a", "x", "y", "b"]])    # (1/1 + 2/4) / 2
    >>> float(metric.result())
    0.75
    """

    def __init__(self, k: int | None = None, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(k, name or _name("map", k), dtype)

    def score(self, gains: list[float], best: list[float]) -> float:
        ranks = [rank for rank, gain in enumerate(gains, 1) if gain]
        return sum(found / rank for found, rank in enumerate(ranks, 1)) / len(best)


@keras.saving.register_keras_serializable("keras_lm")
class NDCG(RankingMetric):
    """Normalized discounted cumulative gain: Σ grade / log2(rank + 1), over the most it can be.

    The gain is the grade itself, as in Järvelin and Kekäläinen (2002) and trec_eval; others take
    2^grade − 1, which is the same where all grades are 1.

    Args:
        k: how many of a ranking count; default 10; None: all.
        name: default `"ndcg_at_10"` for k = 10, `"ndcg"` for all.
        dtype: as in any Keras metric.

    Raises:
        ValueError: k is no int of 1 or more.

    Example:

    >>> metric = NDCG()
    >>> metric.update_state([{"a": 2, "b": 1}], [["b", "a"]])
    >>> round(float(metric.result()), 4)    # (1 + 2 / log2(3)) / (2 + 1 / log2(3))
    0.8597
    """

    def __init__(self, k: int | None = 10, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(k, name or _name("ndcg", k), dtype)

    def score(self, gains: list[float], best: list[float]) -> float:
        return _discounted(gains) / _discounted(best[: self.k])


def _discounted(gains: Iterable[float]) -> float:
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))


def _name(measure: str, k: int | None) -> str:
    return measure if k is None else f"{measure}_at_{k}"


def _required(k: int | None) -> int:
    if k is None:
        raise ValueError("k is None; it must be an int of 1 or more")
    return k


def _grades(known: Any, place: str) -> dict[Any, float]:
    """The grades above 0 by id."""
    if isinstance(known, str | bytes) or not isinstance(known, Collection | np.ndarray):
        raise ValueError(f"{place} is {known!r:.80}; it must be a list of ids, or a dict to grades")
    if not isinstance(known, Mapping):
        return dict.fromkeys(_hashable(known, place), 1.0)
    for each, grade in known.items():
        if not isinstance(grade, int | float | np.number) or not math.isfinite(grade):
            raise ValueError(f"{place}[{each!r}] is {grade!r}; a grade must be a number")
    return {each: float(grade) for each, grade in known.items() if grade > 0}


def _distinct(found: Any, place: str) -> dict[Any, None]:
    """The ids of a ranking in their order."""
    if not isinstance(found, Sequence | np.ndarray) or isinstance(found, str | bytes):
        raise ValueError(f"{place} is {found!r:.80}; it must be a list of ids")
    ids = dict.fromkeys(_hashable(found, place))
    if len(ids) < len(found):
        listed = _hashable(found, place)
        twice = next(each for number, each in enumerate(listed) if each in listed[:number])
        raise ValueError(f"{place} has {twice!r} twice; a ranking has each id once")
    return ids


def _hashable(ids: Any, place: str) -> list[Any]:
    listed = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    try:
        hash(tuple(listed))
    except TypeError as error:
        raise ValueError(f"{place} holds what cannot be an id: {error}") from error
    return listed


def _checked_ranks(ranks: Any) -> np.ndarray:
    numbers = np.asarray(ranks)
    if numbers.dtype.kind not in "iuf" or numbers.ndim != 1:
        raise ValueError(f"ranks is {ranks!r:.80}; it must be a list of numbers")
    # Not < 1 would let nan pass.
    if not np.all(numbers >= 1):
        wrong = numbers[~(numbers >= 1)][0]
        raise ValueError(f"ranks holds {wrong}; ranks count from 1, the best")
    return numbers.astype(np.float64)
