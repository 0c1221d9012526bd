"""N-gram tables the slow way: as dictionaries, by definition, one token at a time."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np

from keras_lm.data.ngrams import NGramTable


def stream(documents, begin=0, end=1):
    """Documents without their ends as one piece: tokens, is_begin."""
    tokens = [token for document in documents for token in (begin, *document, end)]
    lengths = np.array([len(document) + 2 for document in documents])
    is_begin = np.zeros(len(tokens), bool)
    is_begin[np.cumsum(lengths) - lengths] = True
    return np.array(tokens, np.int32), is_begin


def entries(table: NGramTable) -> dict[tuple[int, ...], tuple[float, float]]:
    """Every n-gram with its log-probability and back-off, by a walk down the trie."""
    found = {}
    above = [()]
    for level in range(table.order):
        if level:
            sizes = np.diff(table.first_child[level - 1])
            parents = [ngram for ngram, size in zip(above, sizes, strict=True) for _ in range(size)]
        else:
            parents = [()] * table.vocab_size
        tokens = table.tokens[level].tolist()
        above = [(*parent, token) for parent, token in zip(parents, tokens, strict=True)]
        assert above == sorted(set(above))
        backoffs = table.backoffs[level] if level < table.order - 1 else np.zeros(len(above))
        values = zip(table.log_probs[level].tolist(), backoffs.tolist(), strict=True)
        found |= dict(zip(above, values, strict=True))
    return found


def log_prob(table: NGramTable, found: dict, context: tuple[int, ...], token: int) -> float:
    """Of a token after a context, in nats."""
    context = context[max(0, len(context) - table.order + 1) :]
    if table.smoothing == "add_k":
        if token == table.begin_id != table.end_id:
            return found[token,][0]
        seen = {ngram[:-1] for ngram in found}
        while context not in seen:
            context = context[1:]
        ngram = (*context, token)
        return found[ngram][0] if ngram in found else found[context][1]
    total = 0.0
    while (*context, token) not in found:
        total += found[context][1] if context in found else 0.0
        context = context[1:]
    return total + found[*context, token][0]


def kneser_ney(documents, order, vocab_size, begin, end):
    """(context, token) → probability, from the definition; every discount is the fallback."""
    raw = Counter()
    before = defaultdict(set)
    for document in documents:
        tokens = (begin, *document, end)
        for stop in range(1, len(tokens)):
            for start in range(max(0, stop - order + 1), stop + 1):
                ngram = tokens[start : stop + 1]
                raw[start == 0, ngram] += 1
                before[ngram].add(tokens[start - 1] if start else None)
    adjusted = {}
    for (begins, ngram), count in raw.items():
        is_full = len(ngram) == order or begins
        adjusted[ngram] = count if is_full else len(before[ngram])
    discount = [0, 0.5, 1.0, 1.5]
    predictable = vocab_size - (begin != end)

    def prob(context, token):
        lower = prob(context[1:], token) if context else 1 / predictable
        following = [a for ngram, a in adjusted.items() if ngram[:-1] == context]
        if not following:
            return lower
        own = adjusted.get((*context, token), 0)
        gamma = sum(discount[min(a, 3)] for a in following) / sum(following)
        return (own - discount[min(own, 3)]) / sum(following) + gamma * lower

    return prob


def nats_of(table: NGramTable, documents) -> float:
    """−log p of documents, ends included."""
    found = entries(table)
    total = 0.0
    for document in documents:
        tokens = (table.begin_id, *document, table.end_id)
        for stop in range(1, len(tokens)):
            total -= log_prob(table, found, tokens[:stop], tokens[stop])
    return total


def assert_same(left: NGramTable, right: NGramTable) -> None:
    """Equal in every array, to the bit."""
    for name in ("tokens", "log_probs", "backoffs", "first_child"):
        for one, other in zip(getattr(left, name), getattr(right, name), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
    assert left.vocabulary == right.vocabulary
    assert math.isclose(left.training_nats, right.training_nats, rel_tol=1e-12)
