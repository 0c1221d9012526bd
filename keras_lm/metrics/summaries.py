"""ROUGE: how much summaries share with those that people wrote."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_lm.metrics.sums import ExactSum
from keras_lm.metrics.texts import Pairs, TextMetric

_KIND = re.compile("rouge[1-9]|rougeL|rougeLsum")
# Chinese has no spaces: each of its characters is a word, and so is what stands between them.
_CHINESE_WORD = re.compile(r"[a-z0-9]+|[^\W_]")


@keras.saving.register_keras_serializable("keras_lm")
class ROUGE(TextMetric):
    """ROUGE F1 of summaries in percent (Lin 2004, https://aclanthology.org/W04-1013).

    The numbers are those of the library rouge-score, which does the counting; of a data set, the
    mean over its texts. Of several references the one with the best F1 counts, for each kind by
    itself.

    Args:
        kinds: `"rouge1"` … `"rouge9"`, the F1 of n-grams; `"rougeL"`, of the longest common
            subsequence; `"rougeLsum"`, of those of its lines, where a line holds a sentence.
            Default: `("rouge1", "rouge2", "rougeL")`.
        use_stemmer: whether words of more than three letters lose their endings (Porter's
            stemmer), as in most published results of English; default: they keep them.
        language: `"en"` (default): words are runs of the letters a to z and digits, all else is
            dropped, as in the original ROUGE. `"zh"`: letters and digits beyond these are words
            too, one by one: Chinese is scored by characters.
        name: default `"rouge"`.
        dtype: as in any Keras metric; the sums are kept in pairs of float32 whatever it is.

    Raises:
        ValueError: an argument is out of range.
        ImportError: rouge-score is not installed (`pip install "keras-lm[metrics]"`).

    Example:

    >>> metric = ROUGE()
    >>> metric.update_state(["the cat sat on the mat"], ["the cat is on the mat"])
    >>> {name: round(float(value), 2) for name, value in metric.result().items()}
    {'rouge1': 83.33, 'rouge2': 60.0, 'rougeL': 83.33}
    """

    def __init__(
        self,
        kinds: Sequence[str] = ("rouge1", "rouge2", "rougeL"),
        use_stemmer: bool = False,
        language: str = "en",
        name: str = "rouge",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        if isinstance(kinds, str) or not kinds or not all(_is_kind(kind) for kind in kinds):
            raise ValueError(
                f"kinds is {kinds!r}; it must be a list of 'rouge1' … 'rouge9', 'rougeL' and "
                "'rougeLsum'"
            )
        if language not in ("en", "zh"):
            raise ValueError(f"language is {language!r}; it must be 'en' or 'zh'")
        if use_stemmer and language != "en":
            raise ValueError("use_stemmer is True; the stemmer is one for English")
        try:
            from rouge_score.rouge_scorer import RougeScorer
        except ImportError as error:
            raise ImportError('ROUGE needs rouge-score: pip install "keras-lm[metrics]"') from error
        self.kinds, self.use_stemmer, self.language = tuple(kinds), use_stemmer, language
        self._scorer = RougeScorer(
            list(kinds), use_stemmer, tokenizer=_ChineseWords() if language == "zh" else None
        )
        self._f1 = ExactSum(self, "f1", (len(self.kinds),))
        self._count = ExactSum(self, "count")

    def _add(self, pairs: Pairs) -> None:
        scores = [self._scorer.score_multi(known, text) for known, text in pairs]
        sums = [math.fsum(score[kind].fmeasure for score in scores) for kind in self.kinds]
        self._f1.add(np.array(sums, np.float32))
        self._count.add(float(len(pairs)))

    def result(self) -> dict[str, Any]:
        """The mean F1 of each kind, float32 scalars, 0 to 100; 0 before the first text."""
        means = 100 * self._f1.divided_by(self._count)
        return {kind: means[number] for number, kind in enumerate(self.kinds)}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kinds": self.kinds,
            "use_stemmer": self.use_stemmer,
            "language": self.language,
        }


class _ChineseWords:
    """What rouge-score takes for a tokenizer."""

    def tokenize(self, text: str) -> list[str]:
        return _CHINESE_WORD.findall(text.lower())


def _is_kind(kind: Any) -> bool:
    return isinstance(kind, str) and _KIND.fullmatch(kind) is not None
