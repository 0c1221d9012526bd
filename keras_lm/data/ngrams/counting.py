"""Counting the n-grams of a stream of documents, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from keras_lm.data.ngrams.keys import MAX_ROWS, KeyLayout, Keys
from keras_lm.data.ngrams.runs import Runs

Piece = tuple[np.ndarray, np.ndarray]
"""A stretch of the documents' stream: ids int [n], and bool [n], which begin a document."""

_MIN_ROWS = 1 << 10


class NGramCounter:
    """Counts, for every predicted token, the n-gram of `order` tokens that stops with it.

    Near the beginning of a document, where there are not so many tokens, the n-gram is filled on
    its left with more `begin_id`: KenLM's way, by which all shorter n-grams are endings of these.

    Args:
        order: tokens in an n-gram.
        vocab_size: V.
        begin_id: begins every document, and is not predicted there.
        end_id: ends every document.
        memory_limit: bytes.
        directory: a folder for what does not fit; the caller deletes it.
    """

    def __init__(
        self,
        order: int,
        vocab_size: int,
        begin_id: int,
        end_id: int,
        memory_limit: int,
        directory: Path,
    ) -> None:
        self.layout = KeyLayout(order, vocab_size)
        self.num_tokens = 0  # that are predicted
        self._order, self._vocab_size = order, vocab_size
        self._begin_id, self._end_id = begin_id, end_id
        # A quarter each for counting a chunk, for the runs in memory, and twice that for merging
        # them. A row is there as a key, its sorted copy and its rank, all at once.
        row_bytes = 24 * len(self.layout.word_bits) + 32
        self.rows_at_once = min(max(memory_limit // 4 // row_bytes, _MIN_ROWS), MAX_ROWS)
        self._runs = Runs(self.layout, directory, memory_limit // 4, self.rows_at_once)
        self._before = np.full(order - 1, begin_id, np.int32)
        self._tokens_read = 0

    @property
    def num_spilled(self) -> int:
        """How many runs went to disk."""
        return self._runs.num_spilled

    def add_all(self, pieces: Iterable[Piece]) -> Iterator[int]:
        """Counts consecutive stretches of the stream; yields the tokens read so far.

        Raises:
            ValueError: a piece is not as described, or holds an id that it may not.
        """
        waiting: list[Piece] = []
        num_waiting = 0
        for tokens, is_begin in pieces:
            _check_arrays(tokens, is_begin)
            for start in range(0, len(tokens), self.rows_at_once):
                part = slice(start, start + self.rows_at_once)
                waiting.append((tokens[part], is_begin[part]))
                num_waiting += len(waiting[-1][0])
                if num_waiting >= self.rows_at_once:
                    self._add(*map(np.concatenate, zip(*waiting)))
                    waiting, num_waiting = [], 0
                    yield self._tokens_read
        if num_waiting:
            self._add(*map(np.concatenate, zip(*waiting)))

    def merged(self) -> Iterator[tuple[Keys, np.ndarray]]:
        """All keys, see `KeyLayout`, in order with their counts int64, in pieces."""
        return self._runs.merged()

    def _add(self, tokens: np.ndarray, is_begin: np.ndarray) -> None:
        self._check_ids(tokens, is_begin)
        tokens = np.concatenate([self._before, tokens.astype(np.int32)])
        columns = list(self._columns(tokens))
        self._before = tokens[len(tokens) - self._order + 1 :].copy()
        self._tokens_read += len(is_begin)
        keys = self.layout.pack(columns)
        if is_begin.any():
            keys = [word[~is_begin] for word in keys]
        self.num_tokens += len(keys[0])
        if len(keys[0]):
            self._runs.add(*self.layout.count(keys))

    def _columns(self, tokens: np.ndarray) -> Iterator[np.ndarray]:
        """The tokens, those before them, and so on; what stands before a beginning is one too."""
        length = len(tokens) - self._order + 1
        column = tokens[self._order - 1 :]
        yield column
        for back in range(1, self._order):
            earlier = tokens[self._order - 1 - back :][:length]
            if back > 1:
                earlier = np.where(column == self._begin_id, np.int32(self._begin_id), earlier)
            column = earlier
            yield column

    def _check_ids(self, tokens: np.ndarray, is_begin: np.ndarray) -> None:
        if not self._tokens_read and not is_begin[0]:
            raise ValueError("is_begin is False for the first token; it must begin a document")
        outside = (tokens < 0) | (tokens >= self._vocab_size)
        self._refuse(
            outside, tokens, f"ids must lie in [0, {self._vocab_size}), as vocab_size says"
        )
        self._refuse(
            is_begin & (tokens != self._begin_id),
            tokens,
            f"every document must begin with begin_id, {self._begin_id}",
        )
        if self._begin_id != self._end_id:
            self._refuse(
                ~is_begin & (tokens == self._begin_id),
                tokens,
                "begin_id may stand at the beginning of a document alone",
            )

    def _refuse(self, wrong: np.ndarray, tokens: np.ndarray, rule: str) -> None:
        if wrong.any():
            place = int(np.argmax(wrong))
            raise ValueError(
                f"pieces: token {self._tokens_read + place} is {tokens[place]}; {rule}"
            )


def _check_arrays(tokens: np.ndarray, is_begin: np.ndarray) -> None:
    tokens_are_ids = isinstance(tokens, np.ndarray) and tokens.dtype.kind in "iu"
    if not tokens_are_ids or not isinstance(is_begin, np.ndarray) or is_begin.dtype != bool:
        raise ValueError(
            "pieces must be pairs of an int array and a bool array, tokens and is_begin; "
            f"got {_described(tokens)} and {_described(is_begin)}"
        )
    if tokens.ndim != 1 or tokens.shape != is_begin.shape:
        raise ValueError(
            f"pieces: tokens is {tokens.shape} and is_begin {is_begin.shape}; both must be [n]"
        )


def _described(value: object) -> str:
    return str(value.dtype) if isinstance(value, np.ndarray) else type(value).__name__


def default_memory_limit() -> int:
    """A quarter of the machine's memory, in bytes; 2 GB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    except (AttributeError, ValueError, OSError):  # Windows has no such call
        return 2 << 30
