"""Texts into words, in the graph: GPT-2's split pattern, and added tokens before it.

The pattern is

    's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+

RE2, the engine in TensorFlow, has no look-ahead and classes of its own. So the classes are
spelled out (`unicode_classes`), and what `\\s+(?!\\S)` does (the last white space of a run goes
to the word after it) is done by a break put before it. Breaks are the byte FF, which no UTF-8 text
holds and no class of RE2 matches.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import tensorflow as tf

from keras_lm.tokenizers import unicode_classes
from keras_lm.tokenizers.rules import AddedToken

BREAK = b"\xff"
# Added tokens are put between these. As code points they are surrogates (U+D800, U+D801): RE2
# reads them as characters, yet no valid text holds them.
OPEN, CLOSE = b"\xed\xa0\x80", b"\xed\xa0\x81"


def _class(ranges: str) -> str:
    """The inside of a character class: "41-42 61" → `\\x{41}-\\x{42}\\x{61}`."""
    return re.sub(r"([0-9a-f]+)", r"\\x{\1}", ranges).replace(" ", "")


LETTER = _class(unicode_classes.LETTERS)
NUMBER = _class(unicode_classes.NUMBERS)
SPACE = _class(unicode_classes.SPACES)
SURROGATE = r"\x{d800}-\x{dfff}"

WORD = (
    r"\x{d800}[^\x{d801}]*\x{d801}|'(?:[stmd]|re|ve|ll)"
    f"| ?[{LETTER}]+| ?[{NUMBER}]+| ?[^{SPACE}{LETTER}{NUMBER}{SURROGATE}]+|[{SPACE}]+"
)
LAST_OF_SPACES = f"([{SPACE}])([{SPACE}][^{SPACE}{SURROGATE}])"
START_WITHOUT_SPACE = r"(^|\x{d801})([^ \x{d800}])"


def added_token_key(content: str) -> bytes:
    """The word that `split_words` gives for an added token in the text."""
    return OPEN + content.encode() + CLOSE


class Splitter:
    """Splits texts into words as the reference does before it merges.

    Args:
        added: tokens that are looked for in the text first; the leftmost is taken, then the
            longest, and some take the white space beside them along.
        add_prefix_space: put a space before every stretch of text that has none.
    """

    def __init__(self, added: Sequence[AddedToken], add_prefix_space: bool) -> None:
        longest_first = sorted(added, key=lambda token: -len(token.content.encode()))
        self._added = _any_of(longest_first)
        self._strip_before = _any_of([token for token in added if token.lstrip])
        self._strip_after = _any_of([token for token in added if token.rstrip])
        self._add_prefix_space = add_prefix_space

    def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Words [B, None] of valid UTF-8 texts [B]; added tokens are spelled as their key."""
        replace = tf.strings.regex_replace
        if self._added:
            texts = replace(texts, self._added, OPEN + rb"\0" + CLOSE)
        if self._strip_before:
            texts = replace(texts, rf"[{SPACE}]+(\x{{d800}}{self._strip_before}\x{{d801}})", r"\1")
        if self._strip_after:
            texts = replace(texts, rf"(\x{{d800}}{self._strip_after}\x{{d801}})[{SPACE}]+", r"\1")
        if self._add_prefix_space:
            texts = replace(texts, START_WITHOUT_SPACE, r"\1 \2")
        texts = replace(texts, LAST_OF_SPACES, rb"\1" + BREAK + rb"\2")
        texts = replace(texts, WORD, BREAK + rb"\0")
        # The older op can leave out the empty words between two breaks.
        indices, words, shape = tf.raw_ops.StringSplit(
            input=texts, delimiter=BREAK, skip_empty=True
        )
        return tf.RaggedTensor.from_value_rowids(words, indices[:, 0], shape[0], validate=False)


def _any_of(tokens: Sequence[AddedToken]) -> str | None:
    """A pattern that matches the content of any of the tokens, the first that fits."""
    return f"(?:{'|'.join(re.escape(token.content) for token in tokens)})" if tokens else None
