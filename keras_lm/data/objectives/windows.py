"""Windows of tokens: what objectives read that look at whole texts, their ends included."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_lm.data.packing import WindowPlan, training_windows
from keras_lm.data.store import TokenStore


def token_windows(store: TokenStore, length: int, cross_documents: bool = False) -> WindowPlan:
    """Plans windows that hold every token of every document once, EOS included.

    `training_windows` plans pairs of an input and the next token, in which the last token of a
    document is a target only. A model that reads in both directions must see it as well: BERT's
    [SEP] is one. Documents are cut and packed as there, but counted in tokens.

    Args:
        store: the tokenized documents.
        length: T, tokens in a window.
        cross_documents: True reads all documents as one stream, cut every `length` tokens into
            windows of one segment: no padding but in the last.

    Returns:
        A plan whose pieces of n tokens that begin at s are `tokens[s:s + n]`.

    Raises:
        ValueError: the store is empty, or `length` is not a positive int.

    Example:

    >>> store = TokenStore(tokens=np.array([0, 7, 8, 1, 0, 9, 1], "int32"),
    ...                    offsets=np.array([0, 4, 7]), num_bytes=np.array([2, 1]))
    >>> plan = token_windows(store, length=4)
    >>> plan.piece_starts.tolist(), plan.piece_lengths.tolist()
    ([0, 4], [4, 3])
    >>> token_windows(store, length=4, cross_documents=True).piece_lengths.tolist()
    [4, 3]
    """
    # n tokens are cut and packed as the n pairs of one token more; only the places matter here.
    document = np.arange(store.num_documents + 1)
    extra = document == store.num_documents if cross_documents else document
    offsets = store.offsets + extra
    longer = TokenStore(
        np.broadcast_to(np.int32(0), offsets[-1:]), offsets.astype(np.int64), store.num_bytes
    )
    plan = training_windows(longer, length, cross_documents)
    if cross_documents:
        return plan
    # Document d begins d places later there than here.
    moved = np.searchsorted(longer.offsets, plan.piece_starts, side="right") - 1
    return dataclasses.replace(plan, piece_starts=plan.piece_starts - moved)
