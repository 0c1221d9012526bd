"""Links predicted from texts: an encoder reads a head with a relation, and each entity alone.

The bi-encoder of SimKGC (Wang et al. 2022, https://arxiv.org/abs/2203.02167), with one encoder for
both sides: the score of a tail is the cosine of the two vectors over a temperature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_lm.data.examples.sequences import Sequences, longest_first
from keras_lm.data.examples.store import Batch
from keras_lm.data.examples.tokenizing import between_cls_and_sep, cls_and_sep, tokenize
from keras_lm.data.progress import LateBar
from keras_lm.data.triples import GraphNames, KnownTails
from keras_lm.generation.compiled import compiled
from keras_lm.layers.pooling import pool, unit
from keras_lm.models import Backbone
from keras_lm.tasks.in_graph import in_graph
from keras_lm.tasks.link_functions import LinkFunctions
from keras_lm.tasks.reading import INPUTS, Reader
from keras_lm.tokenizers import Tokenizer

_TEMPERATURE = 0.05
_MASKED = -1e9
_TEXTS_AT_ONCE = 64


def mean_vectors(model: Backbone, inputs: dict[str, Any], training: bool | None) -> Any:
    """Rows of tokens as vectors of length 1: the mean of their states, float32 [B, D]."""
    hidden = ops.cast(model.hidden_states(inputs, training=training), "float32")
    return unit(pool(hidden, inputs["padding_mask"], "mean"))


def text_cost(model: Backbone, inputs: dict[str, Any], training: bool | None) -> Any:
    """The nats of the tails of a batch among its candidates: a sum, and 0, float32 [2].

    Args:
        model: the encoder.
        inputs: what `TextTriples` gives.
        training: whether there is dropout.
    """
    names = ("token_ids", "token_types", "padding_mask")
    queries, tails = (
        mean_vectors(model, {name: inputs[prefix + name] for name in names}, training)
        for prefix in ("", "candidate_")
    )
    logits = ops.matmul(queries, ops.transpose(tails)) / _TEMPERATURE
    logits = ops.where(ops.cast(inputs["competes"], "bool"), logits, _MASKED)
    own = ops.take_along_axis(logits, inputs["tails"][:, None], axis=-1)[:, 0]
    nats = ops.sum(inputs["weights"] * (ops.logsumexp(logits, axis=-1) - own))
    return ops.stack([nats, ops.zeros_like(nats)])


@dataclass(frozen=True, eq=False)
class TextTriples:
    """Triples as `example_batches` reads them, for an encoder.

    A batch's candidates are its tails; its heads, which an encoder otherwise takes for the
    likeliest tails; and random entities where some of these are alike. A candidate that is another
    true tail of a question does not compete there.

    Args:
        triples: int32 [n, 3], with inverses.
        known: the tails that are true, as training knows them.
        entities: the token ids of each entity.
        relations: the token ids of each relation, then of the inverses.
        ends: the ids of CLS and SEP.
        separators: how many SEP stand between two texts.
        max_length: T, the most tokens of a row.
        batch_size: B.
    """

    triples: np.ndarray
    known: KnownTails
    entities: Sequences
    relations: Sequences
    ends: tuple[int, int]
    separators: int
    max_length: int
    batch_size: int

    def __len__(self) -> int:
        return len(self.triples)

    @property
    def lengths(self) -> np.ndarray:
        """int64 [n], the tokens of each question."""
        heads, relations, _ = self.triples.T
        sizes = self.entities.lengths[heads] + self.relations.lengths[relations]
        return np.minimum(sizes + 2 + self.separators, self.max_length)

    def rows(self, numbers: np.ndarray, widths: Sequence[int], rng: np.random.Generator) -> Batch:
        """A batch of triples by number; -1 is none, and has the weight 0.

        Returns:
            The questions' `token_ids`, `token_types` and `padding_mask`, int32 [B, T]; those of C
            candidates, with `candidate_` before the name; `tails`, int32 [B], among them;
            `competes`, int32 [B, C]; `weights`, float32 [B].
        """
        heads, relations, tails = self.triples[np.maximum(numbers, 0)].T
        weights = (numbers >= 0).astype(np.float32)
        order = rng.permutation(len(self.entities))
        comes_first = np.zeros(len(order), bool)
        comes_first[heads] = comes_first[tails] = True
        # A stable sort leaves the others in their random order.
        order = order[np.argsort(~comes_first[order], kind="stable")]
        candidates = np.sort(order[: min(2 * self.batch_size, len(order))])
        place = np.full(len(order), -1)
        place[candidates] = np.arange(len(candidates))
        x = {"tails": place[tails].astype(np.int32), "weights": weights}
        x["competes"] = np.ones((len(tails), len(candidates)), np.int32)
        question, true = self.known.find(heads, relations)
        true = place[true]
        x["competes"][question[true >= 0], true[true >= 0]] = 0
        x["competes"][np.arange(len(tails)), x["tails"]] = 1
        # A row that is none may be longer than its bucket's.
        x |= self._dense(self._questions(heads, relations, widths[0]), widths[0], "")
        x |= self._dense(self._alone(candidates), self._candidate_width, "candidate_")
        return x, x["tails"], weights

    def _questions(self, heads: np.ndarray, relations: np.ndarray, most: int) -> Sequences:
        """[CLS] head [SEP] relation [SEP], cut to so many tokens."""
        sizes = self.entities.lengths[heads], self.relations.lengths[relations]
        kept = longest_first(*sizes, room=most - 2 - self.separators)
        start = np.zeros_like(heads)
        parts = (
            self.entities.cut(heads, start, kept[0]),
            self.relations.cut(relations, start, kept[1]),
        )
        return between_cls_and_sep(self.ends, *parts, separators=self.separators)

    def _alone(self, entities: np.ndarray) -> Sequences:
        """[CLS] entity [SEP]."""
        kept = np.minimum(self.entities.lengths[entities], self.max_length - 2)
        cut = self.entities.cut(entities, np.zeros_like(entities), kept)
        return between_cls_and_sep(self.ends, cut)

    @property
    def _candidate_width(self) -> int:
        return int(min(self.entities.lengths.max() + 2, self.max_length))

    def _dense(self, rows: Sequences, width: int, prefix: str) -> dict[str, np.ndarray]:
        every = np.arange(len(rows))
        arrays = {**rows.dense(every, width), "padding_mask": rows.mask(every, width)}
        return {prefix + name: array for name, array in arrays.items()}


def text_triples(
    triples: np.ndarray,
    known: KnownTails,
    texts: tuple[Sequence[str], Sequence[str]],
    tokenizer: Tokenizer,
    max_length: int,
    batch_size: int,
) -> TextTriples:
    """Tokenizes the texts of entities and relations, once each."""
    entities, relations = (tokenize(part, tokenizer) for part in texts)
    return TextTriples(
        triples,
        known,
        entities,
        relations,
        cls_and_sep(tokenizer),
        tokenizer.separators_between_texts,
        max_length,
        batch_size,
    )


class TextLinkFunctions(LinkFunctions):
    """`predict_tail` and `predict_head` by an encoder and a table of its vectors of the entities.

    Args:
        owner: the task, on which the compiled functions are kept.
        model: the encoder.
        table: a weight of the task, [E, D], to be filled with `embedded`.
        reader: strings to rows.
        names: the entities and relations.
        texts: what stands for each in the encoder's eyes.
        known: tails that can be left out.
    """

    def __init__(
        self,
        owner: keras.Model,
        model: Backbone,
        table: keras.Variable,
        reader: Reader,
        names: GraphNames,
        texts: tuple[Sequence[str], Sequence[str]],
        known: KnownTails,
    ) -> None:
        def vectors(token_ids: Any, token_types: Any, padding_mask: Any) -> Any:
            inputs = {
                "token_ids": token_ids,
                "token_types": token_types,
                "padding_mask": padding_mask,
            }
            return mean_vectors(model, inputs, training=False)

        def scores(*inputs: Any) -> Any:
            return ops.matmul(vectors(*inputs), ops.transpose(table)) / _TEMPERATURE

        def graph_function(name: str, function: Callable[..., Any], width: int) -> Any:
            function = compiled(owner, name, function, jit_compile=False)
            return in_graph(function, INPUTS, tf.TensorSpec([None, width], tf.float32))

        super().__init__(names, known, self._scores, [model, table.value, reader])
        self._reader, self._width = reader, table.shape[1]
        self._texts = [tf.constant(part) for part in texts]
        self._vectors = graph_function("vectors", vectors, self._width)
        self._scores_of_rows = graph_function("scores", scores, len(names.entities))

    def _scores(self, heads: tf.Tensor, relations: tf.Tensor) -> tf.Tensor:
        entities, all_relations = self._texts
        texts = tf.gather(entities, heads), tf.gather(all_relations, relations)
        return self._scores_of_rows(*self._reader(*texts)[0])

    def embedded(self) -> np.ndarray:
        """The vectors of all entities as they are now, float32 [E, D]."""
        texts = self._texts[0].numpy()
        order = np.argsort([len(text) for text in texts], kind="stable")
        found = np.zeros((len(texts), self._width), np.float32)
        with LateBar("reading the entities", len(texts)) as bar:
            for start in range(0, len(texts), _TEXTS_AT_ONCE):
                chosen = order[start : start + _TEXTS_AT_ONCE]
                rows, _ = self._reader(tf.constant(texts[chosen]))
                found[chosen] = self._vectors(*rows).numpy()
                bar.advance_to(start + len(chosen))
        return found
