"""Columns: what rows of named fields become, `{field: [value of row 0, of row 1, …]}`."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_lm.data.sources.files import wrong

Labels = Mapping[str, Collection[Any]]


class Columns:
    """Gathers rows into columns: the chosen fields of each, and only labels that may occur.

    Args:
        fields: the fields to keep, in this order; None keeps those of the first row.
        labels: for each field that is named here, the values that it may take.

    Attributes:
        columns: what was gathered so far, by field.

    Raises:
        ValueError: `fields` is one string, empty, or names a field twice; `labels` has a string
            for the values of a field, or a field that is not in `fields`.
    """

    def __init__(self, fields: Sequence[str] | None, labels: Labels | None) -> None:
        if isinstance(fields, str):
            raise ValueError(f"fields is {fields!r}; it must be a list of names, or None for all")
        if fields is not None and (not fields or len(set(fields)) < len(fields)):
            raise ValueError(f"fields is {fields!r}; it must name fields, each of them once")
        for field, values in (labels or {}).items():
            if isinstance(values, str):
                raise ValueError(f"labels[{field!r}] is {values!r}; it must be a list of labels")
        self._labels = {field: frozenset(values) for field, values in (labels or {}).items()}
        self._all_fields = fields is None
        self.columns: dict[str, list[Any]] = {}
        self._rows_before = 0
        if fields is not None:
            self._begin(fields)

    def _begin(self, fields: Iterable[str]) -> None:
        self.columns = {field: [] for field in fields}
        for field in self._labels:
            if field not in self.columns:
                raise ValueError(
                    f"labels names the field {field!r}; the fields are {list(self.columns)}"
                )

    def expect(self, fields: Sequence[str], path: Path, line: int) -> None:
        """Refuses rows of these fields when they lack one, or have one that is in no column."""
        if not fields:
            raise wrong(path, line, "has no fields")
        if not self.columns:
            self._begin(fields)
        for field in self.columns:
            if field not in fields:
                raise wrong(path, line, f"no field {field!r}; it has {list(fields)}")
        if self._all_fields and len(fields) > len(self.columns):
            extra = [field for field in fields if field not in self.columns]
            raise wrong(
                path,
                line,
                f"has {extra}, unlike what stands before; say in fields= which ones to read",
            )

    def add(self, row: Mapping[str, Any], path: Path, line: int) -> None:
        """Adds a row that has the fields that `expect` saw."""
        for field, column in self.columns.items():
            value = row[field]
            if field in self._labels:
                self._check_label(field, value, path, line)
            column.append(value)

    def _check_label(self, field: str, value: Any, path: Path, line: int) -> None:
        allowed = self._labels[field]
        if not isinstance(value, Hashable) or value not in allowed:
            known = ", ".join(sorted(map(repr, allowed)))
            raise wrong(path, line, f"{field} is {value!r}, which is not among labels: {known}")

    def end_file(self, path: Path) -> None:
        """Refuses a file that gave no row."""
        num_rows = len(next(iter(self.columns.values()), []))
        if num_rows == self._rows_before:
            raise ValueError(f"files: {path} is empty; it must hold at least one row")
        self._rows_before = num_rows
