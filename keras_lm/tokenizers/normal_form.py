"""Unicode's normal form C in the graph, and where in the text its characters come from.

The operation of tensorflow-text knows another version of Unicode than the reference. So it is given
only the stretches in which, by the reference, something can change: a character that others compose
with, and those others after it. There the versions agree, as Unicode never changes what it has once
defined.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from keras_lm.tokenizers import unicode_classes
from keras_lm.tokenizers.splitting import BREAK, MARKED, character_class

COMPOSING = character_class(unicode_classes.COMPOSING)
STRETCH = f"[{character_class(unicode_classes.COMPOSED_WITH)}]?[{COMPOSING}]+"
BRACKETS = 6  # bytes around an added token


class Sources(NamedTuple):
    """Where each byte of normalized texts comes from, as a span of bytes in its own text."""

    start: tf.Tensor  # int32 [n], over all texts; brackets do not count
    end: tf.Tensor  # int32 [n]
    text_start: tf.Tensor  # int32 [B], where in those each text begins


class _Parts(NamedTuple):
    before: tf.Tensor  # strings [P]
    after: tf.Tensor  # strings [P]
    row: tf.Tensor  # int64 [P], which text
    is_stretch: tf.Tensor  # bool [P], whether it was normalized


def require_tensorflow_text() -> None:
    """ImportError where tensorflow-text, which normalizes, is not installed."""
    try:
        import tensorflow_text  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "this tokenizer normalizes, which needs tensorflow-text: pip install tensorflow-text"
        ) from error


def compose(texts: tf.Tensor) -> tf.Tensor:
    """Normal form C of texts [B]; what stands in brackets is left as it is.

    >>> compose(tf.constant(["e\\u0301a"])).numpy()[0].decode()
    'éa'
    """
    has_nothing = tf.reduce_all(tf.strings.regex_full_match(texts, f"[^{COMPOSING}]*"))
    return tf.cond(has_nothing, lambda: texts, lambda: _joined(_composed(texts), texts))


def compose_with_sources(texts: tf.Tensor) -> tuple[tf.Tensor, Sources]:
    """Normal form C of texts [B] and where its bytes come from, as the reference sees it.

    A character that is composed of several comes from the first of those alone.
    """
    parts = _composed(texts)
    brackets = BRACKETS * tf.cast(tf.strings.regex_full_match(parts.before, MARKED), tf.int32)
    length = tf.strings.length(parts.after) - brackets
    part_start = _start_in_row(tf.strings.length(parts.before) - brackets, parts.row, texts)
    part = tf.repeat(tf.range(tf.size(length)), length)
    within = tf.range(tf.size(part)) - tf.gather(tf.cumsum(length, exclusive=True), part)
    start = tf.gather(part_start, part) + within
    end = start + 1
    changed = tf.where(tf.gather(parts.is_stretch, part))
    stretch = tf.squeeze(tf.where(parts.is_stretch), 1)
    first, last = _sources_in(tf.gather(parts.before, stretch), tf.gather(parts.after, stretch))
    of_stretch = tf.gather(part_start, tf.gather(part, tf.squeeze(changed, 1)))
    row_length = tf.math.unsorted_segment_sum(length, parts.row, tf.size(texts))
    return _joined(parts, texts), Sources(
        tf.tensor_scatter_nd_update(start, changed, of_stretch + first),
        tf.tensor_scatter_nd_update(end, changed, of_stretch + last),
        tf.cumsum(row_length, exclusive=True),
    )


def _composed(texts: tf.Tensor) -> _Parts:
    import tensorflow_text

    marked = tf.strings.regex_replace(texts, f"{MARKED}|{STRETCH}", BREAK + rb"\0" + BREAK)
    indices, parts, _ = tf.raw_ops.StringSplit(input=marked, delimiter=BREAK, skip_empty=True)
    is_stretch = tf.strings.regex_full_match(parts, STRETCH)
    composed = tensorflow_text.normalize_utf8(tf.where(is_stretch, parts, ""), "NFC")
    return _Parts(parts, tf.where(is_stretch, composed, parts), indices[:, 0], is_stretch)


def _joined(parts: _Parts, texts: tf.Tensor) -> tf.Tensor:
    return tf.strings.unsorted_segment_join(parts.after, parts.row, tf.size(texts))


def _start_in_row(length: tf.Tensor, row: tf.Tensor, texts: tf.Tensor) -> tf.Tensor:
    """Where each part begins in its text, from the lengths of all parts."""
    in_row = tf.math.unsorted_segment_sum(length, row, tf.size(texts))
    return tf.cumsum(length, exclusive=True) - tf.gather(tf.cumsum(in_row, exclusive=True), row)


def _sources_in(before: tf.Tensor, after: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Spans in stretches `before` [S] from which the bytes of `after` [S] come; int32 [n] each.

    Both are the same characters once they are decomposed, only in another order; the n-th "a" of
    one is the n-th "a" of the other. The reference goes through the characters of `after` and takes
    as many of `before` as *begin* in them. A character in which none begins counts to the last one
    that was taken.
    """
    old, new = _characters(before), _characters(after)
    begins = tf.gather(old.begins, tf.argsort(old.key, stable=True))
    begins = tf.scatter_nd(
        tf.argsort(new.key, stable=True)[:, tf.newaxis], begins, tf.shape(new.key)
    )
    taken = tf.math.segment_sum(tf.cast(begins, tf.int32), new.character)
    source = tf.cumsum(taken, exclusive=True) - tf.cast(taken == 0, tf.int32)
    source = tf.repeat(source, new.length)
    start = tf.gather(old.start, source)
    return start, start + tf.gather(old.length, source)


class _Characters(NamedTuple):
    length: tf.Tensor  # int32 [c], bytes of each character
    start: tf.Tensor  # int32 [c], where it begins in its stretch
    character: tf.Tensor  # int32 [p], the character of each code point that they decompose to
    key: tf.Tensor  # int64 [p], the stretch and the code point
    begins: tf.Tensor  # bool [p], whether it is the first of its character


def _characters(stretches: tf.Tensor) -> _Characters:
    import tensorflow_text

    characters = tf.strings.unicode_split(stretches, "UTF-8")
    length = tf.strings.length(characters.values)
    stretch = characters.value_rowids()
    in_stretch = tf.cumsum(length, exclusive=True)
    first_of = tf.gather(tf.cumsum(tf.strings.length(stretches), exclusive=True), stretch)
    points = tf.strings.unicode_decode(
        tensorflow_text.normalize_utf8(characters.values, "NFD"), "UTF-8"
    )
    character = points.value_rowids()
    key = tf.gather(stretch, character) * 0x110000 + tf.cast(points.values, tf.int64)
    begins = tf.concat([[True], character[1:] != character[:-1]], 0)[: tf.size(character)]
    return _Characters(length, in_stretch - first_of, character, key, begins)
