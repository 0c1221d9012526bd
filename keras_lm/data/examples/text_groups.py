"""Groups of texts that are compared: a query, its document, and documents that do not fit it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from keras_lm.data.examples.sequences import Sequences
from keras_lm.data.examples.store import Batch
from keras_lm.data.examples.tokenizing import (
    between_cls_and_sep,
    check_count,
    check_strings,
    cls_and_sep,
    tokenize,
    warn_of_cuts,
)

if TYPE_CHECKING:
    from keras_lm.tokenizers.base import Tokenizer


@dataclass(frozen=True, eq=False)
class TextGroups:
    """Examples of G texts each, for contrastive learning; `text_groups` makes them.

    A text is stored once, however many groups it is in; by its number a batch knows texts that
    come twice.

    Args:
        texts: a row of `token_ids` for each distinct text.
        members: int32 [examples, G], the texts of each group.
    """

    texts: Sequences
    members: np.ndarray

    def __len__(self) -> int:
        return len(self.members)

    @property
    def lengths(self) -> np.ndarray:
        """int64 [examples, G], the tokens of each text."""
        return self.texts.lengths[self.members]

    def rows(
        self, numbers: np.ndarray, widths: Sequence[int], rng: np.random.Generator | None = None
    ) -> Batch:
        """Reads groups as a batch, padded with 0.

        Args:
            numbers: int64 [B]; -1 is a row of padding and of weight 0.
            widths: what each text of a group is padded to.
            rng: not used.

        Returns:
            `(x, y, sample_weight)`: x has `texts`, for each of the G a dict of `token_ids` and
            `padding_mask`, int32 [B, T]; and `numbers`, int32 [B, G], the number of each text, -1
            in padding. y is 0 … B − 1: which second text belongs to the first.
        """
        members = np.where(numbers[:, np.newaxis] < 0, -1, self.members[numbers])
        texts = tuple(
            {
                "token_ids": self.texts.dense(column, width)["token_ids"],
                "padding_mask": self.texts.mask(column, width),
            }
            for column, width in zip(members.T, widths, strict=True)
        )
        x = {"texts": texts, "numbers": members.astype(np.int32)}
        return x, np.arange(len(numbers), dtype=np.int32), (numbers >= 0).astype(np.float32)


def text_groups(
    groups: Sequence[Sequence[str]],
    tokenizer: Tokenizer,
    max_length: int = 512,
    prefixes: tuple[str, str] = ("", ""),
    progress: bool = False,
) -> TextGroups:
    """Groups (query, document), or (query, document, unfit document, …), as [CLS] text [SEP].

    What is longer than `max_length` is cut at its end, with a warning.

    Args:
        groups: tuples of G ≥ 2 strings, all of one G.
        tokenizer: any tokenizer.
        max_length: the most tokens of a text, CLS and SEP included.
        prefixes: what stands before each query, and before each document.
        progress: whether a bar with the time left appears once it has taken two seconds.

    Raises:
        ValueError: a group is of another size, a text is no string, or the tokenizer lacks the
            special tokens; the message says where.

    Example:

    >>> import keras_lm as klm
    >>> tok = klm.tokenizers.BytePairTokenizer.train(texts=["aa"] * 9, vocab_size=258)
    >>> groups = text_groups([("b", "bb"), ("c", "bb")], tok)
    >>> groups.lengths.tolist(), groups.members.tolist()
    ([[3, 4], [3, 4]], [[0, 1], [2, 1]])
    """
    size = len(groups[0])
    for number, group in enumerate(groups):
        if len(group) != size or size < 2:
            raise ValueError(
                f"x[{number}] has {len(group)} texts; each example must be a query, its document "
                f"and as many unfit ones as in x[0], which has {size} texts"
            )
    check_count(max_length, "max_length", least=3)
    ends = cls_and_sep(tokenizer)
    kinds = (prefixes[0], *[prefixes[1]] * (size - 1))
    columns = [
        [prefix + text for text in check_strings([g[i] for g in groups], f"x[…][{i}]")]
        for i, prefix in enumerate(kinds)
    ]
    known: dict[str, int] = {}
    members = [[known.setdefault(text, len(known)) for text in row] for row in zip(*columns)]
    rows = tokenize(list(known), tokenizer, progress=progress)
    kept = np.minimum(rows.lengths, max_length - 2)
    warn_of_cuts(rows.lengths, kept, max_length)
    every = np.arange(len(rows))
    cut = rows.cut(every, np.zeros_like(every), kept)
    return TextGroups(between_cls_and_sep(ends, cut, separators=0), np.array(members, np.int32))
