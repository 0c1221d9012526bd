"""The demo's text: what every Python installation carries, or the user's own files."""

from __future__ import annotations

import ast
import re
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

# Parts of the library's folder that hold no documentation, or the same over and over (encodings).
_SKIPPED = {"__pycache__", "dist-packages", "encodings", "ensurepip", "idlelib", "lib2to3"}
_SKIPPED |= {"pydoc_data", "site-packages", "test", "tests", "turtledemo"}

HELD_OUT_EVERY = 20
LONGEST_SECTION = 4000
SECTIONS = 40
MIN_DOCUMENT = 200
MIN_REPEATED = 50
MIN_BYTES = 10_000


class Corpus(NamedTuple):
    """Documents to train on, and others to measure on; none of these is among those."""

    train: list[str]
    held_out: list[str]

    @property
    def num_bytes(self) -> tuple[int, int]:
        """UTF-8 bytes of the two parts."""
        return count_bytes(self.train), count_bytes(self.held_out)


def count_bytes(texts: Iterable[str]) -> int:
    """UTF-8 bytes of all texts together."""
    return sum(len(text.encode("utf-8")) for text in texts)


def split(documents: Iterable[str]) -> Corpus:
    """Every twentieth distinct document is held out; a repeated document counts once.

    Example:

    >>> train, held_out = split([f"document {i % 30}" for i in range(60)])
    >>> len(train), held_out
    (29, ['document 19'])
    """
    distinct = list(dict.fromkeys(documents))
    held_out = distinct[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]
    return Corpus([text for text in distinct if text not in set(held_out)], held_out)


def own_files(files: Iterable[Path]) -> Corpus:
    """The user's text files, cut into 40 sections or more, of 4,000 characters at most or so.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: a file is empty or not UTF-8, or all together are too short to train on.
    """
    from keras_lm.data import text_files

    files = list(files)
    texts = text_files(files)
    length = min(LONGEST_SECTION, sum(map(len, texts)) // SECTIONS + 1)
    corpus = split(section for text in texts for section in sections(text, length))
    num_bytes = sum(corpus.num_bytes)
    if num_bytes < MIN_BYTES or not corpus.held_out:
        raise ValueError(
            f"{', '.join(map(str, files))} is too short to train on: {num_bytes:,} bytes, without "
            f"repetitions; give at least {MIN_BYTES:,}"
        )
    return corpus


def sections(text: str, length: int) -> Iterator[str]:
    """Cuts a text after the first end of a paragraph, line or word beyond each `length` characters.

    Example:

    >>> list(sections("one two. three four.", length=5))
    ['one two. ', 'three ', 'four.']
    """
    start = 0
    while start < len(text):
        end = start + length
        for separator in ("\n\n", "\n", " "):
            found = text.find(separator, end, end + length)
            if found >= 0:
                end = found + len(separator)
                break
        yield text[start:end]
        start = end


def standard_library() -> Corpus:
    """The Python language reference and the docstrings of the standard library.

    A document is one topic of `pydoc`, or all docstrings of one module. What several of them say
    in the same words (topics quote each other, `ntpath` repeats `posixpath`) is taken once.
    """
    from pydoc_data.topics import topics

    documents = [topics[name] for name in sorted(topics)]
    documents += ["\n\n".join(_docstrings(path)) for path in _library_files()]
    seen: set[str] = set()
    distinct = [_new_paragraphs(_tidy(text), seen) for text in documents]
    return split(text for text in distinct if len(text) >= MIN_DOCUMENT)


def _tidy(text: str) -> str:
    """No spaces at the ends of lines, and one blank line where there are several."""
    lines = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", lines).strip()


def _new_paragraphs(text: str, seen: set[str]) -> str:
    """A text without the paragraphs that were `seen` before; short ones may come again."""
    kept = []
    for paragraph in text.split("\n\n"):
        words = " ".join(paragraph.split())
        if len(words) < MIN_REPEATED or words not in seen:
            kept.append(paragraph)
        seen.add(words)
    return "\n\n".join(kept)


def _library_files() -> list[Path]:
    library = Path(sysconfig.get_path("stdlib"))
    return sorted(
        path
        for path in library.rglob("*.py")
        if _SKIPPED.isdisjoint(path.relative_to(library).parts[:-1])
    )


def _docstrings(path: Path) -> Iterator[str]:
    """The docstrings of a module, its classes and its functions, in the file's order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old escapes in other people's strings
        module = ast.parse(path.read_bytes())
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    nodes = [node for node in ast.walk(module) if isinstance(node, documented)]
    for node in sorted(nodes, key=lambda node: getattr(node, "lineno", 0)):
        docstring = ast.get_docstring(node)
        if docstring:
            yield docstring
