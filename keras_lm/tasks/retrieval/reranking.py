"""The second look: a classifier that reads query and document together orders what was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_lm.tasks.reading import TEXT
from keras_lm.tasks.retrieval.documents import Documents
from keras_lm.tasks.retrieval.search import NONE, DocumentSearch
from keras_lm.tasks.text_classifier import TextClassifier

PAIRS = 32
"""Pairs that the classifier reads at once."""


class Reranker(DocumentSearch):
    """Finds what a retriever finds, in the order that a classifier of pairs gives it.

    The classifier reads the query together with each of the retriever's best documents (a
    cross-encoder, Nogueira and Cho 2019, https://arxiv.org/abs/1901.04085). That is slow and sees
    more than words or vectors do. The index is the retriever's.

    Args:
        retriever: finds the documents.
        classifier: a `TextClassifier` that has learnt from pairs (query, document).
        depth: how many documents it reads for a query; no more can be found.
        label: the label whose probability is the score; default: the last. A regression's score is
            its number.

    Raises:
        ValueError: an argument is of a wrong kind, or the classifier has no such label.

    Example:

    >>> import keras_lm as klm
    >>> texts = ["red apple", "green apple", "fast car"]
    >>> tok = klm.tokenizers.BytePairTokenizer.train(texts=texts * 9, vocab_size=270)
    >>> config = klm.EncoderConfig(vocab_size=tok.vocab_size, num_layers=1, hidden_dim=16,
    ...                            num_heads=2, max_length=32)
    >>> classifier = klm.tasks.TextClassifier(klm.models.Encoder(config), tok, ["no", "yes"])
    >>> classifier.compile(klm.training.fine_tuning_optimizer(1e-2))
    >>> pairs = [("ripe fruit", "red apple"), ("ripe fruit", "green apple")]
    >>> history = classifier.fit(pairs, ["yes", "no"], epochs=20, verbose=0)
    >>> reranker = Reranker(klm.tasks.BM25Retriever(), classifier, depth=2)
    >>> reranker.index(texts[::-1])
    >>> [hit["document"] for hit in reranker.search_documents("ripe apple")]
    ['red apple', 'green apple']
    """

    def __init__(
        self,
        retriever: DocumentSearch,
        classifier: TextClassifier,
        depth: int = 50,
        label: str | None = None,
    ) -> None:
        if not isinstance(retriever, DocumentSearch):
            raise ValueError(f"retriever must be one, such as a BM25Retriever; got {retriever!r}")
        if not isinstance(classifier, TextClassifier):
            raise ValueError(f"classifier must be a TextClassifier; got {classifier!r}")
        if not isinstance(depth, int) or isinstance(depth, bool) or depth < 1:
            raise ValueError(f"depth must be an int of 1 or more; got {depth!r}")
        self.label = classifier.labels[-1] if label is None else label
        if self.label not in classifier.labels:
            raise ValueError(f"label must be one of {classifier.labels}; got {label!r}")
        self.retriever, self.classifier, self.depth = retriever, classifier, depth
        self._made: tuple[Any, Any] = (None, None)

    @property
    def _documents(self) -> Documents:
        return self.retriever._documents

    @_documents.setter
    def _documents(self, documents: Documents) -> None:
        self.retriever._documents = documents

    @property
    def search_functions(self) -> RerankerFunctions:
        functions = self.retriever.search_functions, self.classifier.text_functions
        state = tuple(map(id, functions))
        if self._made[0] != state:
            column = self.classifier.labels.index(self.label)
            self._made = (state, RerankerFunctions(*functions, self.depth, column))
        self._made[1].put(self._documents)
        return self._made[1]

    def _checked(self, k: int | None) -> int:
        k = min(super()._checked(k), self.depth) if k is None else super()._checked(k)
        if k > self.depth:
            raise ValueError(
                f"k must be at most depth={self.depth}, the documents that are read; got {k}"
            )
        return k

    def index_texts(self, texts: list[str], start: int) -> None:
        self.retriever.index_texts(texts, start)

    def index_arrays(self) -> dict[str, np.ndarray]:
        return self.retriever.index_arrays()

    def take_index(self, arrays: Mapping[str, np.ndarray], num_documents: int) -> None:
        self.retriever.take_index(arrays, num_documents)

    def index_settings(self) -> dict[str, Any]:
        return self.retriever.index_settings()


class RerankerFunctions(tf.Module):
    """`search` on string tensors.

    Args:
        retriever: the retriever's functions.
        classifier: the classifier's.
        depth: how many documents are read for a query, or all if there are fewer.
        column: the number of the label whose score counts.
    """

    def __init__(self, retriever: Any, classifier: Any, depth: int, column: int) -> None:
        super().__init__()
        self._retriever, self._classifier = retriever, classifier
        self._depth, self._column = depth, column
        self._documents = Documents()
        with tf.device("CPU:0"):
            none = tf.zeros([0], tf.string)
            self.texts = tf.Variable(none, trainable=False, shape=[None], name="documents")

    def put(self, documents: Documents) -> None:
        """Takes what is found, in place of what was before."""
        if documents is not self._documents:
            self.texts.assign(documents.texts)
            self._documents = documents

    @tf.function(input_signature=[TEXT, tf.TensorSpec([], tf.int32, "k")], autograph=False)
    def search(self, text: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Queries [B] → numbers and scores [B, k] of the best documents."""
        depth = tf.minimum(self._depth, tf.size(self.texts))
        numbers, _ = self._retriever.search(text, depth)
        # In their order, so that of equal scores the earlier document is first.
        numbers = tf.sort(tf.where(numbers == NONE, tf.int32.max, numbers), axis=1)
        place = tf.where(numbers < tf.int32.max)
        document = tf.gather(self.texts, tf.gather_nd(numbers, place))
        # Texts of about one length share a batch.
        order = tf.argsort(tf.strings.length(document))
        place, document = tf.gather(place, order), tf.gather(document, order)
        scores = self._scores(tf.gather(text, place[:, 0]), document)
        none = tf.fill(tf.shape(numbers), -np.inf)
        scores = tf.tensor_scatter_nd_update(none, place, scores)
        best = tf.math.top_k(scores, tf.minimum(k, depth))
        is_found = best.values > -np.inf
        numbers = tf.where(is_found, tf.gather(numbers, best.indices, batch_dims=1), NONE)
        missing = [[0, 0], [0, tf.maximum(k - depth, 0)]]
        scores = tf.pad(tf.where(is_found, best.values, 0.0), missing)
        return tf.pad(numbers, missing, constant_values=NONE), scores

    def _scores(self, query: tf.Tensor, document: tf.Tensor) -> tf.Tensor:
        """The score of each pair, float32 [n], however many there are."""

        def of_some(start: tf.Tensor) -> tf.Tensor:
            some = query[start : start + PAIRS], document[start : start + PAIRS]
            scores = self._classifier.classify_pair(*some)["scores"][:, self._column]
            return tf.ensure_shape(tf.pad(scores, [[0, PAIRS - tf.size(scores)]]), [PAIRS])

        starts = tf.range(0, tf.size(query), PAIRS)
        specs = tf.TensorSpec([PAIRS], tf.float32)
        scores = tf.map_fn(of_some, starts, fn_output_signature=specs, parallel_iterations=1)
        return tf.reshape(scores, [-1])[: tf.size(query)]
