"""From texts to relations as graph functions: what Python calls is served."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from keras_lm.data.examples.entity_marks import (
    MarkedReader,
    MarkedRows,
    MarkedTexts,
    tagged_texts,
)
from keras_lm.metrics.relations import are_directed, relation_of
from keras_lm.tasks.reading import TEXT
from keras_lm.tasks.tagging_functions import TaggingFunctions
from keras_lm.tokenizers import Tokenizer

PAIRS_AT_ONCE = 32
"""Pairs of entities that the model reads at once."""

INPUTS = (
    tf.TensorSpec([None, None], tf.int32, "token_ids"),
    tf.TensorSpec([None, None], tf.int32, "padding_mask"),
    tf.TensorSpec([None, 2], tf.int32, "e1"),
    tf.TensorSpec([None, 2], tf.int32, "e2"),
)
"""What the model's function takes."""

_ENTITY = ("text", "label", "start", "end", "start_byte", "end_byte")


class PairFunctions(tf.Module):
    """`classify` on string tensors.

    Args:
        probabilities: `INPUTS` → those of the labels, float32 [B, C].
        parts: what holds its variables.
        tokenizer: the tokenizer.
        max_length: T, the most tokens of a row.
        labels: C names.
    """

    tagging: TaggingFunctions | None = None

    def __init__(
        self,
        probabilities: Callable[..., tf.Tensor],
        parts: Sequence[Any],
        tokenizer: Tokenizer,
        max_length: int,
        labels: Sequence[str],
    ) -> None:
        super().__init__()
        self.parts = parts
        self._probabilities, self._labels = probabilities, tuple(labels)
        self.reader = MarkedReader(tokenizer, max_length)

    @tf.function(input_signature=[TEXT], autograph=False)
    def classify(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Texts [B] with tagged entities → fields.

        Returns:
            `label` [B], the likeliest one; `score`, float32 [B], its probability; `classes` and
            `scores` [B, C], all of them; `truncated`, bool [B]. Where the tags are wrong, or the
            entities stand too far apart, the label is "" and the scores are 0.
        """
        texts, is_well = tagged_texts(text)
        rows = self.reader(texts)
        is_read = is_well & rows.has_both
        scores = tf.where(is_read[:, tf.newaxis], self._scores(rows), 0.0)
        labels = tf.constant(self._labels)
        return {
            "label": tf.where(is_read, tf.gather(labels, tf.argmax(scores, axis=1)), ""),
            "score": tf.reduce_max(scores, axis=1),
            "classes": tf.tile(labels[tf.newaxis], [tf.shape(scores)[0], 1]),
            "scores": scores,
            "truncated": rows.is_cut,
        }

    def _scores(self, rows: MarkedRows) -> tf.Tensor:
        ids = rows.token_ids
        mask = tf.ones_like(ids)
        return self._probabilities(ids.to_tensor(0), mask.to_tensor(0), rows.e1, rows.e2)

    def signatures(self) -> dict[str, Any]:
        """What a server calls: `serving_default` and `classify` for tagged sentences."""
        return {"serving_default": self.classify, "classify": self.classify}


class RelationFunctions(PairFunctions):
    """`extract_relations` besides, on texts whose entities are to be found.

    Args:
        tagging: finds the entities.
        labels: C names.
        no_relation: the one that means none, or None.
        **kwargs: as `PairFunctions`.
    """

    def __init__(
        self,
        tagging: TaggingFunctions,
        labels: Sequence[str],
        no_relation: str | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(labels=labels, **kwargs)
        self.tagging: TaggingFunctions = tagging
        self._is_directed = are_directed(labels)
        relations = [relation_of(label) for label in labels]
        self._relations = [name for name, _ in relations]
        self._is_turned = [is_turned is True for _, is_turned in relations]
        self._is_relation = [label != no_relation for label in labels]

    @tf.function(input_signature=[TEXT], autograph=False)
    def extract_relations(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Texts [B] → relations [B, R] in order, and how many each text has.

        Returns:
            `count`, int64 [B]; `relation`, strings [B, R]; `score`, float32; and of both entities
            the fields of `TaggingFunctions.tag` but for its score, as `head_text`, `head_label`,
            `head_start`, …, `tail_end_byte`. What is beyond a text's count is empty.
        """
        entities = self.tagging.tag(text)
        pairs = self._pairs(entities["count"])
        scores = tf.cond(
            tf.shape(pairs)[0] > 0,
            lambda: self._in_chunks(text, entities, pairs),
            lambda: tf.zeros([0, len(self._labels)]),
        )
        best = tf.argmax(scores, axis=1)
        # Entities that stand too far apart have the score -1.
        is_found = tf.gather(self._is_relation, best) & (scores[:, 0] >= 0)
        pairs, scores = tf.boolean_mask(pairs, is_found), tf.boolean_mask(scores, is_found)
        best = tf.boolean_mask(best, is_found)
        row, e1, e2 = tf.unstack(pairs, axis=1)
        is_turned = tf.gather(self._is_turned, best)
        fields = {
            "relation": tf.gather(self._relations, best),
            "score": tf.reduce_max(scores, axis=1),
        }
        for side, entity in (
            ("head", tf.where(is_turned, e2, e1)),
            ("tail", tf.where(is_turned, e1, e2)),
        ):
            place = tf.stack([row, entity], axis=1)
            fields |= {f"{side}_{name}": tf.gather_nd(entities[name], place) for name in _ENTITY}
        splits = tf.searchsorted(row, tf.range(tf.size(text, tf.int64) + 1))
        dense = {
            name: tf.RaggedTensor.from_row_splits(values, splits).to_tensor()
            for name, values in fields.items()
        }
        return {"count": splits[1:] - splits[:-1], **dense}

    def _pairs(self, counts: tf.Tensor) -> tf.Tensor:
        """Which entities are asked for, int64 [P, 3]: text, e1, e2, for texts with so many [B]."""
        number = tf.range(tf.reduce_max(tf.concat([counts, [0]], axis=0)))
        one, other = number[:, tf.newaxis], number[tf.newaxis]
        is_asked = one < other if self._is_directed else one != other
        are_there = tf.maximum(one, other) < counts[:, tf.newaxis, tf.newaxis]
        return tf.where(is_asked & are_there)

    def _in_chunks(
        self, text: tf.Tensor, entities: dict[str, tf.Tensor], pairs: tf.Tensor
    ) -> tf.Tensor:
        """The scores of pairs [P, C], `PAIRS_AT_ONCE` at most at a time; -1 of what is not read."""
        start, end = entities["start_byte"], entities["end_byte"]

        def read(pairs: tf.Tensor) -> tf.Tensor:
            row, e1, e2 = tf.unstack(pairs, axis=1)
            is_turned = e2 < e1
            first = tf.stack([row, tf.minimum(e1, e2)], axis=1)
            second = tf.stack([row, tf.maximum(e1, e2)], axis=1)
            whole = tf.gather(text, row)
            ends = [
                tf.zeros_like(row, tf.int32),
                *(tf.gather_nd(side, place) for place in (first, second) for side in (start, end)),
                tf.strings.length(whole),
            ]
            pieces = [tf.strings.substr(whole, a, b - a) for a, b in itertools.pairwise(ends)]
            rows = self.reader(MarkedTexts(tf.stack(pieces, axis=1), is_turned))
            return tf.where(rows.has_both[:, tf.newaxis], self._scores(rows), -1.0)

        count = tf.shape(pairs)[0]
        chunks = (count + PAIRS_AT_ONCE - 1) // PAIRS_AT_ONCE
        size = (count + chunks - 1) // chunks
        # Chunks of one size; the last pair fills up the last one.
        places = tf.minimum(tf.range(chunks * size), count - 1)
        parts = tf.map_fn(
            read,
            tf.reshape(tf.gather(pairs, places), [chunks, size, 3]),
            fn_output_signature=tf.TensorSpec([None, len(self._labels)], tf.float32),
            parallel_iterations=1,
        )
        return tf.reshape(parts, [-1, len(self._labels)])[:count]

    def signatures(self) -> dict[str, Any]:
        """What a server calls: `serving_default` for texts, `classify` for tagged sentences."""
        return {"serving_default": self.extract_relations, "classify": self.classify}
