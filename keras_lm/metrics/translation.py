"""BLEU and chrF: how near translations come to those that people made."""

from __future__ import annotations

import importlib
from typing import Any

import keras
from keras import ops

from keras_lm.metrics.texts import Counts, Pairs, TextMetric, check_int

_TOKENIZERS = ("13a", "zh", "char", "intl", "none")


class SacreBleuMetric(TextMetric):
    """A score of the library sacrebleu, from the sums of its counts.

    Both of its scores are quotients of such sums over a data set, not means over the texts. So
    the sums are all that is kept, and texts may come in batches of any size.
    """

    def __init__(self, name: str, dtype: Any, num_counts: int) -> None:
        super().__init__(name=name, dtype=dtype)
        self._counts = Counts(self, num_counts)

    def _add(self, pairs: Pairs) -> None:
        self._counts.add(self.counts(known, text) for known, text in pairs)

    def result(self) -> Any:
        """float32 scalar, 0 to 100; 0 before the first text."""
        return ops.convert_to_tensor(self.score(self._counts.numbers()), "float32")

    def counts(self, references: list[str], hypothesis: str) -> list[int]:
        """What one text adds to the sums."""
        raise NotImplementedError(f"{type(self).__name__} does not define counts")

    def score(self, counts: list[int]) -> float:
        """The score of the sums."""
        raise NotImplementedError(f"{type(self).__name__} does not define score")


@keras.saving.register_keras_serializable("keras_lm")
class BLEU(SacreBleuMetric):
    """BLEU of a data set (Papineni et al. 2002, https://aclanthology.org/P02-1040), 0 to 100.

    The number is that of `sacrebleu.corpus_bleu` (Post 2018, https://aclanthology.org/W18-6319),
    which does the counting, so that it compares with published ones: the geometric mean of the
    precisions of 1-grams to 4-grams, times a penalty for brevity; where there is no match of an
    order, smoothed as there (`exp`). Texts are given as they are, not tokenized.

    Args:
        tokenize: sacrebleu's way to split words: `"13a"` (default, WMT's), `"intl"`, `"zh"` for
            Chinese, `"char"`, or `"none"` for texts that are tokenized already.
        lowercase: whether case makes no difference; default: it does.
        max_order: the longest n-grams that are counted; default 4.
        name: default `"bleu"`.
        dtype: as in any Keras metric; the sums are kept in pairs of float32 whatever it is.

    Raises:
        ValueError: an argument is out of range.
        ImportError: sacrebleu is not installed (`pip install "keras-lm[metrics]"`).

    Example:

    >>> metric = BLEU()
    >>> metric.update_state(["The cat sat on the mat.", ["A dog ran home.", "The dog ran home."]],
    ...                     ["The cat sat on a mat.", "The dog ran home."])
    >>> round(float(metric.result()), 2)
    69.19
    """

    def __init__(
        self,
        tokenize: str = "13a",
        lowercase: bool = False,
        max_order: int = 4,
        name: str = "bleu",
        dtype: Any = None,
    ) -> None:
        if tokenize not in _TOKENIZERS:
            raise ValueError(f"tokenize is {tokenize!r}; it must be one of {_TOKENIZERS}")
        self.tokenize, self.lowercase = tokenize, lowercase
        self.max_order = check_int(max_order, "max_order", least=1)
        super().__init__(name, dtype, num_counts=2 + 2 * max_order)
        # With the effective order alone it counts single texts without a word of warning.
        self._scorer = _sacrebleu("BLEU")(
            tokenize=tokenize, lowercase=lowercase, max_ngram_order=max_order, effective_order=True
        )

    def counts(self, references: list[str], hypothesis: str) -> list[int]:
        found = self._scorer.sentence_score(hypothesis, references)
        return [found.sys_len, found.ref_len, *found.counts, *found.totals]

    def score(self, counts: list[int]) -> float:
        length, reference_length, *orders = counts
        found = self._scorer.compute_bleu(
            orders[: self.max_order],
            orders[self.max_order :],
            length,
            reference_length,
            smooth_method="exp",
            max_ngram_order=self.max_order,
        )
        return float(found.score)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "tokenize": self.tokenize,
            "lowercase": self.lowercase,
            "max_order": self.max_order,
        }


@keras.saving.register_keras_serializable("keras_lm")
class ChrF(SacreBleuMetric):
    """chrF of a data set (Popović 2015, https://aclanthology.org/W15-3049), 0 to 100.

    The number is that of `sacrebleu.corpus_chrf`, which does the counting: F_β of the n-grams of
    characters, white space left out, with the mean over the orders. It needs no word splitting,
    and suits languages with rich morphology. With `word_order=2` it is chrF++ (Popović 2017).

    Args:
        char_order: the longest n-grams of characters; default 6.
        word_order: the longest n-grams of words, besides; default 0.
        beta: how many times recall counts as much as precision; default 2.
        name: default `"chrf"`.
        dtype: as in any Keras metric; the sums are kept in pairs of float32 whatever it is.

    Raises:
        ValueError: an argument is out of range.
        ImportError: sacrebleu is not installed (`pip install "keras-lm[metrics]"`).

    Example:

    >>> metric = ChrF()
    >>> metric.update_state(["The cat sat on the mat."], ["The cat sat on a mat."])
    >>> round(float(metric.result()), 2)
    65.8
    """

    def __init__(
        self,
        char_order: int = 6,
        word_order: int = 0,
        beta: int = 2,
        name: str = "chrf",
        dtype: Any = None,
    ) -> None:
        self.char_order = check_int(char_order, "char_order", least=1)
        self.word_order = check_int(word_order, "word_order", least=0)
        self.beta = check_int(beta, "beta", least=1)
        super().__init__(name, dtype, num_counts=3 * (char_order + word_order))
        self._scorer = _sacrebleu("CHRF")(char_order, word_order, beta)

    # sacrebleu's own way to say what a text adds is not public, and has been there since 2.0.

    def counts(self, references: list[str], hypothesis: str) -> list[int]:
        (found,) = self._scorer._extract_corpus_statistics(
            [hypothesis], [[reference] for reference in references]
        )
        return list(found)

    def score(self, counts: list[int]) -> float:
        return float(self._scorer._compute_score_from_stats(counts).score)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "char_order": self.char_order,
            "word_order": self.word_order,
            "beta": self.beta,
        }


def _sacrebleu(name: str) -> Any:
    try:
        return getattr(importlib.import_module("sacrebleu.metrics"), name)
    except ImportError as error:
        raise ImportError(
            'BLEU and ChrF need sacrebleu: pip install "keras-lm[metrics]"'
        ) from error
