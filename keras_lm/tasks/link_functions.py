"""Names to likely tails and heads as graph functions: what Python calls is what is served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_lm.data.triples import GraphNames, KnownTails
from keras_lm.generation.compiled import compiled
from keras_lm.models import KnowledgeGraphEmbedding
from keras_lm.tasks.in_graph import in_graph

K = 10
"""How many entities are told where the caller does not say."""

_HOW_MANY = tf.TensorSpec([], tf.int32, "k")
_SHOWS_KNOWN = tf.TensorSpec([], tf.bool, "known")
QUESTIONS = (
    tf.TensorSpec([None], tf.int32, "heads"),
    tf.TensorSpec([None], tf.int32, "relations"),
)


def _named(name: str) -> tf.TensorSpec:
    return tf.TensorSpec([None], tf.string, name)


class LinkFunctions(tf.Module):
    """`predict_tail` and `predict_head` on string tensors.

    Args:
        names: the entities and relations.
        known: tails that can be left out.
        scores: a graph function of heads and relations, int32 [B] → logits float32 [B, E].
        parts: what holds the variables that it reads.
    """

    def __init__(
        self,
        names: GraphNames,
        known: KnownTails,
        scores: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
        parts: list[Any],
    ) -> None:
        super().__init__()
        self.parts, self.scores = parts, scores
        self._num_relations = len(names.relations)
        with tf.init_scope():
            self._entities = tf.constant(names.entities)
            self._entity_numbers = _numbers(names.entities)
            self._relation_numbers = _numbers(names.relations)
            self._keys, self._tails = tf.constant(known.keys), tf.constant(known.tails)

    @tf.function(
        input_signature=[_named("head"), _named("relation"), _HOW_MANY, _SHOWS_KNOWN],
        autograph=False,
    )
    def predict_tail(
        self,
        head: tf.Tensor,
        relation: tf.Tensor,
        k: tf.Tensor = tf.constant(K),
        known: tf.Tensor = tf.constant(True),
    ) -> dict[str, tf.Tensor]:
        """The likeliest tails of heads and relations [B].

        Returns:
            `entity` and `score`, [B, k at most], likeliest first; `count` int32 [B], how many of
            them there are, after which come "" and 0. A name that is not known has none.
        """
        heads = self._entity_numbers.lookup(head)
        return self._answers(heads, self._relation_numbers.lookup(relation), k, known)

    @tf.function(
        input_signature=[_named("relation"), _named("tail"), _HOW_MANY, _SHOWS_KNOWN],
        autograph=False,
    )
    def predict_head(
        self,
        relation: tf.Tensor,
        tail: tf.Tensor,
        k: tf.Tensor = tf.constant(K),
        known: tf.Tensor = tf.constant(True),
    ) -> dict[str, tf.Tensor]:
        """The same for heads of relations and tails [B]."""
        relations = self._relation_numbers.lookup(relation)
        inverses = tf.where(relations < 0, relations, relations + self._num_relations)
        return self._answers(self._entity_numbers.lookup(tail), inverses, k, known)

    def _answers(
        self, heads: tf.Tensor, relations: tf.Tensor, k: tf.Tensor, known: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        is_known = (heads >= 0) & (relations >= 0)
        heads, relations = tf.maximum(heads, 0), tf.maximum(relations, 0)
        scores = tf.nn.softmax(self.scores(tf.cast(heads, tf.int32), tf.cast(relations, tf.int32)))
        places = self._known_tails(heads, relations, known)
        scores = tf.tensor_scatter_nd_update(scores, places, tf.fill([tf.shape(places)[0]], -1.0))
        scores, best = tf.math.top_k(scores, tf.clip_by_value(k, 0, tf.size(self._entities)))
        shown = (scores >= 0) & is_known[:, tf.newaxis]
        return {
            "entity": tf.where(shown, tf.gather(self._entities, best), ""),
            "score": tf.where(shown, scores, 0.0),
            "count": tf.math.count_nonzero(shown, axis=1, dtype=tf.int32),
        }

    def _known_tails(self, heads: tf.Tensor, relations: tf.Tensor, shown: tf.Tensor) -> tf.Tensor:
        """Where known tails stand among the scores, int64 [n, 2]; nowhere where they are shown."""
        keys = heads * 2 * self._num_relations + relations
        first = tf.searchsorted(self._keys, keys, out_type=tf.int64)
        last = tf.searchsorted(self._keys, keys, side="right", out_type=tf.int64)
        found = tf.ragged.range(first, tf.where(shown, first, last))
        return tf.stack([found.value_rowids(), tf.gather(self._tails, found.flat_values)], axis=1)

    def signatures(self) -> dict[str, Any]:
        """What a server calls."""
        return {
            "serving_default": self.predict_tail,
            "predict_tail": self.predict_tail,
            "predict_head": self.predict_head,
        }


def embedding_functions(
    owner: keras.Model, model: KnowledgeGraphEmbedding, names: GraphNames, known: KnownTails
) -> LinkFunctions:
    """The functions of an embedding model; `owner` keeps those that are compiled."""
    function = compiled(owner, "scores", model.scores, jit_compile=False)
    outputs = tf.TensorSpec([None, len(names.entities)], tf.float32)
    return LinkFunctions(names, known, in_graph(function, QUESTIONS, outputs), [model])


def _numbers(names: tuple[str, ...]) -> tf.lookup.StaticHashTable:
    """Names to their numbers, int64; -1 for others."""
    table = tf.lookup.KeyValueTensorInitializer(
        tf.constant(names), tf.range(len(names), dtype=tf.int64)
    )
    return tf.lookup.StaticHashTable(table, default_value=-1)
