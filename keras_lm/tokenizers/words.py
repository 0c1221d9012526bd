"""Texts into words as BERT splits them: at white space, with punctuation and Chinese alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import tensorflow as tf

from keras_lm.tokenizers.cutting import Cutter, put, relative_spans, utf8_size
from keras_lm.tokenizers.normalization import (
    ADDED,
    ALONE,
    MARK,
    SPACE,
    Normalizer,
    NormalizerRules,
)
from keras_lm.tokenizers.rules import AddedToken


class Words(NamedTuple):
    """Words of texts, one after the other, and the normalized characters that they are made of."""

    text: tf.Tensor  # strings [W]
    added: tf.Tensor  # int32 [W], the id of an added token; below 0 for a word
    row_splits: tf.Tensor  # int64 [B + 1], where each text's words begin
    splits: tf.Tensor  # int64 [W + 1], where each word's characters begin
    code: tf.Tensor  # int32 [n], code points
    start: tf.Tensor  # int32 [n], where what it was made of begins, in bytes of all texts
    end: tf.Tensor  # int32 [n], where that ends

    def byte_splits(self) -> tf.Tensor:
        """Where in the words, all joined, each character begins, in bytes, int64 [n + 1]."""
        return tf.concat([[0], tf.cumsum(tf.cast(utf8_size(self.code), tf.int64))], 0)

    def num_bytes(self) -> tf.Tensor:
        """The bytes of each word, int64 [W]."""
        splits = tf.gather(self.byte_splits(), self.splits)
        return splits[1:] - splits[:-1]


class WordSplitter(tf.Module):
    """Normalizes texts and splits them into words, as the reference does.

    Args:
        rules: what the normalizer does.
        added: tokens that are looked for in the normalized text.

    Raises:
        ValueError: an added token is empty once it is normalized, or as another one.
    """

    def __init__(self, rules: NormalizerRules, added: Sequence[AddedToken]) -> None:
        super().__init__(name=None)
        self._normalize = Normalizer(rules)
        self._cut = Cutter(_normalized(added, rules)) if added else None

    def __call__(self, texts: tf.Tensor) -> Words:
        """The words of valid UTF-8 texts [B]."""
        # Nothing goes from text to text: a space, which is of no bytes, parts them.
        given = tf.strings.unicode_decode(tf.strings.join([texts, " "]), "UTF-8")
        code, kind, first = self._normalize(given.values)
        last = first
        if self._cut is not None:
            code, kind, first, last = _find_added(self._cut, code, kind, first, given.row_splits)
        # A word begins after white space, and before and after what stands alone.
        parts = tf.cast(tf.bitwise.bitwise_and(kind, SPACE | ALONE) > 0, tf.int32)
        word = tf.cumsum(tf.maximum(parts, tf.concat([[1], parts[:-1]], 0)))
        kept = tf.squeeze(tf.where(tf.bitwise.bitwise_and(kind, SPACE | MARK) == 0), 1)
        code, word, first, last = (tf.gather(x, kept) for x in (code, word, first, last))
        begins = tf.concat([[True], word[1:] != word[:-1]], 0)[: tf.size(word)]
        starts = tf.squeeze(tf.where(begins), 1)
        splits = tf.concat([starts, [tf.size(word, tf.int64)]], 0)
        text_starts = tf.cast(given.row_splits, tf.int32)
        size = utf8_size(given.values)
        limit = tf.cumsum(put(size, given.row_limits() - 1, tf.zeros_like(text_starts[1:])))
        spelled = tf.RaggedTensor.from_row_splits(code, splits, validate=False)
        return Words(
            text=tf.strings.unicode_encode(spelled, "UTF-8"),
            added=tf.gather(code, starts) - ADDED,
            row_splits=tf.searchsorted(tf.gather(first, starts), text_starts, out_type=tf.int64),
            splits=splits,
            code=code,
            start=tf.gather(limit - size, first),
            end=tf.gather(limit, last),
        )


def token_spans(
    words: Words,
    word: tf.Tensor,
    begin: tf.Tensor,
    end: tf.Tensor,
    row: tf.Tensor,
    texts: tf.Tensor,
) -> tf.Tensor:
    """Where tokens stand in their texts, in bytes, int32 [t, 2].

    Args:
        words: what the texts were split into.
        word: int64 [t], the word that each token is of.
        begin: int64 [t], its first byte in the word.
        end: int64 [t], the byte after its last.
        row: int64 [t], its text.
        texts: strings [B].
    """
    splits = words.byte_splits()
    character = tf.repeat(tf.range(tf.size(words.code)), splits[1:] - splits[:-1])
    start = tf.gather(splits, tf.gather(words.splits, word))
    first, last = tf.gather(character, start + begin), tf.gather(character, start + end - 1)
    return relative_spans(tf.gather(words.start, first), tf.gather(words.end, last), row, texts)


def _find_added(
    cut: Cutter, code: tf.Tensor, kind: tf.Tensor, source: tf.Tensor, piece_splits: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Puts an added token for the first character of those that spell it, and drops the others.

    Args:
        cut: finds the tokens in normalized text.
        code: int32 [n], and so `kind` and `source`: what the normalizer gives.
        piece_splits: int64 [P + 1], where among the sources each piece begins.

    Returns:
        `code` and `kind` of what is left, and the first and last source of each.
    """
    kept = tf.squeeze(tf.where(tf.bitwise.bitwise_and(kind, MARK) == 0), 1)
    code, kind, source = (tf.gather(x, kept) for x in (code, kind, source))
    splits = tf.searchsorted(source, tf.cast(piece_splits, tf.int32), out_type=tf.int64)
    # All of a piece but its separator; nothing of an added token.
    places = tf.ragged.range(splits[:-1], splits[1:] - 1)
    spelled = places.with_values(tf.gather(code, places.values))
    found = cut(tf.strings.unicode_encode(spelled, "UTF-8"))
    length = tf.cast(tf.strings.length(found.text, unit="UTF8_CHAR"), tf.int64)
    begin = tf.cumsum(length, exclusive=True)
    is_token = found.id >= 0
    ids, begin, length = (tf.boolean_mask(x, is_token) for x in (found.id, begin, length))
    first = tf.gather(places.values, begin)
    last = first + length - 1
    dropped = tf.ragged.range(first + 1, last + 1).values
    code = put(code, first, ADDED + ids)
    kind = put(kind, first, tf.fill(tf.shape(first), ALONE))
    kind = put(kind, dropped, tf.fill(tf.shape(dropped), MARK))
    return code, kind, source, put(source, first, tf.gather(source, last))


def _normalized(added: Sequence[AddedToken], rules: NormalizerRules) -> list[AddedToken]:
    """The tokens that are looked for in normalized text, spelled as they stand there."""
    normalizer = rules.reference()
    strips = any(token.lstrip or token.rstrip for token in added)
    tokens: dict[str, AddedToken] = {}
    for token in added:
        content = normalizer.normalize_str(token.content)
        if not content or content in tokens or (strips and content != content.strip()):
            raise ValueError(
                f"added_tokens {token.content!r} is {content!r} once it is normalized: "
                "nothing, or as another one, or with white space beside a token with 'lstrip' or "
                "'rstrip'; that is not supported"
            )
        tokens[content] = replace(token, content=content)
    return list(tokens.values())
