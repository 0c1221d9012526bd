"""What scores of written texts share: each text stands against one or more references."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from keras_lm.metrics.sums import ExactSum

Pairs = list[tuple[list[str], str]]
"""The references of each text, and the text."""

_WHOLE = 2**24  # up to here float32 holds every whole number


class TextMetric(keras.metrics.Metric):
    """A score of texts that a model wrote, against what people wrote, over a data set.

    Texts are read in Python: the metric is not for `compile`;
    `keras_lm.training.GenerationScores` feeds it after an epoch.
    """

    _direction = "up"

    def update_state(
        self, references: Sequence[str | Sequence[str]], hypotheses: Sequence[str]
    ) -> None:
        """Adds texts.

        Args:
            references: for each text what it should say: a string, or a list of strings any of
                which is right. Lists may differ in length.
            hypotheses: what was written, as many strings.

        Raises:
            ValueError: the lists differ in length, or an item is of a wrong type.
        """
        for name, items in (("references", references), ("hypotheses", hypotheses)):
            if not isinstance(items, Sequence | np.ndarray) or isinstance(items, str | bytes):
                raise ValueError(f"{name} is {items!r:.80}; it must be a list with an item a text")
        if len(references) != len(hypotheses):
            raise ValueError(
                f"hypotheses has {len(hypotheses)} items; references has {len(references)}"
            )
        pairs = []
        for number, (known, text) in enumerate(zip(references, hypotheses, strict=True)):
            if not isinstance(text, str):
                raise ValueError(f"hypotheses[{number}] is {text!r:.80}; it must be a string")
            several = [known] if isinstance(known, str) else known
            is_list = isinstance(several, Sequence | np.ndarray) and not isinstance(several, bytes)
            if not is_list or not len(several) or not all(isinstance(r, str) for r in several):
                raise ValueError(
                    f"references[{number}] is {known!r:.80}; it must be a string, or a list of "
                    "one string or more"
                )
            pairs.append((list(several), text))
        self._add(pairs)

    def _add(self, pairs: Pairs) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not define _add")


class Counts:
    """Whole numbers that are summed over a data set, exact up to 2^48.

    Args:
        metric: in whose variables they are kept.
        size: how many.
    """

    def __init__(self, metric: keras.metrics.Metric, size: int) -> None:
        self._sums, self._size = ExactSum(metric, "counts", (size,)), size

    def add(self, rows: Iterable[Sequence[int]]) -> None:
        """Adds rows of so many numbers."""
        sums = np.zeros(self._size, np.int64)
        for row in rows:
            sums += np.asarray(row, np.int64)
        for part in (sums % _WHOLE, sums - sums % _WHOLE):  # each is exact in float32
            self._sums.add(part.astype(np.float32))

    def numbers(self) -> list[int]:
        """The sums."""
        return [int(number) for number in self._sums.numbers()]


def check_int(value: Any, name: str, least: int) -> int:
    """The value, or a ValueError unless it is an int of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be an int, at least {least}")
    return value
