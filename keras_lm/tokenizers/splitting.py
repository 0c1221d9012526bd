"""Texts into words, in the graph: the split patterns, and added tokens before them.

RE2, the engine in TensorFlow, has no look-ahead and classes of its own. So the classes are
spelled out (`unicode_classes`), and what `\\s+(?!\\S)` does in the patterns (the last white space
of a run goes to the word after it) is done by a break put before it. Breaks are the byte FF, which
no UTF-8 text holds and no class of RE2 matches.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from keras_lm.tokenizers import unicode_classes
from keras_lm.tokenizers.rules import AddedToken

BREAK = b"\xff"
# Added tokens are put between these, and the third before a space that is added. As code points
# they are surrogates (from U+D800 on): RE2 reads them as characters, yet no valid text holds them.
OPEN, CLOSE, ADDS_SPACE = b"\xed\xa0\x80", b"\xed\xa0\x81", b"\xed\xa0\x82"


def character_class(ranges: str) -> str:
    """The inside of a character class: "41-42 61" → `\\x{41}-\\x{42}\\x{61}`."""
    return re.sub(r"([0-9a-f]+)", r"\\x{\1}", ranges).replace(" ", "")


LETTER = character_class(unicode_classes.LETTERS)
NUMBER = character_class(unicode_classes.NUMBERS)
DIGIT = character_class(unicode_classes.DIGITS)
SPACE = character_class(unicode_classes.SPACES)
SPACE_IN_LINE = SPACE.replace(r"\x{9}-\x{d}", r"\x{9}\x{b}-\x{c}")  # all but \n and \r
SURROGATE = r"\x{d800}-\x{dfff}"
MARKED = r"\x{d800}[^\x{d801}]*\x{d801}"
START_WITHOUT_SPACE = r"(^|\x{d801})([^ \x{d800}])"


@dataclass(frozen=True)
class SplitPattern:
    """A split pattern, as RE2 can follow it.

    Args:
        word: what a word is, once there are breaks where `last_of_spaces` asks for them.
        last_of_spaces: two groups, a break between which parts the last of a run of white space
            from the run, as it belongs to what follows.
    """

    word: str
    last_of_spaces: str


def _gpt2_pattern(number: str, alone: str = "") -> SplitPattern:
    """GPT-2's pattern; the characters of a class may stand `alone`, before all else."""
    return SplitPattern(
        f"'(?:[stmd]|re|ve|ll)| ?[{LETTER}]+|{number}"
        f"| ?[^{SPACE}{LETTER}{alone or NUMBER}{SURROGATE}]+|[{SPACE}]+",
        f"([{SPACE}])([{SPACE}][^{SPACE}{alone}{SURROGATE}])",
    )


def _llama_pattern(number: str) -> SplitPattern:
    """The pattern of Llama 3: case does not matter in 's, and line breaks end what they follow."""
    return SplitPattern(
        # U+017F is a small s as well when case does not matter.
        r"'(?:[sStTmMdD\x{17f}]|[rR][eE]|[vV][eE]|[lL][lL])"
        rf"|[^\r\n{LETTER}{NUMBER}{SURROGATE}]?[{LETTER}]+|{number}"
        rf"| ?[^{SPACE}{LETTER}{NUMBER}{SURROGATE}]+[\r\n]*|[{SPACE}]*[\r\n]+|[{SPACE}]+",
        f"([{SPACE}])([{SPACE_IN_LINE}][^{SPACE}{SURROGATE}])",
    )


PATTERNS = {
    "gpt2": _gpt2_pattern(f" ?[{NUMBER}]+"),
    "llama3": _llama_pattern(f"[{NUMBER}]{{1,3}}"),
    "qwen2": _llama_pattern(f"[{NUMBER}]"),
    "smollm": _gpt2_pattern(f"[{DIGIT}]", alone=DIGIT),
}


def added_token_key(content: str) -> bytes:
    """The word that `Splitter.keys` gives for an added token in the text."""
    return OPEN + content.encode() + CLOSE


class Marker:
    """Finds added tokens in texts: the leftmost, and the longest of those that begin there.

    Args:
        added: the tokens; some take the white space before or after them along.
        passes_over: whether there may be brackets in the texts already; nothing in them is found.
    """

    def __init__(self, added: Sequence[AddedToken], passes_over: bool = False) -> None:
        self._passes_over = passes_over
        self._added = _any_of(added)
        self._takes_before = _any_of([token for token in added if token.lstrip])
        self._takes_after = _any_of([token for token in added if token.rstrip])

    def __call__(self, texts: tf.Tensor) -> tf.Tensor:
        """Texts [B] with the tokens, and the white space that they take along, in brackets."""
        replace = tf.strings.regex_replace
        if self._added and self._passes_over:
            # What is in brackets gets empty ones behind it, for a while.
            found = f"({MARKED})|({self._added})"
            texts = replace(texts, found, rb"\1" + OPEN + rb"\2" + CLOSE)
            texts = replace(texts, r"\x{d800}\x{d801}", "")
        elif self._added:
            texts = replace(texts, self._added, OPEN + rb"\0" + CLOSE)
        if self._takes_after:
            # White space between two goes to the left one.
            taken = rf"(\x{{d800}}{self._takes_after})(\x{{d801}})([{SPACE}]+)"
            texts = replace(texts, taken, r"\1\3\2")
        if self._takes_before:
            # Up to the bracket: one token may begin with the whole of another.
            whole = rf"{self._takes_before}[{SPACE}]*\x{{d801}}"
            taken = rf"([{SPACE}]+)(\x{{d800}})({whole})"
            texts = replace(texts, taken, r"\2\1\3")
        return texts


class Splitter:
    """Splits texts into words as the reference does before it merges.

    Args:
        pattern: a name in `PATTERNS`.
        added: tokens that stand in brackets in the texts.
        add_prefix_space: put a space before every stretch of text that has none.
    """

    def __init__(
        self, pattern: str, added: Sequence[AddedToken], add_prefix_space: bool = False
    ) -> None:
        self._takes = _any_of([token for token in added if token.lstrip or token.rstrip])
        self._add_prefix_space = add_prefix_space
        self._word = f"{MARKED}|{PATTERNS[pattern].word}"
        self._last_of_spaces = PATTERNS[pattern].last_of_spaces

    def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Words [B, None] of marked texts [B]; before one with an added space stands ADDS_SPACE."""
        replace = tf.strings.regex_replace
        if self._add_prefix_space:
            texts = replace(texts, START_WITHOUT_SPACE, rb"\1" + BREAK + ADDS_SPACE + rb" \2")
        if self._takes:
            # What stands in brackets is passed over.
            within = f"({MARKED})|{self._last_of_spaces}"
            texts = replace(texts, within, rb"\1\2" + BREAK + rb"\3")
        else:
            texts = replace(texts, self._last_of_spaces, rb"\1" + BREAK + rb"\2")
        texts = replace(texts, self._word, BREAK + rb"\0")
        # The older op can leave out the empty words between two breaks.
        indices, words, shape = tf.raw_ops.StringSplit(
            input=texts, delimiter=BREAK, skip_empty=True
        )
        return tf.RaggedTensor.from_value_rowids(words, indices[:, 0], shape[0], validate=False)

    def keys(self, words: tf.Tensor) -> tf.Tensor:
        """The words [W] with added tokens as `added_token_key` spells them."""
        if not self._takes:
            return words
        taken = rf"^(\x{{d800}})[{SPACE}]*({self._takes})[{SPACE}]*(\x{{d801}})$"
        return tf.strings.regex_replace(words, taken, r"\1\2\3")


def _any_of(tokens: Sequence[AddedToken]) -> str | None:
    """A pattern that matches the content of any of the tokens, the longest that fits."""
    contents = sorted((token.content for token in tokens), key=lambda text: -len(text.encode()))
    return f"(?:{'|'.join(map(re.escape, contents))})" if contents else None
