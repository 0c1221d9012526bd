"""Where the tokens of byte-level BPE stand in their texts, as the reference says it."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from keras_lm.tokenizers.bytepair_rules import Trimming
from keras_lm.tokenizers.normal_form import BRACKETS, Sources
from keras_lm.tokenizers.splitting import CLOSE, OPEN, SPACE

# Unicode's; Python counts four separators more to it.
WHITE_SPACE = "".join(
    character
    for character in map(chr, range(0x3001))
    if character.isspace() and not "\x1c" <= character <= "\x1f"
)


class SpanFinder(tf.Module):
    """Finds the spans of tokens by their lengths, as they stand one behind the other.

    Args:
        tokens: each id's token as the vocabulary spells it.
        token_bytes: the bytes of each id.
        trimming: how spaces are left out of spans, if they are.
        adds_space: whether a space is put before texts that have none; it is in no text.
        takes_space: whether some added tokens take the white space beside them along.
    """

    def __init__(
        self,
        tokens: Sequence[str],
        token_bytes: Sequence[bytes],
        trimming: Trimming | None,
        adds_space: bool,
        takes_space: bool,
    ) -> None:
        super().__init__(name=None)
        self._trimming = trimming
        self._adds_space = adds_space
        self._takes_space = takes_space
        with tf.init_scope(), tf.device("CPU:0"):
            self._length = tf.constant([*map(len, token_bytes)], tf.int32)
            self._outer_spaces = tf.constant([*map(_outer_spaces, tokens)], tf.int32)

    def __call__(
        self,
        texts: tf.Tensor,
        words: tf.RaggedTensor,
        has_added_space: tf.Tensor,
        ids: tf.RaggedTensor,
        sources: Sources | None,
    ) -> tf.Tensor:
        """Spans in bytes, int32 [n, 2].

        Args:
            texts: strings [B].
            words: what they are split into, strings [B, None], with brackets.
            has_added_space: bool [W], whether a word's first space is in no text.
            ids: those of the words, [W, None].
            sources: where normalized texts come from.
        """
        word = ids.value_rowids()
        row = tf.gather(words.value_rowids(), word)
        is_added_token = tf.strings.substr(words.values, 0, len(OPEN)) == OPEN
        in_brackets = tf.strings.length(words.values) - BRACKETS
        # An added token is a word, with the white space that it takes along.
        length = tf.where(
            tf.gather(is_added_token, word),
            tf.gather(in_brackets, word),
            tf.gather(self._length, ids.values),
        )
        is_first = tf.concat([[True], word[1:] != word[:-1]], 0)[: tf.size(word)]
        opens = is_first & tf.gather(has_added_space, word)
        end = tf.cumsum(length - tf.cast(opens, tf.int32))
        splits = tf.gather(ids.row_splits, words.row_splits)
        start = end - length + tf.cast(opens, tf.int32)
        text_start = tf.gather(tf.concat([[0], end], 0), splits[:-1])
        start, end = (place - tf.gather(text_start, row) for place in (start, end))
        if self._adds_space:
            # The reference counts an added space to the character after it.
            end = tf.maximum(end, start + 1)
        if sources is not None:
            of_text = tf.gather(sources.text_start, row)
            start = tf.gather(sources.start, of_text + start)
            end = tf.gather(sources.end, of_text + end - 1)
        if self._trimming is None:
            return tf.stack([start, end], axis=1)
        one, leading, trailing = tf.unstack(tf.gather(self._outer_spaces, ids.values), axis=1)
        if self._takes_space:
            taken = _spaces_in_brackets(words.values)
            one, leading, trailing = (
                tf.where(tf.gather(is_added_token, word), tf.gather(of_word, word), of_token)
                for of_word, of_token in zip(taken, (one, leading, trailing), strict=True)
            )
        if self._trimming.add_prefix_space:
            place = tf.range(tf.size(word, tf.int64))
            opens_text = (place == tf.gather(splits, row)) | (start == 0)
            leading = tf.where(opens_text & (one == 1), 0, leading)
        if self._adds_space:
            # The reference takes the character after an added space for that space.
            size = _character_size(texts, start, row)
            end = tf.where(opens, tf.maximum(end, start + size), end)
            is_alone = tf.gather(self._length, ids.values) == 1
            leading *= tf.where(opens, size, 1)
            trailing *= tf.where(opens & is_alone, size, 1)
        start = tf.minimum(start + leading, end)
        end = tf.where(end >= trailing, tf.maximum(end - trailing, start), end)
        return tf.stack([start, end], axis=1)


def _spaces_in_brackets(words: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Of added tokens, as `_outer_spaces`: the white space that they took along, int32 [W] each."""
    replace, length = tf.strings.regex_replace, tf.strings.length
    behind = replace(words, rf"^\x{{d800}}[{SPACE}]+", OPEN)
    before = replace(words, rf"[{SPACE}]+\x{{d801}}$", CLOSE)
    one = length(words, "UTF8_CHAR") - length(behind, "UTF8_CHAR")
    return one, length(words) - length(behind), length(words) - length(before)


def _character_size(texts: tf.Tensor, start: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
    """How many bytes the character has that begins at each place, int32 [n], of a text."""
    # One more byte, so that the end of the last text is a place as well.
    byte = tf.io.decode_raw(tf.strings.join([tf.strings.reduce_join(texts), " "]), tf.uint8)
    row_start = tf.cumsum(tf.strings.length(texts), exclusive=True)
    first = tf.cast(tf.gather(byte, start + tf.gather(row_start, row)), tf.int32)
    return 1 + sum(tf.cast(first >= least, tf.int32) for least in (0xC0, 0xE0, 0xF0))


def _outer_spaces(token: str) -> tuple[int, int, int]:
    """How much white space, Ġ included, a token begins with in characters and in bytes.

    And how much it ends with in bytes.

    Example:

    >>> _outer_spaces("Ġthe"), _outer_spaces("\u3000")
    ((1, 1, 0), (1, 3, 3))
    """
    token = token.replace("Ġ", " ")
    behind, before = token.lstrip(WHITE_SPACE), token.rstrip(WHITE_SPACE)
    size = len(token.encode())
    return len(token) - len(behind), size - len(behind.encode()), size - len(before.encode())
