"""From a stream of documents to the table of an n-gram model."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from keras_lm.data.ngrams.counting import NGramCounter, Piece, default_memory_limit
from keras_lm.data.ngrams.levels import LevelBuilder, SuffixLevel
from keras_lm.data.ngrams.smoothing import (
    SMOOTHINGS,
    Discounts,
    Smoothing,
    Unigrams,
    estimated_discounts,
)
from keras_lm.data.ngrams.table import IMPOSSIBLE, NGramTable
from keras_lm.data.ngrams.trie import TrieLevel, trie_parts
from keras_lm.data.progress import LateBar


def estimate(
    pieces: Iterable[Piece],
    order: int,
    vocab_size: int,
    begin_id: int,
    end_id: int,
    *,
    smoothing: str = "kneser_ney",
    k: float = 1.0,
    unk_id: int | None = None,
    vocabulary: Sequence[str] | None = None,
    memory_limit: int | None = None,
    progress: bool = True,
) -> NGramTable:
    """Counts the n-grams of a stream of documents and smooths them.

    Every document is `begin_id`, its ids, `end_id`; all but the first are predicted. Where
    `begin_id` and `end_id` are one id, one that stands within a document ends it there and begins
    the next.

    The stream is counted in chunks; the counts of the different n-grams go to a temporary folder
    (`TMPDIR`) when they outgrow `memory_limit`. So counting stays within it, however long the
    stream is; the table, and while it is made about twice its size again, comes on top. A table
    takes 8 bytes for each of the longest n-grams and 16 for each of the others.

    Args:
        pieces: pairs of the tokens, int [n], and which of them begin a document, bool [n]:
            consecutive stretches of one stream. A document may go on in the next piece.
        order: tokens in the longest n-grams, 1 or more.
        vocab_size: V; ids are in [0, V).
        begin_id: begins every document.
        end_id: ends every document.
        smoothing: "kneser_ney", modified and interpolated, as KenLM's `lmplz`; where its discounts
            cannot be estimated from so small or odd a text, they are 0.5, 1 and 1.5, which `lmplz`
            takes with `--discount_fallback`. "mle", maximum likelihood: what was not seen after a
            context that was has probability 0. "add_k": `k` more for every count.
        k: for "add_k", above 0.
        unk_id: stands for unknown words; goes into the table.
        vocabulary: V words by id; goes into the table.
        memory_limit: bytes for counting; None (default) is a quarter of the machine's memory.
        progress: whether a bar appears once it has taken two seconds.

    Raises:
        ValueError: an argument is not as described; `order` is larger than the longest document;
            there is no token to predict; a document does not begin with `begin_id`, has it
            elsewhere while `end_id` is another, or holds an id outside of [0, V).

    Example: the documents "5 6 7" and "5 6", with 0 and 1 around them.

    >>> tokens = np.array([0, 5, 6, 7, 1, 0, 5, 6, 1])
    >>> table = estimate([(tokens, tokens == 0)], order=2, vocab_size=8, begin_id=0, end_id=1,
    ...                  smoothing="mle")
    >>> table.num_ngrams, table.training_tokens
    ((8, 5), 7)
    >>> after_6 = slice(*table.first_child[0][6:8])
    >>> table.tokens[1][after_6].tolist(), np.exp(table.log_probs[1][after_6]).tolist()
    ([1, 7], [0.5, 0.5])
    """
    _check(order, vocab_size, begin_id, end_id, smoothing, k, unk_id, vocabulary, memory_limit)
    predictable = np.ones(vocab_size, bool)
    predictable[begin_id] = begin_id == end_id
    method = SMOOTHINGS[smoothing](k, int(predictable.sum()))
    levels, num_tokens = _counted(
        pieces,
        order,
        vocab_size,
        begin_id,
        end_id,
        method.continuation,
        default_memory_limit() if memory_limit is None else memory_limit,
        progress,
    )
    arrays = _Arrays(method, levels, predictable, begin_id, order, progress)
    return NGramTable(
        tokens=tuple(arrays.tokens),
        log_probs=tuple(arrays.log_probs),
        backoffs=tuple(arrays.backoffs),
        first_child=tuple(arrays.first_child),
        begin_id=begin_id,
        end_id=end_id,
        unk_id=unk_id,
        vocabulary=None if vocabulary is None else tuple(vocabulary),
        smoothing=smoothing,
        training_nats=arrays.training_nats,
        training_tokens=num_tokens,
    )


def _counted(
    pieces: Iterable[Piece],
    order: int,
    vocab_size: int,
    begin_id: int,
    end_id: int,
    continuation: bool,
    memory_limit: int,
    progress: bool,
) -> tuple[LevelBuilder, int]:
    """The n-grams of every length, and how many tokens were predicted."""
    with tempfile.TemporaryDirectory() as directory:
        counter = NGramCounter(order, vocab_size, begin_id, end_id, memory_limit, Path(directory))
        with LateBar("counting n-grams", total=None) as bar:
            for tokens_read in counter.add_all(pieces):
                if progress:
                    bar.advance_to(tokens_read)
        if not counter.num_tokens:
            raise ValueError("pieces hold no token after a begin_id; give at least one document")
        count_dtype = np.uint32 if counter.num_tokens < 1 << 32 else np.int64
        levels = LevelBuilder(
            order, vocab_size, begin_id, counter.layout, continuation, count_dtype
        )
        tokens_merged = 0
        with LateBar("merging counts", total=counter.num_tokens) as bar:
            for keys, counts in counter.merged():
                levels.add(keys, counts)
                tokens_merged += int(counts.sum())
                if progress:
                    bar.advance_to(tokens_merged)
    if levels.longest < order:
        raise ValueError(
            f"order is {order}, but the longest document has {levels.longest} tokens with its "
            f"beginning and end; order must be 1 to {levels.longest}"
        )
    return levels, counter.num_tokens


class _Arrays:
    """The arrays of a table, made part by part so that little else stands in memory."""

    def __init__(
        self,
        method: Smoothing,
        levels: LevelBuilder,
        predictable: np.ndarray,
        begin_id: int,
        order: int,
        progress: bool,
    ) -> None:
        self._method, self._begin_id, self._order = method, begin_id, order
        counts = levels.unigram_counts()
        unigrams = Unigrams(counts, predictable, _discounts(method, counts, levels, 1))
        self.tokens = [np.arange(len(counts), dtype=np.int32)]
        self.log_probs = [method.unigrams(unigrams)]
        self.log_probs[0][~predictable] = IMPOSSIBLE
        self.backoffs: list[np.ndarray] = []
        self.first_child: list[np.ndarray] = []
        self.training_nats = _nats(counts, self.log_probs[0]) if order == 1 else 0.0
        below: TrieLevel | None = None
        num_done = 0
        with LateBar("smoothing", total=levels.num_longer) as bar:
            for number in range(2, order + 1):
                level = levels.level(number)
                discounts = _discounts(method, level.counts, levels, number)
                below = self._add_level(level, below, discounts)
                del level  # before the next is there
                num_done += len(self.tokens[-1])
                if progress:
                    bar.advance_to(num_done)

    def _add_level(
        self, level: SuffixLevel, below: TrieLevel | None, discounts: Discounts
    ) -> TrieLevel | None:
        """Takes the n-grams of the next length; returns them, unless they are the longest."""
        num_rows, num_parents = len(level.first), len(self.tokens[-1])
        is_highest = len(self.tokens) == self._order - 1
        tokens, log_probs = np.empty(num_rows, np.int32), np.empty(num_rows, np.float32)
        backoffs = np.zeros(num_parents, np.float32)
        first_child = np.zeros(num_parents + 1, np.int32)  # for now, the numbers of children
        num_kept = 0 if is_highest else num_rows
        keys, parent = np.empty(num_kept, np.uint64), np.empty(num_kept, np.int32)
        place_of = np.empty(num_kept, np.int32)
        end = 0
        for part in trie_parts(level, below):
            here = slice(end, end := end + len(part.tokens))
            tokens[here] = part.tokens
            log_probs[here], backoffs[part.contexts] = self._method.longer(
                part, self.log_probs[-1], discounts
            )
            first_child[1:][part.contexts] = part.sizes
            if not is_highest:
                keys[here] = part.keys
                parent[here] = np.repeat(part.contexts, part.sizes)
                place_of[part.rows] = np.arange(here.start, end, dtype=np.int32)
            # An n-gram stops at every token of the text: the longest ones, but near the beginning
            # of a document those that begin there.
            counted = slice(None) if is_highest else part.first == self._begin_id
            self.training_nats += _nats(part.counts[counted], log_probs[here][counted])
        self.tokens.append(tokens)
        self.log_probs.append(log_probs)
        self.backoffs.append(backoffs)
        self.first_child.append(np.cumsum(first_child, dtype=np.int32, out=first_child))
        return None if is_highest else TrieLevel(keys, tokens, parent, place_of)


def _discounts(
    method: Smoothing, counts: np.ndarray, levels: LevelBuilder, level: int
) -> Discounts:
    if not method.continuation:
        return (0.0, 0.0, 0.0)
    if level == 1:  # its last n-gram is the last token that occurs
        counts = counts[: int(np.flatnonzero(counts)[-1]) + 1]
    return estimated_discounts(counts, levels.last_occurrences(level))


def _nats(counts: np.ndarray, log_probs: np.ndarray) -> float:
    """Σ −count · log-probability, in float64 whatever the arrays are."""
    return -float(np.dot(counts.astype(np.float64), log_probs.astype(np.float64)))


def _check(
    order: int,
    vocab_size: int,
    begin_id: int,
    end_id: int,
    smoothing: str,
    k: float,
    unk_id: int | None,
    vocabulary: Sequence[str] | None,
    memory_limit: int | None,
) -> None:
    positive = {"order": order, "vocab_size": vocab_size}
    if memory_limit is not None:
        positive["memory_limit"] = memory_limit
    for name, value in positive.items():
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} is {value!r}; it must be a positive int")
    ids = {"begin_id": begin_id, "end_id": end_id}
    if unk_id is not None:
        ids["unk_id"] = unk_id
    for name, value in ids.items():
        if not isinstance(value, int | np.integer) or not 0 <= value < vocab_size:
            raise ValueError(f"{name} is {value!r}; it must be an id in [0, {vocab_size})")
    if smoothing not in SMOOTHINGS:
        raise ValueError(f"smoothing is {smoothing!r}; it must be one of {', '.join(SMOOTHINGS)}")
    if not isinstance(k, int | float) or not 0 < k < math.inf:
        raise ValueError(f"k is {k!r}; it must be a number above 0")
    if vocabulary is not None and len(vocabulary) != vocab_size:
        raise ValueError(
            f"vocabulary has {len(vocabulary)} words; it must have vocab_size, {vocab_size}"
        )
