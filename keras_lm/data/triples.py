"""Facts as triples (head, relation, tail): read, numbered, looked up, and read as batches.

A triple says two things: the tail of (head, relation), and the head of (relation, tail). The
second is asked as the tail of (tail, the inverse of the relation), so that everything here is a
head, a relation out of 2R, and a tail: relation R + r is the inverse of r.
"""

from __future__ import annotations

import collections
import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from keras_lm.data.examples.sequences import ranges
from keras_lm.data.examples.store import Batch
from keras_lm.data.examples.tokenizing import check_string
from keras_lm.data.sources.tables import tsv

Triple = tuple[str, str, str]
PARTS = ("head", "relation", "tail")


def read_triples(given: Any, name: str = "triples") -> list[Triple]:
    r"""Triples of strings, whichever way they are given.

    Args:
        given: a list of (head, relation, tail); a tuple of three lists, the heads, the relations
            and the tails; or the path of a tab-separated file, gzipped or not, whose first line
            names the columns `head`, `relation` and `tail`.
        name: of the argument, for messages.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is of another form, there is no triple, or a part is no string or is empty.

    Example:

    >>> read_triples((["Ann", "Bob"], ["knows", "likes"], ["Bob", "Eve"]))
    [('Ann', 'knows', 'Bob'), ('Bob', 'likes', 'Eve')]
    """
    if isinstance(given, str | os.PathLike):
        columns = tsv([given], PARTS)
        given = tuple(columns[part] for part in PARTS)
    if isinstance(given, tuple) and len(given) == 3 and not any(isinstance(c, str) for c in given):
        given = _in_rows(given, name)
    if not isinstance(given, list | tuple | np.ndarray) or any(isinstance(t, str) for t in given):
        raise ValueError(
            f"{name} must be a list of (head, relation, tail), a tuple of three lists, or the path "
            f"of a .tsv file; got {given!r:.80}"
        )
    if not len(given):
        raise ValueError(f"{name} is empty; give at least one triple")
    return [_checked(triple, f"{name}[{row}]") for row, triple in enumerate(given)]


def _in_rows(columns: Sequence[Any], name: str) -> list[Any]:
    sizes = [len(column) for column in columns]
    if len(set(sizes)) > 1:
        raise ValueError(
            f"{name} has {sizes[0]} heads, {sizes[1]} relations and {sizes[2]} tails; the three "
            "lists must be of one length"
        )
    return list(zip(*columns, strict=True))


def _checked(triple: Any, place: str) -> Triple:
    if not isinstance(triple, list | tuple | np.ndarray) or len(triple) != 3:
        raise ValueError(f"{place} must be (head, relation, tail); got {triple!r:.80}")
    for part, value in zip(PARTS, triple, strict=True):
        check_string(value, f"{place}, the {part},")
        if not value.strip():
            raise ValueError(f"{place} has an empty {part}: {tuple(triple)!r:.80}")
    head, relation, tail = map(str, triple)
    return head, relation, tail


def check_names(names: Iterable[str], argument: str) -> tuple[str, ...]:
    """Names, each once and none empty, as a tuple; `ValueError` if not."""
    if isinstance(names, str):
        raise ValueError(f"{argument} is one string; give a list of names")
    listed = tuple(names)
    for row, name in enumerate(listed):
        check_string(name, f"{argument}[{row}]")
        if not name.strip():
            raise ValueError(f"{argument}[{row}] is empty")
    if not listed:
        raise ValueError(f"{argument} is empty; give at least one")
    if len(set(listed)) < len(listed):
        ((twice, _),) = collections.Counter(listed).most_common(1)
        raise ValueError(f"{argument} has {twice!r} twice; give each once")
    return listed


@dataclass(frozen=True, eq=False)
class GraphNames:
    """The entities and relations of a graph, in the order of their numbers.

    Args:
        entities: E names.
        relations: R names.

    Example:

    >>> names = GraphNames(("Ann", "Bob"), ("knows",))
    >>> names.numbers([("Bob", "knows", "Ann")]).tolist()
    [[1, 0, 0]]
    """

    entities: tuple[str, ...]
    relations: tuple[str, ...]

    @cached_property
    def _rows(self) -> dict[str, dict[str, int]]:
        entities = {name: row for row, name in enumerate(self.entities)}
        relations = {name: row for row, name in enumerate(self.relations)}
        return {"head": entities, "relation": relations, "tail": entities}

    def numbers(self, triples: Sequence[Triple], name: str = "triples") -> np.ndarray:
        """Triples as int32 [n, 3].

        Raises:
            ValueError: a name is none of the graph's; the message says how many are not, and names
                the first and those near it.
        """
        columns = [self.find(part, column, name) for part, column in self._columns(triples)]
        return np.stack(columns, axis=1).astype(np.int32)

    def known_numbers(self, triples: Sequence[Triple]) -> np.ndarray:
        """Those triples of which all names are the graph's, as int32 [n, 3]."""
        rows = [
            [self._rows[part].get(name, -1) for part, name in zip(PARTS, triple, strict=True)]
            for triple in triples
        ]
        numbers = np.array(rows, np.int32)
        return numbers[(numbers >= 0).all(axis=1)]

    def _columns(self, triples: Sequence[Triple]) -> Iterable[tuple[str, list[str]]]:
        return zip(PARTS, (list(column) for column in zip(*triples, strict=True)), strict=True)

    def find(self, part: str, names: Sequence[str], argument: str) -> np.ndarray:
        """The numbers of names, int64 [n]; `part` is `"head"`, `"relation"` or `"tail"`."""
        rows = self._rows[part]
        found = [rows.get(name, -1) if isinstance(name, str) else -1 for name in names]
        if -1 not in found:
            return np.array(found, np.int64)
        first = names[found.index(-1)]
        kind = "relation" if part == "relation" else "entity"
        number = len({name for name, row in zip(names, found, strict=True) if row < 0})
        more = f" (and {number - 1} others)" if number > 1 else ""
        near = difflib.get_close_matches(str(first), rows, n=3)
        hint = f"; near it are {', '.join(map(repr, near))}" if near else ""
        raise ValueError(
            f"{argument} has the {kind} {first!r}{more}, which is none of the {len(rows)} that the "
            f"predictor was made for{hint}"
        )


def with_inverses(numbers: np.ndarray, num_relations: int) -> np.ndarray:
    """Each triple [n, 3] and its inverse, [2n, 3]: first all of them, then all inverses.

    Example:

    >>> with_inverses(np.array([[4, 0, 5]]), num_relations=2).tolist()
    [[4, 0, 5], [5, 2, 4]]
    """
    inverse = numbers[:, ::-1] + np.array([0, num_relations, 0], numbers.dtype)
    return np.concatenate([numbers, inverse])


class KnownTails:
    """Which tails a head and a relation are known to have.

    Args:
        triples: int [n, 3], inverses among them; each may stand there more than once.
        num_relations: R.

    Example:

    >>> known = KnownTails(np.array([[0, 1, 5], [0, 1, 3], [2, 0, 5]]), num_relations=1)
    >>> row, tail = known.find(np.array([2, 0, 7]), np.array([0, 1, 0]))
    >>> row.tolist(), tail.tolist()
    ([0, 1, 1], [5, 3, 5])
    """

    def __init__(self, triples: np.ndarray, num_relations: int) -> None:
        self._num_relations = num_relations
        triples = np.unique(triples.astype(np.int64), axis=0)  # by head, relation, then tail
        self.keys = triples[:, 0] * 2 * num_relations + triples[:, 1]
        self.tails = triples[:, 2]

    def find(self, heads: np.ndarray, relations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For queries [B], all (query, tail) that are known: two arrays int64 [n]."""
        keys = heads.astype(np.int64) * 2 * self._num_relations + relations
        first = np.searchsorted(self.keys, keys)
        counts = np.searchsorted(self.keys, keys, side="right") - first
        return np.repeat(np.arange(len(keys)), counts), self.tails[ranges(first, counts)]


@dataclass(frozen=True, eq=False)
class TripleExamples:
    """Triples as `example_batches` reads them, for `models.KnowledgeGraphEmbedding`.

    Every row of a table stands in a batch once, however many triples share it, so that its
    gradient is one sum; triples are numbers of rows.

    Args:
        triples: int32 [n, 3], with inverses.
        num_entities: E.
        negatives: N, random entities a batch; None where tails are compared with all.

    Example:

    >>> examples = TripleExamples(np.array([[4, 0, 7], [7, 1, 4]], "int32"), 9, negatives=3)
    >>> x, _, _ = examples.rows(np.array([0, 1]), [1], np.random.default_rng(0))
    >>> x["entity_rows"].tolist(), x["heads"].tolist(), x["tails"].tolist()
    ([4, 5, 7, 7, 7, 7, 7], [0, 2], [2, 0])
    >>> x["negatives"].tolist(), x["relations"].tolist()
    ([2, 1, 0], [0, 1])
    """

    triples: np.ndarray
    num_entities: int
    negatives: int | None

    def __len__(self) -> int:
        return len(self.triples)

    def rows(self, numbers: np.ndarray, widths: Sequence[int], rng: np.random.Generator) -> Batch:
        """A batch of triples by number; -1 is none, and has the weight 0.

        Returns:
            `heads`, `relations`, `tails`, int32 [B], which count in `entity_rows` and
            `relation_rows`; `negatives`, int32 [N], likewise; `weights`, float32 [B].
        """
        heads, relations, tails = self.triples[np.maximum(numbers, 0)].T
        weights = (numbers >= 0).astype(np.float32)
        x: dict[str, np.ndarray] = {"weights": weights}
        x["relation_rows"], (x["relations"],) = _rows_once([relations])
        if self.negatives is None:
            x |= {"heads": heads.copy(), "tails": tails.copy()}
        else:
            noise = rng.integers(0, self.num_entities, self.negatives, np.int32)
            x["entity_rows"], columns = _rows_once([heads, tails, noise])
            x |= dict(zip(("heads", "tails", "negatives"), columns, strict=True))
        return x, x["tails"], weights


def _rows_once(columns: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The different values, filled up with the last to a fixed length; and where each stands."""
    every = np.concatenate(columns)
    values, places = np.unique(every, return_inverse=True)
    rows = np.full(len(every), values[-1], np.int32)
    rows[: len(values)] = values
    cuts = np.cumsum([len(column) for column in columns])[:-1]
    return rows, np.split(places.astype(np.int32), cuts)


def vocabulary(triples: Iterable[Triple]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The entities and the relations of triples, each sorted.

    Example:

    >>> vocabulary([("Bob", "knows", "Ann")])
    (('Ann', 'Bob'), ('knows',))
    """
    entities, relations = set(), set()
    for head, relation, tail in triples:
        entities |= {head, tail}
        relations.add(relation)
    return tuple(sorted(entities)), tuple(sorted(relations))


def entity_texts(
    entities: Sequence[str], texts: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """What a text model reads for each entity.

    Args:
        entities: the names.
        texts: name → description, for those that have one. The name itself, with a space for each
            `_`, stands for the others.

    Raises:
        ValueError: a text is no string or is empty.

    Example:

    >>> entity_texts(["heart_disease", "Q42"], {"Q42": "Douglas Adams, English writer"})
    ('heart disease', 'Douglas Adams, English writer')
    """
    given = texts or {}
    found = tuple(given.get(name, name.replace("_", " ")) for name in entities)
    for name, text in zip(entities, found, strict=True):
        check_string(text, f"texts[{name!r}]")
        if not text.strip():
            raise ValueError(f"texts[{name!r}] is empty; the rule for names leaves none either")
    return found


def relation_texts(relations: Sequence[str]) -> tuple[str, ...]:
    """What a text model reads for each relation, and then for their inverses.

    Example:

    >>> relation_texts(["_part_of"])
    ('part of', 'inverse of part of')
    """
    plain = tuple(name.replace("_", " ").strip() or name for name in relations)
    return plain + tuple(f"inverse of {text}" for text in plain)
