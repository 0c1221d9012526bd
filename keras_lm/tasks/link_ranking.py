"""Ranks of true tails among all entities, and how likely they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from keras_lm.data.triples import KnownTails

Scores = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Heads and relations, int [Q] each → logits of all entities as tails, float32 [Q, E]."""


class _Chunk(NamedTuple):
    """Some triples, and the scores of what they ask, each question once."""

    numbers: np.ndarray  # int64 [C], which triples
    questions: np.ndarray  # int64 [C], which row of the scores is the triple's
    heads: np.ndarray  # int [Q]
    relations: np.ndarray  # int [Q]
    scores: np.ndarray  # float32 [Q, E]


def filtered_ranks(
    scores_of: Scores,
    triples: np.ndarray,
    known: KnownTails,
    chunk: int,
    tell: Callable[[int], None],
) -> np.ndarray:
    """The rank of the tail of each triple among all entities but the other true tails.

    Tails that score alike share the mean of their ranks. What is no number is better than any, so
    that a model that has come to nothing is not taken for a good one.

    Args:
        scores_of: the model.
        triples: int [n, 3].
        known: all tails that are true, those of the triples among them.
        chunk: triples at once.
        tell: is told how many are done.

    Returns:
        float64 [n], 1 for the best.
    """
    ranks = np.zeros(len(triples))
    for part in _chunks(scores_of, triples, chunk, tell):
        target = part.scores[part.questions, triples[part.numbers, 2]][:, np.newaxis]
        others = part.scores.copy()
        others[known.find(part.heads, part.relations)] = -np.inf  # the target's own place as well
        others = others[part.questions]
        better = np.count_nonzero(~(others <= target), axis=1)
        ranks[part.numbers] = 1 + better + np.count_nonzero(others == target, axis=1) / 2
    return ranks


def log_probabilities(
    scores_of: Scores, triples: np.ndarray, chunk: int, tell: Callable[[int], None]
) -> np.ndarray:
    """The log-probability of the tail of each triple among all entities, in nats, float32 [n]."""
    nats = np.zeros(len(triples), np.float32)
    for part in _chunks(scores_of, triples, chunk, tell):
        highest = part.scores.max(axis=1)
        norm = highest + np.log(np.exp(part.scores - highest[:, np.newaxis]).sum(axis=1))
        own = part.scores[part.questions, triples[part.numbers, 2]]
        nats[part.numbers] = own - norm[part.questions]
    return nats


def _chunks(
    scores_of: Scores, triples: np.ndarray, chunk: int, tell: Callable[[int], None]
) -> Iterator[_Chunk]:
    """The triples in the order of their questions, so that each is asked about once."""
    order = np.lexsort((triples[:, 1], triples[:, 0]))
    for start in range(0, len(order), chunk):
        numbers = order[start : start + chunk]
        asked, questions = np.unique(triples[numbers, :2], axis=0, return_inverse=True)
        heads, relations = asked.T
        yield _Chunk(numbers, questions.reshape(-1), heads, relations, scores_of(heads, relations))
        tell(start + len(numbers))
