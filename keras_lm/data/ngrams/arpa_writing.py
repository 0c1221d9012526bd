"""Writing ARPA files, by whole columns: a line of Python for each n-gram would take minutes."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_lm.data.ngrams.table import NGramTable
from keras_lm.data.progress import LateBar

_ROWS_AT_ONCE = 1 << 14
_WIDTHS = (8, 16, 32, 64)  # of the tables of words
_WHITE_SPACE = re.compile("[ \t\n\r\0]")

_DIGITS_4, _DIGITS_3 = (
    np.array([f"{i:0{n}}" for i in range(10**n)], f"S{n}").view(np.uint8).reshape(-1, n)
    for n in (4, 3)
)


def write_arpa(table: NGramTable, path: str | os.PathLike[str]) -> None:
    r"""Writes an ARPA file that KenLM and SRILM read; an old one is replaced when all went well.

    `begin_id`, `end_id` and `unk_id` are written as `<s>`, `</s>` and `<unk>`, whatever the
    vocabulary calls them; where begin and end are one id, it becomes these two words. Numbers have
    seven digits: a table that was read from a file of ours is written to the same bytes.

    Args:
        table: with a vocabulary.
        path: the file.

    Raises:
        ValueError: the table has no vocabulary; a word of it is empty, holds white space, or stands
            there twice; the table is smoothed by "add_k" and its order is above 1.

    Example:

    >>> import tempfile
    >>> from keras_lm.data.ngrams.text import table_of_text
    >>> path = Path(tempfile.mkdtemp()) / "text.txt"
    >>> _ = path.write_text("the cat\nthe end\n")
    >>> write_arpa(table_of_text(path, order=2, smoothing="mle"), path.with_suffix(".arpa"))
    >>> print(*path.with_suffix(".arpa").read_text().split("\n")[-8:-3], sep="\n")
    0   <s> the
    -0.301030   the cat
    -0.301030   the end
    0   cat </s>
    0   end </s>
    """
    words = _words(table)
    if table.smoothing == "add_k" and table.order > 1:
        raise ValueError(
            f"table is smoothed by 'add_k' and of order {table.order}: a token that was not seen "
            "after a context then has a probability that is no back-off times another, and ARPA "
            "files cannot hold it; use 'kneser_ney' or 'mle', or order 1"
        )
    path = Path(path)
    fresh = path.with_name(f".{path.name}.new-{os.getpid()}")
    try:
        with fresh.open("wb") as file, LateBar("writing", sum(table.num_ngrams)) as bar:
            file.write(_header(table).encode())
            written = 0
            for level in range(1, table.order + 1):
                file.write(f"\n\\{level}-grams:\n".encode())
                for lines, rows in _lines(table, words, level):
                    file.write(lines)
                    written += rows
                    bar.advance_to(written)
            file.write(b"\n\\end\\\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()


def _words(table: NGramTable) -> list[bytes]:
    """The words by id as the file spells them; where `<s>` has no id of its own, it comes last."""
    if table.vocabulary is None:
        raise ValueError("table has no vocabulary; an ARPA file needs the words of the ids")
    words = list(table.vocabulary)
    if table.unk_id is not None:
        words[table.unk_id] = "<unk>"
    words[table.end_id] = "</s>"
    if table.begin_id == table.end_id:
        words.append("<s>")
    else:
        words[table.begin_id] = "<s>"
    seen = set()
    for number, word in enumerate(words):
        if not word or _WHITE_SPACE.search(word):
            raise ValueError(
                f"vocabulary[{number}] is {word!r}; in an ARPA file a word must have a character "
                "and no white space"
            )
        if word in seen:
            raise ValueError(f"vocabulary has the word {word!r} twice; every id needs its own")
        seen.add(word)
    return [word.encode() for word in words]


def _header(table: NGramTable) -> str:
    counts = list(table.num_ngrams)
    counts[0] += table.begin_id == table.end_id
    return "\\data\\\n" + "".join(f"ngram {k}={n}\n" for k, n in enumerate(counts, start=1))


def _lines(table: NGramTable, words: list[bytes], level: int) -> Iterator[tuple[bytes, int]]:
    """The lines of a level in pieces, each with the number of its n-grams."""
    word_table = _WordTable(words)
    begin_word = len(words) - 1 if table.begin_id == table.end_id else table.begin_id
    log_probs = table.log_probs[level - 1]
    backoffs = table.backoffs[level - 1] if level < table.order else None
    if level == 1:  # KenLM's `<s>` has the log-probability 0
        tokens = np.append(table.tokens[0], begin_word)[: len(words)]
        log_probs = np.append(log_probs, np.float32(0))[: len(words)]
        log_probs[begin_word] = 0
        if backoffs is not None:
            backoffs = np.append(backoffs, backoffs[table.begin_id])[: len(words)]
            backoffs[table.end_id] = 0
    for start in range(0, len(log_probs), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        columns = [tokens[rows]] if level == 1 else _columns(table, level, rows, begin_word)
        num_rows = len(columns[0])
        fields = [_numbers(log_probs[rows])]
        for place, column in enumerate(columns):
            fields += [_repeated(b" " if place else b"\t", num_rows), word_table.spell(column)]
        if backoffs is not None:
            fields += [_repeated(b"\t", num_rows), _numbers(backoffs[rows])]
        fields.append(_repeated(b"\n", num_rows))
        # What is shorter than its field is filled with zero bytes, which are taken out here.
        yield np.concatenate(fields, axis=1).tobytes().translate(None, b"\0"), num_rows


def _columns(table: NGramTable, level: int, rows: slice, begin_word: int) -> list[np.ndarray]:
    """The first tokens, the second, … of some n-grams of a level, 2 or more: int32 [n] each."""
    node = np.arange(*rows.indices(table.num_ngrams[level - 1]))
    columns = [table.tokens[level - 1][node]]
    for above in range(level - 2, -1, -1):
        node = np.searchsorted(table.first_child[above], node, side="right") - 1
        columns.append(table.tokens[above][node])
    columns[-1][columns[-1] == table.begin_id] = begin_word
    return columns[::-1]


def _repeated(separator: bytes, num_rows: int) -> np.ndarray:
    return np.full((num_rows, 1), separator[0], np.uint8)


class _WordTable:
    """Words as rows of bytes, filled with zero bytes.

    Args:
        words: by id.
    """

    def __init__(self, words: list[bytes]) -> None:
        self._words = words
        self._lengths = np.array(list(map(len, words)))
        self._rows = {
            width: np.array([word[:width] for word in words], f"S{width}") for width in _WIDTHS
        }

    def spell(self, ids: np.ndarray) -> np.ndarray:
        """uint8 [n, W], as wide as the longest of the words needs."""
        longest = self._lengths[ids].max()
        width = next((width for width in _WIDTHS if width >= longest), None)
        if width is None:  # too wide a table for a few long words
            rows = np.array([self._words[i] for i in ids.tolist()])
        else:
            rows = self._rows[width][ids]
        return rows.view(np.uint8).reshape(len(ids), -1)


def _numbers(nats: np.ndarray) -> np.ndarray:
    """log10 in seven digits, uint8 [n, 9]: as many before the point as needed, up to three.

    A float32 of at most 230 nats has them all, so that they stay when they are read again.
    """
    values = np.abs(nats.astype(np.float64)) / math.log(10)
    text = np.zeros((len(nats), 9), np.uint8)
    todo = np.ones(len(nats), bool)
    for whole in (1, 2, 3):
        scaled = np.rint(np.minimum(values, 999) * 10.0 ** (7 - whole)).astype(np.int64)
        rows = np.flatnonzero(todo & (scaled < 10**7))
        todo[rows] = False
        digits = np.concatenate(
            [_DIGITS_4[scaled[rows] // 1000], _DIGITS_3[scaled[rows] % 1000]], 1
        )
        text[rows, 1 : 1 + whole] = digits[:, :whole]
        text[rows, 1 + whole] = ord(".")
        text[rows, 2 + whole :] = digits[:, whole:]
    text[nats < 0, 0] = ord("-")
    is_zero = values < 0.5e-6
    text[is_zero] = 0
    text[is_zero, 0] = ord("0")
    return text
