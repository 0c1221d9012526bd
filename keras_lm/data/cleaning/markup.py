"""HTML to text."""

from __future__ import annotations

import html
import re

# The standard library's html.parser is not used: where a tag is never closed its time grows with
# the square of the text (70 s for 100 kB of "<a "), and "<![<![" raises an AssertionError. Here
# every quantifier is possessive and every start of markup is read at most a few times.
_MARKUP = re.compile(
    r"""<!--(?:-?>|.*?(?:-->|\Z))                          # a comment, closed or not
    | <[!?][^<>]*+>                                        # <!doctype …>, <?xml …>
    | </?+(?P<name>[A-Za-z][^\s/<>"']*+)(?:[^<>"']++|"[^"]*+"|'[^']*+')*+>
    """,
    re.VERBOSE | re.DOTALL,
)
# Bounded, since int() refuses thousands of digits.
_ENTITY = re.compile(
    r"&(?:#0{0,9}[0-9]{1,7}(?![0-9])|#[xX]0{0,9}[0-9a-fA-F]{1,6}(?![0-9a-fA-F])"
    r"|[A-Za-z][A-Za-z0-9]{1,31});?"
)

# What these hold is no text. Browsers end them only at their own end tag; they never nest.
_NOT_TEXT = {
    name: re.compile(rf"</{name}(?=[\s/>])[^>]*+>?", re.IGNORECASE | re.ASCII)
    for name in ("script", "style", "template")
}
_BLOCKS = """
address article aside blockquote br caption dd details div dl dt fieldset figcaption figure footer
form h1 h2 h3 h4 h5 h6 header hr legend li main nav ol optgroup option p pre section summary table
tbody tfoot thead title tr ul
"""
_BREAKS_LINE = frozenset(_BLOCKS.split())
_BREAKS_WORD = frozenset(("td", "th"))


def strip_html(text: str) -> str:
    r"""The text of HTML: tags and comments out, entities decoded, scripts and styles dropped.

    Where a block such as a paragraph or a list item begins or ends stands a line feed, between the
    cells of a table a space; follow with `squeeze_white_space`. A `<` that begins no whole tag,
    as in `1 < 2`, stays. Text without markup comes back as it is.

    Example:

    >>> strip_html("<p>Fish &amp; <b>ch</b>ips<script>x = '<p>'</script></p> 1 < 2")
    '\nFish & chips\n 1 < 2'
    """
    if "<" not in text:
        return _ENTITY.sub(_decoded, text)
    parts = []
    start = 0
    markup = _MARKUP.search(text)
    while markup:
        parts.append(_ENTITY.sub(_decoded, text[start : markup.start()]))
        start = markup.end()
        name = (markup["name"] or "").lower()
        if name in _BREAKS_LINE:
            parts.append("\n")
        elif name in _BREAKS_WORD:
            parts.append(" ")
        elif name in _NOT_TEXT and not markup[0].startswith("</"):
            end = _NOT_TEXT[name].search(text, start)
            start = end.end() if end else len(text)
        markup = _MARKUP.search(text, start)
    parts.append(_ENTITY.sub(_decoded, text[start:]))
    return "".join(parts)


def _decoded(entity: re.Match[str]) -> str:
    return html.unescape(entity[0])
