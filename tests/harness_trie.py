"""Random n-grams as a dictionary, and the same in a trie."""

from __future__ import annotations

import itertools

import numpy as np

from keras_lm.layers.trie import Trie

NGrams = dict[tuple[int, ...], tuple[float, float]]


def random_ngrams(seed: int, order: int, vocab_size: int, density: float) -> NGrams:
    """Log-probability and back-off of n-grams; all prefixes of an n-gram are n-grams too."""
    random = np.random.default_rng(seed)
    ngrams: NGrams = {}
    for k in range(1, order + 1):
        for ngram in itertools.product(range(vocab_size), repeat=k):
            if k == 1 or (ngram[:-1] in ngrams and random.random() < density):
                ngrams[ngram] = (-random.exponential(), -random.exponential())
    return ngrams


def levels_of(ngrams: NGrams, order: int) -> list[list[tuple[int, ...]]]:
    """The k-grams in the trie's order, for k from 1 to n."""
    return [sorted(ngram for ngram in ngrams if len(ngram) == k) for k in range(1, order + 1)]


def trie_of(ngrams: NGrams, order: int, longest_decides: bool = False) -> Trie:
    """A new trie that holds the n-grams."""
    trie = Trie([len(level) for level in levels_of(ngrams, order)], longest_decides)
    fill(trie, ngrams, order)
    return trie


def fill(trie: Trie, ngrams: NGrams, order: int) -> None:
    """Puts the n-grams into a trie of their sizes."""
    levels = levels_of(ngrams, order)
    for k, level in enumerate(levels):
        trie.log_probs[k].assign([ngrams[ngram][0] for ngram in level])
        if k:
            trie.tokens[k - 1].assign([ngram[-1] for ngram in level])
        if k < order - 1:
            trie.backoffs[k].assign([ngrams[ngram][1] for ngram in level])
            parents = [ngram[:-1] for ngram in levels[k + 1]]
            first = [sum(parent < ngram for parent in parents) for ngram in level]
            trie.first_child[k].assign([*first, len(parents)])
