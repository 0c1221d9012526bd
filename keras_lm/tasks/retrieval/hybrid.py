"""Several searches over the same documents as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_lm.tasks.reading import TEXT
from keras_lm.tasks.retrieval.documents import Documents
from keras_lm.tasks.retrieval.search import NONE, DocumentSearch


class HybridRetriever(DocumentSearch):
    """Finds what several retrievers find, the documents first on which they agree.

    A document's score is Σ 1 / (smoothing + its rank) over the retrievers that have it among their
    best (reciprocal rank fusion, Cormack et al. 2009, https://doi.org/10.1145/1571941.1572114), so
    that their own scores need not be of one scale. Words and vectors find different documents: a
    `BM25Retriever` with a `Retriever` is often better than either.

    Documents are indexed in all of them. Where that fails in one, all go back to what they held.

    Args:
        retrievers: two or more; they hold the same documents, with the same ids, or none.
        depth: how many documents of each count, from its best on.
        smoothing: the larger, the less the first few ranks count; Cormack's 60.

    Raises:
        ValueError: there are fewer than two, one is no retriever or given twice, they hold
            different documents, or a number is out of its range.

    Example:

    >>> import keras_lm as klm
    >>> retriever = HybridRetriever(
    ...     [klm.tasks.BM25Retriever(), klm.tasks.BM25Retriever(k1=0, b=0)])
    >>> retriever.index(["a red red apple", "a green apple"], ids=["red", "green"])
    >>> [hit["id"] for hit in retriever.search_documents("green apple")]
    ['green', 'red']
    """

    def __init__(
        self, retrievers: Sequence[DocumentSearch], depth: int = 100, smoothing: float = 60
    ) -> None:
        are_retrievers = isinstance(retrievers, list | tuple) and all(
            isinstance(retriever, DocumentSearch) for retriever in retrievers
        )
        if not are_retrievers or len({*map(id, retrievers)}) < max(len(retrievers), 2):
            raise ValueError(f"retrievers must be a list of two or more; got {retrievers!r:.200}")
        if not isinstance(depth, int) or isinstance(depth, bool) or depth < 1:
            raise ValueError(f"depth must be an int of 1 or more; got {depth!r}")
        if not isinstance(smoothing, int | float) or not smoothing >= 0:
            raise ValueError(f"smoothing must be a number of 0 or more; got {smoothing!r}")
        self.retrievers, self.depth, self.smoothing = tuple(retrievers), depth, float(smoothing)
        self._made: tuple[Any, Any] = (None, None)
        self._check_same()

    @property
    def _documents(self) -> Documents:
        """What all of them hold: each may be searched, and even indexed, by itself."""
        self._check_same()
        return self.retrievers[0]._documents

    @_documents.setter
    def _documents(self, documents: Documents) -> None:
        for retriever in self.retrievers:
            retriever._documents = documents

    def _check_same(self) -> None:
        first, *others = (retriever._documents for retriever in self.retrievers)
        for number, other in enumerate(others, 1):
            if other is not first and other != first:
                raise ValueError(
                    f"retrievers[0] and retrievers[{number}] hold different documents, "
                    f"{len(first)} and {len(other)}; all must hold the same with the same ids"
                )

    @property
    def search_functions(self) -> HybridFunctions:
        functions = [retriever.search_functions for retriever in self.retrievers]
        state = tuple(map(id, functions))
        if self._made[0] != state:
            self._made = (state, HybridFunctions(functions, self.depth, self.smoothing))
        self._made[1].count.assign(len(self._documents))
        return self._made[1]

    def index_texts(self, texts: list[str], start: int) -> None:
        self._in_each(lambda number, retriever: retriever.index_texts(texts, start))

    def index_arrays(self) -> dict[str, np.ndarray]:
        return {
            f"{number}.{name}": array
            for number, retriever in enumerate(self.retrievers)
            for name, array in retriever.index_arrays().items()
        }

    def take_index(self, arrays: Mapping[str, np.ndarray], num_documents: int) -> None:
        def take(number: int, retriever: DocumentSearch) -> None:
            start = f"{number}."
            own = {name[len(start) :]: arrays[name] for name in arrays if name.startswith(start)}
            retriever.take_index(own, num_documents)

        self._in_each(take)

    def index_settings(self) -> dict[str, Any]:
        return {
            "kind": "hybrid",
            "retrievers": [retriever.index_settings() for retriever in self.retrievers],
        }

    def _in_each(self, change: Callable[[int, DocumentSearch], None]) -> None:
        """Changes the index of each retriever, or of none."""
        before = [(retriever._documents, _arrays(retriever)) for retriever in self.retrievers]
        try:
            for number, retriever in enumerate(self.retrievers):
                change(number, retriever)
        except BaseException:  # an interrupted one too
            for retriever, (documents, arrays) in zip(self.retrievers, before, strict=True):
                if arrays is not None:
                    retriever.take_index(arrays, len(documents))
                retriever._documents = Documents() if arrays is None else documents
            raise


def _arrays(retriever: DocumentSearch) -> dict[str, np.ndarray] | None:
    """The index of a retriever; None where there is none that could be searched."""
    if not retriever.documents:
        return None
    try:
        return retriever.index_arrays()
    except ValueError:  # of vectors that a later `fit` has outdated
        return None


class HybridFunctions(tf.Module):
    """`search` on string tensors.

    Args:
        functions: those of the retrievers.
        depth: how many documents of each count, or all if there are fewer.
        smoothing: what is added to ranks.
    """

    def __init__(self, functions: list[Any], depth: int, smoothing: float) -> None:
        super().__init__()
        self._parts = functions
        self._depth, self._smoothing = depth, smoothing
        with tf.device("CPU:0"):
            self.count = tf.Variable(0, trainable=False, name="num_documents")

    @tf.function(input_signature=[TEXT, tf.TensorSpec([], tf.int32, "k")], autograph=False)
    def search(self, text: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Queries [B] → numbers and scores [B, k] of the best documents."""
        depth = tf.minimum(self._depth, self.count)
        # In float64, where the order of a sum makes no difference that float32 shows.
        scores = 1 / (self._smoothing + tf.cast(tf.range(1, depth + 1), tf.float64))
        scores = tf.tile(scores, [len(self._parts)])

        def best(numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # Sorted, so that of equal scores the earlier document is first.
            order = tf.argsort(numbers)
            order = tf.boolean_mask(order, tf.gather(numbers, order) != NONE)
            documents, index = tf.unique(tf.gather(numbers, order))
            count = tf.size(documents)
            totals = tf.math.unsorted_segment_sum(tf.gather(scores, order), index, count)
            found = tf.math.top_k(tf.cast(totals, tf.float32), tf.minimum(k, count))
            missing = [[0, k - tf.size(found.indices)]]
            numbers = tf.pad(tf.gather(documents, found.indices), missing, constant_values=NONE)
            return numbers, tf.pad(found.values, missing)

        with tf.device("CPU:0"):
            numbers = [part.search(text, depth)[0] for part in self._parts]
            none = tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.float32)
            # One query more, of nothing: there must be something to stack.
            rows = tf.pad(tf.concat(numbers, axis=1), [[0, 1], [0, 0]], constant_values=NONE)
            found, scores = tf.map_fn(best, rows, fn_output_signature=none)
            return found[:-1], scores[:-1]
