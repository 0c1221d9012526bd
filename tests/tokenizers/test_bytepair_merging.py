"""The merges of random tables are those that the definition makes, one at a time."""

import itertools
import random

import numpy as np
import pytest
import tensorflow as tf

from keras_lm.tokenizers.merge_tables import are_in_order, merge_tables
from keras_lm.tokenizers.merging import Merger

BYTES = [bytes([byte]) for byte in range(256)]


def merged_by_definition(word: bytes, ranks: dict[tuple[bytes, bytes], int]) -> list[bytes]:
    """The pair of lowest rank, the leftmost among equals, is merged until none is left."""
    tokens = [word[i : i + 1] for i in range(len(word))]
    while pairs := [
        (ranks[pair], i) for i, pair in enumerate(itertools.pairwise(tokens)) if pair in ranks
    ]:
        i = min(pairs)[1]
        tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]
    return tokens


def random_merges(source: random.Random, letters: bytes, count: int) -> list[tuple[bytes, bytes]]:
    """Merges of tokens that stand before, as training gives them; each makes a new token."""
    tokens = [bytes([letter]) for letter in letters]
    merges = []
    while len(merges) < count:
        # Short tokens are merged more often, as in real vocabularies.
        pair = tuple(source.choice(tokens[: source.randrange(len(tokens)) + 1]) for _ in "ab")
        if pair[0] + pair[1] not in tokens and len(pair[0] + pair[1]) <= 12:
            tokens.append(pair[0] + pair[1])
            merges.append(pair)
    return merges


def every_cut(merges: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """For each token all ways to cut it in two, as files made from a list of tokens have them."""
    made = [a + b for a, b in merges]
    order = {token: rank for rank, token in enumerate([*BYTES, *made])}
    cuts = []
    for token in made:
        both = [(token[:i], token[i:]) for i in range(1, len(token))]
        known = [pair for pair in both if pair[0] in order and pair[1] in order]
        cuts += sorted(known, key=lambda pair: (order[pair[0]], order[pair[1]]))
    return cuts


def shuffled(source: random.Random, merges: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return source.sample(merges, len(merges))


def swapped(source: random.Random, merges: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """A few merges come too early or too late."""
    merges = merges.copy()
    for _ in range(3):
        i, j = source.randrange(len(merges)), source.randrange(len(merges))
        merges[i], merges[j] = merges[j], merges[i]
    return merges


ORDERS = {
    "in order": lambda source, merges: merges,
    "every cut": lambda source, merges: every_cut(merges),
    "swapped": swapped,
    "shuffled": shuffled,
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("letters", [b"a", b"ab", b"abc", b"abcdefgh"])
def test_random_merges(letters, order):
    for seed in range(8):
        source = random.Random(seed)
        merges = random_merges(source, letters, 8 if letters == b"a" else 60)
        merges = ORDERS[order](source, merges)
        tokens = list(dict.fromkeys([*BYTES, *(a + b for a, b in merges)]))
        ids = {token: i for i, token in enumerate(tokens)}
        merger = Merger([(ids[a], ids[b], ids[a + b]) for a, b in merges], tokens, range(256))
        ranks = {pair: rank for rank, pair in enumerate(merges)}
        words = [bytes(source.choices(letters, k=source.randrange(40))) for _ in range(200)]
        words += [letters[:1] * count for count in range(30)]
        merged = merger(tf.constant(words)).to_list()
        for word, got in zip(words, merged, strict=True):
            assert [tokens[i] for i in got] == merged_by_definition(word, ranks), word


def test_no_words_and_no_merges():
    merger = Merger([], BYTES, range(256))
    assert merger(tf.constant([], tf.string)).to_list() == []
    assert merger(tf.constant(["", "ab", ""])).to_list() == [[], [97, 98], []]


def test_what_may_forestall_a_merge():
    """Merges b c, a b c, c d: before d is merged with c, a b or only b may take the c."""
    merges = np.array([[1, 2, 4], [0, 4, 5], [2, 3, 6]])
    tables = merge_tables(merges, num_ids=7)
    assert tables.in_order
    assert tables.rows(merges[:, 0] * 7 + merges[:, 1]).tolist() == [0, 1, 2]
    row = tables.rows(np.array([0 * 7 + 1]))[0]  # a and b: no merge, but bc may be taken by a
    assert row >= tables.num_merges
    assert tables.taken_by_right[row] == 1
    assert tables.taken_by_left[row] == tables.num_merges


def test_order_of_merges():
    assert are_in_order(np.array([[0, 1, 2], [2, 1, 3]]), 4)
    assert not are_in_order(np.array([[2, 1, 3], [0, 1, 2]]), 4)
