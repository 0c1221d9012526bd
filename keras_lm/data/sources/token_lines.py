"""One token a line and an empty line after each sentence: CoNLL columns and CoNLL-U."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_lm.data.sources.columns import Columns, Labels
from keras_lm.data.sources.files import Files, numbered_lines, wrong

_CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")

# The lines of a sentence: each with its number, and cut at the separator.
NumberedCells = list[tuple[int, list[str]]]


def conll(
    files: Files,
    columns: Sequence[str] = ("token", "tag"),
    separator: str = "\t",
    labels: Labels | None = None,
    errors: str = "strict",
) -> dict[str, list[list[str]]]:
    r"""Reads files with one token a line, its columns apart, and an empty line between sentences.

    Args:
        files: one path or several, gzipped or not.
        columns: the names of all columns of a line, in their order.
        separator: what stands between two columns: a tab (default), or `" "` as in the files of
            CoNLL-2003.
        labels: for each column that is named here, the values that it may take, such as
            `{"tag": ["O", "B-PER", "I-PER"]}`.
        errors: `"strict"` (default) refuses what is not UTF-8, `"replace"` puts U+FFFD there.

    Returns:
        `{column: [[its string for each token] of each sentence]}`.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: with file and line: a line has more or fewer columns, a label is not among
            `labels`, the text is not UTF-8. A file has no sentence.

    Example:

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "names.conll"
    >>> _ = path.write_text("Ada\tB-PER\nwrote\tO\n\nYes\tO\n", encoding="utf-8")
    >>> conll(path)
    {'token': [['Ada', 'wrote'], ['Yes']], 'tag': [['B-PER', 'O'], ['O']]}
    """
    tokens = Columns(columns, labels)
    sentences: dict[str, list[list[str]]] = {column: [] for column in columns}
    for path, sentence in _sentences(files, separator, errors):
        start = len(tokens.columns[columns[0]])
        for number, cells in sentence:
            if len(cells) != len(columns):
                raise wrong(path, number, f"{len(cells)} columns; they must be {list(columns)}")
            tokens.add(dict(zip(columns, cells)), path, number)
        for column in columns:
            sentences[column].append(tokens.columns[column][start:])
    return sentences


def conllu(files: Files, errors: str = "strict") -> dict[str, list[list[Any]]]:
    r"""Reads CoNLL-U files into sentences of syntactic words.

    Comments are passed over, as are the lines of multiword tokens (`1-2`), whose words follow
    them, and of empty nodes (`8.1`), which no text has.

    Args:
        files: one path or several, gzipped or not.
        errors: `"strict"` (default) refuses what is not UTF-8, `"replace"` puts U+FFFD there.

    Returns:
        `{column: [[its value for each word] of each sentence]}` for the columns form, lemma, upos,
        xpos, feats, head, deprel, deps and misc: strings as in the file, where `_` says nothing.
        Only head is an int: the number of the word's head from 1, 0 for the root, -1 for `_`.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: with file and line: a line has not ten columns, an id is not the next one, a
            head is no word of the sentence, the text is not UTF-8. A file has no sentence.

    Example:

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "one.conllu"
    >>> rows = ["1-2 Don't _ _ _ _ _ _ _ _", "1 Do do AUX _ _ 2 aux _ _"]
    >>> rows += ["2 n't not PART _ _ 0 _ _ _"]
    >>> _ = path.write_text("\n".join(rows).replace(" ", "\t"), encoding="utf-8")
    >>> words = conllu(path)
    >>> words["form"], words["upos"], words["head"]
    ([['Do', "n't"]], [['AUX', 'PART']], [[2, 0]])
    """
    sentences: dict[str, list[list[Any]]] = {column: [] for column in _CONLLU[1:]}
    for path, sentence in _sentences(files, "\t", errors, comments=True):
        words = _words(path, sentence)
        for column, values in zip(_CONLLU[1:], list(zip(*(cells for _, cells in words)))[1:]):
            sentences[column].append(list(values))
        sentences["head"][-1] = [
            _head(path, number, cells[6], len(words)) for number, cells in words
        ]
    return sentences


def _sentences(
    files: Files, separator: str, errors: str, comments: bool = False
) -> Iterator[tuple[Path, NumberedCells]]:
    for path, lines in numbered_lines(files, errors):
        is_empty, sentence = True, []
        for number, line in lines:
            line = line.removesuffix("\n").removesuffix("\r")
            if line.strip(" \t"):
                # Inside a sentence too: a token line of CoNLL-U begins with a number.
                if not (comments and line.startswith("#")):
                    sentence.append((number, line.split(separator)))
            elif sentence:
                yield path, sentence
                is_empty, sentence = False, []
        if sentence:
            yield path, sentence
        elif is_empty:
            raise ValueError(f"files: {path} is empty; it must hold at least one sentence")


def _words(path: Path, sentence: NumberedCells) -> NumberedCells:
    """The lines of words; those of multiword tokens and of empty nodes are checked and left out."""
    words: NumberedCells = []
    last_of_range = 0
    for number, cells in sentence:
        if len(cells) != len(_CONLLU):
            raise wrong(path, number, f"{len(cells)} columns; CoNLL-U has {len(_CONLLU)}")
        first, is_range, last = cells[0].partition("-")
        empty_after, is_empty, place = cells[0].partition(".")
        if cells[0] == str(len(words) + 1):
            words.append((number, cells))
        elif is_range and first == str(len(words) + 1) and _is_number(last):
            last_of_range = int(last)
        elif not (is_empty and empty_after == str(len(words)) and _is_number(place)):
            raise wrong(path, number, f"the id is {cells[0]!r}; the next is {len(words) + 1}")
    number = sentence[-1][0]
    if not words:
        raise wrong(path, number, "the sentence has no words")
    if last_of_range > len(words):
        raise wrong(path, number, f"the sentence ends before the word {last_of_range} of a range")
    return words


def _head(path: Path, line: int, head: str, num_words: int) -> int:
    if head == "_":
        return -1
    if not _is_number(head) or int(head) > num_words:
        raise wrong(path, line, f"the head is {head!r}; it must be 0 to {num_words}, or _")
    return int(head)


def _is_number(digits: str) -> bool:
    # Nine digits at most: int() refuses thousands, and also takes what is no ASCII digit.
    return digits.isascii() and digits.isdigit() and len(digits) < 10
