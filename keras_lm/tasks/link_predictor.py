"""The task of links: which facts a graph of facts lacks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_lm.checkpoints import OWNED, Pretrained, write_model
from keras_lm.data.examples.tokenizing import check_count
from keras_lm.data.progress import LateBar
from keras_lm.data.triples import KnownTails, read_triples, with_inverses
from keras_lm.export import export_functions
from keras_lm.metrics.ranking import MRR, HitsAtK
from keras_lm.models import KnowledgeGraphEmbedding
from keras_lm.storage import read_json, replace_directory, write_json
from keras_lm.tasks.base import check_export
from keras_lm.tasks.link_functions import K, LinkFunctions, embedding_functions
from keras_lm.tasks.link_learning import TABLE, LinkLearner
from keras_lm.tasks.link_ranking import filtered_ranks, log_probabilities
from keras_lm.tasks.link_text import TextLinkFunctions
from keras_lm.tasks.reading import Reader, check_texts
from keras_lm.tokenizers import Tokenizer

_GRAPH = "graph.json"
_KNOWN = "known_triples"
_SCORES_AT_ONCE = 2**23  # 32 MB of float32, of which ranking makes some copies


@keras.saving.register_keras_serializable("keras_lm")
class LinkPredictor(LinkLearner):
    """Predicts facts (head, relation, tail) that a graph lacks from those that it has.

    An embedding model (`models.KnowledgeGraphEmbedding`) learns a vector for each entity and each
    relation. A text model reads the names of entities, or texts that describe them, with an
    encoder, and so knows something of entities of which the graph says little. Either is asked
    for heads as for tails, by inverse relations.

    Args:
        method: `"complex"` or `"distmult"`, embedding models; or `"text"`.
        dim: how many numbers an entity has: real ones for `"distmult"`, complex ones, which are
            two real ones each, for `"complex"`. A text model has those of its encoder.
        negatives: random entities that an embedding model tells the tails of a batch apart from;
            graphs of no more entities are learned with all. A text model takes the batch's own.
        regularization: the weight of an embedding model's N3 penalty.
        model: the encoder of a text model: any `Backbone`.
        tokenizer: its tokenizer.
        texts: entity → what a text model reads for it. Default: the name, with a space for each
            `_`; a relation is read by the same rule.
        sequence_length: T, the most tokens of a text; default: the model's `max_length`.
        entities: E names; default: those in the first triples that `fit` is given. Give it where
            there are more: these can be candidates too.
        relations: R names; default likewise.

    Raises:
        ValueError: an argument is of a wrong kind; the message names it.

    Example:

    >>> people = [f"person_{number}" for number in range(12)]
    >>> triples = [(one, "knows", other) for one, other in zip(people, people[1:])]
    >>> predictor = LinkPredictor("complex", dim=8, regularization=0.0)
    >>> history = predictor.fit(triples, epochs=60, batch_size=8, verbose=0)
    >>> predictor.predict_tail("person_3", "knows", k=1)[0]["entity"]
    'person_4'
    >>> predictor.predict_head("knows", "person_3", k=1)[0]["entity"]
    'person_2'
    >>> predictor.evaluate(triples, return_dict=True)["mrr"]
    1.0
    """

    # ---- figures

    def evaluate(
        self,
        x: Any = None,
        known: Any = None,
        verbose: Any = "auto",
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Ranks the true tail of each triple among all entities, and the true head.

        Ranks are filtered, as Bordes et al. (2013) have them: other entities that make a true
        triple do not count, so far as it is known: those of `x`, those that `fit` was given to
        learn from or to validate on, and those of `known`. Entities that score alike share the
        mean of their ranks.

        Args:
            x: triples, as for `fit`.
            known: further true triples, such as those of a test split. They may be of entities
                that the predictor does not know.
            verbose: 0 shows no progress of the ranking; else a bar appears where it takes long.
            return_dict: a dict of the figures by name; default: a list in the same order.
            **kwargs: what Keras's `fit` adds when it validates.

        Returns:
            `mrr`, the mean reciprocal rank; `hits@1`, `hits@3` and `hits@10`, the shares of ranks
            up to these; of both sides together.

        Raises:
            ValueError: triples are of a wrong form, or of entities or relations that are not
                known.
        """
        if isinstance(x, tf.data.Dataset):  # Keras's `fit` validates by this method
            numbers = np.concatenate(list(x.as_numpy_iterator()))
        elif kwargs:
            raise ValueError(f"evaluate takes no {', '.join(kwargs)}")
        else:
            numbers = self.names.numbers(read_triples(x, "x"), "x")
        num_relations = len(self.names.relations)
        true = [self.known, numbers]
        if known is not None:
            true.append(self.names.known_numbers(read_triples(known, "known")))
        tails = KnownTails(with_inverses(np.concatenate(true), num_relations), num_relations)
        questions = with_inverses(numbers, num_relations)
        with LateBar("ranking", len(questions)) as bar:
            tell = _teller(bar, verbose)
            ranks = filtered_ranks(self._scores, questions, tails, self._chunk, tell)
        metrics = {"mrr": MRR(), **{f"hits@{k}": HitsAtK(k) for k in (1, 3, 10)}}
        for metric in metrics.values():
            metric.update_ranks(ranks)
        results = {name: float(metric.result()) for name, metric in metrics.items()}
        return results if return_dict else list(results.values())

    def score(self, triples: Any, verbose: Any = "auto") -> np.ndarray:
        """How likely the tail of each triple is, given head and relation.

        Args:
            triples: as for `fit`.
            verbose: 0 shows no progress.

        Returns:
            Log-probabilities among all entities, float32 [n], in nats.

        Raises:
            ValueError: as for `evaluate`.
        """
        numbers = self.names.numbers(read_triples(triples))
        with LateBar("scoring", len(numbers)) as bar:
            tell = _teller(bar, verbose)
            return log_probabilities(self._scores, numbers, self._chunk, tell)

    @property
    def _chunk(self) -> int:
        return max(_SCORES_AT_ONCE // len(self.names.entities), 1)

    def _scores(self, heads: np.ndarray, relations: np.ndarray) -> np.ndarray:
        functions = self.link_functions
        return np.asarray(functions.scores(tf.constant(heads), tf.constant(relations)))

    # ---- answers

    def predict_tail(self, head: Any, relation: Any, k: int = K, known: bool = True) -> Any:
        """The likeliest tails of a head and a relation.

        Args:
            head: the name of an entity; or a list of names, with a list of as many relations.
            relation: the name of a relation.
            k: how many.
            known: False leaves out the tails in triples that `fit` was given.

        Returns:
            A list of dicts, the likeliest first: `entity`, and `score`, its probability among all
            entities. A list of such lists for lists.

        Raises:
            ValueError: a name is not known (the message names those near it), or `k` is not from
                1 to the number of entities.
        """
        return self._predict("predict_tail", {"head": head, "relation": relation}, k, known)

    def predict_head(self, relation: Any, tail: Any, k: int = K, known: bool = True) -> Any:
        """The likeliest heads of a relation and a tail; as `predict_tail`."""
        return self._predict("predict_head", {"relation": relation, "tail": tail}, k, known)

    def _predict(self, verb: str, given: dict[str, Any], k: int, known: bool) -> Any:
        check_count(k, "k", least=1)
        if k > len(self.names.entities):
            raise ValueError(f"k={k} is above the number of entities, {len(self.names.entities)}")
        is_one = all(isinstance(part, str) for part in given.values())
        columns = {
            name: check_texts(name, [part] if is_one else part) for name, part in given.items()
        }
        sizes = {len(column) for column in columns.values()}
        if len(sizes) > 1 or (not is_one and any(isinstance(v, str) for v in given.values())):
            raise ValueError(
                f"{' and '.join(given)} must be two names, or two lists of as many; got "
                + " and ".join(f"{part!r:.80}" for part in given.values())
            )
        for name, column in columns.items():
            self.names.find(name, column, name)
        function = getattr(self.link_functions, verb)
        names = [tf.constant(column) for column in columns.values()]
        rows = {name: t.numpy() for name, t in function(*names, k, bool(known)).items()}
        answers = [
            [
                {"entity": entity.decode(), "score": float(score)}
                for entity, score in zip(entities[:count], scores[:count], strict=True)
            ]
            for entities, scores, count in zip(
                rows["entity"], rows["score"], rows["count"], strict=True
            )
        ]
        return answers[0] if is_one else answers

    @property
    def link_functions(self) -> LinkFunctions:
        """The graph functions from names to answers, which `export` writes."""
        # Assigning to a weight changes nothing; another dtype does.
        names, state = self.names, (self.model.dtype_policy.name, *(id(v) for v in self.weights))
        if self._functions is None or self._functions[0] != state:
            known = KnownTails(
                with_inverses(self.known, len(names.relations)), len(names.relations)
            )
            self._functions = state, self._make_functions(known)
        functions: Any = self._functions[1]
        if self.reads_texts and self._embedded_at != self._steps_done:
            self._embedded_at = self._steps_done
            self.table.assign(functions.embedded())
        return functions

    def _make_functions(self, known: KnownTails) -> LinkFunctions:
        if not self.reads_texts:
            return embedding_functions(self, self.model, self.names, known)
        reader = Reader(self.tokenizer, self.sequence_length)
        return TextLinkFunctions(
            self, self.model, self.table, reader, self.names, self.read_as, known
        )

    @property
    def _steps_done(self) -> int:
        """Steps of the optimizer, which outdate a text model's vectors of the entities."""
        return int(self.optimizer.iterations) if self.compiled else 0

    def export(self, directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Writes a SavedModel that takes names and gives names, with TensorFlow alone.

        Its signatures, which are methods as well: `predict_tail` of `head` and `relation`, which
        is `serving_default`, and `predict_head` of `relation` and `tail`; both have the defaults
        k=10 and known=True. They give `entity`, `score` and `count`; names that are not known
        have a count of 0.

        Args:
            directory: where; an earlier SavedModel there is replaced as a whole.

        Raises:
            ValueError: the backend is not TensorFlow, or `directory` is something else.
        """
        check_export(kwargs)
        functions = self.link_functions
        export_functions(directory, functions, functions.signatures())

    # ---- files

    def get_config(self) -> dict[str, Any]:
        """Everything but the weights and the triples, as JSON values."""
        parts = {"model": self.model if self.reads_texts else None, "tokenizer": self.tokenizer}
        return {
            **super().get_config(),
            **{name: keras.saving.serialize_keras_object(part) for name, part in parts.items()},
            **self._settings(),
            "entities": self.entities,
            "relations": self.relations,
            "texts": self.texts,
        }

    def _settings(self) -> dict[str, Any]:
        names = ("method", "dim", "negatives", "regularization", "sequence_length")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The predictor that `get_config` describes."""
        arguments = dict(config)
        for part in ("model", "tokenizer"):
            arguments[part] = keras.saving.deserialize_keras_object(arguments[part])
        return cls(**arguments)

    def save_own_variables(self, store: Any) -> None:
        """Writes what stands beside the model into a `.keras` file."""
        store[_KNOWN] = self.known
        if self.reads_texts and self.built:
            store[TABLE] = ops.convert_to_numpy(self.table)

    def load_own_variables(self, store: Any) -> None:
        """Reads what `save_own_variables` wrote."""
        self.known = np.array(store[_KNOWN])
        self._functions = None
        if TABLE in store:
            self.table.assign(np.array(store[TABLE]))

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Writes a directory in the Hugging Face layout, replacing an older one as a whole.

        Beside `config.json`, `model.safetensors` and a text model's tokenizer stands `graph.json`
        with the names of entities and relations, and the texts.

        Args:
            directory: where; made if need be. Files of other kinds in it are kept.

        Raises:
            ValueError: `directory` is a file, or holds files and is no pretrained directory; or
                the predictor has no entities yet.
        """
        names = self.names
        own: dict[str, Any] = {_KNOWN: self.known}
        if self.reads_texts:
            _ = self.link_functions  # has the entities read where that is due
            own[TABLE] = self.table
        settings = {
            **self._settings(),
            "num_known": len(self.known),
            "training_seconds": self.training_seconds,
            "task": type(self).__name__,
            "head": None,
        }
        with replace_directory(directory, OWNED) as fresh:
            write_model(self.model, fresh, {"keras_lm": settings}, None, own)
            graph = {"entities": names.entities, "relations": names.relations, "texts": self.texts}
            write_json(fresh / _GRAPH, graph)
            if self.tokenizer is not None:
                self.tokenizer.save(fresh)

    @classmethod
    def from_pretrained(
        cls, directory: str | os.PathLike[str], dtype: Any = None, **settings: Any
    ) -> Self:
        """Reads a directory that `save_pretrained` wrote, or an encoder's for a new text model.

        Args:
            directory: the path of a directory, or an encoder's id of the Hugging Face hub.
            dtype: a Keras dtype policy such as `"mixed_bfloat16"`; default: the global one.
            **settings: arguments of `LinkPredictor`, for a new text model.

        Raises:
            FileNotFoundError: the directory or a file in it is missing.
            ValueError: a file is damaged or of a kind that is not supported.
        """
        files = Pretrained(directory)
        model = files.model(dtype, pooler=False)
        arguments: dict[str, Any] = {"model": model, "dtype": dtype}
        if not isinstance(model, KnowledgeGraphEmbedding):
            arguments |= {"method": "text", "tokenizer": Tokenizer.load(files.path)}
        if files.own.get("task") != cls.__name__:
            return cls(**{**arguments, **settings})
        saved = {name: files.own.get(name) for name in ("method", "sequence_length")}
        task = cls(**{**arguments, **saved, **_read_graph(files.path / _GRAPH), **settings})
        task._load_own(files)
        return task

    def _load_own(self, files: Pretrained) -> None:
        """Loads what a directory holds beside the model."""
        count = files.own.get("num_known")
        if not isinstance(count, int) or count < 0:
            config = str(files.path / "config.json")
            raise ValueError(f"{config!r} has num_known={count!r}; it must be an int, 0 or more")
        known = keras.Variable(np.zeros((count, 3), np.int32), trainable=False)
        own = {_KNOWN: known, **({TABLE: self.table} if self.reads_texts else {})}
        files.load_head(None, self.model.config, own)
        numbers = ops.convert_to_numpy(known)
        sizes = [len(self.names.entities), len(self.names.relations), len(self.names.entities)]
        if np.any(numbers < 0) or np.any(numbers >= sizes):
            raise ValueError(
                f"{str(files.path)!r} holds known triples of numbers beyond its {sizes[0]} "
                f"entities and {sizes[1]} relations: its files belong to different predictors"
            )
        self.known, self._embedded_at = numbers, self._steps_done
        self.training_seconds = files.own.get("training_seconds")


def _read_graph(path: Path) -> dict[str, Any]:
    """The names and texts of a `graph.json`."""
    graph = read_json(path)
    found: dict[str, Any] = {"texts": graph.get("texts")}
    for part in ("entities", "relations"):
        if not isinstance(graph.get(part), list):
            raise ValueError(f"{str(path)!r} has no list of {part}")
        found[part] = graph[part]
    if found["texts"] is not None and not isinstance(found["texts"], dict):
        raise ValueError(f"{str(path)!r} has texts that are no object of strings")
    return found


def _teller(bar: LateBar, verbose: Any) -> Callable[[int], None]:
    """What is told of progress: a bar, or nobody."""
    return (lambda done: None) if verbose in (0, "0") else bar.advance_to
