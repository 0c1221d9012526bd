"""Where texts come from: today text files; every source gives a list of documents."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

_BETWEEN_PARAGRAPHS = re.compile(r"\r?\n(?:[ \t]*\r?\n)+")
_BETWEEN_LINES = re.compile(r"\r?\n")
_SPLITS = ("document", "paragraph", "line")


def text_files(
    files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], split: str = "document"
) -> list[str]:
    r"""Reads UTF-8 text files into a list of documents.

    Args:
        files: one path or several; the documents come in the order of the files.
        split: what one document is: `"document"` (default), a whole file, byte for byte;
            `"paragraph"`, what stands between blank lines; `"line"`, one line. Paragraphs and
            lines that are empty or only white space are left out.

    Returns:
        A list of non-empty strings. A byte order mark at the head of a file is dropped.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: `split` is not one of the three; no file is given; a path is a directory; a
            file is empty or only white space, or is not UTF-8 (the message names the byte).

    Example:

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "two.txt"
    >>> _ = path.write_text("The first\nparagraph.\n\nThe second.\n", encoding="utf-8")
    >>> text_files(path, split="paragraph")
    ['The first\nparagraph.', 'The second.\n']
    """
    if split not in _SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(map(repr, _SPLITS))}")
    paths = [Path(files)] if isinstance(files, str | os.PathLike) else [Path(f) for f in files]
    if not paths:
        raise ValueError("files is empty; give at least one text file")
    return [document for path in paths for document in _split(_read(path), split)]


def _read(path: Path) -> str:
    if path.is_dir():
        raise ValueError(f"files: {path} is a directory; give the text files in it")
    try:
        # Bytes, not text mode: that would change the line ends, and with them the byte counts.
        text = path.read_bytes().decode("utf-8").removeprefix("\ufeff")
    except FileNotFoundError:
        raise FileNotFoundError(f"files: {path} does not exist") from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"files: {path} is not UTF-8 at byte {error.start} ({error.reason}); "
            "convert it to UTF-8 first"
        ) from None
    if not text.strip():
        raise ValueError(f"files: {path} is empty; it must hold some text")
    return text


def _split(text: str, split: str) -> list[str]:
    if split == "document":
        return [text]
    between = _BETWEEN_PARAGRAPHS if split == "paragraph" else _BETWEEN_LINES
    return [part for part in between.split(text) if part.strip()]
