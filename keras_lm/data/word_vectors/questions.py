"""Files of questions about word vectors: human similarity scores, and analogies."""

from __future__ import annotations

import math
import os

from keras_lm.data.sources.files import numbered_lines, sized_paths, wrong
from keras_lm.data.sources.tables import tsv

Pair = tuple[str, str, float]
Analogy = tuple[str, str, str, str]


def similarity_pairs(path: str | os.PathLike[str]) -> list[Pair]:
    r"""Reads pairs of words that people have scored.

    Args:
        path: a file of tab-separated columns, gzipped or not, whose first line names them:
            `word1`, `word2` and `score` are read.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a column or all pairs are missing, or a score is not a finite number; the
            message names the file and the line.

    Example:

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "pairs.tsv"
    >>> _ = path.write_text("word1\tword2\tscore\ntiger\tcat\t7.35\n")
    >>> similarity_pairs(path)
    [('tiger', 'cat', 7.35)]
    """
    [file], _ = sized_paths(path)
    table = tsv(file, fields=["word1", "word2", "score"])
    pairs = []
    for row, (one, other, score) in enumerate(zip(*table.values())):
        try:
            value = float(score)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise wrong(file, row + 2, f"score is {score!r}; it must be a number")
        pairs.append((one, other, value))
    if not pairs:
        raise wrong(file, 2, "there are no pairs; each line must hold two words and their score")
    return pairs


def analogy_questions(path: str | os.PathLike[str]) -> dict[str, list[Analogy]]:
    r"""Reads analogies, a is to b as c is to d, by section, as Google's question file has them.

    Args:
        path: a text file, gzipped or not: lines `: section`, each before its lines `a b c d`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a line is not of four words, or a question stands before any section, or
            there is none; the message names the file and the line.

    Example:

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "questions.txt"
    >>> _ = path.write_text(": family\nman king woman queen\n")
    >>> analogy_questions(path)
    {'family': [('man', 'king', 'woman', 'queen')]}
    """
    sections: dict[str, list[Analogy]] = {}
    questions: list[Analogy] | None = None
    [(file, lines)] = numbered_lines(path, "strict")
    for line, text in lines:
        fields = text.split()
        if not fields:
            continue
        if fields[0] == ":":
            questions = sections.setdefault(" ".join(fields[1:]), [])
        elif questions is None:
            raise wrong(file, line, "a question before the first section, a line ': name'")
        elif len(fields) != 4:
            raise wrong(file, line, f"{len(fields)} words; a question has four")
        else:
            questions.append((fields[0], fields[1], fields[2], fields[3]))
    if not any(sections.values()):
        raise wrong(file, 1, "there are no questions in the file")
    return sections
