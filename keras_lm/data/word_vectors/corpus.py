"""Texts as numbered words: what word vectors are counted and learned from."""

from __future__ import annotations

import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from keras_lm.data.progress import LateBar

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, eq=False)
class WordCorpus:
    """The words of texts by number, the most frequent first; rarer ones are left out.

    Args:
        words: V words.
        counts: int64 [V], how often each occurs.
        ids: int32 [n], the words of all texts, one text after the other.
        offsets: int64 [number of texts + 1], where each text begins.
        num_raw: how many words the texts had, the rare ones among them.
    """

    words: tuple[str, ...]
    counts: np.ndarray
    ids: np.ndarray
    offsets: np.ndarray
    num_raw: int

    @cached_property
    def text_numbers(self) -> np.ndarray:
        """int32 [n]: the text of each word."""
        lengths = np.diff(self.offsets)
        return np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)


def words_of(text: str) -> list[str]:
    """The words of a text: lower-cased runs of letters and digits.

    Example:

    >>> words_of("The queen's 2 crowns, naïve_x!")
    ['the', 'queen', 's', '2', 'crowns', 'naïve', 'x']
    """
    return _WORD.findall(text.lower())


def read_corpus(
    texts: Iterable[Any], min_count: int = 1, words: Sequence[str] | None = None
) -> WordCorpus:
    """Counts and numbers the words of texts, each of which is read once and forgotten.

    In memory stay the different words, and 4 bytes for each word of the texts.

    Args:
        texts: any number of strings, which `words_of` cuts, or of lists of words, which are taken
            as they are; a list, a generator, or a tf.data set of strings.
        min_count: words that are rarer are left out as if they were not there.
        words: the words to keep instead, in this order; some may occur nowhere.

    Raises:
        ValueError: `texts` is a single string, a text is neither a string nor a list of strings,
            or no word occurs `min_count` times, or none of `words`.

    Example:

    >>> corpus = read_corpus(["b a, a!", "A b c"], min_count=2)
    >>> corpus.words, corpus.counts.tolist(), corpus.ids.tolist(), corpus.offsets.tolist()
    (('a', 'b'), [3, 2], [1, 0, 0, 0, 1], [0, 3, 5])
    """
    number: defaultdict[str, int] = defaultdict()
    number.default_factory = number.__len__
    raw, lengths = array("i"), array("q")
    with LateBar("counting words", len(texts) if isinstance(texts, Sequence) else None) as bar:
        for position, text in enumerate(_lists_of_words(texts)):
            raw.extend(map(number.__getitem__, text))
            lengths.append(len(text))
            bar.advance_to(position + 1)
    ids = np.frombuffer(raw, np.int32) if raw else np.zeros(0, np.int32)
    counts = np.bincount(ids, minlength=len(number))
    if words is None:
        # A stable sort: of words that are as frequent, the one seen first comes first.
        frequent = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts >= min_count)]
        spelled = list(number)
        words = tuple(spelled[i] for i in frequent)
        if not words:
            most = f"the most frequent, {max(counts)} times" if len(counts) else "it has none"
            raise ValueError(f"texts has no word that occurs min_count={min_count} times; {most}")
    renumbered = np.full(len(number), -1, np.int32)
    for new, word in enumerate(words):
        if word in number:
            renumbered[number[word]] = new
    numbered = renumbered[ids]
    is_kept = numbered >= 0
    if not is_kept.any():
        raise ValueError(f"texts has none of the {len(words)} words that the model knows")
    ends = np.concatenate([[0], np.cumsum(is_kept)])
    return WordCorpus(
        words=tuple(words),
        counts=np.bincount(numbered[is_kept], minlength=len(words)),
        ids=numbered[is_kept],
        offsets=ends[np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)],
        num_raw=len(ids),
    )


def _lists_of_words(texts: Iterable[Any]) -> Iterator[Sequence[str]]:
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise ValueError(f"texts is {texts!r:.80}; it must be a list of strings or of words")
    if hasattr(texts, "as_numpy_iterator"):
        texts = texts.as_numpy_iterator()
    for position, text in enumerate(texts):
        for part in text.ravel() if isinstance(text, np.ndarray) else [text]:
            if isinstance(part, bytes):
                part = part.decode("utf-8", "replace")
            if isinstance(part, str):
                yield words_of(part)
            elif isinstance(part, list | tuple) and all(isinstance(w, str) for w in part):
                yield part
            else:
                raise ValueError(
                    f"texts[{position}] is {part!r:.80}; it must be a string or a list of words"
                )
