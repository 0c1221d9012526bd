"""From texts to batches with masked tokens, by address."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from keras_lm import data
from keras_lm.data.examples.batches import example_batches
from keras_lm.data.examples.sentence_pairs import sentences_of
from keras_lm.tasks.text_batches import is_texts, store_of
from keras_lm.tokenizers import Tokenizer


class MaskedTexts:
    """What a masked language model is trained or evaluated on.

    Args:
        x: texts, documents of sentences, or batches, as `MaskedLM.fit` takes them.
        tokenizer: None for batches.
        objective: what is to be masked.
        length: T.
        batch_size: B.
        are_pairs: whether to make pairs of passages.
        progress: whether a bar appears while texts are tokenized.

    Raises:
        ValueError: x is none of these, or there is no tokenizer for texts.
    """

    def __init__(
        self,
        x: Any,
        tokenizer: Tokenizer | None,
        objective: data.MaskedLM | None,
        length: int,
        batch_size: int,
        are_pairs: bool = False,
        progress: bool = False,
    ) -> None:
        self._x, self._length, self._batch_size = x, length, batch_size
        self._are_pairs, self._objective = are_pairs, objective
        self._source: Any = None  # (token store, windows) or (examples, buckets)
        if x is None:
            raise ValueError("x is None; give texts")
        if not self._is_prepared(x):
            if tokenizer is None:
                raise ValueError("texts need a tokenizer, and this task was made without one")
            self._tokenizer = tokenizer
            self._source = self._pairs(progress) if are_pairs else self._windows(progress)

    def _is_prepared(self, x: Any) -> bool:
        """Whether x is batches already."""
        if isinstance(x, list | data.TokenStore):
            return False
        return not is_texts(x)

    def _windows(self, progress: bool) -> Any:
        if isinstance(self._x, tf.data.Dataset):
            return None
        if not is_texts(self._x):
            raise ValueError(f"x must be a list of strings; its first item is {self._x[0]!r:.80}")
        store = store_of(self._x, self._tokenizer, progress)
        return store, data.token_windows(store, self._length)

    def _pairs(self, progress: bool) -> Any:
        if isinstance(self._x, data.TokenStore):
            raise ValueError("x is a TokenStore, which knows no sentences; give texts")
        given = (
            list(self._x.as_numpy_iterator()) if isinstance(self._x, tf.data.Dataset) else self._x
        )
        documents = [sentences_of(document) for document in given]
        pairs = data.SentencePairs(documents, self._tokenizer, self._length, progress)
        return pairs, data.bucket_plan(pairs.lengths, batch_size=self._batch_size)

    def endless(
        self, shuffle: bool, seed: int, initial_epoch: int, steps_per_epoch: int | None
    ) -> tuple[Any, int | None]:
        """Batches without end, and how many make an epoch (None: as many as there are)."""
        if self._source is None:
            return self._stream(seed), steps_per_epoch
        _, plan = self._source
        count = plan.num_batches if self._are_pairs else data.num_batches(plan, self._batch_size)
        steps = steps_per_epoch or count
        return self._batches(shuffle, seed, True, initial_epoch * steps), steps

    def once(self) -> Any:
        """Batches in which everything comes once, always with the same masks."""
        return self._stream(0) if self._source is None else self._batches(False, 0, False, 0)

    def _stream(self, seed: int) -> Any:
        if self._is_prepared(self._x):
            return self._x
        return data.stream_batches(
            self._x,
            self._tokenizer,
            self._length,
            self._batch_size,
            objective=self._objective,
            seed=seed,
        )

    def _batches(self, shuffle: bool, seed: int, repeat: bool, start: int) -> tf.data.Dataset:
        source, plan = self._source
        if self._are_pairs:
            change = None if self._objective is None else self._objective.change
            return example_batches(source, plan, shuffle, seed, repeat, start, change=change)
        return data.batches(
            source, plan, self._batch_size, shuffle, seed, repeat, start, self._objective
        )
