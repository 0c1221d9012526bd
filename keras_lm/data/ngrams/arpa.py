"""Reading ARPA files, with every error at its line."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np

from keras_lm.data.ngrams.table import IMPOSSIBLE, NGramTable
from keras_lm.data.progress import LateBar
from keras_lm.data.sources.files import opened, sized_paths, wrong

_BYTES_AT_ONCE = 1 << 22
_LINES_AT_ONCE = 1 << 11
_COUNT = re.compile(rb"ngram\s+(\d+)\s*=\s*(\d+)\s*")
_PLACE_BITS = 31

# To KenLM these two are letters, to `bytes.split` white space; no UTF-8 text holds the other two.
_TO_INNER = bytes.maketrans(b"\x0b\x0c", b"\xfc\xfd")
_TO_OUTER = bytes.maketrans(b"\xfc\xfd", b"\x0b\x0c")


def read_arpa(path: str | os.PathLike[str]) -> NGramTable:
    r"""Reads the n-gram model in an ARPA file, gzip or not.

    The ids 0, 1 and 2 are those of `<unk>`, `<s>` and `</s>`; where there is no `<unk>`, the two
    others are 0 and 1. The other words follow in the order of the file. A
    missing back-off is 0 where no longer n-gram continues its n-gram, as SRILM writes them. An
    n-gram whose own beginning is not in the file is refused; KenLM's files have none.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: with file and line: it is not UTF-8, or no complete ARPA file; its header and
            its n-grams do not agree; an n-gram has the wrong number of words, an unknown word, is
            there twice, lacks a back-off that is needed, or its first words are no n-gram; a
            probability is above 1, or a number is none.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "tiny.arpa"
    >>> _ = path.write_text('''\\data\\
    ... ngram 1=4
    ... ngram 2=2
    ...
    ... \\1-grams:
    ... -0.6	<unk>	0
    ... 0	<s>	-0.3
    ... -0.3	</s>	0
    ... -0.6	word	-0.3
    ...
    ... \\2-grams:
    ... -0.1	<s> word
    ... -0.2	word </s>
    ...
    ... \\end\\
    ... ''')
    >>> table = read_arpa(path)
    >>> table.vocabulary, table.num_ngrams, table.tokens[1].tolist()
    (('<unk>', '<s>', '</s>', 'word'), (4, 2), [3, 2])
    """
    sized_paths(path)
    with _Lines(Path(path)) as lines:
        return _Reader(lines).table()


class _Lines:
    """The lines of a file, one after the other, with the number of the last one.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        self._file = self._read()
        self._lines: Iterator[bytes] = self._file

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def _read(self) -> Generator[bytes, None, None]:
        size, rest, number = self.path.stat().st_size, b"", 0
        with LateBar("reading", size) as bar, opened(self.path) as (raw, content):
            while data := content.read(_BYTES_AT_ONCE):
                *whole, rest = (rest + data).split(b"\n")
                yield from self._checked(whole, number)
                number += len(whole)
                bar.advance_to(raw.tell())
            if rest:
                yield from self._checked([rest], number)

    def _checked(self, lines: list[bytes], before: int) -> list[bytes]:
        text = b"\n".join(lines)
        try:
            text.decode()
        except UnicodeDecodeError as error:
            line = before + text.count(b"\n", 0, error.start) + 1
            raise wrong(self.path, line, f"this is not UTF-8 ({error.reason})") from None
        return text.translate(_TO_INNER).split(b"\n") if lines else []

    def next(self) -> bytes | None:
        """The next line without white space around it; None at the end of the file."""
        line = next(self._lines, None)
        self.number += line is not None
        return None if line is None else line.strip()

    def next_filled(self, wanted: str) -> bytes:
        """The next line that is not blank; an error that misses `wanted` at the end of the file."""
        while (line := self.next()) is not None:
            if line:
                return line
        self.wrong(f"the file stops here, but {wanted} must follow")

    def take(self, most: int) -> list[bytes]:
        """At most so many lines, up to the next one that is blank or begins with a backslash."""
        lines = list(itertools.islice(self._lines, most))
        for place, line in enumerate(lines):
            if line[:1] == b"\\" or not line.strip():
                self._lines = itertools.chain(lines[place:], self._lines)
                lines = lines[:place]
                break
        self.number += len(lines)
        return lines

    def wrong(self, what: str, number: int | None = None) -> NoReturn:
        raise wrong(self.path, self.number if number is None else number, what)


class _Reader:
    """The table in the lines of a file."""

    def __init__(self, lines: _Lines) -> None:
        self._lines = lines
        self._ids: dict[bytes, int] = {}
        self._tokens: list[np.ndarray] = []
        self._keys: list[np.ndarray] = []  # parent and token of each n-gram, ascending
        self._log_probs: list[np.ndarray] = []
        self._backoffs: list[np.ndarray] = []
        self._first_child: list[np.ndarray] = []
        self._line_numbers = np.zeros(0, np.int64)  # of the level that was read last

    def table(self) -> NGramTable:
        counts, line = self._header()
        for level, count in enumerate(counts, start=1):
            if line != b"\\%d-grams:" % level:
                self._lines.wrong(f"this must be \\{level}-grams:, not {_shown(line)}")
            self._section(level, count, is_highest=level == len(counts))
            following = f"\\{level + 1}-grams:" if level < len(counts) else "\\end\\"
            line = self._lines.next_filled(following)
        if line != b"\\end\\":
            self._lines.wrong(f"this must be \\end\\, not {_shown(line)}")
        return NGramTable(
            tokens=tuple(self._tokens),
            log_probs=tuple(self._log_probs),
            backoffs=tuple(self._backoffs),
            first_child=tuple(self._first_child),
            begin_id=self._ids[b"<s>"],
            end_id=self._ids[b"</s>"],
            unk_id=self._ids.get(b"<unk>"),
            vocabulary=tuple(word.translate(_TO_OUTER).decode() for word in self._ids),
        )

    def _header(self) -> tuple[list[int], bytes]:
        """The numbers of n-grams that the header gives, and the first line behind it."""
        while self._lines.next_filled("\\data\\") != b"\\data\\":
            pass
        counts: list[int] = []
        while not (line := self._lines.next_filled("\\1-grams:")).startswith(b"\\"):
            match = _COUNT.fullmatch(line)
            if not match or int(match[1]) != len(counts) + 1:
                self._lines.wrong(f"this must be 'ngram {len(counts) + 1}=…', not {_shown(line)}")
            if int(match[2]) == 0:
                self._lines.wrong(f"there are no {len(counts) + 1}-grams; leave the order out")
            counts.append(int(match[2]))
        if not counts:
            self._lines.wrong("the header must give the number of n-grams: 'ngram 1=…'")
        return counts, line

    def _section(self, level: int, count: int, is_highest: bool) -> None:
        """Reads the n-grams of one length."""
        words: list[bytes] = []
        probs, backoffs = np.empty(count, np.float32), np.empty(count, np.float32)
        done = 0
        line_numbers = self._lines.number + 1 + np.arange(count)
        while done < count:
            lines = self._lines.take(min(count - done, _LINES_AT_ONCE))
            if not lines:
                self._lines.wrong(
                    f"the header says that there are {count} {level}-grams, but {done} stand here"
                )
            rows = slice(done, done + len(lines))
            parsed = self._parsed(lines, level, int(line_numbers[done]))
            words += parsed[0]
            probs[rows], backoffs[rows] = parsed[1:]
            done += len(lines)
        if self._lines.take(1):
            self._lines.wrong(
                f"the header says that there are {count} {level}-grams, but more stand here"
            )
        if is_highest and (extra := np.flatnonzero(np.nan_to_num(backoffs))).size:
            self._lines.wrong("the longest n-grams can have no back-off", line_numbers[extra[0]])
        order = (self._unigrams if level == 1 else self._ngrams)(words, level, line_numbers)
        self._log_probs.append(probs[order])
        if not is_highest:
            self._backoffs.append(backoffs[order])
        self._line_numbers = line_numbers[order]
        if level == 1:
            self._log_probs[0][self._ids[b"<s>"]] = IMPOSSIBLE  # it is never predicted

    def _parsed(
        self, lines: list[bytes], level: int, first_line: int
    ) -> tuple[list[bytes], np.ndarray, np.ndarray]:
        """The words of lines, one after the other, and their log-probabilities and back-offs.

        A back-off that is not there is NaN.
        """
        fields = [line.split() for line in lines]
        for row, line_fields in enumerate(fields):
            if len(line_fields) - level not in (1, 2):
                self._lines.wrong(
                    f"this line has {len(line_fields)} fields; a {level}-gram has its "
                    f"log-probability, {level} words and, as a rule, a back-off",
                    first_line + row,
                )
        with_backoff = np.array([len(line_fields) == level + 2 for line_fields in fields])
        places = np.flatnonzero(with_backoff)
        probs = self._floats(
            [line_fields[0] for line_fields in fields], first_line + np.arange(len(lines))
        )
        backoffs = np.full(len(lines), np.nan)
        backoffs[places] = self._floats(
            [fields[place][-1] for place in places.tolist()], first_line + places
        )
        if (wrong_rows := np.flatnonzero(probs > 0)).size:
            row = int(wrong_rows[0])
            self._lines.wrong(
                f"the log-probability {_shown(fields[row][0])} is above 0", first_line + row
            )
        if (wrong_rows := np.flatnonzero(np.isinf(backoffs))).size:
            row = int(wrong_rows[0])
            self._lines.wrong(
                f"the back-off {_shown(fields[row][-1])} is not finite", first_line + row
            )
        words = list(itertools.chain.from_iterable(f[1 : level + 1] for f in fields))
        return words, np.maximum(probs * math.log(10), IMPOSSIBLE), backoffs * math.log(10)

    def _floats(self, texts: list[bytes], line_numbers: np.ndarray) -> np.ndarray:
        try:
            values = np.array(list(map(float, texts)))
            if not np.isnan(values).any():
                return values
        except ValueError:
            pass
        row = next(row for row, text in enumerate(texts) if not _is_number(text))
        self._lines.wrong(f"{_shown(texts[row])} is no number", int(line_numbers[row]))

    def _unigrams(self, words: list[bytes], level: int, line_numbers: np.ndarray) -> np.ndarray:
        """Gives the words their ids; returns the rows of the section in the order of the ids."""
        row_of = {word: row for row, word in reversed(list(enumerate(words)))}
        if len(row_of) < len(words):
            row = next(row for row, word in enumerate(words) if row_of[word] != row)
            self._lines.wrong(f"the word {_shown(words[row])} is there twice", line_numbers[row])
        for word in (b"<s>", b"</s>"):
            if word not in row_of:
                self._lines.wrong(f"the 1-grams have no {word.decode()}; a model needs it")
        special = [word for word in (b"<unk>", b"<s>", b"</s>") if word in row_of]
        ordered = dict.fromkeys([*special, *words])
        self._ids = {word: number for number, word in enumerate(ordered)}
        self._tokens.append(np.arange(len(words), dtype=np.int32))
        return np.array([row_of[word] for word in self._ids])

    def _ngrams(self, words: list[bytes], level: int, line_numbers: np.ndarray) -> np.ndarray:
        """Puts a level below the one before; returns the rows of the section in its order."""
        try:
            ids = np.array(list(map(self._ids.__getitem__, words)), np.int64).reshape(-1, level)
        except KeyError as error:
            place = words.index(error.args[0])
            self._lines.wrong(
                f"the word {_shown(words[place])} is not among the 1-grams",
                line_numbers[place // level],
            )
        parent = ids[:, 0]
        for length in range(2, level):
            keys = parent << _PLACE_BITS | ids[:, length - 1]
            known = self._keys[length - 2]
            parent = np.minimum(np.searchsorted(known, keys), len(known) - 1)
            missing = np.flatnonzero(known[parent] != keys)
            if missing.size:
                self._lines.wrong(
                    f"the first {length} words of this {level}-gram are not among the "
                    f"{length}-grams",
                    line_numbers[missing[0]],
                )
        keys = parent << _PLACE_BITS | ids[:, -1]
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        twice = np.flatnonzero(keys[1:] == keys[:-1])
        if twice.size:
            self._lines.wrong(
                f"this {level}-gram is there twice", line_numbers[order[twice[0] + 1]]
            )
        self._keys.append(keys)
        self._tokens.append(ids[order, -1].astype(np.int32))
        self._add_children(parent, level)
        return order

    def _add_children(self, parent: np.ndarray, level: int) -> None:
        """Notes where the children of every node above begin, and that they have back-offs."""
        above = self._backoffs[-1]
        sizes = np.bincount(parent, minlength=len(above))
        first_child = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
        self._first_child.append(first_child)
        missing = np.isnan(above)
        if (needed := np.flatnonzero(missing & (sizes > 0))).size:
            line = int(self._line_numbers[needed].min())
            self._lines.wrong(
                f"this {level - 1}-gram begins a {level}-gram and lacks its back-off", line
            )
        above[missing] = 0


def _is_number(text: bytes) -> bool:
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False


def _shown(line: bytes) -> str:
    return repr(line[:60].translate(_TO_OUTER).decode(errors="replace"))
