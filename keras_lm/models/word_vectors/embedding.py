"""Word vectors as the embedding of a model that has a tokenizer."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np

from keras_lm.models.word_vectors.evaluation import Find

_MIDDLE_OF_WORD = "##"
_BEGINNINGS = ("Ġ", "▁")


class Coverage(NamedTuple):
    """Which tokens have a vector."""

    share: float
    """Of all tokens, from 0 to 1."""
    num_found: int
    missing: tuple[str, ...]
    """Tokens without one, as the vocabulary spells them, by id."""


def coverage(find: Find, tokenizer: Any) -> Coverage:
    """Which tokens of the tokenizer have a vector of their own."""
    tokens, rows = _rows(find, tokenizer)
    missing = tuple(token for token, row in zip(tokens, rows) if row is None)
    found = len(rows) - len(missing)
    return Coverage(found / len(rows), found, missing)


def embedding_layer(
    find: Find, vectors: np.ndarray, tokenizer: Any, trainable: bool
) -> keras.layers.Embedding:
    """A built layer whose row i is the vector of token i.

    Raises:
        ValueError: no token has a vector.
    """
    _, rows = _rows(find, tokenizer)
    found = [i for i, row in enumerate(rows) if row is not None]
    if not found:
        raise ValueError(
            f"tokenizer: none of its {len(rows)} tokens has one of the {len(vectors)} vectors"
        )
    own = vectors[[row for row in rows if row is not None]]
    table = np.tile(own.mean(axis=0), (len(rows), 1))
    table[found] = own
    if tokenizer.pad_id is not None:
        table[tokenizer.pad_id] = 0
    layer = keras.layers.Embedding(len(rows), vectors.shape[1], trainable=trainable)
    layer.build((None, None))
    layer.set_weights([table])
    return layer


def _rows(find: Find, tokenizer: Any) -> tuple[list[str], list[int | None]]:
    """Every token as the vocabulary spells it, and the row of its vector."""
    tokens = [_spelling(tokenizer, i) for i in range(tokenizer.vocab_size)]
    # What a token says: byte-level BPE spells "é" in a way of its own.
    said = [
        text.decode("utf-8", "replace").strip()
        for text in np.asarray(tokenizer.detokenize([[i] for i in range(len(tokens))]))
    ]
    return tokens, [_row(find, token, text) for token, text in zip(tokens, said)]


def _spelling(tokenizer: Any, token_id: int) -> str:
    try:
        token: str = tokenizer.id_to_token(token_id)
    except ValueError:  # an id without a token
        return ""
    return token


def _row(find: Find, token: str, text: str) -> int | None:
    if token.startswith(_MIDDLE_OF_WORD) and len(token) > len(_MIDDLE_OF_WORD):
        return None
    for mark in _BEGINNINGS:
        token = token.removeprefix(mark)
    row = find(token)
    return find(text) if row is None else row
