"""A text file as KenLM reads it, and the n-gram table of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from keras_lm.data.ngrams.counting import Piece
from keras_lm.data.ngrams.estimation import estimate
from keras_lm.data.ngrams.table import NGramTable
from keras_lm.data.progress import LateBar
from keras_lm.data.sources.files import Content, opened, sized_paths, wrong

SPECIAL_WORDS = ("<unk>", "<s>", "</s>")
"""The words of the ids 0, 1 and 2."""

_BYTES_AT_ONCE = 1 << 22
_IDS_AT_ONCE = 1 << 20

# Bytes that no UTF-8 text holds stand for what `bytes.split` must not see: the borders of lines,
# and the two kinds of white space that to KenLM are parts of words.
_LINE_BEGIN, _LINE_END = b"\xfe", b"\xff"
_TO_INNER = bytes.maketrans(b"\0\x0b\x0c", b" \xfc\xfd")
_TO_OUTER = bytes.maketrans(b"\xfc\xfd", b"\x0b\x0c")


class TextFile:
    r"""A text of a sentence a line, as ids that are given to its words as they appear.

    As KenLM's `lmplz` reads it: words stand between spaces, tabs, carriage returns and zero bytes;
    every line, an empty one too, is a document that `<s>` begins and `</s>` ends. Id 0 is `<unk>`,
    1 `<s>`, 2 `</s>`. A last line without its line feed is a line like the others (`lmplz` leaves
    out its `</s>`). A gzip file is told by its content.

    Args:
        path: the file, UTF-8.

    Example:

    >>> path = Path(tempfile.mkdtemp()) / "text.txt"
    >>> _ = path.write_text("the cat\n the  end\n")
    >>> text = TextFile(path)
    >>> [tokens.tolist() for tokens, _ in text.pieces()], text.vocabulary[3:]
    ([[1, 3, 4, 2, 1, 3, 5, 2]], ('the', 'cat', 'end'))
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._ids = _Ids({_LINE_BEGIN: 1, _LINE_END: 2})

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The words by id; complete once all pieces were read."""
        words = list(self._ids)[2:]  # behind the marks of lines
        return (*SPECIAL_WORDS, *(word.translate(_TO_OUTER).decode() for word in words))

    def pieces(self, progress: bool = True) -> Iterator[Piece]:
        """The ids, int32 [n], and which begin a line, bool [n], stretch by stretch.

        Args:
            progress: whether a bar appears once it has taken two seconds.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is a directory, empty, or a broken gzip file; it is not UTF-8, or has one
                of `<unk>`, `<s>` and `</s>` for a word (the message has the line).
        """
        _, sizes = sized_paths(self._path)
        begins, lines_read = True, 0
        with LateBar("reading", total=sizes[0]) as bar, opened(self._path) as (raw, content):
            for block in _blocks(content):
                self._check_unicode(block, lines_read)
                marked = block.translate(_TO_INNER)
                marked = marked.replace(b"\n", b" " + _LINE_END + b" " + _LINE_BEGIN + b" ")
                if begins:
                    marked = _LINE_BEGIN + b" " + marked
                begins = block.endswith(b"\n")
                words = marked.split()[: -1 if begins else None]
                try:
                    ids = np.fromiter(map(self._ids.__getitem__, words), np.int32, len(words))
                except _SpecialWord as special:
                    raise self._special_word(special.word, block, lines_read) from None
                yield ids, ids == 1
                lines_read += block.count(b"\n")
                if progress:
                    bar.advance_to(raw.tell())
        if not begins:
            yield np.array([2], np.int32), np.array([False])
        elif not lines_read:
            raise ValueError(f"files: {self._path} is empty; it must hold at least one line")

    def _check_unicode(self, block: bytes, lines_before: int) -> None:
        try:
            block.decode()
        except UnicodeDecodeError as error:
            line = lines_before + block.count(b"\n", 0, error.start) + 1
            raise wrong(self._path, line, f"this is not UTF-8 ({error.reason})") from None

    def _special_word(self, word: bytes, block: bytes, lines_before: int) -> ValueError:
        lines = block.translate(_TO_INNER).split(b"\n")
        line = next(number for number, text in enumerate(lines) if word in text.split())
        return wrong(
            self._path,
            lines_before + line + 1,
            f"the word {word.decode()!r} has a meaning of its own and may not be in the text; "
            "take it out or write it in another way",
        )


class _SpecialWord(Exception):
    def __init__(self, word: bytes) -> None:
        self.word = word


class _Ids(dict[bytes, int]):
    """Ids by word; a word that is asked for the first time is given the next id."""

    _special = frozenset(word.encode() for word in SPECIAL_WORDS)

    def __missing__(self, word: bytes) -> int:
        if word in self._special:
            raise _SpecialWord(word)
        number = self[word] = len(self) + 1
        return number


def _blocks(content: Content | IO[bytes]) -> Iterator[bytes]:
    """The bytes of a file in blocks that stop at a space or a line feed."""
    rest = b""
    while data := content.read(_BYTES_AT_ONCE):
        end = max(data.rfind(b"\n"), data.rfind(b" ")) + 1
        if end:
            yield rest + data[:end]
            rest = data[end:]
        else:
            rest += data
    if rest:
        yield rest


def table_of_text(
    path: str | os.PathLike[str],
    order: int,
    *,
    smoothing: str = "kneser_ney",
    k: float = 1.0,
    memory_limit: int | None = None,
    progress: bool = True,
) -> NGramTable:
    r"""The n-gram table of a text file, read as `TextFile` says and made as `estimate` says.

    With Kneser–Ney smoothing it is what KenLM's `lmplz -o ORDER --discount_fallback` makes.

    Args:
        path: the file, UTF-8, gzip or not.
        order: tokens in the longest n-grams.
        smoothing: "kneser_ney", "mle" or "add_k".
        k: for "add_k".
        memory_limit: bytes for counting; None (default) is a quarter of the machine's memory.
        progress: whether a bar appears once it has taken two seconds.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as `TextFile.pieces` and `estimate`.

    Example:

    >>> path = Path(tempfile.mkdtemp()) / "text.txt"
    >>> _ = path.write_text("the cat\nthe end\n")
    >>> table = table_of_text(path, order=2, smoothing="mle")
    >>> table.num_ngrams, table.vocabulary[3:]
    ((6, 5), ('the', 'cat', 'end'))
    """
    text = TextFile(path)
    # The keys of n-grams need the size of the vocabulary, so the ids wait until it is known.
    with tempfile.TemporaryFile() as waiting:
        for ids, _ in text.pieces(progress):
            ids.tofile(waiting)
        waiting.seek(0)
        vocabulary = text.vocabulary
        return estimate(
            _read_pieces(waiting),
            order,
            vocab_size=len(vocabulary),
            begin_id=1,
            end_id=2,
            smoothing=smoothing,
            k=k,
            unk_id=0,
            vocabulary=vocabulary,
            memory_limit=memory_limit,
            progress=progress,
        )


def _read_pieces(file: IO[bytes]) -> Iterator[Piece]:
    while len(ids := np.fromfile(file, np.int32, _IDS_AT_ONCE)):
        yield ids, ids == 1
