"""Tables: tab-separated files without quoting, and comma-separated ones with it."""

from __future__ import annotations

import csv as csv_format
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from keras_lm.data.sources.columns import Columns, Labels
from keras_lm.data.sources.files import Files, numbered_lines, wrong

NumberedLines = Iterator[tuple[int, str]]
NumberedRows = Iterator[tuple[int, list[str]]]

_LONGEST_FIELD = 2**31 - 1  # what a C long holds on every system
# The module's limit belongs to the whole process; two threads may not set it back in turns.
_field_limit = threading.Lock()


def tsv(
    files: Files,
    fields: Sequence[str] | None = None,
    labels: Labels | None = None,
    errors: str = "strict",
) -> dict[str, list[str]]:
    r"""Reads tab-separated files whose first line names the fields; a quote means nothing.

    Args:
        files: one path or several, gzipped or not, all with the same fields.
        fields: which fields to read, in this order; None (default) reads all.
        labels: for each field that is named here, the values that it may take, such as
            `{"label": ["0", "1"]}`.
        errors: `"strict"` (default) refuses what is not UTF-8, `"replace"` puts U+FFFD there.

    Returns:
        `{field: [its string in each row]}`, as pandas, `datasets` and
        `tf.data.Dataset.from_tensor_slices` take it. Empty lines are left out.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: with file and line: a row has more or fewer fields than the header, a field is
            missing, a label is not among `labels`, the text is not UTF-8. A file has no row.

    Example:

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "reviews.tsv"
    >>> _ = path.write_text("text\tlabel\nA fine film.\t1\nDull.\t0\n", encoding="utf-8")
    >>> tsv(path)
    {'text': ['A fine film.', 'Dull.'], 'label': ['1', '0']}
    """
    return _table(files, _tsv_rows, fields, labels, errors)


def csv(
    files: Files,
    fields: Sequence[str] | None = None,
    labels: Labels | None = None,
    errors: str = "strict",
) -> dict[str, list[str]]:
    r"""Reads comma-separated files (RFC 4180) whose first row names the fields.

    A field in double quotes may hold commas, line breaks and doubled quotes. A quote that is
    never closed, or is followed by more text, is an error, so that none swallows the rows after.

    Args:
        files: as for `tsv`; so are `fields`, `labels`, `errors`, and what is returned and raised.

    Example:

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "reviews.csv"
    >>> _ = path.write_text('text,label\n"Fine, ""fine"".",1\n', encoding="utf-8")
    >>> csv(path)
    {'text': ['Fine, "fine".'], 'label': ['1']}
    """
    with _field_limit:
        limit = csv_format.field_size_limit(_LONGEST_FIELD)
        try:
            return _table(files, _csv_rows, fields, labels, errors)
        finally:
            csv_format.field_size_limit(limit)


def _table(
    files: Files,
    rows_of: Callable[[Path, NumberedLines], NumberedRows],
    fields: Sequence[str] | None,
    labels: Labels | None,
    errors: str,
) -> dict[str, list[str]]:
    columns = Columns(fields, labels)
    for path, lines in numbered_lines(files, errors):
        rows = rows_of(path, lines)
        line, header = next(rows, (0, []))
        if not header:
            raise ValueError(f"files: {path} is empty; its first line must name the fields")
        if len(set(header)) < len(header):
            raise wrong(path, line, f"names a field twice: {header}")
        columns.expect(header, path, line)
        for line, row in rows:
            if len(row) != len(header):
                raise wrong(path, line, f"{len(row)} fields; the header has {len(header)}")
            columns.add(dict(zip(header, row)), path, line)
        columns.end_file(path)
    return columns.columns


def _tsv_rows(path: Path, lines: NumberedLines) -> NumberedRows:
    for number, line in lines:
        line = line.removesuffix("\n").removesuffix("\r")
        if line:
            yield number, line.split("\t")


def _csv_rows(path: Path, lines: NumberedLines) -> NumberedRows:
    reader = csv_format.reader((line for _, line in lines), strict=True)
    while True:
        first_line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv_format.Error as error:
            raise wrong(path, first_line, f"not a row of CSV ({error})") from None
        if row:
            yield first_line, row
