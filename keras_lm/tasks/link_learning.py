"""How links are learned: the half of `LinkPredictor` that `fit` needs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_lm.config import KnowledgeGraphConfig
from keras_lm.data.examples.batches import example_batches
from keras_lm.data.examples.buckets import bucket_plan
from keras_lm.data.examples.tokenizing import check_count
from keras_lm.data.triples import (
    GraphNames,
    KnownTails,
    TripleExamples,
    check_names,
    entity_texts,
    read_triples,
    relation_texts,
    vocabulary,
    with_inverses,
)
from keras_lm.models import Backbone, KnowledgeGraphEmbedding
from keras_lm.tasks.base import DEFAULT_LENGTH
from keras_lm.tasks.link_text import text_cost, text_triples
from keras_lm.tokenizers import Tokenizer
from keras_lm.training import fine_tuning_optimizer

Method = Literal["complex", "distmult", "text"]

TABLE = "entity_vectors"
"""The weight that holds what a text model makes of the entities."""

_BATCH, _TEXT_BATCH = 1000, 128
_NUM_BUCKETS = 4
_SHORTEST = 8  # tokens, in which a question still has a word or two of each part


class LinkLearner(keras.Model):
    """A model of a graph and how it learns; `LinkPredictor` says what each argument is."""

    def __init__(
        self,
        method: Method = "complex",
        dim: int = 200,
        negatives: int = 2000,
        regularization: float = 0.07,
        model: Backbone | None = None,
        tokenizer: Tokenizer | None = None,
        texts: Mapping[str, str] | None = None,
        sequence_length: int | None = None,
        entities: Sequence[str] | None = None,
        relations: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.autocast = False  # or weights of questions would come in half precision
        if method not in ("complex", "distmult", "text"):
            raise ValueError(f"method must be 'complex', 'distmult' or 'text'; got {method!r}")
        self.method: Any = method
        self.dim, self.negatives, self.regularization = dim, negatives, regularization
        self.model: Any = model
        self.tokenizer: Any = tokenizer
        self.texts = None if texts is None else dict(texts)
        self.sequence_length: Any = sequence_length
        if self.reads_texts:
            self._check_reader()
        else:
            self._check_embedding()
        self.entities = None if entities is None else check_names(entities, "entities")
        self.relations = None if relations is None else check_names(relations, "relations")
        self.known = np.zeros((0, 3), np.int32)
        """Triples that `fit` was given, int32 [n, 3]."""
        self._embedded_at: int | None = None
        self._functions: Any = None
        self.training_seconds: float | None = None
        """Seconds that `fit` has taken in all; None if it was never called."""
        if self.entities is not None and self.relations is not None:
            self._start()

    @property
    def reads_texts(self) -> bool:
        """Whether it is a text model."""
        return self.method == "text"

    def _check_reader(self) -> None:
        if not isinstance(self.model, Backbone) or not isinstance(self.tokenizer, Tokenizer):
            raise ValueError(
                "method='text' needs an encoder and its tokenizer: LinkPredictor('text', "
                "model=…, tokenizer=…), or LinkPredictor.from_pretrained(directory)"
            )
        self.model.adopt(self.tokenizer)
        longest = self.model.config.max_length
        if self.sequence_length is None:
            self.sequence_length = longest or DEFAULT_LENGTH
        check_count(self.sequence_length, "sequence_length", least=_SHORTEST)
        if longest is not None and self.sequence_length > longest:
            raise ValueError(
                f"sequence_length={self.sequence_length} is above the model's max_length={longest}"
            )

    def _check_embedding(self) -> None:
        for name in ("tokenizer", "texts", "sequence_length"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} is for method='text'; method is {self.method!r}")
        if self.model is None:
            self._config(1, 1)  # a ValueError where a field is wrong
            return
        if not isinstance(self.model, KnowledgeGraphEmbedding):
            raise ValueError(
                f"method={self.method!r} needs no model, or a KnowledgeGraphEmbedding; got "
                f"{self.model!r}"
            )
        config = self.model.config
        self.method, self.dim = config.method, config.dim
        self.negatives, self.regularization = config.negatives, config.regularization

    def _config(self, num_entities: int, num_relations: int) -> KnowledgeGraphConfig:
        return KnowledgeGraphConfig(
            num_entities=num_entities,
            num_relations=num_relations,
            dim=self.dim,
            method=self.method,
            negatives=self.negatives,
            regularization=self.regularization,
        )

    def _start(self) -> None:
        """Makes what so many entities and relations need."""
        entities, relations = self.entities or (), self.relations or ()
        self._names = GraphNames(entities, relations)
        if self.reads_texts:
            self.read_as = entity_texts(entities, self.texts), relation_texts(relations)
            self.table = self.add_weight(
                shape=(len(entities), self.model.config.hidden_dim),
                initializer="zeros",
                trainable=False,
                dtype="float32",
                name=TABLE,
            )
        else:
            config = self._config(len(entities), len(relations))
            if self.model is None:
                self.model = KnowledgeGraphEmbedding(config, dtype=self.dtype_policy)
            if self.model.config != config:
                raise ValueError(
                    f"the model has {self.model.config.num_entities} entities and "
                    f"{self.model.config.num_relations} relations; entities names "
                    f"{len(entities)} and relations {len(relations)}"
                )
        self.built = True

    def build(self, input_shape: Any = None) -> None:
        self.built = True

    @property
    def names(self) -> GraphNames:
        """The entities and relations; `ValueError` before there are any."""
        if not self.built:
            raise ValueError("the predictor has no entities yet; call fit(triples) first")
        return self._names

    # ---- training

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        unread = {id(variable) for variable in getattr(self.model, "output_variables", ())}
        return [v for v in super().trainable_variables if id(v) not in unread]

    @property
    def trainable_weights(self) -> list[keras.Variable]:
        unread = {id(variable) for variable in getattr(self.model, "output_variables", ())}
        return [v for v in super().trainable_weights if id(v) not in unread]

    def compile(self, optimizer: Any = "auto", **kwargs: Any) -> None:
        """Keras's `compile`; the loss is the model's own, and figures come from `evaluate`.

        Args:
            optimizer: default: Adagrad, which Lacroix et al. take, at 0.2 for an embedding model;
                `keras_lm.training.fine_tuning_optimizer()`, AdamW, for a text model.
            **kwargs: as in Keras: `jit_compile`, `steps_per_execution`, …

        Raises:
            ValueError: a loss or metrics are given.
        """
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if kwargs.get(name) is not None:
                raise ValueError(f"{name} must be left out: a LinkPredictor has its own")
        if optimizer == "auto" and self.reads_texts:
            optimizer = fine_tuning_optimizer()
        elif optimizer == "auto":
            # Gradients of the mean over a batch are small; so is what is added to their squares.
            optimizer = keras.optimizers.Adagrad(0.2, initial_accumulator_value=0, epsilon=1e-20)
        super().compile(optimizer=optimizer, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as a saved predictor was compiled, with its optimizer's state restored after."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> Any:
        """What a batch of questions costs: the nats and the penalty, sums, float32 [2].

        Args:
            inputs: what `fit` makes of triples.
            training: whether there is dropout.
        """
        if self.reads_texts:
            return text_cost(self.model, inputs, training)
        return self.model.cost(inputs)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Nats and penalty a question."""
        return ops.sum(y_pred) / ops.maximum(ops.sum(x["weights"]), 1.0)

    def fit(
        self,
        x: Any,
        validation_data: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        shuffle: bool = True,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Keras's `fit`, on triples; each asks for its tail and for its head.

        Batches are read by address: they are a function of (seed, epoch, number), so that
        `training.Resume` is exact. A predictor that was not compiled is compiled with the
        defaults.

        Args:
            x: a list of (head, relation, tail); a tuple of three lists, the heads, the relations
                and the tails; or the path of a .tsv or .tsv.gz file with these columns.
            validation_data: triples likewise, which `evaluate` ranks after every epoch.
            batch_size: B, questions a batch; default 1000 for an embedding model, 128 for a text
                model.
            shuffle: gives every epoch an order of its own.
            seed: of the order, and of the random entities.
            **kwargs: as in Keras.

        Returns:
            Keras's History; `loss` is in nats a question, with the penalty.

        Raises:
            ValueError: triples are of a wrong form; or, where entities and relations are set, they
                have others.
        """
        if batch_size is not None:
            check_count(batch_size, "batch_size", least=1)
        triples = read_triples(x, "x")
        checked = (
            [] if validation_data is None else read_triples(validation_data, "validation_data")
        )
        if not self.built:
            entities, relations = vocabulary([*triples, *checked])
            self.entities, self.relations = self.entities or entities, self.relations or relations
            self._start()
        if not self.compiled:
            self.compile()
        numbers = self.names.numbers(triples, "x")
        given = [numbers]
        if checked:
            given.append(self.names.numbers(checked, "validation_data"))
            kwargs["validation_data"] = tf.data.Dataset.from_tensors(given[-1])
        self.known = np.unique(np.concatenate([self.known, *given]), axis=0)
        self._functions, self._embedded_at = None, None
        examples, plan = self._planned(numbers, batch_size)
        steps = steps_per_epoch or plan.num_batches
        # Endless and indexed by the global step: what Keras resumes exactly.
        batches = example_batches(
            examples, plan, shuffle=shuffle, seed=seed, repeat=True, start=initial_epoch * steps
        )
        began = time.perf_counter()
        try:
            return super().fit(
                batches,
                epochs=epochs,
                verbose=verbose,
                callbacks=callbacks,
                shuffle=False,
                initial_epoch=initial_epoch,
                steps_per_epoch=steps,
                **kwargs,
            )
        finally:
            self.training_seconds = (self.training_seconds or 0.0) + time.perf_counter() - began
            self._embedded_at = None

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Not what it is in Keras: what `call` gives is what training costs."""
        raise ValueError("predict is not for links; ask predict_tail, predict_head or score")

    def _planned(self, numbers: np.ndarray, batch_size: int | None) -> tuple[Any, Any]:
        """Triples [n, 3] and their inverses as examples, and the plan of their batches."""
        entities, relations = self.names.entities, self.names.relations
        usual = _TEXT_BATCH if self.reads_texts else _BATCH
        size = usual if batch_size is None else batch_size
        questions = with_inverses(numbers, len(relations))
        if not self.reads_texts:
            negatives = None if self.model.config.compares_all else self.negatives
            plan = bucket_plan(np.ones(len(questions), int), batch_size=size, num_buckets=1)
            return TripleExamples(questions, len(entities), negatives), plan
        examples = text_triples(
            questions,
            KnownTails(questions, len(relations)),
            self.read_as,
            self.tokenizer,
            self.sequence_length,
            size,
        )
        plan = bucket_plan(examples.lengths, batch_size=size, num_buckets=_NUM_BUCKETS)
        return examples, plan
