"""Pairs of passages for next-sentence prediction, drawn afresh in every epoch.

Devlin et al. 2019 (https://arxiv.org/abs/1810.04805).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_lm.data.examples.sequences import Sequences, longest_first, offsets_of
from keras_lm.data.examples.store import Batch
from keras_lm.data.examples.tokenizing import (
    between_cls_and_sep,
    check_count,
    check_strings,
    cls_and_sep,
    tokenize,
)

if TYPE_CHECKING:
    from keras_lm.tokenizers.base import Tokenizer


# Behind a mark that ends a sentence, and what closes a quotation; Chinese has no space there.
_ENDS = re.compile(r"(?<=[.!?])[\"'”’)]*\s+|(?<=[。！？])|\n+")


def sentences_of(document: str | bytes | Sequence[str]) -> list[str]:
    """A document's sentences: what it is a list of, or a text cut at the marks that end one.

    Example:

    >>> sentences_of("One is here. Two? 三。四")
    ['One is here.', 'Two?', '三。', '四']
    """
    if isinstance(document, bytes):
        document = document.decode("utf-8")
    if not isinstance(document, str):
        return list(document)
    return [piece.strip() for piece in _ENDS.split(document) if piece.strip()] or [document]


class SentencePairs:
    """Examples [CLS] passage [SEP] passage [SEP]: does the second follow the first?

    Each example has its place, some sentences that follow each other and fill `max_length`. Every
    time it is read, they are parted at a random sentence; in one half of the cases the second
    passage goes on from there, in the other it begins at a random sentence of another document.
    Either is filled with whole sentences, as many as fit.

    Departures from BERT: sentences that a random passage has displaced are not used again in the
    same epoch, for the next one draws anew; a pair that is too long is cut at the far ends, not
    at random ones; exactly half of the pairs are expected to be true.

    `example_batches` reads it, with `bucket_plan(pairs.lengths, batch_size=…)`: one shape.

    Args:
        documents: the sentences of each document.
        tokenizer: any tokenizer.
        max_length: the tokens of an example, CLS and SEP included.
        progress: whether a bar with the time left appears once it has taken two seconds.

    Raises:
        ValueError: there are not two documents, no document has two sentences, a sentence is no
            string, or the tokenizer lacks the special tokens; the message says where.

    Example:

    >>> import keras_lm as klm
    >>> tok = klm.tokenizers.BytePairTokenizer.train(texts=["aa"] * 9, vocab_size=258)
    >>> pairs = SentencePairs([["a", "b"], ["c", "d"]], tok, max_length=6)
    >>> x, y, weight = pairs.rows(np.array([0, 1]), [6], np.random.default_rng(0))
    >>> sorted(x), x["token_types"].tolist(), y.tolist()
    (['padding_mask', 'token_ids', 'token_types'], [[0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 0]], [1, 1])
    """

    def __init__(
        self,
        documents: Iterable[Sequence[str]],
        tokenizer: Tokenizer,
        max_length: int = 128,
        progress: bool = False,
    ) -> None:
        check_count(max_length, "max_length", least=5)
        self.max_length = max_length
        self._ends = cls_and_sep(tokenizer)
        listed = [
            check_strings(sentences, f"documents[{number}]")
            for number, sentences in enumerate(documents)
        ]
        if not listed:
            raise ValueError("documents is empty; give at least two")
        tokens = tokenize(
            [sentence for sentences in listed for sentence in sentences], tokenizer, False, progress
        )
        # Sentences of no tokens, and documents of no sentences, are left out.
        document = np.repeat(np.arange(len(listed)), [len(sentences) for sentences in listed])
        _, sizes = np.unique(document[tokens.lengths > 0], return_counts=True)
        self._documents = offsets_of(sizes)
        self._sentences = np.unique(tokens.offsets)
        self._tokens = Sequences(tokens.columns, np.array([0, len(tokens.columns["token_ids"])]))
        if len(sizes) < 2 or sizes.max() < 2:
            raise ValueError(
                f"documents has {len(sizes)} with text, of at most {sizes.max(initial=0)} "
                "sentences; there must be two, and one of them of two sentences"
            )
        self._starts = self._places()

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def lengths(self) -> np.ndarray:
        """int64 [examples]: `max_length` for all, since each may fill it."""
        return np.full(len(self), self.max_length)

    def rows(self, numbers: np.ndarray, widths: Sequence[int], rng: np.random.Generator) -> Batch:
        """Draws a batch of pairs.

        Args:
            numbers: int64 [B]; -1 is a row of padding and of weight 0.
            widths: `[max_length]`.
            rng: decides where each example is parted and what follows.

        Returns:
            `(x, y, sample_weight)` in NumPy: x with `token_ids`, `token_types` (0 up to the first
            SEP, 1 after it) and `padding_mask`, int32 [B, T]; y int32 [B], 1 where the second
            passage follows the first; weights float32 [B].
        """
        present = numbers >= 0
        first = self._starts[numbers]
        document = self._document_of(first)
        split = rng.integers(first + 1, np.maximum(self._ends_of_fill(first), first + 2))
        is_next = rng.integers(0, 2, len(numbers)) == 1
        other = rng.integers(0, len(self._documents) - 2, len(numbers))  # all but one
        other += other >= document
        elsewhere = rng.integers(self._documents[other], self._documents[other + 1])
        second = np.where(is_next, split, elsewhere)

        begin, end = self._sentences[first], self._sentences[split]
        room = self.max_length - 3
        second_end = self._ends_of_fill(second, room - (end - begin))
        lengths = end - begin, self._sentences[second_end] - self._sentences[second]
        kept = longest_first(*lengths, room)
        whole = np.zeros_like(numbers)
        passages = (
            self._tokens.cut(whole, end - kept[0], kept[0]),
            self._tokens.cut(whole, self._sentences[second], kept[1]),
        )
        rows = between_cls_and_sep(self._ends, *passages)
        chosen = np.where(present, np.arange(len(numbers)), -1)
        x = rows.dense(chosen, widths[0]) | {"padding_mask": rows.mask(chosen, widths[0])}
        return x, (is_next & present).astype(np.int32), present.astype(np.float32)

    def _document_of(self, sentence: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._documents, sentence, side="right") - 1

    def _ends_of_fill(self, first: np.ndarray, room: np.ndarray | int | None = None) -> np.ndarray:
        """The end of as many whole sentences from `first` on as fit, at least one of them."""
        most = self._sentences[first] + (self.max_length - 3 if room is None else room)
        end = np.searchsorted(self._sentences, most, side="right") - 1
        document_end = self._documents[self._document_of(first) + 1]
        return np.clip(end, first + 1, document_end)

    def _places(self) -> np.ndarray:
        """The first sentence of every example: they follow each other through each document."""
        sentences = np.arange(self._documents[-1])
        ends = np.maximum(self._ends_of_fill(sentences), sentences + 2).tolist()
        starts = []
        for begin, end in zip(self._documents[:-1], self._documents[1:], strict=True):
            first = int(begin)
            while first + 1 < end:
                starts.append(first)
                first = ends[first]
            if first + 1 == end and end - begin > 1:  # a last sentence alone: with the one before
                starts.append(first - 1)
        return np.array(starts)
