"""Files as every source reads them: gzip or not, UTF-8, every error with its file and line."""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from keras_lm.data.progress import LateBar

Content = BufferedReader | gzip.GzipFile
Files = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

# No UTF-8 text begins with these two bytes, so that the content alone tells, whatever the name.
_GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARK = "\ufeff"


def sized_paths(files: Files) -> tuple[list[Path], list[int]]:
    """One path or several as a list, and the sizes of these files in bytes.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: no file is given, or one is a directory.

    Example:

    >>> sized_paths("absent.txt")
    Traceback (most recent call last):
        ...
    FileNotFoundError: files: absent.txt does not exist
    """
    paths = [Path(files)] if isinstance(files, str | os.PathLike) else [Path(f) for f in files]
    if not paths:
        raise ValueError("files is empty; give at least one file")
    sizes = []
    for path in paths:
        try:
            status = path.stat()
        except FileNotFoundError:
            raise FileNotFoundError(f"files: {path} does not exist") from None
        if stat.S_ISDIR(status.st_mode):
            raise ValueError(f"files: {path} is a directory; give the files in it")
        sizes.append(status.st_size)
    return paths, sizes


def wrong(path: Path, line: int, what: str) -> ValueError:
    """The error that says what is wrong in which line of which file."""
    return ValueError(f"files: {path}, line {line}: {what}")


def check_errors(errors: str) -> None:
    """A `ValueError` unless `errors` is one of the two ways to treat what is not UTF-8."""
    if errors not in ("strict", "replace"):
        raise ValueError(f"errors is {errors!r}; it must be 'strict' or 'replace'")


def whole_texts(files: Files, errors: str) -> Iterator[tuple[Path, str]]:
    """Every file with its whole text, without a byte order mark; line ends stay as they are.

    Raises:
        ValueError: `errors` is neither "strict" nor "replace"; a file is empty or only white
            space, a broken gzip file, or is not UTF-8 and `errors` is "strict".
    """
    check_errors(errors)
    paths, sizes = sized_paths(files)
    with LateBar("reading", sum(sizes)) as bar:
        for number, path in enumerate(paths):
            with opened(path) as (_, content):
                text = _decoded(content.read(), errors, path, line=1, offset=0)
            text = text.removeprefix(_BYTE_ORDER_MARK)
            if not text.strip():
                raise ValueError(f"files: {path} is empty; it must hold some text")
            yield path, text
            bar.advance_to(sum(sizes[: number + 1]))


def numbered_lines(files: Files, errors: str) -> Iterator[tuple[Path, Iterator[tuple[int, str]]]]:
    """Every file with its lines, numbered from 1, each with its line feed; one is read at a time.

    The lines of a file must be read before the next file is asked for. Raises as `whole_texts`
    does, but that a file without a line is not refused.
    """
    check_errors(errors)
    paths, sizes = sized_paths(files)

    def lines(path: Path, before: int) -> Iterator[tuple[int, str]]:
        offset = 0
        with opened(path) as (raw, content):
            for number, data in enumerate(content, start=1):
                line = _decoded(data, errors, path, number, offset)
                yield number, line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
                offset += len(data)
                bar.advance_to(before + raw.tell())

    with LateBar("reading", sum(sizes)) as bar:
        for number, path in enumerate(paths):
            yield path, lines(path, sum(sizes[:number]))


@contextmanager
def opened(path: Path) -> Iterator[tuple[BufferedReader, Content]]:
    """The file as it lies on the disk, which knows how far it was read, and its content."""
    with path.open("rb") as raw:
        try:
            yield raw, gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == _GZIP else raw
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"files: {path} is a broken gzip file ({error})") from None


def _decoded(data: bytes, errors: str, path: Path, line: int, offset: int) -> str:
    """The text of bytes that begin at this line, and at this byte of the file's content."""
    try:
        return data.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        raise ValueError(
            f"files: {path} is not UTF-8 at byte {offset + error.start}, line {line} "
            f"({error.reason}); convert it to UTF-8 first, or give errors='replace'"
        ) from None
