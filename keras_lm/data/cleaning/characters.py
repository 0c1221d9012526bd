"""Cleaning of characters: normal forms, control characters, white space, case, punctuation."""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from typing import Literal, get_args

Form = Literal["NFC", "NFD", "NFKC", "NFKD"]

_FORMS = get_args(Form)
_WHITE_SPACE = re.compile(r"[^\S ]\s*| \s+")  # any run of it but one plain space

# Tab, line feed and carriage return are text. Other controls that Python counts as white space
# (form feed, next line, …) become a space, so that the words beside them stay apart.
_CONTROLS = {
    code: " " if chr(code).isspace() else None
    for code in [*range(0x20), *range(0x7F, 0xA0)]
    if chr(code) not in "\t\n\r"
}


def normalize_unicode(text: str, form: Form = "NFC") -> str:
    """The text in a Unicode normal form: one spelling for what looks the same.

    Args:
        text: any text.
        form: `"NFC"` (default) composes accents; `"NFKC"` also makes one of look-alikes such as
            full-width letters and ligatures; `"NFD"` and `"NFKD"` take accents apart.

    Raises:
        ValueError: `form` is none of the four.

    Example:

    >>> normalize_unicode("e\u0301"), normalize_unicode("ＡＢ１", form="NFKC")
    ('é', 'AB1')
    """
    if form not in _FORMS:
        raise ValueError(f"form is {form!r}; it must be one of {', '.join(map(repr, _FORMS))}")
    return unicodedata.normalize(form, text)


def strip_control_characters(text: str) -> str:
    r"""The text without control characters (Unicode's category Cc) but tabs and line ends.

    Controls that are white space, such as a form feed, become a space. Joiners, which emoji and
    Persian need, are no controls and stay.

    Example:

    >>> strip_control_characters("a\x00b\x1b[0m\tc\x0cd\n")
    'ab[0m\tc d\n'
    """
    return text.translate(_CONTROLS)


def squeeze_white_space(text: str) -> str:
    r"""The text without white space at its ends, and with little in it.

    A run of white space, of any Unicode kind, becomes a blank line where it held two line ends or
    more, a line end where it held one, and a space otherwise.

    Example:

    >>> squeeze_white_space("  one \t two\r\nthree \n \n\n four\n")
    'one two\nthree\n\nfour'
    """
    return _WHITE_SPACE.sub(_squeezed, text.strip())


def _squeezed(run: re.Match[str]) -> str:
    # "\r\n" counts once for splitlines; the full stop makes it count the last line end too.
    line_ends = len(f"{run[0]}.".splitlines()) - 1
    return ("\n" * min(line_ends, 2)) or " "


def lower_case(text: str) -> str:
    """The text in lower case.

    Example:

    >>> lower_case("STRASSE Straße")
    'strasse straße'
    """
    return text.lower()


def fold_case(text: str) -> str:
    """The text in Unicode's folded case, for comparing: stronger than lower case.

    Example:

    >>> fold_case("STRASSE Straße")
    'strasse strasse'
    """
    return text.casefold()


def strip_punctuation(text: str, symbols: bool = False) -> str:
    """The text without punctuation (Unicode's categories P); nothing stands in its place.

    Args:
        text: any text.
        symbols: whether symbols, such as + $ © and most emoji (categories S), go too.

    Example:

    >>> strip_punctuation("“Don't!” 你好，世界。 5 + 5")
    'Dont 你好世界 5 + 5'
    >>> strip_punctuation("5 + 5 = 10 $", symbols=True)
    '5  5  10 '
    """
    return text.translate(_removal_of("PS" if symbols else "P"))


@functools.lru_cache(maxsize=2)
def _removal_of(categories: str) -> dict[int, None]:
    every = range(sys.maxunicode + 1)
    return {code: None for code in every if unicodedata.category(chr(code))[0] in categories}
