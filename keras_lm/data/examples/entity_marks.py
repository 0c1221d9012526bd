"""Sentences with two marked entities as rows of tokens, in the graph.

`The <e1>child</e1> was in the <e2>cradle</e2>.` is read as `The @ child @ was in the # cradle # .`:
the marks are ordinary tokens, so that no vocabulary changes. Training and serving read alike,
because both read with `MarkedReader`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import tensorflow as tf

from keras_lm.data.examples.tokenizing import check_string, cls_and_sep

if TYPE_CHECKING:
    from keras_lm.tokenizers.base import Tokenizer

SHORTEST = 8
"""Tokens of the shortest row there is: `[CLS] @ e1 @ # e2 # [SEP]`."""

_TAGS = ("<e1>", "</e1>", "<e2>", "</e2>")
_BREAK = b"\xff"  # a byte that no UTF-8 text holds
_BLANK = r"[\s\p{Z}]"


class MarkedTexts(NamedTuple):
    """B texts, each in five pieces.

    Args:
        pieces: strings [B, 5]: before, entity, between, entity, after.
        is_turned: bool [B], whether e2 is the first of the entities.
    """

    pieces: tf.Tensor
    is_turned: tf.Tensor


class MarkedRows(NamedTuple):
    """B rows `[CLS] … @ e1 @ … # e2 # … [SEP]`, or with e2 first.

    Args:
        token_ids: ragged int32 [B, None].
        e1: int32 [B, 2], the first token of e1 and the one after its last; twice the same where
            the tokenizer leaves nothing of it.
        e2: the same of e2.
        is_cut: bool [B], whether the row lacks some of the text.
        has_both: bool [B], whether both entities are in it: they may stand too far apart.
    """

    token_ids: tf.RaggedTensor
    e1: tf.Tensor
    e2: tf.Tensor
    is_cut: tf.Tensor
    has_both: tf.Tensor


class MarkedReader(tf.Module):
    """Texts with two entities as rows, with `@` around e1 and `#` around e2.

    The entity marks are those of Zhou and Chen 2021 ("entity marker (punct)",
    https://arxiv.org/abs/2102.01373), with spaces around. What is too long loses what is farthest
    from its entities, about as much on either side; what stands between them stays.

    Args:
        tokenizer: any tokenizer that gives offsets, with CLS and SEP, or BOS and EOS.
        max_length: T, the most tokens of a row; 8 or more.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        super().__init__()
        self.tokenizer, self._room = tokenizer, max_length - 2
        self._ends = cls_and_sep(tokenizer)

    def __call__(self, texts: MarkedTexts) -> MarkedRows:
        """The rows of B texts."""
        text, bounds = _marked(texts)
        ids, spans = self.tokenizer(text, return_offsets=True)
        # One column more than there are tokens, so that there is one at all.
        dense = tf.pad(spans.to_tensor(0), [[0, 0], [0, 1], [0, 0]])
        start, end = dense[..., 0], dense[..., 1]

        def tokens(first_byte: tf.Tensor, byte_after: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            """The first token that shares a byte with a span, and the one after the last."""
            is_in = (start < byte_after[:, tf.newaxis]) & (end > first_byte[:, tf.newaxis])
            is_in = tf.cast(is_in & (start < end), tf.int32)
            first = tf.argmax(is_in, axis=1, output_type=tf.int32)
            last = tf.shape(is_in)[1] - 1 - tf.argmax(is_in[:, ::-1], axis=1, output_type=tf.int32)
            return first, tf.where(tf.reduce_any(is_in > 0, axis=1), last + 1, first)

        first, stop = tokens(bounds[:, 0], bounds[:, 5])  # from the first mark to the last
        whole, size = tf.cast(ids.row_lengths(), tf.int32), stop - first
        begin = tf.clip_by_value(
            first - tf.maximum(self._room - size, 0) // 2, 0, tf.maximum(whole - self._room, 0)
        )
        count = tf.minimum(whole - begin, self._room)
        from_token = tf.cast(ids.row_starts(), tf.int32) + begin
        cut = tf.ragged.range(from_token, from_token + count)
        cut = cut.with_values(tf.gather(ids.flat_values, cut.flat_values))
        cls, sep = (tf.fill([tf.size(text), 1], token) for token in self._ends)

        def places(first_byte: tf.Tensor, byte_after: tf.Tensor) -> tf.Tensor:
            in_row = tf.stack(tokens(first_byte, byte_after), axis=1) - begin[:, tf.newaxis]
            return 1 + tf.clip_by_value(in_row, 0, count[:, tf.newaxis])

        one, other = places(bounds[:, 1], bounds[:, 2]), places(bounds[:, 3], bounds[:, 4])
        turned = texts.is_turned[:, tf.newaxis]
        return MarkedRows(
            token_ids=tf.concat([cls, cut, sep], axis=1),
            e1=tf.where(turned, other, one),
            e2=tf.where(turned, one, other),
            is_cut=count < whole,
            has_both=size <= self._room,
        )


def _marked(texts: MarkedTexts) -> tuple[tf.Tensor, tf.Tensor]:
    """Texts [B] with marks, and where in them, in bytes, int32 [B, 6]: the first mark begins, the
    first entity begins and ends, the second begins and ends, the last mark ends.
    """
    pieces = tf.strings.regex_replace(texts.pieces, f"^{_BLANK}+|{_BLANK}+$", "")
    before, one, between, other, after = tf.unstack(pieces, axis=1)
    mark = tf.where(texts.is_turned, "# ", "@ ")
    second_mark = tf.where(texts.is_turned, "@ ", "# ")
    parts = [
        tf.where(before == "", "", before + " "),
        mark,
        one,
        " " + mark + tf.where(between == "", "", between + " ") + second_mark,
        other,
        tf.strings.regex_replace(" " + second_mark, " $", ""),
    ]
    bounds = tf.cumsum(tf.stack([tf.strings.length(part) for part in parts], axis=1), axis=1)
    text = tf.strings.join([*parts, tf.where(after == "", "", " " + after)])
    return text, bounds


def tagged_texts(sentences: tf.Tensor) -> tuple[MarkedTexts, tf.Tensor]:
    """Sentences [B] with `<e1>…</e1>` and `<e2>…</e2>` as pieces, and whether they are well tagged.

    Those that are not have pieces that mean nothing.

    Example:

    >>> texts, is_well = tagged_texts(tf.constant(["<e2>I</e2> see <e1>it</e1>.", "no tags"]))
    >>> texts.pieces[0].numpy().tolist(), texts.is_turned.numpy().tolist(), is_well.numpy().tolist()
    ([b'', b'I', b' see ', b'it', b'.'], [True, False], [True, False])
    """
    tags = "|".join(_TAGS)
    pieces = tf.strings.split(tf.strings.regex_replace(sentences, tags, _BREAK), _BREAK)
    dense = pieces.to_tensor("", shape=[None, 5])
    straight, turned = (
        tf.strings.regex_full_match(sentences, "(?s)" + "".join(f".*{tag}" for tag in order) + ".*")
        for order in (_TAGS, _TAGS[2:] + _TAGS[:2])
    )
    has_words = tf.strings.regex_full_match(dense, r"(?s).*[^\s\p{Z}].*")
    is_well = (pieces.row_lengths() == 5) & (straight | turned) & has_words[:, 1] & has_words[:, 3]
    return MarkedTexts(dense, turned), is_well


def check_tagged(sentence: str, name: str) -> None:
    """`ValueError` unless both entities of a sentence are tagged; `name` says where it stands.

    Example:

    >>> check_tagged("<e1>I</e1> see <e2></e2>.", "sentences[3]")
    Traceback (most recent call last):
    ValueError: sentences[3] is '<e1>I</e1> see <e2></e2>.': <e2> is empty; it must hold two
    entities, tagged as <e1>one</e1> and <e2>other</e2>, in either order
    """
    check_string(sentence, name)
    fault = _fault(sentence)
    if fault:
        raise ValueError(
            f"{name} is {shortened(sentence)}: {fault}; it must hold two entities, tagged as "
            "<e1>one</e1> and <e2>other</e2>, in either order"
        )


def _fault(sentence: str) -> str:
    """What is wrong with a sentence's tags; "" where nothing is."""
    if not sentence.strip():
        return "it is an empty text"
    found = re.findall("|".join(_TAGS), sentence)
    for tag in _TAGS:
        if tag not in found:
            return f"{tag} is missing"
        if found.count(tag) > 1:
            return f"{tag} stands there {found.count(tag)} times"
    if tuple(found) not in (_TAGS, _TAGS[2:] + _TAGS[:2]):
        return f"the tags are crossed or nested, {' '.join(found)}"
    for name in ("e1", "e2"):
        inside = sentence.split(f"<{name}>")[1].split(f"</{name}>")[0]
        if not inside.strip():
            return f"<{name}> is empty"
    return ""


def shortened(text: str) -> str:
    """A text as a message quotes it, its end left out where it is long."""
    return repr(text if len(text) <= 80 else text[:79] + "…")
