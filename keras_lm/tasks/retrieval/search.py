"""What every search over documents shares: an index of them, queries, answers, export."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import tensorflow as tf

from keras_lm.export import export_functions
from keras_lm.tasks.base import check_export
from keras_lm.tasks.reading import TEXT, check_texts, rows_of
from keras_lm.tasks.retrieval.documents import Documents, Id
from keras_lm.tasks.retrieval.index_files import read_index, write_index

DEFAULT_K = 10
"""Documents that are found where the user asks for no number."""

NONE = -1
"""The number of a document where there are no more."""


class DocumentSearch:
    """Documents that are indexed once, and searched for those that a query asks for.

    A subclass gives `index_texts`, `index_arrays`, `take_index`, `index_settings` and
    `search_functions`.
    """

    runs_models: ClassVar[bool] = True
    """Whether Keras models are searched with, which can be exported on TensorFlow alone."""

    _documents: Documents = Documents()

    # ---- what a subclass gives

    def index_texts(self, texts: list[str], start: int) -> None:
        """Takes in documents: those from number `start` on; 0 drops all that were there before.

        After an error the index is as it was.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define index_texts")

    def index_arrays(self) -> dict[str, np.ndarray]:
        """The index as arrays, to be saved."""
        raise NotImplementedError(f"{type(self).__name__} does not define index_arrays")

    def take_index(self, arrays: Mapping[str, np.ndarray], num_documents: int) -> None:
        """Takes the arrays of a saved index; `ValueError` if they are not those of an index."""
        raise NotImplementedError(f"{type(self).__name__} does not define take_index")

    def index_settings(self) -> dict[str, Any]:
        """JSON values that decide what the index holds: an index with others is refused."""
        raise NotImplementedError(f"{type(self).__name__} does not define index_settings")

    @property
    def search_functions(self) -> Any:
        """A `tf.Module` whose graph function `search` finds documents.

        It takes queries, strings [B], and k, an int32 scalar from 1 to the number of documents,
        and gives numbers int32 [B, k] and scores float32 [B, k], best first; where there are
        fewer, the number is `NONE` and the score 0. Of equal scores the earlier document is first.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define search_functions")

    # ---- what it gets

    @property
    def documents(self) -> list[str]:
        """What is indexed."""
        return self._documents.texts

    @property
    def ids(self) -> list[Id]:
        """The id of each document."""
        return self._documents.ids

    def index(self, documents: Any, ids: Any = None) -> None:
        """Indexes documents, in place of those that were indexed before.

        Args:
            documents: a list of strings.
            ids: strings or ints, one for each; default: their numbers, from 0.

        Raises:
            ValueError: there are no documents, one is empty, or an id comes twice.
        """
        fresh = Documents().more(documents, ids)
        self.index_texts(fresh.texts, 0)
        self._documents = fresh

    def add(self, documents: Any, ids: Any = None) -> None:
        """Indexes further documents.

        Args:
            documents: a list of strings.
            ids: of the kind of those before; default: their numbers, counted on.

        Raises:
            ValueError: as in `index`; an id stands for an earlier document.
        """
        both = self._documents.more(documents, ids)
        start = len(self._documents)
        self.index_texts(both.texts[start:], start)
        self._documents = both

    def search_documents(self, query: Any, k: int | None = None) -> Any:
        """Finds the documents that fit a query best.

        Args:
            query: a string, or a list of strings.
            k: how many documents; default: 10, or all if they are fewer.

        Returns:
            A list of dicts, best first: `id`, `document` (its text) and `score`. For a list of
            queries a list of such lists.

        Raises:
            ValueError: nothing is indexed, k is not from 1 to the number of documents, or a query
                is empty or no string.
        """
        queries = check_texts("query", query)
        k = self._checked(k)
        search = self.search_functions.search

        def found(batch: tf.Tensor) -> dict[str, tf.Tensor]:
            numbers, scores = search(batch, tf.constant(k))
            return {"numbers": numbers, "scores": scores}

        answers = [self._hits(row) for row in rows_of(found, queries)]
        return answers[0] if isinstance(query, str) else answers

    def _checked(self, k: int | None) -> int:
        count = len(self._documents)
        if not count:
            raise ValueError("the index is empty; call index(documents) before searching")
        if k is None:
            return min(DEFAULT_K, count)
        if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= count:
            raise ValueError(f"k must be from 1 to the number of documents, {count}; got {k!r}")
        return k

    def _hits(self, row: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        return [
            {
                "id": self._documents.ids[number],
                "document": self._documents.texts[number],
                "score": score,
            }
            for number, score in zip(row["numbers"].tolist(), row["scores"].tolist(), strict=True)
            if number != NONE
        ]

    def save_index(self, directory: str | os.PathLike[str]) -> None:
        """Writes the index and its documents into a directory, replacing an older index there.

        Raises:
            ValueError: nothing is indexed; `directory` is a file, or holds files and is no index.
        """
        self._checked(None)
        write_index(directory, self._documents, self.index_arrays(), self.index_settings())

    def load_index(self, directory: str | os.PathLike[str]) -> Self:
        """Reads what `save_index` has written, in place of what was indexed before.

        Raises:
            FileNotFoundError: the directory or a file in it is missing.
            ValueError: a file is damaged or cut short, or the index is of another model; nothing
                is loaded then.
        """
        self._load_index(directory, self.index_settings())
        return self

    def _load_index(self, directory: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
        documents, arrays = read_index(directory, settings)
        self.take_index(arrays, len(documents))
        self._documents = documents

    def export(self, directory: str | os.PathLike[str]) -> None:
        """Writes a SavedModel that holds the search and its index: a query in, documents out.

        Its signature `serving_default` has the inputs `text` [B] and `k` (default 10), and gives
        `id`, `document` and `score` [B, k]; where fewer are found, "" or -1, "" and 0.

        Args:
            directory: where; an earlier SavedModel there is replaced as a whole.

        Raises:
            ValueError: nothing is indexed, `directory` is something else, or a model is searched
                with and the backend is not TensorFlow.
        """
        if self.runs_models:
            check_export({})
        self.export_search(directory)

    def export_search(self, directory: str | os.PathLike[str], **signatures: Any) -> None:
        """Writes a SavedModel that takes queries and gives documents, with TensorFlow alone.

        Args:
            directory: where; an earlier SavedModel there is replaced as a whole.
            **signatures: further graph functions that a server calls.
        """
        self._checked(None)
        functions = ServedSearch(self.search_functions, self._documents)
        signatures = {"serving_default": functions.search_documents, **signatures}
        export_functions(directory, functions, signatures)


class ServedSearch(tf.Module):
    """A search with its documents inside: strings in, strings out.

    Args:
        functions: has the graph function `search`, and where that reads the documents themselves
            the variable `texts`.
        documents: those that it finds.
    """

    def __init__(self, functions: tf.Module, documents: Documents) -> None:
        super().__init__()
        self._functions = functions
        with tf.device("CPU:0"):
            # As constants they would count against the graph's limit of 2 GB.
            self._texts = getattr(functions, "texts", None)
            if self._texts is None:
                self._texts = tf.Variable(documents.texts, trainable=False, name="documents")
            kind = tf.string if isinstance(documents.ids[0], str) else tf.int64
            self._ids = tf.Variable(documents.ids, trainable=False, dtype=kind, name="ids")

    @tf.function(input_signature=[TEXT, tf.TensorSpec([], tf.int32, "k")], autograph=False)
    def search_documents(
        self, text: tf.Tensor, k: tf.Tensor = tf.constant(DEFAULT_K)
    ) -> dict[str, tf.Tensor]:
        """Queries [B] → `id`, `document`, `score` [B, k], best first; k is at most all."""
        with tf.control_dependencies([tf.debugging.Assert(k > 0, ["k must be 1 or more:", k])]):
            k = tf.minimum(k, tf.shape(self._texts)[0])
        numbers, scores = self._functions.search(text, k)
        is_found = numbers != NONE
        rows = tf.maximum(numbers, 0)
        ids = tf.gather(self._ids, rows)
        none = tf.zeros_like(ids) - 1 if ids.dtype.is_integer else tf.fill(tf.shape(ids), "")
        return {
            "id": tf.where(is_found, ids, none),
            "document": tf.where(is_found, tf.gather(self._texts, rows), ""),
            "score": scores,
        }
