"""Search by words: BM25."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_lm.tasks.reading import TEXT
from keras_lm.tasks.retrieval.postings import Postings, term_counter
from keras_lm.tasks.retrieval.search import NONE, DocumentSearch
from keras_lm.tasks.retrieval.terms import TermSplitter


class BM25Retriever(DocumentSearch):
    """Finds the documents that have most of a query's words, rare ones above all.

        Σ over the query's terms:  idf · tf / (tf + k1 · (1 − b + b · length / mean length))
        idf = ln(1 + (N − df + 0.5) / (df + 0.5))

    N documents, of which df have the term; tf, how often this one has it; length, its terms. This
    is the formula of Robertson and Zaragoza (2009, https://doi.org/10.1561/1500000019) as Lucene
    has it. It learns nothing and needs no model. A term that the query has twice counts twice;
    documents with none of its terms are not found.

    Terms are runs of letters and digits, whatever their case, width and composition; there are no
    stop words and no stemming. Chinese characters and kana are terms one by one and two by two.

    Args:
        k1: how much more a term counts that stands there more often; 0: nothing.
        b: how much a document's length takes off; from 0, nothing, to 1.

    Raises:
        ValueError: k1 is below 0, or b is not from 0 to 1.

    Example:

    >>> retriever = BM25Retriever()
    >>> retriever.index(["a red apple", "a green pear", "红苹果"], ids=["apple", "pear", "苹果"])
    >>> [hit["id"] for hit in retriever.search_documents("Apples, pears? A GREEN one!")]
    ['pear', 'apple']
    >>> [hit["id"] for hit in retriever.search_documents("果")]
    ['苹果']
    """

    runs_models = False

    def __init__(self, k1: float = 1.2, b: float = 0.75) -> None:
        for name, value, most in (("k1", k1, math.inf), ("b", b, 1)):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not 0 <= value <= most or math.isinf(value):
                wanted = "0 or more" if most == math.inf else "from 0 to 1"
                raise ValueError(f"{name} must be a number, {wanted}; got {value!r}")
        self.k1, self.b = float(k1), float(b)
        splitter = TermSplitter()
        self._counter = term_counter(splitter)
        self._functions = BM25Functions(splitter)
        self._postings = Postings()
        self._is_weighed = False

    @property
    def search_functions(self) -> BM25Functions:
        if not self._is_weighed:
            self._functions.put(self._postings, self._postings.weights(self.k1, self.b))
            self._is_weighed = True
        return self._functions

    def index_texts(self, texts: list[str], start: int) -> None:
        before = self._postings if start else Postings()
        self._put(before.more(texts, self._counter))

    def index_arrays(self) -> dict[str, np.ndarray]:
        return self._postings.arrays()

    def take_index(self, arrays: Mapping[str, np.ndarray], num_documents: int) -> None:
        self._put(Postings.of(arrays, num_documents))

    def index_settings(self) -> dict[str, Any]:
        return {"kind": "terms"}  # k1 and b weigh what is counted: they may be others

    def _put(self, postings: Postings) -> None:
        self._postings, self._is_weighed = postings, False


class BM25Functions(tf.Module):
    """`search` on string tensors.

    Args:
        splitter: makes the terms.
    """

    def __init__(self, splitter: TermSplitter) -> None:
        super().__init__()
        self._splitter = splitter

        def column(dtype: tf.DType, name: str) -> tf.Variable:
            return tf.Variable(tf.zeros([0], dtype), trainable=False, shape=[None], name=name)

        with tf.device("CPU:0"):
            self._numbers = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
            self._splits = column(tf.int64, "splits")
            self._documents = column(tf.int32, "postings")
            self._weights = column(tf.float32, "weights")
            self._count = tf.Variable(0, trainable=False, name="num_documents")

    def put(self, postings: Postings, weights: np.ndarray) -> None:
        """Takes what is to be searched, in place of what was before.

        Args:
            postings: where each term stands.
            weights: float32 [P], what each posting adds to the score of its document.
        """
        with tf.device("CPU:0"):
            self._numbers.remove(self._numbers.export()[0])
            if postings.terms:
                self._numbers.insert(postings.terms, np.arange(len(postings.terms)))
            self._splits.assign(postings.splits)
            self._documents.assign(postings.documents)
            self._weights.assign(weights)
            self._count.assign(postings.num_documents)

    @tf.function(input_signature=[TEXT, tf.TensorSpec([], tf.int32, "k")], autograph=False)
    def search(self, text: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Queries [B] → numbers and scores [B, k] of the best documents."""

        def best(terms: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            start, end = tf.gather(self._splits, terms), tf.gather(self._splits, terms + 1)
            postings = tf.ragged.range(start, end).values
            weights = tf.gather(self._weights, postings)
            documents = tf.gather(self._documents, postings)
            scores = tf.math.unsorted_segment_sum(weights, documents, self._count)
            found = tf.math.top_k(scores, k)
            return tf.where(found.values > 0, found.indices, NONE), found.values

        # On an accelerator sums would come in any order, and equal documents be no longer equal.
        with tf.device("CPU:0"):
            # One query more, of nothing: there must be something to stack.
            terms = self._splitter(tf.concat([text, [""]], axis=0))
            numbers = tf.ensure_shape(self._numbers.lookup(terms.values), [None])
            numbers = terms.with_values(numbers)
            numbers = tf.ragged.boolean_mask(numbers, numbers >= 0)
            none = tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.float32)
            # One by one: there are scores [N], never [B, N].
            found, scores = tf.map_fn(best, numbers, fn_output_signature=none)
            return found[:-1], scores[:-1]
