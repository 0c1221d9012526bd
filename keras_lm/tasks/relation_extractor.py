"""The task of relations: what two entities of a text have to do with each other."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import keras
import tensorflow as tf
from keras import ops

from keras_lm import data
from keras_lm.checkpoints import Pretrained
from keras_lm.data.examples.entity_marks import SHORTEST, check_tagged, shortened
from keras_lm.data.progress import LateBar
from keras_lm.generation.compiled import compiled
from keras_lm.metrics import RelationF1
from keras_lm.metrics.relations import are_directed
from keras_lm.models import Backbone
from keras_lm.storage import replace_file
from keras_lm.tasks.head_task import HeadTask
from keras_lm.tasks.in_graph import in_graph
from keras_lm.tasks.labelled import check_labels, label_settings, labels_agree
from keras_lm.tasks.reading import check_texts, rows_of
from keras_lm.tasks.relation_functions import INPUTS, PairFunctions, RelationFunctions
from keras_lm.tasks.token_classifier import TokenClassifier
from keras_lm.tokenizers import Tokenizer

NAMES_OF_NONE = ("Other", "no_relation")
"""Labels that mean that there is no relation, unless another is given: SemEval's and TACRED's."""

_FOLDER = "tagger"


@keras.saving.register_keras_serializable("keras_lm")
class RelationExtractor(HeadTask):
    """Tells the relation of two entities; with a tagger that finds them, all relations of a text.

        hidden states [B, T, D] → means of the text, of e1, of e2 [B, 3D] → dropout → dense
        → logits [B, C]

    This is R-BERT (Wu and He 2019, https://arxiv.org/abs/1905.08284) without its layers between,
    without which a small encoder learned faster, and with the mean of the text, which tells
    something in every model, for the state of CLS. The entity marks are those of Zhou and Chen
    2021 (https://arxiv.org/abs/2102.01373): `@` around e1, `#` around e2.

    Labels such as `Cause-Effect(e1,e2)` and `Cause-Effect(e2,e1)` say which entity is the head;
    then a pair of entities of a text is asked once, e1 being the earlier, which is also the head
    for a label that says nothing. Where no label does, each pair is asked both ways, and e1 is
    the head.

    Args:
        model: any `Backbone`: an `Encoder`, a `Decoder`, a `RecurrentLM`, …
        tokenizer: its tokenizer; it must give offsets.
        labels: the name of each relation, two or more, or their number C.
        no_relation: the label that means none; default: `"Other"` or `"no_relation"` where one is
            among the labels, else none does.
        tagger: finds the entities: a `TokenClassifier` with labels of entities. It is not trained
            here. May also be set, or set to None, later.
        dropout: of what is read; default: the model's.
        sequence_length: T, the most tokens of a sentence with its marks, 8 or more; default: the
            model's `max_length`. Longer ones are cut around their entities. Of two entities that
            stand too far apart for it, nothing is found in a text.

    Raises:
        ValueError: an argument is of a wrong kind.

    Example:

    >>> import keras_lm as klm
    >>> sentences = ["<e1>Ann</e1> runs <e2>Acme</e2>.", "<e1>Bo</e1> left <e2>Acme</e2>."] * 16
    >>> relations = ["runs", "Other"] * 16
    >>> tok = klm.tokenizers.BytePairTokenizer.train(texts=sentences, vocab_size=266)
    >>> config = klm.EncoderConfig(vocab_size=tok.vocab_size, num_layers=1, hidden_dim=16,
    ...                            num_heads=2, max_length=32)
    >>> extractor = RelationExtractor(klm.models.Encoder(config), tok, labels=["Other", "runs"])
    >>> extractor.compile(klm.training.fine_tuning_optimizer(1e-2))
    >>> history = extractor.fit(sentences, relations, epochs=8, verbose=0)
    >>> extractor.classify("<e1>Ann</e1> runs <e2>Acme</e2>.")["label"]
    'runs'
    """

    HEAD = "relation_extractor"
    SETTINGS = (*HeadTask.SETTINGS, "labels", "no_relation", "dropout")

    def __init__(
        self,
        model: Backbone,
        tokenizer: Tokenizer | None = None,
        labels: Sequence[str] | int | None = None,
        no_relation: str | None = None,
        tagger: TokenClassifier | None = None,
        dropout: float | None = None,
        sequence_length: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, tokenizer, sequence_length, **kwargs)
        self.labels = check_labels(labels)
        if len(self.labels) < 2:
            raise ValueError(f"labels must be two or more; got {list(self.labels)}")
        if no_relation is None:
            no_relation = next((name for name in NAMES_OF_NONE if name in self.labels), None)
        elif no_relation not in self.labels:
            raise ValueError(f"no_relation={no_relation!r} must be one of {list(self.labels)}")
        if self.sequence_length < SHORTEST:
            raise ValueError(
                f"sequence_length={self.sequence_length} leaves no room for two entities and "
                f"their marks; it must be {SHORTEST} or more"
            )
        self.no_relation = no_relation
        self.tagger = tagger
        self.add_head(len(self.labels), 3 * model.config.hidden_dim, dropout)

    # ---- the tagger, a task of its own: its weights are not ours

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "tagger":
            super().__setattr__(name, value)
            return
        if value is not None and not (isinstance(value, TokenClassifier) and value.has_entities):
            raise ValueError(
                "tagger must be a TokenClassifier whose labels are tags of entities (O, B-type, "
                f"I-type, …), or None; got {_described(value)}"
            )
        self.__dict__["tagger"] = value  # past Keras's tracking

    def _require_tagger(self, purpose: str) -> None:
        if self.tagger is None:
            raise ValueError(
                f"{purpose} needs a tagger, which finds the entities of a text: give "
                "tagger=TokenClassifier(…), or set it, or mark the entities and call classify"
            )

    def get_config(self) -> dict[str, Any]:
        tagger = keras.saving.serialize_keras_object(self.tagger)
        return {**super().get_config(), "tagger": tagger}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        tagger = keras.saving.deserialize_keras_object(config["tagger"])
        return super().from_config({**config, "tagger": tagger})

    @classmethod
    def from_directory(cls, path: Path, dtype: Any = None, **settings: Any) -> Self:
        """With the tagger in its folder `tagger`."""
        folder = path / _FOLDER
        if "tagger" not in settings and folder.is_dir():
            settings["tagger"] = TokenClassifier.from_pretrained(folder, dtype)
        if "labels" in settings:  # what is saved need not be among them
            settings.setdefault("no_relation", None)
        return super().from_directory(path, dtype, **settings)

    def write_more(self, directory: Path) -> None:
        if self.tagger is not None:
            self.tagger.save_pretrained(directory / _FOLDER)

    def finds_its_head(self, files: Pretrained) -> bool:
        return super().finds_its_head(files) and labels_agree(files, self.labels)

    def hf_settings(self) -> dict[str, Any]:
        return label_settings(self.labels)

    # ---- learning

    def usual_loss(self) -> keras.losses.Loss:
        return keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        )

    def usual_metrics(self) -> list[Any]:
        metrics: list[Any] = [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
        if are_directed(self.labels):
            metrics.append(RelationF1(self.labels, self.no_relation))
        return metrics

    def examples(self, x: list[Any], y: list[Any] | None, progress: bool) -> data.ExampleStore:
        return data.entity_relations(
            x,
            [0] * len(x) if y is None else y,
            self.require_tokenizer("fit on sentences"),
            self.sequence_length,
            label_names=self.labels,
            progress=progress,
        )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Logits float32 [B, C] of a dict of `token_ids` [B, T] and the places `e1`, `e2` [B, 2].

        A place is the first token and the one after the last; of none the mean is 0.
        """
        tokens = {name: value for name, value in inputs.items() if name not in ("e1", "e2")}
        hidden = self.model.hidden_states(tokens, training=training)
        place = ops.arange(ops.shape(hidden)[1], dtype="int32")
        whole = inputs.get("padding_mask")
        parts = [ops.ones_like(inputs["token_ids"]) if whole is None else whole]
        parts += [
            (place >= inputs[name][:, :1]) & (place < inputs[name][:, 1:]) for name in ("e1", "e2")
        ]
        masks = ops.stack([ops.cast(part, hidden.dtype) for part in parts], axis=1)
        counts = ops.sum(ops.cast(masks, "float32"), axis=2, keepdims=True)
        means = ops.cast(ops.matmul(masks, hidden), "float32") / ops.maximum(counts, 1.0)
        read = ops.cast(ops.reshape(means, (-1, 3 * hidden.shape[-1])), hidden.dtype)
        return ops.cast(self.head(self.drop(read, training=training)), "float32")

    # ---- sentences to labels

    def classify(self, sentence: Any, batch_size: int = 32) -> Any:
        """Says which relation the two tagged entities of a sentence have.

        Args:
            sentence: a string with `<e1>…</e1>` and `<e2>…</e2>` in it, or a list of such.
            batch_size: sentences that are read at once.

        Returns:
            For each sentence a dict: `label`, the likeliest one; `score`, its probability;
            `scores`, those of all labels by name.

        Raises:
            ValueError: a sentence is not tagged so, or its entities stand too far apart.
        """
        sentences = check_texts("sentence", sentence)
        places = [
            "sentence" if isinstance(sentence, str) else f"sentence[{row}]"
            for row in range(len(sentences))
        ]
        for place, text in zip(places, sentences, strict=True):
            check_tagged(text, place)
        rows = rows_of(self.text_functions.classify, sentences, batch_size=batch_size)
        for place, text, row in zip(places, sentences, rows, strict=True):
            if not row["score"]:
                raise ValueError(
                    f"{place} is {shortened(text)}: its entities stand too far apart for "
                    f"sequence_length={self.sequence_length} tokens"
                )
        answers = [self._answer(row) for row in rows]
        return answers[0] if isinstance(sentence, str) else answers

    def _answer(self, row: Mapping[str, Any]) -> dict[str, Any]:
        scores = dict(zip(self.labels, row["scores"].tolist(), strict=True))
        return {"label": row["label"].decode(), "score": float(row["score"]), "scores": scores}

    # ---- texts to relations

    def extract_relations(self, text: Any, batch_size: int = 32) -> Any:
        """Finds the entities of a text and the relations between them.

        Args:
            text: a string, or a list of strings.
            batch_size: texts that are read at once; the pairs of entities in them are read in
                batches of bounded size, however many they are.

        Returns:
            For each text a list of dicts, in the order of their e1: `head`, `relation`, `tail`,
            `score`. Head and tail are dicts of `text`; `label`, the type of the entity; `start`
            and `end` in characters, half-open; `start_byte` and `end_byte` in bytes of the UTF-8
            text. The relation is the label without its direction, and the score its probability.
            Pairs whose likeliest label is `no_relation` are left out.

        Raises:
            ValueError: there is no tagger; a text is no string, or is empty.
        """
        self._require_tagger("extract_relations")
        found = self._extracted(check_texts("text", text), batch_size)
        return found[0] if isinstance(text, str) else found

    def _extracted(self, texts: list[str], batch_size: int) -> list[list[dict[str, Any]]]:
        found: list[list[dict[str, Any]]] = []
        function = self.text_functions.extract_relations
        some = 8 * batch_size  # enough to put texts of one length together
        with LateBar("extracting relations", len(texts)) as bar:
            for begin in range(0, len(texts), some):
                part = texts[begin : begin + some]
                found += map(_relations_in, rows_of(function, part, batch_size=batch_size))
                if len(texts) > some:  # the first call may take long to trace
                    bar.advance_to(len(found))
        return found

    def to_triples(
        self, texts: Any, path: str | os.PathLike[str], batch_size: int = 32
    ) -> list[tuple[str, str, str]]:
        """Writes the relations of texts as a graph: a TSV file of head, relation and tail.

        `data.tsv` reads it back, if there is any. White space within a name becomes one space.

        Args:
            texts: a string, or a list of strings.
            path: the file to write; one that stands there is replaced when all went well.
            batch_size: texts that are read at once.

        Returns:
            The distinct triples `(head, relation, tail)`, in the order in which they were found.

        Raises:
            ValueError: as `extract_relations`.
            FileNotFoundError: the directory of `path` does not exist.
        """
        self._require_tagger("to_triples")
        listed = check_texts("texts", texts)
        with replace_file(path) as fresh:  # first, so that a wrong path is known at once
            found = itertools.chain.from_iterable(self._extracted(listed, batch_size))
            triples = list(dict.fromkeys(map(_triple, found)))
            lines = ["\t".join(triple) for triple in [("head", "relation", "tail"), *triples]]
            fresh.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
        return triples

    @property
    def text_functions(self) -> Any:
        """The graph functions from strings to answers, which `export` writes."""
        if self._functions is not None:
            tagging = None if self.tagger is None else self.tagger.text_functions
            if self._functions[1].tagging is not tagging:
                self._functions = None
        return super().text_functions

    def make_functions(self) -> tf.Module:
        def probabilities(*tensors: Any) -> Any:
            names = [spec.name for spec in INPUTS]
            return ops.softmax(self.call(dict(zip(names, tensors, strict=True)), training=False))

        function = compiled(self, "relation_probabilities", probabilities, jit_compile=False)
        scores = tf.TensorSpec([None, len(self.labels)], tf.float32)
        arguments: dict[str, Any] = {
            "probabilities": in_graph(function, INPUTS, scores),
            "parts": [self.model, self.head],
            "tokenizer": self.require_tokenizer("classify"),
            "max_length": self.sequence_length,
            "labels": self.labels,
        }
        if self.tagger is None:
            return PairFunctions(**arguments)
        return RelationFunctions(
            self.tagger.text_functions, no_relation=self.no_relation, **arguments
        )


def _described(value: Any) -> str:
    if isinstance(value, TokenClassifier):
        return f"one with labels={list(value.labels)}"
    return repr(value)


def _relations_in(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The relations of one text as Python values."""
    columns = {name: row[name][: row["count"]].tolist() for name in row if name != "count"}
    found = []
    for values in zip(*columns.values(), strict=True):
        one = {
            name: value.decode("utf-8") if isinstance(value, bytes) else value
            for name, value in zip(columns, values, strict=True)
        }
        head, tail = (
            {name.removeprefix(side): one[name] for name in one if name.startswith(side)}
            for side in ("head_", "tail_")
        )
        found.append(
            {"head": head, "relation": one["relation"], "tail": tail, "score": one["score"]}
        )
    return found


def _triple(one: Mapping[str, Any]) -> tuple[str, str, str]:
    """Head, relation and tail as the fields of a line."""
    names = one["head"]["text"], one["relation"], one["tail"]["text"]
    head, relation, tail = (" ".join(name.split()) for name in names)
    return head, relation, tail
