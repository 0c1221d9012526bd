"""Answers as strings: exact match and F1 as SQuAD and CMRC 2018 count them."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from typing import Any

import keras

from keras_lm.metrics.sums import ExactSum

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
# The marks that CMRC 2018 leaves out; others, such as "." and "…", stay.
_CHINESE_MARKS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_IDEOGRAPH = re.compile("[\u4e00-\u9fa5]")
# A mark that NLTK splits off, or what is between such marks; a comma in a number is none.
_WORD = re.compile(r"""(?:[^\s;@#$%&?!(){}\[\]<>"',.]|[,.](?=\S))+|\S""")


@keras.saving.register_keras_serializable("keras_lm")
class AnswerScore(keras.metrics.Metric):
    """Exact match and F1 of answers, in percent, each against the best of its references.

    English as in SQuAD 2.0 (https://arxiv.org/abs/1806.03822): case, punctuation, articles and
    white space do not count; F1 is of the words, as a bag. A question without an answer, an empty
    list of references, is right where nothing is answered.

    Chinese as in CMRC 2018 (https://arxiv.org/abs/1810.07366): case and Chinese punctuation do not
    count; F1 is of the longest stretch in common, in characters, or in words where a text is not
    Chinese. Those are split at white space and marks, where the script takes NLTK's rules.

    Strings are read in Python: the metric is not for `compile`, a task's `evaluate` feeds it.

    Args:
        language: `"en"` or `"zh"`.
        name: default `"answer_score"`.
        dtype: as in any Keras metric; the sums are kept in pairs of float32 whatever it is.

    Raises:
        ValueError: `language` is neither.

    Example:

    >>> metric = AnswerScore()
    >>> metric.update_state(["The red house", ""], [["red house", "house"], []])
    >>> metric.update_state(["a blue house"], [["the house"]])
    >>> {name: round(float(value), 2) for name, value in metric.result().items()}
    {'exact_match': 66.67, 'f1': 88.89}
    """

    _direction = "up"

    def __init__(self, language: str = "en", name: str = "answer_score", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        if language not in _SCORES:
            raise ValueError(f"language is {language!r}; it must be one of {tuple(_SCORES)}")
        self.language = language
        self._exact = ExactSum(self, "exact")
        self._f1 = ExactSum(self, "f1")
        self._count = ExactSum(self, "count")

    def update_state(self, answers: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        """Adds questions.

        Args:
            answers: what was answered to each; `""` for no answer.
            references: the right answers of each, any of which counts; none for no answer.

        Raises:
            ValueError: the lists differ in length, or an item is of a wrong type.
        """
        if isinstance(answers, str) or len(answers) != len(references):
            raise ValueError(
                f"answers is {answers!r}; it must be a list of strings"
                if isinstance(answers, str)
                else f"references has {len(references)} items; answers has {len(answers)}"
            )
        for number, (answer, known) in enumerate(zip(answers, references, strict=True)):
            if not isinstance(answer, str):
                raise ValueError(f"answers[{number}] is {answer!r}; it must be a string")
            if isinstance(known, str) or not all(isinstance(one, str) for one in known):
                raise ValueError(f"references[{number}] is {known!r}; it must be a list of strings")
            exact, f1 = _SCORES[self.language](answer, known)
            self._exact.add(float(exact))
            self._f1.add(f1)
            self._count.add(1.0)

    def result(self) -> dict[str, Any]:
        """`exact_match` and `f1`, float32 scalars, 0 to 100; 0 before the first question."""
        return {
            "exact_match": 100 * self._exact.divided_by(self._count),
            "f1": 100 * self._f1.divided_by(self._count),
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "language": self.language}


def _english_score(answer: str, references: Sequence[str]) -> tuple[bool, float]:
    """Whether it is one of the references, and the best F1 of its words with theirs."""
    words = _english_words(answer)
    known = [words for words in map(_english_words, references) if words] or [[]]
    return words in known, max(_overlap(words, one) for one in known)


def _overlap(words: list[str], known: list[str]) -> float:
    common = (Counter(words) & Counter(known)).total()
    return 2 * common / (len(words) + len(known)) if words or known else 1.0


def _english_words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def _chinese_score(answer: str, references: Sequence[str]) -> tuple[bool, float]:
    """Whether it is one of the references, and the best F1 of the longest stretch in common."""
    known = references or [""]
    exact = _without_marks(answer) in map(_without_marks, known)
    parts = _chinese_parts(answer)
    return exact, max(_stretch(parts, _chinese_parts(one)) for one in known)


def _stretch(parts: list[str], known: list[str]) -> float:
    matcher = SequenceMatcher(None, parts, known, autojunk=False)
    size = matcher.find_longest_match().size
    return 2 * size / (len(parts) + len(known)) if parts or known else 1.0


def _without_marks(text: str) -> str:
    return "".join(mark for mark in text.lower().strip() if mark not in _CHINESE_MARKS)


def _chinese_parts(text: str) -> list[str]:
    """Ideographs one by one, and the words of what stands between them."""
    spaced = _IDEOGRAPH.sub(lambda found: f" {found[0]} ", _without_marks(text))
    return [word for piece in spaced.split() for word in _WORD.findall(piece)]


_SCORES: dict[str, Callable[[str, Sequence[str]], tuple[bool, float]]] = {
    "en": _english_score,
    "zh": _chinese_score,
}
