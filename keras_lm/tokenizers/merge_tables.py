"""What merges say about each pair of tokens: its rank, and which merges may forestall it.

Let tokens a and b stand side by side. Three things can happen to this pair:

- it is merged, at its *rank*;
- a is merged with what stands before it, perhaps again and again, into a token X that ends with
  all of a, and then X takes b: `taken_by_left` is the lowest rank of any such merge (X, b);
- b is merged with what stands after it into an X that begins with b, and X takes a:
  `taken_by_right` is the lowest rank of any such merge (a, X).

An X ends with a in this sense where a is its second token, or its second token's second token, and
so on: bytes that end alike are not enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEVER = 1 << 30  # a rank that comes after all others


@dataclass(frozen=True)
class MergeTables:
    """One row for each pair of tokens that there is something to say about; row 0 for all others.

    Args:
        pairs: int64 [P], ascending: first id · number of ids + second id, of the rows from 1 on.
        rank: int32 [P + 1], when the pair is merged, or `NEVER`.
        merged: int32 [P + 1], the id that it becomes.
        taken_by_left: int32 [P + 1], when an extension of the first may take the second.
        taken_by_right: int32 [P + 1], when an extension of the second may take the first.
        in_order: whether every token is made by merges of lower rank than those that use it;
            otherwise the last two columns are not filled in.
    """

    pairs: np.ndarray
    rank: np.ndarray
    merged: np.ndarray
    taken_by_left: np.ndarray
    taken_by_right: np.ndarray
    in_order: bool

    def rows(self, pairs: np.ndarray) -> np.ndarray:
        """The row of each pair."""
        if not len(self.pairs):
            return np.zeros_like(pairs)
        place = np.minimum(np.searchsorted(self.pairs, pairs), len(self.pairs) - 1)
        return np.where(self.pairs[place] == pairs, 1 + place, 0)


def merge_tables(merges: np.ndarray, num_ids: int) -> MergeTables:
    """The tables of merges [M, 3]: first id, second id and the id that they become, by rank.

    Example: merges of b c (rank 0), a b (1) and bc d (2), with the ids a = 0, …, d = 3.

    >>> tables = merge_tables(np.array([[1, 2, 4], [0, 1, 5], [4, 3, 6]]), num_ids=7)
    >>> row = 1 + tables.pairs.tolist().index(2 * 7 + 3)  # c d: no merge, but bc may take the d
    >>> tables.rank[row] == NEVER, int(tables.taken_by_left[row])
    (True, 2)
    """
    # Of a pair that stands there twice, the reference knows the last place only.
    places = {(first, second): rank for rank, (first, second, _) in enumerate(merges.tolist())}
    rank = np.fromiter(places.values(), np.int64, len(places))
    first, second, merged = merges[rank].T
    made, used = np.full(num_ids, -1), np.full(num_ids, NEVER)
    np.maximum.at(made, merged, rank)
    np.minimum.at(used, np.concatenate([first, second]), np.tile(rank, 2))
    in_order = bool((made < used).all())
    pair = first * num_ids + second
    by_left = by_right = (pair[:0], rank[:0])
    if in_order:
        extension, end = _parts(merged, second, num_ids)
        which, end = _join(first, extension, end, num_ids)
        by_left = (end * num_ids + second[which], rank[which])
        extension, begin = _parts(merged, first, num_ids)
        which, begin = _join(second, extension, begin, num_ids)
        by_right = (first[which] * num_ids + begin, rank[which])
    pairs = np.unique(np.concatenate([pair, by_left[0], by_right[0]]))

    def lowest(pair: np.ndarray, rank: np.ndarray) -> np.ndarray:
        column = np.full(len(pairs) + 1, NEVER, np.int32)
        np.minimum.at(column, 1 + np.searchsorted(pairs, pair), rank)
        return column

    becomes = np.zeros(len(pairs) + 1, np.int32)
    becomes[1 + np.searchsorted(pairs, pair)] = merged
    return MergeTables(
        pairs, lowest(pair, rank), becomes, lowest(*by_left), lowest(*by_right), in_order
    )


def _parts(whole: np.ndarray, part: np.ndarray, num_ids: int) -> tuple[np.ndarray, np.ndarray]:
    """Every token with each of its parts, and their parts, and so on; sorted by token."""
    order = np.argsort(whole, kind="stable")
    whole, part = whole[order], part[order]
    tokens, parts = whole, part
    levels = []
    while len(tokens):
        levels.append(tokens * num_ids + parts)
        which, deeper = _join(parts, whole, part, num_ids)
        tokens, parts = np.divmod(np.unique(tokens[which] * num_ids + deeper), num_ids)
    found = np.unique(np.concatenate(levels)) if levels else whole
    return found // num_ids, found % num_ids


def _join(
    wanted: np.ndarray, keys: np.ndarray, values: np.ndarray, num_ids: int
) -> tuple[np.ndarray, np.ndarray]:
    """All values of the wanted keys, each with the place of its key in `wanted`; keys ascend."""
    start = np.searchsorted(keys, np.arange(num_ids + 1))
    count = start[wanted + 1] - start[wanted]
    which = np.repeat(np.arange(len(wanted)), count)
    within = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
    return which, values[start[wanted[which]] + within]
