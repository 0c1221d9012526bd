"""The task of classes: one label for a text or a pair of texts, several labels, or a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_lm import data
from keras_lm.checkpoints import Pretrained
from keras_lm.generation.compiled import compiled
from keras_lm.layers.pooling import POOLINGS, Pooling, pool
from keras_lm.metrics import PearsonCorrelation
from keras_lm.models import Backbone, Encoder, LanguageModel
from keras_lm.tasks.head_task import HeadTask
from keras_lm.tasks.in_graph import in_graph
from keras_lm.tasks.labelled import check_labels, label_settings, labels_agree, labels_in
from keras_lm.tasks.reading import INPUTS, TEXT, Reader, check_texts, rows_of
from keras_lm.tokenizers import Tokenizer


@keras.saving.register_keras_serializable("keras_lm")
class TextClassifier(HeadTask):
    """Tells which of some labels a text has, or a pair of texts.

        hidden states [B, T, D] → pooling → dropout → dense → logits [B, C]

    Sentiment, topic, kind of question, entailment, acceptability are cases of it. With one label
    alone it is a regression, as in Transformers: targets are numbers, such as the similarity of
    two sentences.

    Args:
        model: any `Backbone`: an `Encoder`, a `Decoder`, a `RecurrentLM`, …
        tokenizer: its tokenizer.
        labels: the name of each label, or their number C; 1 makes a regression.
        multi_label: whether a text may have any number of the labels.
        pooling: what stands for a whole text: `"cls"`, the first token's state, through the
            encoder's pooler if it has one; `"last"`, the last token's; `"mean"` or `"max"` over
            the tokens. Default: `"cls"` for an `Encoder`, `"last"` for a language model, `"max"`
            for others.
        dropout: of what is pooled; default: the model's.
        sequence_length: T, the most tokens of an example; default: the model's `max_length`.

    Raises:
        ValueError: an argument is of a wrong kind.

    Example:

    >>> import keras_lm as klm
    >>> texts, labels = ["good film", "bad film"] * 16, ["positive", "negative"] * 16
    >>> tok = klm.tokenizers.BytePairTokenizer.train(texts=texts, vocab_size=266)
    >>> config = klm.EncoderConfig(vocab_size=tok.vocab_size, num_layers=1, hidden_dim=16,
    ...                            num_heads=2, max_length=16)
    >>> classifier = TextClassifier(klm.models.Encoder(config), tok, ["negative", "positive"])
    >>> classifier.compile(klm.training.fine_tuning_optimizer(1e-2))
    >>> history = classifier.fit(texts, labels, epochs=20, verbose=0)
    >>> sorted(classifier.evaluate(texts, labels, verbose=0, return_dict=True))
    ['accuracy', 'loss']
    >>> classifier.classify("good film")["label"]
    'positive'
    """

    HEAD = "text_classifier"
    SETTINGS = (*HeadTask.SETTINGS, "labels", "multi_label", "pooling", "dropout")

    def __init__(
        self,
        model: Backbone,
        tokenizer: Tokenizer | None = None,
        labels: Sequence[str] | int | None = None,
        multi_label: bool = False,
        pooling: Pooling | None = None,
        dropout: float | None = None,
        sequence_length: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, tokenizer, sequence_length, **kwargs)
        self.labels = check_labels(labels)
        self.multi_label = multi_label
        self.pooling = _usual_pooling(model) if pooling is None else pooling
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling must be 'cls', 'mean', 'max' or 'last'; got {pooling!r}")
        if multi_label and self.is_regression:
            raise ValueError("multi_label needs two labels or more; one label is a regression")
        self.add_head(len(self.labels), model.config.hidden_dim, dropout)

    @property
    def is_regression(self) -> bool:
        """Whether it gives a number instead of a label."""
        return len(self.labels) == 1

    @property
    def _has_pooler(self) -> bool:
        is_encoder = isinstance(self.model, Encoder) and self.model.config.pooler is not None
        return is_encoder and self.pooling == "cls"

    @property
    def head_kind(self) -> str | None:
        return self.HEAD if self._has_pooler else None

    @property
    def unread_variables(self) -> list[keras.Variable]:
        return [] if self._has_pooler else super().unread_variables

    @classmethod
    def wants_pooler(cls, settings: Mapping[str, Any]) -> bool | None:
        return settings.get("pooling") in (None, "cls")

    @classmethod
    def saved_settings(cls, files: Pretrained) -> dict[str, Any]:
        found = super().saved_settings(files)
        if files.has_head(cls.HEAD, cls.__name__) and "labels" not in found:
            found["labels"] = labels_in(files) or 2  # Transformers' default
        if files.hf_config.get("problem_type") == "multi_label_classification":
            found["multi_label"] = True
        return found

    def finds_its_head(self, files: Pretrained) -> bool:
        return super().finds_its_head(files) and labels_agree(files, self.labels)

    def hf_settings(self) -> dict[str, Any]:
        kind = "multi" if self.multi_label else "single"
        problem = "regression" if self.is_regression else f"{kind}_label_classification"
        return {**label_settings(self.labels), "problem_type": problem}

    def usual_loss(self) -> keras.losses.Loss:
        reduction = "mean_with_sample_weight"
        if self.is_regression:
            return keras.losses.MeanSquaredError(reduction=reduction)
        if self.multi_label:
            return keras.losses.BinaryCrossentropy(from_logits=True, reduction=reduction)
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)

    def usual_metrics(self) -> list[Any]:
        if self.is_regression:
            error = keras.metrics.MeanAbsoluteError(name="mean_absolute_error")
            return [error, PearsonCorrelation()]
        if self.multi_label:
            return [keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)]
        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]

    def examples(self, x: list[Any], y: list[Any] | None, progress: bool) -> data.ExampleStore:
        first, second = _columns("x", x)
        tokenizer = self.require_tokenizer("fit on texts")
        if y is None:
            y = [[]] * len(x) if self.multi_label else [0.0 if self.is_regression else 0] * len(x)
        elif self.is_regression:
            y = [float(v) if type(v) is int else v for v in y]
        return data.classification(
            first if second is None else (first, second),
            y,
            tokenizer,
            self.sequence_length,
            label_names=None if self.is_regression else self.labels,
            multi_label=self.multi_label,
            progress=progress,
        )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Logits float32 [B, C] of a dict of ids [B, T], or of ids alone."""
        inputs = inputs if isinstance(inputs, dict) else {"token_ids": inputs}
        hidden = self.model.hidden_states(inputs, training=training)
        if self._has_pooler:
            pooled = self.model.pooled(hidden)
        else:
            pooled = pool(hidden, inputs.get("padding_mask"), self.pooling)
        return ops.cast(self.head(self.drop(pooled, training=training)), "float32")

    def classify(self, text: Any, batch_size: int = 32) -> Any:
        """Says which label a text has.

        Args:
            text: a string, or a pair of strings as a tuple; or a list of such.
            batch_size: texts that are read at once.

        Returns:
            For each text a dict: `label`, the likeliest one; `score`, its probability; `scores`,
            those of all labels by name. With `multi_label` also `labels`, those of a probability
            of a half or more. For a regression the score is the number.

        Raises:
            ValueError: a text is no string, or is empty.
        """
        is_one = isinstance(text, str) or (isinstance(text, tuple) and len(text) == 2)
        given = [text] if is_one else text
        if not isinstance(given, Sequence) or not given:
            raise ValueError(f"text must be a string, a pair or a list of such; got {text!r}")
        first, second = _columns("text", list(given))
        functions = self.text_functions
        columns = (first,) if second is None else (first, second)
        function = functions.classify if second is None else functions.classify_pair
        answers = [self._answer(row) for row in rows_of(function, *columns, batch_size=batch_size)]
        return answers[0] if is_one else answers

    def _answer(self, row: Mapping[str, Any]) -> dict[str, Any]:
        scores = dict(zip(self.labels, row["scores"].tolist(), strict=True))
        answer = {"label": row["label"].decode(), "score": float(row["score"]), "scores": scores}
        if self.multi_label:
            answer["labels"] = [label for label, score in scores.items() if score >= 0.5]
        return answer

    def make_functions(self) -> tf.Module:
        return ClassifierFunctions(self)


class ClassifierFunctions(tf.Module):
    """`classify` and `classify_pair` on string tensors.

    Args:
        task: the classifier.
    """

    def __init__(self, task: TextClassifier) -> None:
        super().__init__()
        self.parts = [task.model, task.head]
        self.reader = Reader(task.require_tokenizer("classify"), task.sequence_length)
        self._labels = task.labels
        function = compiled(task, "probabilities", _probabilities(task), jit_compile=False)
        scores = tf.TensorSpec([None, len(task.labels)], tf.float32)
        self._probabilities = in_graph(function, INPUTS, scores)

    @tf.function(input_signature=[TEXT], autograph=False)
    def classify(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Texts [B] → `label`, `score`, `truncated` [B]; `classes` and `scores` [B, C]."""
        return self._answers(*self.reader(text))

    @tf.function(
        input_signature=[TEXT, tf.TensorSpec([None], tf.string, "text_pair")], autograph=False
    )
    def classify_pair(self, text: tf.Tensor, text_pair: tf.Tensor) -> dict[str, tf.Tensor]:
        """The same of pairs of texts."""
        return self._answers(*self.reader(text, text_pair))

    def _answers(self, inputs: tuple[tf.Tensor, ...], cut: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = self._probabilities(*inputs)
        labels = tf.constant(self._labels)
        return {
            "label": tf.gather(labels, tf.argmax(scores, axis=1)),
            "score": tf.reduce_max(scores, axis=1),
            "classes": tf.tile(labels[tf.newaxis], [tf.shape(scores)[0], 1]),
            "scores": scores,
            "truncated": cut,
        }

    def signatures(self) -> dict[str, Any]:
        """What a server calls."""
        return {"serving_default": self.classify, "classify_pair": self.classify_pair}


def _probabilities(task: TextClassifier) -> Any:
    def probabilities(token_ids: Any, token_types: Any, padding_mask: Any) -> Any:
        inputs = {"token_ids": token_ids, "token_types": token_types, "padding_mask": padding_mask}
        logits = task.call(inputs, training=False)
        if task.is_regression:
            return logits
        return ops.sigmoid(logits) if task.multi_label else ops.softmax(logits)

    return probabilities


def _usual_pooling(model: Backbone) -> Pooling:
    if isinstance(model, Encoder):
        return "cls"
    return "last" if isinstance(model, LanguageModel) else "max"


def _columns(name: str, given: list[Any]) -> tuple[list[str], list[str] | None]:
    """One column of texts, or the two of pairs."""
    if not any(isinstance(item, tuple | list) for item in given):
        return check_texts(name, given), None
    for row, item in enumerate(given):
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise ValueError(f"{name}[{row}] must be a pair of strings, as others; got {item!r}")
    first, second = zip(*given, strict=True)
    return check_texts(f"{name} (first texts)", first), check_texts(
        f"{name} (second texts)", second
    )
