"""What merges say about each pair of tokens: when it is merged, and which merges may forestall it.

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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MergeTables:
    """One row for each pair of tokens that there is something to say about.

    The first rows are the merges in order of rank, so that of a pair that is merged the row is the
    rank; after them come pairs that are not merged but taken apart, and last is a row for all
    others. A rank of `num_merges` is never.

    Args:
        num_merges: M, how many pairs are merged.
        pairs: int64 [P], first id · number of ids + second id, of all rows but the last.
        merged: int32 [P + 1], the id that the pair becomes; 0 where it is not merged.
        taken_by_left: int32 [P + 1], when an extension of the first may take the second.
        taken_by_right: int32 [P + 1], when an extension of the second may take the first.
        in_order: whether every token is made by merges of lower rank than those that use it;
            otherwise nothing is said about what may be taken.
    """

    num_merges: int
    pairs: np.ndarray
    merged: np.ndarray
    taken_by_left: np.ndarray
    taken_by_right: np.ndarray
    in_order: bool

    def rows(self, pairs: np.ndarray) -> np.ndarray:
        """The row of each pair."""
        order = np.argsort(self.pairs)
        place = np.searchsorted(self.pairs, pairs, sorter=order)
        row = np.append(order, len(self.pairs))[place]
        return np.where(np.append(self.pairs, -1)[row] == pairs, row, len(self.pairs))


def merges_that_happen(
    merges: np.ndarray, token_bytes: Sequence[bytes], byte_ids: np.ndarray
) -> np.ndarray:
    """Those of the merges [M, 3] that ever come about.

    Files that were made from a list of tokens hold a merge for every way to cut a token in two. But
    whatever stands around the bytes of a token: if they are merged among themselves only, it is as
    if they stood alone. So of the merges that give a token one alone can happen, the last one when
    its bytes are merged, or none when they do not become that token.

    Args:
        merges: pairs of ids and the id that they become, by rank; each pair once.
        token_bytes: the bytes of each id.
        byte_ids: the id of each of the 256 bytes.

    Example: ab c comes about, as a b has the lowest rank of all; a bc does not.

    >>> merges = np.array([[97, 98, 256], [256, 99, 257], [97, 258, 257], [98, 99, 258]])
    >>> tokens = [*(bytes([byte]) for byte in range(256)), b"ab", b"abc", b"bc"]
    >>> merges_that_happen(merges, tokens, np.arange(256)).tolist()
    [[97, 98, 256], [256, 99, 257], [98, 99, 258]]
    """
    num_ids, never = len(token_bytes), len(merges)
    wanted = np.unique(merges[:, 2])
    words = [token_bytes[i] for i in wanted]
    ids = byte_ids[np.frombuffer(b"".join(words), np.uint8)]
    word = np.repeat(np.arange(len(words)), [*map(len, words)])
    pairs = merges[:, 0] * num_ids + merges[:, 1]
    order = np.argsort(pairs)
    pairs = pairs[order]
    last = np.full(len(words), never)  # the rank of the last merge in each word
    while len(ids):
        pair = ids[:-1] * num_ids + ids[1:]
        place = np.minimum(np.searchsorted(pairs, pair), never - 1)
        is_merge = (pairs[place] == pair) & (word[:-1] == word[1:])
        rank = np.append(np.where(is_merge, order[place], never), never)
        starts = np.flatnonzero(np.append(True, word[1:] != word[:-1]))
        key = rank * len(ids) + np.arange(len(ids))
        lowest, at = np.divmod(np.minimum.reduceat(key, starts), len(ids))
        # Words that are done go; what they have become shows whether it is the token.
        is_done = lowest == never
        alone = np.diff(np.append(starts, len(ids))) == 1
        is_token = alone & (ids[starts] == wanted[word[starts]])
        last[word[starts[is_done & ~is_token]]] = never
        lowest, at = lowest[~is_done], at[~is_done]
        last[word[at]] = lowest
        ids[at] = merges[lowest, 2]
        kept = ~np.repeat(is_done, np.diff(np.append(starts, len(ids))))
        kept[at + 1] = False
        ids, word = ids[kept], word[kept]
    return merges[np.sort(last[last < never])]


def merge_tables(merges: np.ndarray, num_ids: int) -> MergeTables:
    """The tables of merges [M, 3]: first id, second id and the id that they become, by rank.

    Example: merges of b c, a b and bc d, with the ids a = 0, b = 1, c = 2 and d = 3. The pair c d
    is not merged, but bc may take the d.

    >>> tables = merge_tables(np.array([[1, 2, 4], [0, 1, 5], [4, 3, 6]]), num_ids=7)
    >>> row = tables.rows(np.array([2 * 7 + 3]))
    >>> row >= tables.num_merges, tables.taken_by_left[row]
    (array([ True]), array([2], dtype=int32))
    """
    first, second, merged = merges.T
    never = len(merges)
    rank = np.arange(never)
    in_order = are_in_order(merges, num_ids)
    pair = first * num_ids + second
    by_left = by_right = (pair[:0], rank[:0])
    if in_order:
        extension, end = _parts(merged, second, num_ids)
        which, end = _join(first, extension, end, num_ids)
        by_left = (end * num_ids + second[which], rank[which])
        extension, begin = _parts(merged, first, num_ids)
        which, begin = _join(second, extension, begin, num_ids)
        by_right = (first[which] * num_ids + begin, rank[which])
    others = np.setdiff1d(np.concatenate([by_left[0], by_right[0]]), pair)
    nothing = np.full(never + len(others) + 1, never, np.int32)
    tables = MergeTables(
        num_merges=never,
        pairs=np.concatenate([pair, others]),
        merged=np.concatenate([merged, np.zeros(len(others) + 1)]).astype(np.int32),
        taken_by_left=nothing,
        taken_by_right=nothing.copy(),
        in_order=in_order,
    )
    np.minimum.at(tables.taken_by_left, tables.rows(by_left[0]), by_left[1])
    np.minimum.at(tables.taken_by_right, tables.rows(by_right[0]), by_right[1])
    return tables


def are_in_order(merges: np.ndarray, num_ids: int) -> bool:
    """Whether every token is made by merges of lower rank than those that use it."""
    rank = np.arange(len(merges))
    made, used = np.full(num_ids, -1), np.full(num_ids, len(merges))
    np.maximum.at(made, merges[:, 2], rank)
    for part in merges[:, :2].T:
        np.minimum.at(used, part, rank)
    return bool((made < used).all())


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
