"""Texts to the terms that search by words counts, in the graph.

A text is brought into one form first: characters that are the same but for their width, their case
or the way in which they are composed become the same (Unicode's NFKD and case folding; marks of one
character are put in order). That goes character by character, by tables.
"""

from __future__ import annotations

import functools
import itertools
import unicodedata
from typing import NamedTuple

import numpy as np
import tensorflow as tf

OTHER, LETTER, IDEOGRAPH, MARK = range(4)
COMBINING = 4  # times the combining class; added to the kind of a character
ITSELF = -1
PAGE = 256
# Beyond, there are only variation selectors, private characters, and none.
ASSIGNED = 0x40000

_ZERO_WIDTH_SPACE = "\u200b"
_SELECTORS = range(0xFE00, 0xFE10)
_MORE_SELECTORS = range(0xE0000, 0xE1000)
_IDEOGRAPHS = frozenset(
    itertools.chain(
        range(0x3005, 0x3008),  # 々〆〇
        range(0x3021, 0x302A),
        range(0x3038, 0x303C),
        range(0x3041, 0x3097),  # Hiragana
        range(0x309D, 0x30A0),
        range(0x30A1, 0x30FB),  # Katakana
        range(0x30FC, 0x3100),
        range(0x31F0, 0x3200),
        range(0x3400, 0x4DC0),
        range(0x4E00, 0xA000),
        range(0xF900, 0xFB00),
        range(0x1B000, 0x1B170),
        range(0x20000, 0x323B0),
    )
)


class TermSplitter(tf.Module):
    """Splits texts into terms.

    A term is a run of letters and digits, with the marks on them. Chinese characters and kana,
    which are written without spaces, are terms one by one and, so that words of several are told
    from their characters, two by two: 北京大学 has the terms 北, 北京, 京, 京大, 大, 大学 and 学.
    Other scripts without spaces, such as Thai, are not split.

    Example:

    >>> terms = TermSplitter()(tf.constant(["B-cells: ２５%", "iPhone手机"]))
    >>> [[term.decode() for term in row] for row in terms.to_list()]
    [['b', 'cells', '25'], ['iphone', '手', '手机', '机']]
    """

    def __init__(self) -> None:
        super().__init__(name=None)
        with tf.init_scope(), tf.device("CPU:0"):
            self._tables = [tf.constant(table) for table in _tables()]

    def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """The terms [B, None] of texts [B]: strings, in an inner spelling."""
        # A space before each text: nothing goes from text to text.
        given = tf.strings.unicode_decode(tf.strings.join([" ", texts]), "UTF-8")
        code, trait, source = self._normalized(given.values)
        kind = trait % COMBINING
        # A mark is of the kind of what it stands on.
        is_base = kind != MARK
        base = tf.cumsum(tf.cast(is_base, tf.int32)) - 1
        kind = tf.gather(tf.boolean_mask(kind, is_base), base)
        # A part is a run of letters, one ideograph, or one other character.
        before = tf.concat([[OTHER], kind[:-1]], axis=0)[: tf.size(kind)]
        begins = tf.where(kind == LETTER, before != LETTER, is_base | (kind == OTHER))
        splits = tf.concat([tf.squeeze(tf.where(begins), 1), [tf.size(kind, tf.int64)]], axis=0)
        kind = tf.gather(kind, splits[:-1])
        follows = tf.concat([kind[1:], [OTHER]], axis=0)[: tf.size(kind)]
        is_pair = (kind == IDEOGRAPH) & (follows == IDEOGRAPH)
        count = tf.cast(kind != OTHER, tf.int64) + tf.cast(is_pair, tf.int64)
        part = tf.repeat(tf.range(tf.size(kind, tf.int64)), count)
        is_second = tf.concat([[False], part[1:] == part[:-1]], axis=0)[: tf.size(part)]
        start = tf.gather(splits, part)
        end = tf.gather(splits, part + 1 + tf.cast(is_second, tf.int64))
        spelled = tf.gather(code, tf.ragged.range(start, end))
        return tf.RaggedTensor.from_value_rowids(
            tf.strings.unicode_encode(spelled, "UTF-8"),
            tf.gather(given.value_rowids(), tf.gather(source, start)),
            nrows=given.nrows(),
            validate=False,
        )

    def _normalized(self, codes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Characters [n], what each is, and which of those given it is of."""
        pages, results, first, counts, parts, traits = self._tables
        page = tf.gather(pages, tf.bitwise.right_shift(codes, 8))
        result = tf.gather(results, page + tf.bitwise.bitwise_and(codes, PAGE - 1))
        begin = tf.gather(first, result)
        part = tf.ragged.range(begin, begin + tf.gather(counts, result))
        source = part.value_rowids()
        code, trait = tf.gather(parts, part.values), tf.gather(traits, part.values)
        code = tf.where(code == ITSELF, tf.gather(codes, source), code)
        combining = trait // COMBINING
        is_unsorted = (combining[1:] > 0) & (combining[:-1] > combining[1:])
        return tf.cond(
            tf.reduce_any(is_unsorted),
            lambda: (*_sort_marks(code, trait), source),
            lambda: (code, trait, source),
        )


def _sort_marks(code: tf.Tensor, trait: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The marks on a character by their combining class, as Unicode orders them."""
    combining = tf.cast(trait // COMBINING, tf.int64)
    run = tf.cumsum(tf.cast(combining == 0, tf.int64))
    order = tf.argsort(run * 256 + combining, stable=True)
    return tf.gather(code, order), tf.gather(trait, order)


class _Tables(NamedTuple):
    """What each character becomes.

    A page of code points has a place in `results`, where each of its characters has an index into
    `first` and `counts`, which say where in `parts` and `traits` its characters stand.
    """

    pages: np.ndarray
    results: np.ndarray
    first: np.ndarray
    counts: np.ndarray
    parts: np.ndarray
    traits: np.ndarray


@functools.cache
def _tables() -> _Tables:
    index: dict[tuple[tuple[int, int], ...], int] = {((ITSELF, OTHER),): 0}
    results = np.zeros(0x110000, np.int32)
    for point in (*range(0xD800), *range(0xE000, ASSIGNED), *_MORE_SELECTORS):
        character = chr(point)
        category = unicodedata.category(character)
        if category[0] == "C" or point in _SELECTORS or point in _MORE_SELECTORS:
            # What is invisible, such as a soft hyphen, parts nothing.
            is_ignored = category in ("Cf", "Mn") and character != _ZERO_WIDTH_SPACE
            outcome: tuple[tuple[int, int], ...] = () if is_ignored else ((ITSELF, OTHER),)
        else:
            folded = unicodedata.normalize("NFKD", character).casefold()
            spelled = unicodedata.normalize("NFKD", folded)
            outcome = tuple(
                (ITSELF if spelled == character else ord(each), _trait(each)) for each in spelled
            )
        results[point] = index.setdefault(outcome, len(index))
    distinct, pages = np.unique(results.reshape(-1, PAGE), axis=0, return_inverse=True)
    parts, traits = np.array([pair for outcome in index for pair in outcome], np.int32).T
    counts = np.array([len(outcome) for outcome in index], np.int32)
    return _Tables(
        pages=(pages.reshape(-1) * PAGE).astype(np.int32),
        results=distinct.reshape(-1),
        first=(np.cumsum(counts) - counts).astype(np.int32),
        counts=counts,
        parts=parts,
        traits=traits,
    )


@functools.cache
def _trait(character: str) -> int:
    if ord(character) in _IDEOGRAPHS:
        return IDEOGRAPH
    category = unicodedata.category(character)[0]
    if category == "M":
        return MARK + COMBINING * unicodedata.combining(character)
    return LETTER if category in "LN" else OTHER
