"""Plain text: a document is a file, a paragraph or a line."""

from __future__ import annotations

import re

from keras_lm.data.sources.files import Files, whole_texts

_BETWEEN_PARAGRAPHS = re.compile(r"(?:\A|\r?\n)(?:[ \t]*(?:\r?\n|\Z))+")
_BETWEEN_LINES = re.compile(r"\r?\n")
_SPLITS = ("document", "paragraph", "line")


def text_files(files: Files, split: str = "document", errors: str = "strict") -> list[str]:
    r"""Reads UTF-8 text files, gzipped or not, into a list of documents.

    Args:
        files: one path or several; the documents come in the order of the files. Whether a file
            is gzipped is told by its content.
        split: what one document is: `"document"` (default), a whole file, byte for byte;
            `"paragraph"`, what stands between blank lines; `"line"`, one line. Paragraphs and
            lines that are empty or only white space are left out.
        errors: `"strict"` (default) refuses a file that is not UTF-8; `"replace"` puts U+FFFD
            where it is not.

    Returns:
        A list of non-empty strings. A byte order mark at the head of a file is dropped; a NUL
        is a character like any other.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: `split` or `errors` is none of those named; no file is given; a path is a
            directory; a file is empty or only white space, is a broken gzip file, or is not UTF-8
            (the message names the byte and the line).

    Example:

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "two.txt"
    >>> _ = path.write_text("The first\nparagraph.\n\nThe second.\n", encoding="utf-8")
    >>> text_files(path, split="paragraph")
    ['The first\nparagraph.', 'The second.']
    """
    if split not in _SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(map(repr, _SPLITS))}")
    return [part for _, text in whole_texts(files, errors) for part in _split(text, split)]


def _split(text: str, split: str) -> list[str]:
    if split == "document":
        return [text]
    between = _BETWEEN_PARAGRAPHS if split == "paragraph" else _BETWEEN_LINES
    return [part for part in between.split(text) if part.strip()]
