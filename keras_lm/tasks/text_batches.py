"""From what a user gives to `fit` and `evaluate` to batches of windows."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_lm import data
from keras_lm.tokenizers import Tokenizer


def is_texts(x: Any) -> bool:
    """Whether x is texts: a list, an array or a data set of strings, or a token store."""
    if isinstance(x, data.TokenStore):
        return True
    if isinstance(x, tf.data.Dataset):
        spec = x.element_spec
        return isinstance(spec, tf.TensorSpec) and spec.dtype == tf.string
    if isinstance(x, str):
        raise ValueError("x is one string; give a list of strings, one a document")
    if isinstance(x, tf.Tensor):
        return x.dtype == tf.string
    if isinstance(x, np.ndarray):
        return x.dtype.kind in "OUS"
    if isinstance(x, Sequence):
        if not x:
            raise ValueError("x is empty; give at least one text")
        return isinstance(x[0], str | bytes)
    return False


def _as_list(texts: Any) -> list[str]:
    values = texts.numpy().tolist() if isinstance(texts, tf.Tensor) else list(texts)
    return [value.decode("utf-8") if isinstance(value, bytes) else value for value in values]


def store_of(texts: Any, tokenizer: Tokenizer, progress: bool = True) -> data.TokenStore:
    """Texts as a token store; one that is a store already stays as it is."""
    if isinstance(texts, data.TokenStore):
        return texts
    return data.TokenStore.from_texts(_as_list(texts), tokenizer, progress=progress)


@contextlib.contextmanager
def streams_end_quietly() -> Iterator[None]:
    """Keeps Keras from warning that a data set ended whose length nobody could know before."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Your input ran out of data")
        yield


class TrainingTexts:
    """Texts on their way into training: held-out part, store, windows, batches."""

    def __init__(
        self,
        texts: Any,
        validation_split: float,
        tokenizer: Tokenizer,
        length: int,
        batch_size: int,
    ) -> None:
        self.tokenizer, self.length, self.batch_size = tokenizer, length, batch_size
        self.texts, self.held_out = texts, []
        if not isinstance(texts, tf.data.Dataset | data.TokenStore):
            self.texts = _as_list(texts)
        if not validation_split:
            return
        if isinstance(texts, tf.data.Dataset | data.TokenStore) or not 0 < validation_split < 1:
            raise ValueError(
                f"validation_split={validation_split} must be in (0, 1), and x a list of texts; "
                "beside a data set or a token store give validation_data itself"
            )
        cut = int(len(self.texts) * (1 - validation_split))
        if not 0 < cut < len(self.texts):
            raise ValueError(
                f"validation_split={validation_split} of {len(self.texts)} texts leaves none to "
                "train or none to validate on; give more texts or validation_data"
            )
        self.texts, self.held_out = self.texts[:cut], self.texts[cut:]

    def stream_or_store(self) -> tf.data.Dataset | data.TokenStore:
        """The texts for who reads them once."""
        if isinstance(self.texts, tf.data.Dataset):
            return self.texts
        return store_of(self.texts, self.tokenizer)

    def batches(
        self,
        shuffle: bool,
        seed: int,
        initial_epoch: int,
        steps_per_epoch: int | None,
        cross_documents: bool,
    ) -> tuple[tf.data.Dataset, int | None]:
        """The batches, and how many make an epoch (None: as many as the stream has)."""
        store = self.stream_or_store()
        if isinstance(store, tf.data.Dataset):
            stream = data.stream_batches(store, self.tokenizer, self.length, self.batch_size)
            return stream, steps_per_epoch
        plan = data.training_windows(store, self.length, cross_documents)
        steps = steps_per_epoch or data.num_batches(plan, self.batch_size)
        # Endless and indexed by the global step: what Keras resumes exactly.
        batches = data.batches(
            store,
            plan,
            self.batch_size,
            shuffle=shuffle,
            seed=seed,
            repeat=True,
            start=initial_epoch * steps,
        )
        return batches, steps

    def lanes(self, initial_epoch: int, steps_per_epoch: int | None) -> tuple[tf.data.Dataset, int]:
        """The batches of texts in parallel lanes, and how many make an epoch."""
        store = self.stream_or_store()
        if isinstance(store, tf.data.Dataset):
            raise ValueError("carry_state=True needs a list of texts or a TokenStore, not a stream")
        plan = data.lane_windows(store, self.length, self.batch_size)
        steps = steps_per_epoch or data.num_batches(plan, self.batch_size)
        start = initial_epoch * steps
        return data.lane_batches(store, plan, repeat=True, start=start), steps


def evaluation_batches(
    texts: Any, tokenizer: Tokenizer, length: int, batch_size: int
) -> tf.data.Dataset:
    """Batches in which every token of the texts counts exactly once."""
    if isinstance(texts, tf.data.Dataset):
        return data.stream_batches(texts, tokenizer, length, batch_size, scoring=True)
    store = store_of(texts, tokenizer)
    return data.batches(store, data.scoring_windows(store, length), batch_size)


def token_batches(x: Any, vocab_size: int, batch_size: int | None) -> tuple[Any, Any, int | None]:
    """Bare token ids [n, T + 1] become inputs and targets; anything else passes as it is.

    Returns:
        x, y and the batch size for Keras, which wants none with a data set.
    """
    if isinstance(x, tf.data.Dataset):
        spec = x.element_spec
        if isinstance(spec, tf.TensorSpec) and spec.dtype.is_integer:
            x = x.map(lambda ids: (ids[..., :-1], ids[..., 1:]))
        return x, None, None
    if isinstance(x, keras.utils.PyDataset) or hasattr(x, "__next__"):
        return x, None, None
    if isinstance(x, list | tuple | np.ndarray | tf.Tensor):
        ids = np.asarray(x)
        if ids.dtype.kind not in "iu" or ids.ndim != 2 or ids.shape[1] < 2 or not len(ids):
            raise ValueError(
                "x must be texts, or token ids: ints [n, T + 1]; got "
                f"{type(x).__name__} of {ids.dtype} with shape {ids.shape}"
            )
        check_ids("x", ids, vocab_size)
        ids = ids.astype("int32")
        return ids[:, :-1], ids[:, 1:], batch_size
    if x is None:
        raise ValueError("x is None; give texts or token ids")
    return x, None, batch_size


def check_ids(name: str, values: Any, vocab_size: int) -> None:
    """A `ValueError` where an array of ints holds what is no token id."""
    if not isinstance(values, list | tuple | np.ndarray | tf.Tensor):
        return
    ids = np.asarray(values)
    wrong = ids[(ids < 0) | (ids >= vocab_size)] if ids.dtype.kind in "iu" else ids[:0]
    if wrong.size:
        raise ValueError(f"{name} holds the id {wrong[0]}; ids must be from 0 to {vocab_size - 1}")
