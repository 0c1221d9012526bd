"""How good word vectors are: agreement with people on similarity, and analogies solved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from keras_lm.data.word_vectors.questions import Analogy, Pair

Find = Callable[[str], int | None]
"""The row of a word, or None."""

_QUESTIONS_AT_ONCE = 512


class SimilarityScore(float):
    """Spearman's rank correlation of how vectors and people order pairs of words, from -1 to 1.

    Ties have the mean of their ranks.
    """

    num_pairs: int
    """Pairs of which both words have a vector."""
    left_out: tuple[tuple[str, str], ...]
    """The others."""

    def __new__(
        cls, spearman: float, num_pairs: int, left_out: tuple[tuple[str, str], ...]
    ) -> Self:
        score = super().__new__(cls, spearman)
        score.num_pairs, score.left_out = num_pairs, left_out
        return score


class AnalogyScore(float):
    """The share of analogies that vectors solve, from 0 to 1."""

    num_questions: int
    """Questions of which all four words have a vector."""
    left_out: int
    """The number of the others."""
    sections: dict[str, tuple[int, int]]
    """For each section, how many were solved, and of how many."""

    def __new__(
        cls,
        accuracy: float,
        num_questions: int,
        left_out: int,
        sections: dict[str, tuple[int, int]],
    ) -> Self:
        score = super().__new__(cls, accuracy)
        score.num_questions, score.left_out, score.sections = num_questions, left_out, sections
        return score


def similarity_score(find: Find, unit: np.ndarray, pairs: Sequence[Pair]) -> SimilarityScore:
    """Spearman's correlation of cosines and scores.

    Args:
        find: tells the row of a word.
        unit: vectors of length 1, float32 [V, D].
        pairs: words and their scores.

    Raises:
        ValueError: fewer than two pairs have vectors.
    """
    known, left_out = [], []
    for one, other, score in pairs:
        rows = find(one), find(other)
        if None in rows:
            left_out.append((one, other))
        else:
            known.append((*rows, score))
    if len(known) < 2:
        raise ValueError(
            f"path: {len(known)} of {len(pairs)} pairs have vectors; it takes at least two"
        )
    one_rows, other_rows, scores = zip(*known)
    cosines = np.sum(unit[list(one_rows)] * unit[list(other_rows)], axis=1)
    ranks = _ranks(cosines), _ranks(np.array(scores))
    return SimilarityScore(float(np.corrcoef(*ranks)[0, 1]), len(known), tuple(left_out))


def analogy_score(
    find: Find, unit: np.ndarray, sections: Mapping[str, Sequence[Analogy]]
) -> AnalogyScore:
    """How often d is the word nearest to b − a + c, the three words themselves excluded.

    Args:
        find: tells the row of a word.
        unit: vectors of length 1, float32 [V, D].
        sections: questions a, b, c, d by the name of their section.

    Raises:
        ValueError: no question has vectors for all of its words.
    """
    solved: dict[str, tuple[int, int]] = {}
    num_given = 0
    for name, questions in sections.items():
        found = [[find(word) for word in question] for question in questions]
        rows = np.array([row for row in found if None not in row], np.int64).reshape(-1, 4)
        right = sum(
            _num_solved(unit, rows[start : start + _QUESTIONS_AT_ONCE])
            for start in range(0, len(rows), _QUESTIONS_AT_ONCE)
        )
        solved[name] = (right, len(rows))
        num_given += len(questions)
    right, known = map(sum, zip(*solved.values()))
    if not known:
        raise ValueError(f"path: none of its {num_given} questions has vectors for all four words")
    return AnalogyScore(right / known, known, num_given - known, solved)


def _num_solved(unit: np.ndarray, rows: np.ndarray) -> int:
    a, b, c, d = rows.T
    cosines = (unit[b] - unit[a] + unit[c]) @ unit.T
    cosines[np.arange(len(rows))[:, np.newaxis], rows[:, :3]] = -np.inf
    return int(np.count_nonzero(cosines.argmax(axis=1) == d))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal values at the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]
