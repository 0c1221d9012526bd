"""Vector files: word2vec's text and binary formats, and GloVe's."""

from __future__ import annotations

import contextlib
import itertools
import os
import string
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_lm.data.progress import LateBar
from keras_lm.data.sources.files import Content, numbered_lines, opened, sized_paths, wrong

FORMATS = ("word2vec", "word2vec-binary", "glove")

_HEAD_BYTES = 1 << 16  # enough for a header and a line of 3,000 numbers
_BLOCK_BYTES = 1 << 20
_BLOCK_LINES = 2_000
_LARGEST = float(np.finfo(np.float32).max)
_TEXT_BYTES = frozenset(string.printable.encode()) | set(range(0x80, 0x100))


class VectorTable(NamedTuple):
    """Words and their vectors."""

    words: tuple[str, ...]
    vectors: np.ndarray
    """float32 [V, D]"""


def read_vectors(path: str | os.PathLike[str]) -> VectorTable:
    r"""Reads a file of word vectors; its content tells gzip and the format.

        word2vec          a line `V D`, then a line a word: `word x1 … xD`
        word2vec-binary   a line `V D`, then for each word `word `, D float32 and perhaps a line end
        glove             a line a word, without a header; a word may hold spaces

    Args:
        path: the file.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is empty, cut short, not UTF-8, or does not agree with its header; a line
            has more or fewer numbers than the first; a number is none, or not finite; a word is
            there twice. The message names the file and the line, in a binary file the word's
            number.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "vectors.txt"
    >>> _ = path.write_text("2 3\nking 1 2 3\nqueen 1 2 4\n")
    >>> read_vectors(path).vectors.tolist()
    [[1.0, 2.0, 3.0], [1.0, 2.0, 4.0]]
    """
    [file], [size] = sized_paths(path)
    with opened(file) as (_, content):
        head = content.read(_HEAD_BYTES)
    first, _, rest = head.partition(b"\n")
    header = first.split()
    has_header = len(header) == 2 and all(number.isdigit() for number in header)
    if not first.strip():
        raise wrong(file, 1, "is empty; it must hold a header or a word and its vector")
    if not has_header:
        return _checked(file, *_read_lines(file, len(first.rstrip(b" \r").split(b" ")) - 1, None))
    num_words, dim = map(int, header)
    if not num_words or not dim:
        raise wrong(file, 1, f"the header promises {num_words} words of {dim} numbers; none")
    if _begins_with_numbers(rest, dim):
        return _checked(file, *_read_lines(file, dim, num_words))
    try:
        return _checked(file, *_read_binary(file, num_words, dim, size))
    except ValueError:
        if set(rest) - _TEXT_BYTES:
            raise
    # What is no binary file and looks like text is told what is wrong with its lines.
    return _checked(file, *_read_lines(file, dim, num_words))


def write_vectors(path: str | os.PathLike[str], table: VectorTable, format: str) -> None:
    """Writes word vectors, so that reading them gives the very same numbers.

    Args:
        path: the file; written beside and then moved, so that an old one stays whole.
        table: the words, without white space, and float32 vectors.
        format: `"word2vec"`, `"word2vec-binary"` or `"glove"`.

    Raises:
        ValueError: `format` is none of these, or a word cannot stand in such a file.
    """
    if format not in FORMATS:
        raise ValueError(f"format is {format!r}; it must be one of {', '.join(map(repr, FORMATS))}")
    for word in table.words:
        if not word or word[0] == "\ufeff" or any(mark in word for mark in " \t\r\n"):
            raise ValueError(f"words: {word!r} cannot be written: it is empty or has white space")
    num_words, dim = table.vectors.shape
    target = Path(path)
    fresh = target.with_name(f".{target.name}.new")
    try:
        with fresh.open("wb") as file, LateBar("writing", num_words) as bar:
            if format != "glove":
                file.write(f"{num_words} {dim}\n".encode())
            for number, (word, vector) in enumerate(zip(table.words, table.vectors)):
                file.write(word.encode() + b" ")
                if format == "word2vec-binary":
                    file.write(vector.astype("<f4").tobytes())
                else:
                    file.write(" ".join(vector.astype(str)).encode() + b"\n")
                bar.advance_to(number + 1)
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)


def _begins_with_numbers(data: bytes, dim: int) -> bool:
    """Whether the first line behind the header has numbers that can be read."""
    try:
        return bool([float(field) for field in data.partition(b"\n")[0].split()[1:][-dim:]])
    except ValueError:
        return False


def _read_lines(file: Path, dim: int, num_words: int | None) -> tuple[list[str], np.ndarray]:
    """Words and vectors of a text file, behind a header where that promised `num_words`."""
    if dim < 1:
        raise wrong(file, 1, "is neither a header nor a word and its vector")
    words: list[str] = []
    blocks: list[np.ndarray] = []
    [(_, lines)] = numbered_lines(file, "strict")
    if num_words is not None:
        next(lines)
    while block := list(itertools.islice(lines, _BLOCK_LINES)):
        numbers = []
        for line, text in block:
            fields = text.rstrip("\r\n ").rsplit(" ", dim)
            if len(fields) <= dim:
                raise wrong(file, line, f"{len(fields) - 1} numbers; there must be {dim}")
            if " " in fields[0] and _is_number(fields[0].rpartition(" ")[2]):
                raise wrong(file, line, f"more than {dim} numbers")
            words.append(fields[0])
            numbers.append(fields[1:])
        blocks.append(_parsed(file, block[0][0], numbers))
    if num_words is not None and len(words) != num_words:
        raise ValueError(
            f"files: {file} holds {len(words)} words; its header, line 1, promises {num_words}"
        )
    return words, np.concatenate(blocks)


def _parsed(file: Path, first_line: int, numbers: Sequence[Sequence[str]]) -> np.ndarray:
    """float32 of the fields of lines that follow each other."""
    with contextlib.suppress(ValueError), np.errstate(over="ignore"):
        parsed = np.array(numbers).astype(np.float32)
        if np.isfinite(parsed).all():
            return parsed
    for line, fields in enumerate(numbers, start=first_line):
        for field in fields:
            if not _is_number(field):
                raise wrong(file, line, f"{field!r} is not a number")
            if not abs(float(field)) <= _LARGEST:
                raise wrong(file, line, f"{field} is not a finite float32")
    raise AssertionError("unreachable: a number is none")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_binary(file: Path, num_words: int, dim: int, size: int) -> tuple[list[str], np.ndarray]:
    words: list[str] = []
    numbers = bytearray()
    with opened(file) as (raw, content), LateBar("reading", size) as bar:
        buffer = _Buffer(content)
        buffer.until(b"\n")
        for number in range(1, num_words + 1):
            spelled = buffer.until(b" ")
            vector = buffer.take(4 * dim)
            if spelled is None or len(vector) < 4 * dim:
                raise ValueError(
                    f"files: {file}, word {number}: the file ends; its header promises "
                    f"{num_words} words of {dim} numbers"
                )
            try:
                words.append(spelled.lstrip(b"\r\n").decode())
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"files: {file}, word {number}: {spelled!r} is not UTF-8 ({error.reason}), "
                    "or the header has a wrong number of dimensions"
                ) from None
            numbers += vector
            bar.advance_to(raw.tell())
        if left := buffer.take(_HEAD_BYTES).strip(b"\r\n"):
            raise ValueError(
                f"files: {file}, word {num_words + 1}: at least {len(left)} bytes more than the "
                f"{num_words} words of {dim} numbers that its header promises"
            )
    return words, np.frombuffer(numbers, "<f4").reshape(num_words, dim).astype(np.float32)


class _Buffer:
    """Reads up to a mark, or so many bytes, of a file that may be compressed."""

    def __init__(self, content: Content) -> None:
        self._content, self._data, self._at = content, b"", 0

    def until(self, mark: bytes) -> bytes | None:
        """What stands before the mark, which is passed over; None where none follows."""
        searched = self._at
        while (found := self._data.find(mark, searched)) < 0:
            searched = len(self._data) - self._at
            if not self._fill(_BLOCK_BYTES):
                return None
        begin, self._at = self._at, found + 1
        return self._data[begin:found]

    def take(self, size: int) -> bytes:
        """The next bytes; fewer at the end of the file."""
        if len(self._data) - self._at < size:
            self._fill(max(size, _BLOCK_BYTES))
        begin, self._at = self._at, self._at + size
        return self._data[begin : self._at]

    def _fill(self, size: int) -> bool:
        more = self._content.read(size)
        self._data, self._at = self._data[self._at :] + more, 0
        return bool(more)


def _checked(file: Path, words: list[str], vectors: np.ndarray) -> VectorTable:
    """The table, or the error that says which word is empty, there twice, or has no vector."""
    seen: dict[str, int] = {}
    for number, word in enumerate(words):
        if not word:
            raise ValueError(f"files: {file}, word {number + 1} is empty")
        if seen.setdefault(word, number) != number:
            raise ValueError(
                f"files: {file}, word {number + 1}: {word!r} is there twice; it is word "
                f"{seen[word] + 1} as well"
            )
    if len(bad := np.flatnonzero(~np.isfinite(vectors).all(axis=1))):
        raise ValueError(
            f"files: {file}, word {bad[0] + 1}: the vector of {words[bad[0]]!r} has a number "
            "that is not finite"
        )
    return VectorTable(tuple(words), vectors)
