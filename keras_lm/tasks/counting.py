"""`fit` of models that learn by counting: their texts are read once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_lm import data
from keras_lm.tokenizers import Tokenizer

PIECE = 1 << 20
"""Tokens that are handed on at once."""


class CountedTexts:
    """Texts as stretches of one stream of token ids; their bytes are added up on the way.

    Args:
        texts: a token store, or a tf.data set of strings, which is tokenized as it is read.
        tokenizer: of the strings.
    """

    def __init__(self, texts: data.TokenStore | tf.data.Dataset, tokenizer: Tokenizer) -> None:
        self.texts, self.tokenizer = texts, tokenizer
        self.num_bytes = 0

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        self.num_bytes = 0
        if isinstance(self.texts, data.TokenStore):
            self.num_bytes = int(self.texts.num_bytes.sum())
            yield from _pieces_of_store(self.texts)
            return
        encode = data.document_encoder(self.tokenizer)
        for batch in self.texts.batch(512).prefetch(2):
            ids, lengths, num_bytes = (part.numpy() for part in encode(batch))
            self.num_bytes += int(num_bytes.sum())
            is_begin = np.zeros(len(ids), bool)
            is_begin[np.cumsum(lengths) - lengths] = True
            yield ids, is_begin


def _pieces_of_store(store: data.TokenStore) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, store.num_tokens, PIECE):
        tokens = store.tokens[np.arange(start, min(start + PIECE, store.num_tokens))]
        is_begin = np.zeros(len(tokens), bool)
        first, last = np.searchsorted(store.offsets, [start, start + len(tokens)])
        is_begin[store.offsets[first:last] - start] = True
        yield tokens, is_begin


def fit_by_counting(
    task: Any,
    texts: CountedTexts,
    validation_data: Any,
    callbacks: Any,
    verbose: Any,
    memory_limit: int | None = None,
) -> keras.callbacks.History:
    """Counts the texts, and reports one epoch as Keras's `fit` does.

    Args:
        task: a `CausalLM` whose model has `estimate`.
        texts: what to count.
        validation_data: for `evaluate`; None for none.
        callbacks: Keras's; they see one epoch of one step.
        verbose: as in Keras.
        memory_limit: bytes that counting may take; more go to the disk.
    """
    verbose = 1 if verbose == "auto" else verbose
    calls = keras.callbacks.CallbackList(
        callbacks,
        add_history=True,
        add_progbar=bool(verbose),
        model=task,
        verbose=verbose,
        epochs=1,
        steps=1,
    )
    calls.on_train_begin()
    calls.on_epoch_begin(0)
    calls.on_train_batch_begin(0)
    task.model.estimate(texts, memory_limit=memory_limit, progress=bool(verbose))
    nats, tokens = task.model.training_totals
    logs = {
        "loss": nats / tokens,
        "perplexity": math.exp(nats / tokens),
        "bits_per_byte": nats / math.log(2) / max(texts.num_bytes, 1),
    }
    calls.on_train_batch_end(0, logs)
    if validation_data is not None:
        results = task.evaluate(validation_data, verbose=0, return_dict=True)
        logs |= {f"val_{name}": value for name, value in results.items()}
    calls.on_epoch_end(0, logs)
    calls.on_train_end(logs)
    return task.history
