"""Filters: which documents to keep, by length and by script."""

from __future__ import annotations

import unicodedata
from collections import Counter

# The name of a letter in Unicode begins with that of its script, but for these.
_NAMED_OTHERWISE = {"Han": ("CJK", "IDEOGRAPHIC"), "Katakana": ("KATAKANA", "HALFWIDTH KATAKANA")}
_NAMED_OTHERWISE["Latin"] = ("LATIN", "FULLWIDTH LATIN")
_SCRIPTS = (
    *("Arabic", "Armenian", "Bengali", "Cyrillic", "Devanagari", "Ethiopic", "Georgian", "Greek"),
    *("Gujarati", "Gurmukhi", "Han", "Hangul", "Hebrew", "Hiragana", "Kannada", "Katakana"),
    *("Khmer", "Lao", "Latin", "Malayalam", "Mongolian", "Myanmar", "Oriya", "Sinhala", "Tamil"),
    *("Telugu", "Thai", "Tibetan"),
)


def has_length(text: str, minimum: int = 1, maximum: int | None = None) -> bool:
    """Whether the text has so many characters.

    Args:
        text: any text.
        minimum: the fewest characters, 1 by default: only the empty text is too short.
        maximum: the most characters; None (default) sets no bound.

    Raises:
        ValueError: no length can be that of a text.

    Example:

    >>> has_length("four", minimum=4, maximum=10), has_length("")
    (True, False)
    """
    if minimum < 0 or (maximum is not None and maximum < minimum):
        raise ValueError(
            f"minimum is {minimum} and maximum {maximum}; they must be 0 or more, in this order"
        )
    return minimum <= len(text) and (maximum is None or len(text) <= maximum)


def is_script(text: str, script: str, share: float = 0.5) -> bool:
    """Whether at least this share of the text's letters belongs to a script.

    It tells languages apart as far as scripts do: Chinese, Russian and English, not English and
    German. Digits, punctuation and marks are no letters; a text without letters is of no script.

    Args:
        text: any text.
        script: a name as Unicode gives it, such as `"Latin"`, `"Han"` or `"Cyrillic"`.
        share: from 0 to 1; 0.5 by default.

    Raises:
        ValueError: the script is not known (the message names those that are), or `share` is not
            from 0 to 1.

    Example:

    >>> is_script("Keras 是一个深度学习库", "Han"), is_script("Keras", "Han")
    (True, False)
    """
    if script not in _SCRIPTS:
        raise ValueError(f"script is {script!r}; it must be one of {', '.join(_SCRIPTS)}")
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; it must be from 0 to 1")
    names = _NAMED_OTHERWISE.get(script, (script.upper(),))
    letters = of_script = 0
    for character, count in Counter(text).items():
        if unicodedata.category(character)[0] == "L":
            letters += count
            of_script += count * unicodedata.name(character, "").startswith(names)
    return letters > 0 and of_script >= share * letters
