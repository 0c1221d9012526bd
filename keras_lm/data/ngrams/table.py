"""The table of an n-gram model: its trie in flat arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

IMPOSSIBLE = -99.0 * math.log(10.0)
"""The log-probability, in nats, of what never happens: −99 in the log10 of ARPA files."""


@dataclass(frozen=True, eq=False)
class NGramTable:
    """All n-grams of a model as a trie: level k holds the k-grams, by parent and last token.

    The n-gram of a node is that of its parent and then its own token, read left to right. The
    children of node j of level k are the nodes `first_child[k - 1][j]` to
    `first_child[k - 1][j + 1] - 1` of level k + 1, their tokens ascending. Level 1 has a place
    for every id: node j is the token j.

    `begin_id` and `end_id` may be one id, as in GPT-2, where `<|endoftext|>` does both: its node
    in level 1 then has the log-probability of the end and the back-off of the beginning; an n-gram
    that starts with the id begins a document, one that stops with it ends one. Where they are two
    ids, the beginning is never predicted: its log-probability is −99 · ln 10.

    Args:
        tokens: a list of `order` arrays, int32 [n_k]: the last token of each k-gram.
        log_probs: `order` arrays, float32 [n_k] in nats: of the last token after those before it.
        backoffs: `order - 1` arrays, float32 [n_k] in nats: what is added to the log-probability
            after the shorter context, where this one was not followed by the token; 0 where nothing
            follows. With "add_k" smoothing it is, after a context that something
            follows, the log-probability itself of every such token that can be predicted.
        first_child: `order - 1` arrays, int32 [n_k + 1].
        begin_id: begins every document.
        end_id: ends every document.
        unk_id: stands for unknown words; None where there is no such id.
        vocabulary: the words by id; None for a table of bare ids.
        smoothing: "kneser_ney" for all that works with back-offs (ARPA files too), "mle", or
            "add_k", where the longest context that was seen decides alone.
        training_nats: the sum over the training tokens, ends of documents included, of −log p; None
            where the text is not known.
        training_tokens: how many these are.
    """

    tokens: tuple[np.ndarray, ...]
    log_probs: tuple[np.ndarray, ...]
    backoffs: tuple[np.ndarray, ...]
    first_child: tuple[np.ndarray, ...]
    begin_id: int
    end_id: int
    unk_id: int | None = None
    vocabulary: tuple[str, ...] | None = None
    smoothing: str = "kneser_ney"
    training_nats: float | None = None
    training_tokens: int | None = None

    @property
    def order(self) -> int:
        """The tokens of the longest n-grams."""
        return len(self.tokens)

    @property
    def vocab_size(self) -> int:
        """V, the number of ids."""
        return len(self.tokens[0])

    @property
    def num_ngrams(self) -> tuple[int, ...]:
        """How many k-grams there are, for k from 1 to `order`."""
        return tuple(map(len, self.tokens))
