"""Documents with ids: what is indexed and found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_lm.tasks.reading import check_texts

Id = str | int


@dataclass(frozen=True)
class Documents:
    """Texts in the order in which they were indexed, and the id of each.

    Args:
        texts: the documents.
        ids: as many, all strings or all ints, each once.
    """

    texts: list[str] = field(default_factory=list)
    ids: list[Id] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.texts)

    def more(self, documents: Any, ids: Any) -> Documents:
        """These documents and some after them.

        Args:
            documents: a list of strings.
            ids: strings or ints; None: the documents' numbers.

        Raises:
            ValueError: there are no documents, one is empty or no string, or ids are of a wrong
                number or kind, or come twice.
        """
        if isinstance(documents, str):
            raise ValueError(
                f"documents must be a list of strings; got the string {documents!r:.80}"
            )
        texts = check_texts("documents", documents)
        every = self.ids + self._given(ids, len(texts))
        if len({type(each) for each in every}) > 1:
            raise ValueError(
                f"ids must be of one kind, strings or ints; got {every[0]!r} and "
                f"{next(i for i in every if type(i) is not type(every[0]))!r}"
            )
        seen: dict[Id, int] = {}
        for number, each in enumerate(every):
            if each in seen:
                raise ValueError(
                    f"ids: {each!r} stands for the documents {seen[each]} and {number}; "
                    "give each document an id of its own"
                )
            seen[each] = number
        return Documents(self.texts + texts, every)

    def _given(self, ids: Any, count: int) -> list[Id]:
        if ids is None:
            return list(range(len(self), len(self) + count))
        if isinstance(ids, str | bytes) or not isinstance(ids, Sequence | np.ndarray):
            raise ValueError(f"ids must be a list of strings or ints; got {ids!r:.80}")
        listed = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
        if len(listed) != count:
            raise ValueError(f"ids has {len(listed)} items; documents has {count}")
        for number, each in enumerate(listed):
            if not isinstance(each, str | int) or isinstance(each, bool):
                raise ValueError(f"ids[{number}] must be a string or an int; got {each!r}")
            if isinstance(each, int) and not -(2**63) <= each < 2**63:
                raise ValueError(f"ids[{number}] is {each}; an int must fit into 64 bits")
        return listed

    def save(self, path: Path) -> None:
        """Writes a JSON object of `id` and `document` a line."""
        with path.open("w", encoding="utf-8") as file:
            for each, text in zip(self.ids, self.texts, strict=True):
                line = json.dumps({"id": each, "document": text}, ensure_ascii=False)
                file.write(line + "\n")

    @classmethod
    def load(cls, path: Path) -> Documents:
        """Reads what `save` has written.

        Raises:
            ValueError: a line is damaged.
        """
        texts, ids = [], []
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = json.loads(line)
                    texts.append(row["document"])
                    ids.append(row["id"])
                except (json.JSONDecodeError, KeyError, TypeError) as error:
                    raise ValueError(f"{str(path)!r}, line {number} is damaged: {error}") from error
        return cls().more(texts, ids)
