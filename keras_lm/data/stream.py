"""Batches from a tf.data set of strings: tokenized and packed as they are read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from keras_lm.data.batches import (
    NextTokens,
    Objective,
    Rows,
    address_random,
    check_seed,
    gather_windows,
    row_specs,
    without_autotune,
)
from keras_lm.data.objectives.windows import token_windows
from keras_lm.data.packing import scoring_windows, training_windows
from keras_lm.data.python_calls import python_iterator
from keras_lm.data.store import (
    TOKENIZER_BATCH,
    EncodedDocuments,
    TokenStore,
    document_encoder,
)

if TYPE_CHECKING:
    from keras_lm.tokenizers.base import Tokenizer

# Documents are packed together once they would fill this many batches: enough for pieces to find
# windows that they fit, little enough to begin soon.
_BATCHES_PACKED_AT_ONCE = 8


def stream_batches(
    dataset: tf.data.Dataset,
    tokenizer: Tokenizer,
    length: int,
    batch_size: int,
    scoring: bool = False,
    objective: Objective | None = None,
    seed: int = 0,
) -> tf.data.Dataset:
    """Turns a data set of strings into the batches that `batches` gives, as it is read.

    The documents are tokenized in the graph, gathered until they would fill a few batches, and
    those are packed as `training_windows` or `scoring_windows` packs a store. Each iteration
    reads `dataset` anew; shuffle there. Such a stream has no addresses: it cannot resume exactly
    where a run was killed. For that, give lists or files to `TokenStore` and `batches`.

    Args:
        dataset: elements are strings, or vectors of strings of any size.
        tokenizer: any tokenizer with `document_ends`.
        length: T, pairs of input and target in a window; with an objective, tokens.
        batch_size: B, windows in a batch; the last is filled with rows of weight 0.
        scoring: True reads long documents in windows that overlap by half and counts every
            target once; False cuts them into consecutive pieces.
        objective: what is learnt from the windows, as in `batches`. None is the next token.
        seed: any int64. An objective's random numbers follow from it, from how often the stream
            was read before and from the batch's number, so that every epoch masks anew.

    Returns:
        A data set of `(x, y, sample_weight)` of static shapes, as `batches` describes it, with
        unknown cardinality.

    Raises:
        ValueError: the elements are not strings; the data set is empty; the tokenizer has no BOS
            or EOS; `length` or `batch_size` is not a positive int; `seed` is out of range;
            `scoring` with an objective.

    Example:

    >>> import tensorflow as tf, keras_lm as klm
    >>> tok = klm.tokenizers.BytePairTokenizer.train(texts=["aa"] * 9, vocab_size=258)
    >>> texts = tf.data.Dataset.from_tensor_slices(["b", "bbb"])
    >>> x, y, weight = next(iter(stream_batches(texts, tok, length=8, batch_size=1)))
    >>> x["segment_ids"].numpy().tolist(), x["num_bytes"].numpy().tolist()
    ([[1, 1, 2, 2, 2, 2, 0, 0]], [4])
    """
    for name, value in (("length", length), ("batch_size", batch_size)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} is {value!r}; it must be a positive int")
    check_seed(seed)
    if scoring and objective is not None:
        raise ValueError("scoring=True counts next tokens; objective must then be None")
    encode = document_encoder(tokenizer)
    encoded = without_autotune(
        _string_vectors(dataset).map(encode, num_parallel_calls=2, deterministic=True)
    )
    plan_windows = scoring_windows if scoring else training_windows
    if objective is not None:
        plan_windows = token_windows
    make = NextTokens() if objective is None else objective
    empty = tuple(np.zeros(spec.shape, spec.dtype.as_numpy_dtype) for spec in row_specs(0, length))
    tokens_at_once = _BATCHES_PACKED_AT_ONCE * batch_size * length

    times_read = itertools.count()

    def read() -> Iterator[Any]:
        first_number = next(times_read) << 32  # batches of this reading are numbered from here
        for number, rows in enumerate(read_rows(), first_number):
            yield make(rows, address_random(seed, number))

    def read_rows() -> Iterator[Rows]:
        pending = empty
        for shard in _shards(encoded, tokens_at_once):
            plan = plan_windows(shard, length)
            rows = gather_windows(shard, plan, np.arange(len(plan)))
            pending = tuple(np.concatenate(pair) for pair in zip(pending, rows, strict=True))
            while len(pending[0]) >= batch_size:
                yield Rows(*(array[:batch_size] for array in pending))
                pending = tuple(array[batch_size:] for array in pending)
        missing = batch_size - len(pending[0])
        if missing < batch_size:
            yield Rows(
                *(np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1)) for array in pending)
            )

    specs = make.specs(batch_size, length)
    return without_autotune(
        tf.data.Dataset.from_generator(
            lambda: python_iterator(read()), output_signature=specs
        ).prefetch(2)
    )


def _string_vectors(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Any data set of strings as one of vectors of `TOKENIZER_BATCH` strings."""
    spec = dataset.element_spec
    if not isinstance(spec, tf.TensorSpec) or spec.dtype != tf.string:
        raise ValueError(f"dataset has elements of {spec}; they must be strings")
    if spec.shape.rank not in (0, 1):
        raise ValueError(
            f"dataset has elements of shape {spec.shape}; they must be strings or vectors of them"
        )
    if dataset.cardinality() == 0 or not any(True for _ in dataset.take(1)):
        raise ValueError("dataset is empty; it must hold at least one string")
    return (
        dataset.batch(TOKENIZER_BATCH) if spec.shape.rank == 0 else dataset.rebatch(TOKENIZER_BATCH)
    )


def _shards(encoded: tf.data.Dataset, num_tokens: int) -> Iterator[TokenStore]:
    """Gathers tokenized documents into stores of at least `num_tokens`, but for the last."""
    gathered: list[EncodedDocuments] = []
    size = 0
    for batch in encoded.as_numpy_iterator():
        gathered.append(batch)
        size += len(batch[0])
        if size >= num_tokens:
            yield TokenStore.from_encoded(gathered)
            gathered, size = [], 0
    if gathered:
        yield TokenStore.from_encoded(gathered)
