"""Smoothing: from counts to log-probabilities and back-offs, level by level from the shortest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_lm.data.ngrams.table import IMPOSSIBLE
from keras_lm.data.ngrams.trie import TriePart

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
"""Of adjusted counts 1, 2, 3 and more, where the text is too small or too odd to estimate them."""

Discounts = tuple[float, float, float]


@dataclass(frozen=True)
class Unigrams:
    """What the smoothing of single tokens needs.

    Args:
        counts: [V].
        predictable: bool [V], False for a `begin_id` that ends nothing.
        discounts: for Kneser–Ney.
    """

    counts: np.ndarray
    predictable: np.ndarray
    discounts: Discounts


class KneserNey:
    """Modified interpolated Kneser–Ney smoothing, as KenLM's `lmplz` does it.

    With a(g) the adjusted count of an n-gram g = h w, D its discount by that count, N_i(h) the
    number of tokens that follow h with the adjusted count i (3: 3 and more), and g' and h' the
    same without their first token:

        p(w | h) = (a(g) − D(a(g))) / Σ_w a(h w) + γ(h) · p(w | h')
        γ(h) = (D_1 N_1(h) + D_2 N_2(h) + D_3 N_3(h)) / Σ_w a(h w)

    and below the single tokens stands the uniform distribution over all that can be predicted. γ is
    the back-off. See Chen and Goodman, An empirical study of smoothing techniques for language
    modeling (1998), and Heafield et al., Scalable modified Kneser-Ney language model estimation
    (https://aclanthology.org/P13-2121).
    """

    continuation = True

    def unigrams(self, unigrams: Unigrams) -> np.ndarray:
        """The log-probabilities of the single tokens, float32 [V]."""
        counts, total = unigrams.counts, unigrams.counts.sum(dtype=np.int64)
        discount = _discount_of(counts, unigrams.discounts)
        uniform = discount.sum(dtype=np.float64) / total / unigrams.predictable.sum()
        return logs((counts - discount) / np.float32(total) + np.float32(uniform))

    def longer(
        self, part: TriePart, lower: np.ndarray, discounts: Discounts
    ) -> tuple[np.ndarray, np.ndarray]:
        """The log-probabilities, float32 [n], and the back-offs of the contexts, float32 [c].

        Args:
            part: some n-grams of two or more tokens.
            lower: float32, the log-probabilities of the level below.
            discounts: of its length.
        """
        total = np.add.reduceat(part.counts, part.starts, dtype=np.int64).astype(np.float32)
        discount = _discount_of(part.counts, discounts)
        gamma = np.add.reduceat(discount, part.starts, dtype=np.float64) / total
        probs = np.exp(lower[part.suffix])
        probs *= np.repeat(gamma.astype(np.float32), part.sizes)
        np.subtract(part.counts, discount, out=discount)
        discount /= np.repeat(total, part.sizes)
        probs += discount
        return logs(probs), logs(gamma)


class MaximumLikelihood:
    """p(w | h) = c(h w) / c(h): the share of w among the tokens that followed h in the text."""

    continuation = False

    def unigrams(self, unigrams: Unigrams) -> np.ndarray:
        """As `KneserNey.unigrams`."""
        return logs(unigrams.counts / unigrams.counts.sum(dtype=np.int64))

    def longer(
        self, part: TriePart, lower: np.ndarray, discounts: Discounts
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `KneserNey.longer`; after a context that was seen, no other token is possible."""
        total = np.add.reduceat(part.counts, part.starts, dtype=np.int64)
        probs = part.counts / np.repeat(total, part.sizes)
        return logs(probs), np.full(len(total), IMPOSSIBLE, np.float32)


class AddK:
    """p(w | h) = (c(h w) + k) / (c(h) + k V), with V the number of tokens that can be predicted.

    Args:
        k: what is added to every count; 1 is Laplace's rule.
        num_predictable: V.
    """

    continuation = False

    def __init__(self, k: float, num_predictable: int) -> None:
        self._k, self._added = k, k * num_predictable

    def unigrams(self, unigrams: Unigrams) -> np.ndarray:
        """As `KneserNey.unigrams`."""
        total = unigrams.counts.sum(dtype=np.int64) + self._added
        return logs((unigrams.counts + self._k) / total)

    def longer(
        self, part: TriePart, lower: np.ndarray, discounts: Discounts
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `KneserNey.longer`, but the back-offs are those of every token that was not seen."""
        total = np.add.reduceat(part.counts, part.starts, dtype=np.int64) + self._added
        probs = (part.counts + self._k) / np.repeat(total, part.sizes)
        return logs(probs), logs(self._k / total)


Smoothing = KneserNey | MaximumLikelihood | AddK

SMOOTHINGS: dict[str, Callable[[float, int], Smoothing]] = {
    "kneser_ney": lambda k, num_predictable: KneserNey(),
    "mle": lambda k, num_predictable: MaximumLikelihood(),
    "add_k": AddK,
}


def estimated_discounts(counts: np.ndarray, last_occurrences: int | None) -> Discounts:
    """The discounts of one level, from how many n-grams have the adjusted counts 1, 2, 3 and 4.

    With n_i these numbers and Y = n_1 / (n_1 + 2 n_2): D_i = i − (i + 1) Y n_(i+1) / n_i (Chen and
    Goodman, equation 26). `FALLBACK_DISCOUNTS` where a number is 0 or a discount is not in [0, i].

    Args:
        counts: the adjusted counts in the order of `SuffixLevel`.
        last_occurrences: how often the last n-gram of the shorter levels occurs. KenLM's `lmplz`
            files it here under that, not under its adjusted count, and so do we: on a small text
            one n-gram more or less is seen in the fourth decimal.

    Example:

    >>> estimated_discounts(np.array([1] * 8 + [2] * 4 + [3] * 2 + [4]), None)
    (0.5, 1.25, 2.0)
    """
    n = np.bincount(np.minimum(counts, 5).astype(np.intp), minlength=6)
    if last_occurrences is not None:
        n[min(int(counts[-1]), 5)] -= 1
        n[min(last_occurrences, 5)] += 1
    if not n[1:4].all():
        return FALLBACK_DISCOUNTS
    y = n[1] / (n[1] + 2 * n[2])
    one, two, three = (float(i - (i + 1) * y * n[i + 1] / n[i]) for i in (1, 2, 3))
    return (one, two, three) if min(one, two, three) >= 0 else FALLBACK_DISCOUNTS


def _discount_of(counts: np.ndarray, discounts: Discounts) -> np.ndarray:
    """The discount of each count, float32; of the count 0 it is 0."""
    return np.array([0.0, *discounts], np.float32)[np.minimum(counts, 3)]


def logs(probs: np.ndarray) -> np.ndarray:
    """Natural logarithms, float32, at most 0; of 0 it is `IMPOSSIBLE`."""
    with np.errstate(divide="ignore"):
        values = np.log(probs, dtype=probs.dtype)
    return np.clip(values, IMPOSSIBLE, 0.0).astype(np.float32)
