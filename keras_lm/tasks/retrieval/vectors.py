"""Texts to vectors, and queries to documents, as graph functions."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_lm.data.progress import LateBar
from keras_lm.generation.compiled import compiled
from keras_lm.tasks.in_graph import in_graph
from keras_lm.tasks.reading import INPUTS, TEXT, Reader
from keras_lm.tasks.retrieval.approximate import NeighbourGraph
from keras_lm.tasks.retrieval.vector_search import nearest


class VectorStore(tf.Module):
    """The vectors of documents.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        shape = tf.TensorShape([None, width])
        self.values = tf.Variable(tf.zeros([0, width]), trainable=False, shape=shape)

    def put(self, vectors: np.ndarray, start: int) -> None:
        """Keeps the first `start` vectors, and these after them."""
        self.values.assign(tf.concat([self.values[:start], vectors], axis=0))
        self.__dict__.pop("graph", None)

    @cached_property
    def graph(self) -> NeighbourGraph:
        """For approximate search."""
        return NeighbourGraph(self.values.numpy())


class RetrieverFunctions(tf.Module):
    """`embed` and `search` on string tensors.

    Args:
        task: the retriever.
        store: the documents' vectors.
    """

    def __init__(self, task: Any, store: VectorStore) -> None:
        super().__init__()
        self.parts = [task.model]
        self.store = store
        self.reader = Reader(task.require_tokenizer("embedding texts"), task.sequence_length)
        self._prompt = task.query_prompt
        self._scales = task.similarity == "cosine" and not task.normalize
        width = task.model.config.hidden_dim

        def vectors(token_ids: Any, token_types: Any, padding_mask: Any) -> Any:
            inputs = {"token_ids": token_ids, "padding_mask": padding_mask}
            return task.call({**inputs, "token_types": token_types}, training=False)

        function = compiled(task, "vectors", vectors, jit_compile=False)
        self._vectors = in_graph(function, INPUTS, tf.TensorSpec([None, width], tf.float32))

    @tf.function(input_signature=[TEXT], autograph=False)
    def embed(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Texts [B] → {"vector": float32 [B, D]}."""
        inputs, _ = self.reader(text)
        return {"vector": self._vectors(*inputs)}

    @tf.function(input_signature=[TEXT, tf.TensorSpec([], tf.int32, "k")], autograph=False)
    def search(self, text: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Queries [B] → numbers and scores [B, k] of the nearest documents."""
        vectors = self.embed(self._prompt + text)["vector"]
        if self._scales:
            vectors = tf.math.l2_normalize(vectors, axis=1)
        return nearest(vectors, tf.convert_to_tensor(self.store.values), k)

    def vectors(self, texts: list[str], batch_size: int) -> np.ndarray:
        """`embed` of any number of texts: those of about one length share a batch."""
        order = np.argsort([-len(text) for text in texts], kind="stable")
        parts = []
        with LateBar("embedding", len(texts)) as bar:
            for start in range(0, len(order), batch_size):
                batch = tf.constant([texts[row] for row in order[start : start + batch_size]])
                parts.append(self.embed(batch)["vector"].numpy())
                bar.advance_to(min(start + batch_size, len(order)))
        vectors = np.empty((len(texts), parts[0].shape[1]), np.float32)
        vectors[order] = np.concatenate(parts)
        return vectors

    def signatures(self) -> dict[str, Any]:
        """What a server calls."""
        return {"serving_default": self.embed, "embed": self.embed}


def fingerprint(model: keras.Model) -> str:
    """A digest of a model's weights."""
    digest = hashlib.sha256()
    for variable in model.weights:
        digest.update(ops.convert_to_numpy(variable).tobytes())
    return digest.hexdigest()
