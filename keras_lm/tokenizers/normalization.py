"""BERT's normalizer in the graph: characters to characters, by tables asked of the reference.

The reference cleans a text, puts spaces around Chinese characters, takes accents off and
lower-cases. All of this goes character by character, but for one thing: to take accents off,
characters are decomposed (NFD), and marks that stand side by side are then sorted by their
combining class. So a table gives what each character becomes, and a sort follows where it is due.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

# Beyond Unicode: an added token among characters is this plus its id. It stays as it is, alone.
ADDED = 0x110000

# What is known of a character that the normalizer gives, in one integer.
SPACE, ALONE = 1, 2  # it parts words; it is a word by itself
MARK = 4  # it is to be dropped after sorting
CONTINUES = 8  # it is not the first of those that its character was decomposed into
COMBINING = 16  # times its combining class

PAGE = 256
GIVEN = 1 << 24  # a change of at least this is no change: the rest is the new character
# Where each plane is of one kind from: the reference is asked of what is before, and of its ends.
ALIKE = {plane: plane for plane in range(0x40000, 0x110000, 0x10000)}
ALIKE |= {0x30000: 0x34000, 0xE0000: 0xE1000}
ASKED = [*range(0xD800), *range(0xE000, 0x30000)]
ASKED += [
    point
    for plane, start in ALIKE.items()
    for point in (*range(plane, start), plane + 0xFFFD, plane + 0xFFFE, plane + 0xFFFF)
]


@dataclass(frozen=True)
class NormalizerRules:
    """The options of a `BertNormalizer`; all off, texts are left as they are."""

    clean_text: bool = False
    handle_chinese_chars: bool = False
    strip_accents: bool = False
    lowercase: bool = False

    def reference(self) -> Any:
        """The reference's own normalizer."""
        import tokenizers

        return tokenizers.normalizers.BertNormalizer(
            clean_text=self.clean_text,
            handle_chinese_chars=self.handle_chinese_chars,
            strip_accents=self.strip_accents,
            lowercase=self.lowercase,
        )


class _Tables(NamedTuple):
    """What each character becomes.

    A page of code points has a place in `results`, where each of its characters has an index into
    `first` and `lengths`, which say where in `changes` and `kinds` its characters stand.
    """

    pages: np.ndarray
    results: np.ndarray
    first: np.ndarray
    lengths: np.ndarray
    changes: np.ndarray
    kinds: np.ndarray


@functools.lru_cache(maxsize=8)
def _tables(rules: NormalizerRules) -> _Tables:
    """Asks the reference, stage by stage, what it makes of every character."""
    import tokenizers

    characters = [chr(point) for point in ASKED if point != ord(_SEPARATOR)]
    clean = NormalizerRules(rules.clean_text, rules.handle_chinese_chars).reference()
    cleaned = _apply(clean, characters)
    parts = cleaned
    if rules.strip_accents:
        parts = _apply(tokenizers.normalizers.NFD(), cleaned)
    atoms = sorted({*"".join(parts), _SEPARATOR})
    lowered = dict(zip(atoms, atoms, strict=True))
    marks: set[str] = set()
    combining: dict[str, int] = {}
    if rules.lowercase:
        lowered |= zip(atoms, _apply(tokenizers.normalizers.Lowercase(), atoms), strict=True)
    if rules.strip_accents:
        strip = NormalizerRules(strip_accents=True).reference()
        marks = {x for x, y in zip(atoms, _apply(strip, atoms), strict=True) if x and not y}
        combining = _combining_classes([x for x in atoms if x != _SEPARATOR])
    kinds = _kinds("".join(lowered.values()))

    plain = {x for x in atoms if x == lowered[x] and not (kinds[x] or x in marks or x in combining)}

    def outcome(character: str, cleaned: str, parts: str) -> tuple[tuple[int, int], ...]:
        # Of a character between spaces, each of the three is decomposed by itself.
        starts = {0, 1, len(parts) - 1} if len(cleaned) == 3 else {0}
        return tuple(
            (
                ord(x) - ord(character) if x == character or len(parts) == 1 else ord(x) + GIVEN,
                kinds[x]
                | (MARK if atom in marks else 0)
                | (0 if i in starts and not k else CONTINUES)
                | COMBINING * combining.get(atom, 0),
            )
            for i, atom in enumerate(parts)
            for k, x in enumerate(lowered[atom])
        )

    itself = ((0, 0),)
    index: dict[tuple[tuple[int, int], ...], int] = {itself: 0}
    results = np.zeros((ADDED + PAGE) // PAGE * PAGE, np.int32)
    for character, *stages in zip(characters, cleaned, parts, strict=True):
        if stages == [character, character] and character in plain:
            continue
        results[ord(character)] = index.setdefault(outcome(character, *stages), len(index))
    for plane, start in ALIKE.items():
        results[start : plane + 0xFFFD] = results[plane + 0xFFFD]
    results[ord(_SEPARATOR)] = results[ADDED] = index.setdefault(((0, ALONE),), len(index))
    distinct, pages = np.unique(results.reshape(-1, PAGE), axis=0, return_inverse=True)
    pairs = [pair for outcome in index for pair in outcome]
    changes, values = np.array(pairs, np.int32).T
    count = np.array([len(outcome) for outcome in index], np.int32)
    first = (np.cumsum(count) - count).astype(np.int32)
    pages = (pages.reshape(-1) * PAGE).astype(np.int32)
    return _Tables(pages, distinct.reshape(-1), first, count, changes, values)


# Between what is asked: nothing becomes it, nothing joins it, and it stays what it is.
_SEPARATOR = "|"


def _apply(normalizer: Any, texts: Sequence[str]) -> list[str]:
    """What a normalizer makes of each text."""
    joined = _SEPARATOR.join(text for text in texts if text != _SEPARATOR)
    results = iter(normalizer.normalize_str(joined).split(_SEPARATOR))
    return [_SEPARATOR if text == _SEPARATOR else next(results) for text in texts]


def _combining_classes(characters: Sequence[str]) -> dict[str, int]:
    """Combining classes, which Unicode never changes, of the characters that have one.

    The reference may know fewer characters than Python does. It has a class for those that it
    sorts before U+0345, whose class is the last.
    """
    import tokenizers

    last = "\u0345"
    pairs = _apply(tokenizers.normalizers.NFD(), [last + character for character in characters])
    known = {x for x, pair in zip(characters, pairs, strict=True) if not pair.startswith(last)}
    return {x: unicodedata.combining(x) for x in {*known, last} & {*characters}}


def _kinds(characters: str) -> dict[str, int]:
    """How the reference splits words at each character: not at all, SPACE or ALONE."""
    import tokenizers

    distinct = sorted(set(characters))
    text = "".join(f"a{character}" for character in distinct)
    kinds = dict.fromkeys(distinct, SPACE)
    for _, (start, end) in tokenizers.pre_tokenizers.BertPreTokenizer().pre_tokenize_str(text):
        kind = ALONE if end - start == 1 and start % 2 else 0
        kinds |= dict.fromkeys(text[start + 1 - start % 2 : end : 2], kind)
    return kinds


class Characters(NamedTuple):
    """Characters as the normalizer gives them, of many texts one after the other."""

    code: tf.Tensor  # int32 [n]
    kind: tf.Tensor  # int32 [n]
    source: tf.Tensor  # int32 [n], which of the characters given it was made of; never falls


class Normalizer(tf.Module):
    """Normalizes as the reference's `BertNormalizer` does.

    Args:
        rules: which of its options are on.
    """

    def __init__(self, rules: NormalizerRules) -> None:
        super().__init__(name=None)
        self._sorts = rules.strip_accents
        with tf.init_scope(), tf.device("CPU:0"):
            tables = [tf.constant(table) for table in _tables(rules)]
        self._pages, self._results, self._first, self._count, self._changes, self._kinds = tables

    def __call__(self, codes: tf.Tensor) -> Characters:
        """What characters become: code points, int32 [n], or `ADDED` and above.

        Marks are sorted within a text, so texts must be parted by a space.
        """
        known = tf.minimum(codes, ADDED)
        page = tf.gather(self._pages, tf.bitwise.right_shift(known, 8))
        result = tf.gather(self._results, page + tf.bitwise.bitwise_and(known, PAGE - 1))
        first, count = tf.gather(self._first, result), tf.gather(self._count, result)
        outcome = tf.ragged.range(first, first + count)
        source = tf.cast(outcome.value_rowids(), tf.int32)
        change = tf.gather(self._changes, outcome.values)
        code = tf.where(change < GIVEN, tf.gather(codes, source) + change, change - GIVEN)
        characters = Characters(code, tf.gather(self._kinds, outcome.values), source)
        if self._sorts:
            combining = characters.kind // COMBINING
            is_unsorted = (combining[1:] > 0) & (combining[:-1] > combining[1:])
            characters = tf.cond(
                tf.reduce_any(is_unsorted), lambda: _sort_marks(*characters), lambda: characters
            )
        return characters


def _sort_marks(code: tf.Tensor, kind: tf.Tensor, source: tf.Tensor) -> Characters:
    """Marks after a character, sorted by their combining class.

    The first character that came of a source is taken to come of it still, whichever now is it.
    """
    combining = tf.cast(kind // COMBINING, tf.int64)
    run = tf.cumsum(tf.cast(combining == 0, tf.int64))
    order = tf.argsort(run * COMBINING**2 + combining, stable=True)
    first_of = tf.boolean_mask(source, tf.bitwise.bitwise_and(kind, CONTINUES) == 0)
    kind = tf.gather(kind, order)
    is_first = tf.cast(tf.bitwise.bitwise_and(kind, CONTINUES) == 0, tf.int32)
    return Characters(tf.gather(code, order), kind, tf.gather(first_of, tf.cumsum(is_first) - 1))
