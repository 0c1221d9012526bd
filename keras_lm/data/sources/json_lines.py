"""JSON lines: an object a line."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_lm.data.sources.columns import Columns, Labels
from keras_lm.data.sources.files import Files, numbered_lines, wrong

# Only such an escape can put half of a surrogate pair, which is no character, into a string.
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def jsonl(
    files: Files,
    fields: Sequence[str] | None = None,
    labels: Labels | None = None,
    errors: str = "strict",
) -> dict[str, list[Any]]:
    r"""Reads files with one JSON object a line.

    Args:
        files: one path or several, gzipped or not.
        fields: which keys of the objects to read, in this order; other keys are passed over.
            None (default) reads all, and all objects must have the keys of the first.
        labels: for each field that is named here, the values that it may take, such as
            `{"label": [0, 1]}`.
        errors: `"strict"` (default) refuses what is not UTF-8 or an escaped half of a surrogate
            pair; `"replace"` puts U+FFFD there.

    Returns:
        `{field: [its value in each line]}`; values are what JSON says: strings, numbers, lists,
        objects, None. Blank lines are left out.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: with file and line: a line is not a JSON object, lacks a field, has a label
            that is not among `labels`, or is not UTF-8. A file has no line.

    Example:

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "two.jsonl"
    >>> _ = path.write_text('{"text": "One", "id": 1}\n{"text": "Two", "id": 2}\n')
    >>> jsonl(path)
    {'text': ['One', 'Two'], 'id': [1, 2]}
    >>> jsonl(path, fields=["text"])["text"]
    ['One', 'Two']
    """
    columns = Columns(fields, labels)
    for path, lines in numbered_lines(files, errors):
        for number, line in lines:
            if not line.strip():
                continue
            row = parsed(line.rstrip("\r\n"), path, number, errors)
            if not isinstance(row, dict):
                raise wrong(path, number, f"a JSON {type(row).__name__}; it must be an object")
            columns.expect(list(row), path, number)
            columns.add(row, path, number)
        columns.end_file(path)
    return columns.columns


def parsed(text: str, path: Path, line: int, errors: str) -> Any:
    r"""The value of a JSON text that begins at this line; every string in it is valid Unicode.

    Raises:
        ValueError: it is not JSON, or has half a surrogate pair and `errors` is "strict".

    Example:

    >>> parsed('["\\ud83d\\ude00", "\\ud83d"]', Path("a.json"), line=1, errors="replace")
    ['😀', '\ufffd']
    """
    try:
        value = json.loads(text)
        if not _SURROGATE_ESCAPE.search(text):
            return value
        # In UTF-16 the halves of a pair that came as two escapes are one character again.
        code_units = json.dumps(value, ensure_ascii=False).encode("utf-16-le", "surrogatepass")
        return json.loads(code_units.decode("utf-16-le", errors))
    except RecursionError:
        raise wrong(path, line, "JSON that is nested too deeply") from None
    except json.JSONDecodeError as error:
        where = line + error.lineno - 1
        raise wrong(path, where, f"not JSON ({error.msg} at column {error.colno})") from None
    except UnicodeDecodeError:
        raise wrong(path, line, "an escape that is half of a surrogate pair") from None
    except ValueError as error:  # a number of thousands of digits
        raise wrong(path, line, str(error)) from None
