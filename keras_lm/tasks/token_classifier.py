"""The task of tags: one label for each word of a text, and the spans that they make up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_lm import data
from keras_lm.checkpoints import Pretrained
from keras_lm.data.examples.tokenizing import check_string
from keras_lm.generation.compiled import compiled
from keras_lm.layers import LinearChainCRF, allowed_transitions
from keras_lm.layers.crf import IMPOSSIBLE, viterbi
from keras_lm.metrics import EntityF1
from keras_lm.metrics.entities import are_entity_tags
from keras_lm.models import Backbone
from keras_lm.tasks.head_task import HeadTask
from keras_lm.tasks.in_graph import in_graph
from keras_lm.tasks.labelled import check_labels, label_settings, labels_agree, labels_in
from keras_lm.tasks.reading import INPUTS
from keras_lm.tasks.tagging_functions import TaggingFunctions
from keras_lm.tokenizers import Tokenizer
from keras_lm.training.losses import scaled_for_replicas


@keras.saving.register_keras_serializable("keras_lm")
class ChainLoss(keras.losses.Loss):
    """Says to a `TokenClassifier` with a CRF that its loss is that of the chain of tags.

    The mean of -ln p of whole sequences per word, so that it compares with a cross-entropy. Only
    the task can compute it, as it has the transitions.
    """

    def __init__(self, name: str = "chain_loss", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        raise ValueError("a ChainLoss is for TokenClassifier(use_crf=True), which computes it")


@keras.saving.register_keras_serializable("keras_lm")
class TokenClassifier(HeadTask):
    """Gives each word of a text one of some labels: named entities, parts of speech.

        hidden states [B, T, D] → dropout → dense → emissions [B, T, C] → tags of the first
        sub-words → spans

    Labels that are BIO or BIOES tags (`O`, `B-person`, `I-person`, …) make up entities, and are
    decoded by Viterbi such that they keep the scheme; with other labels each word is a span. With
    `use_crf` the steps from tag to tag are learned as well.

    Args:
        model: any `Backbone`: an `Encoder`, a `Decoder`, a `RecurrentLM`, …
        tokenizer: its tokenizer; it must give offsets.
        labels: the name of each tag, or their number C.
        use_crf: whether a linear-chain CRF stands on the emissions.
        separator: what stands between words; `""` for Chinese characters as words.
        dropout: of the hidden states; default: the model's.
        sequence_length: T, the most tokens of a window, 3 or more; default: the model's
            `max_length`. Longer sentences are read in windows that overlap by half.

    Raises:
        ValueError: an argument is of a wrong kind.

    Example:

    >>> import keras_lm as klm
    >>> words = [["Ada", "met", "Alan", "Turing", "."], ["Alan", "slept", "."]] * 8
    >>> tags = [["B-person", "O", "B-person", "I-person", "O"], ["B-person", "O", "O"]] * 8
    >>> tok = klm.tokenizers.WordPieceTokenizer.train(texts=map(" ".join, words), vocab_size=48)
    >>> config = klm.EncoderConfig(vocab_size=tok.vocab_size, num_layers=1, hidden_dim=16,
    ...                            num_heads=2, max_length=32)
    >>> model = klm.models.Encoder(config)
    >>> tagger = TokenClassifier(model, tok, labels=["O", "B-person", "I-person"])
    >>> tagger.compile(klm.training.fine_tuning_optimizer(2e-2))
    >>> history = tagger.fit(words, tags, epochs=15, verbose=0)
    >>> sorted(tagger.evaluate(words, tags, verbose=0, return_dict=True))
    ['accuracy', 'entity_f1', 'loss']
    >>> spans = tagger.tag("Ada met Alan Turing.")
    >>> [(span["text"], span["label"], span["start"]) for span in spans]
    [('Ada', 'person', 0), ('Alan Turing', 'person', 8)]
    """

    HEAD = "token_classifier"
    per_token = True
    SETTINGS = (*HeadTask.SETTINGS, "labels", "use_crf", "separator", "dropout")

    def __init__(
        self,
        model: Backbone,
        tokenizer: Tokenizer | None = None,
        labels: Sequence[str] | int | None = None,
        use_crf: bool = False,
        separator: str = " ",
        dropout: float | None = None,
        sequence_length: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, tokenizer, sequence_length, **kwargs)
        self.labels = check_labels(labels)
        if not isinstance(separator, str):
            raise ValueError(f"separator must be a string; got {separator!r}")
        if self.sequence_length < 3:
            raise ValueError(
                f"sequence_length={self.sequence_length} leaves no room between CLS and SEP; "
                "it must be 3 or more"
            )
        self.use_crf = use_crf
        self.separator = separator
        self.add_head(len(self.labels), model.config.hidden_dim, dropout)
        if use_crf:
            self.crf = LinearChainCRF(len(self.labels), name="crf")
            self.crf.build((None, None, len(self.labels)))

    @property
    def has_entities(self) -> bool:
        """Whether the labels are tags of entities, BIO or BIOES."""
        return are_entity_tags(self.labels)

    @classmethod
    def saved_settings(cls, files: Pretrained) -> dict[str, Any]:
        found = super().saved_settings(files)
        if files.has_head(cls.HEAD, cls.__name__) and "labels" not in found:
            found["labels"] = labels_in(files) or 2  # Transformers' default
        return found

    def finds_its_head(self, files: Pretrained) -> bool:
        return super().finds_its_head(files) and labels_agree(files, self.labels)

    def hf_settings(self) -> dict[str, Any]:
        return label_settings(self.labels)

    # ---- learning

    def usual_loss(self) -> keras.losses.Loss:
        if self.use_crf:
            return ChainLoss()
        return keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        )

    def usual_metrics(self) -> list[Any]:
        accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        return [accuracy, EntityF1(self.labels)] if self.has_entities else [accuracy]

    def rows(self, x: Any, y: Any) -> tuple[list[Any], list[Any] | None]:
        if isinstance(x, tf.data.Dataset):
            first = tf.nest.flatten(x.element_spec)[0]
            if len(first.shape) > 1:  # sentences in batches, ragged
                x = x.unbatch()
            return _sentences_of(x, y)
        return super().rows(list(x) if isinstance(x, tuple) else x, y)

    def examples(self, x: list[Any], y: list[Any] | None, progress: bool) -> data.ExampleStore:
        if y is None:
            y = [[0] * len(words) for words in x]
        return data.token_labels(
            x,
            y,
            self.require_tokenizer("fit on words"),
            label_names=self.labels,
            max_length=self.sequence_length,
            separator=self.separator,
            progress=progress,
        )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Emissions, the logits of all tags, float32 [B, T, C]."""
        hidden = self.model.hidden_states(inputs, training=training)
        return ops.cast(self.head(self.drop(hidden, training=training)), "float32")

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        if not isinstance(self.loss, ChainLoss):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        mask = _mask(y, sample_weight)
        words = ops.sum(ops.cast(mask, "float32"))
        nats = -ops.sum(self.crf.log_likelihood(y_pred, y, mask))
        loss = nats / ops.maximum(words, 1.0)
        self._exact_loss.update_nats(loss[None], words[None])
        for extra in self.losses:
            loss = loss + ops.sum(ops.cast(extra, "float32"))
        return scaled_for_replicas(loss)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Keras's; where tags are decoded, metrics see those, as vectors of 0 and 1 [B, T, C].

        On the JAX backend Keras gives metrics no weights, and so those of a CRF see the emissions.
        """
        is_readable = not self.use_crf or keras.backend.backend() != "jax"
        if is_readable and (self.use_crf or self.has_entities):
            tags = self._decoded(y_pred, _mask(y, sample_weight))
            y_pred = ops.one_hot(tags, len(self.labels), dtype="float32")
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def _decoded(self, emissions: Any, mask: Any) -> Any:
        """The likeliest tags that keep the scheme, int32 [B, T]."""
        allowed = allowed_transitions(self.labels)
        if self.use_crf:
            return self.crf.viterbi(emissions, mask, allowed)[0]
        if self.has_entities:
            return viterbi(emissions, mask, np.where(allowed, 0.0, IMPOSSIBLE))[0]
        return ops.cast(ops.argmax(emissions, axis=-1), "int32")

    def _weigher(self, class_weight: Mapping[Any, float]) -> Any:
        if self.use_crf:
            raise ValueError("class_weight is for tags one by one; a CRF weighs whole sequences")
        return super()._weigher(class_weight)

    # ---- strings to spans

    def tag(self, text: Any, batch_size: int = 32) -> Any:
        """Finds the entities of a text; or tags all its words, where labels are no entity tags.

        A raw text is cut into words at white space and marks: `Ada's U.S. e-mail.` has the words
        `Ada` `'s` `U.S.` `e-mail` `.`, and every Chinese character is one. For another way of
        cutting, give the words.

        Args:
            text: a string, or a list of strings; or a list of lists of words, whose texts are the
                words joined by `separator`.
            batch_size: texts that are read at once.

        Returns:
            For each text a list of spans, in order: dicts of `text`; `label`, the type of entity
            or the tag; `start` and `end` in characters, half-open, and `start_byte` and
            `end_byte` in bytes of the UTF-8 text; `score`, the mean over the span's words of
            their tag's probability: in the softmax of the word by itself, or with `use_crf` over
            all sequences of tags.

        Raises:
            ValueError: a text is neither a string nor a list of words.
        """
        given = [text] if isinstance(text, str) else text
        are_words = _check_given(given)
        functions = self.text_functions
        function = functions.tag_words if are_words else functions.tag
        # Texts of about one length share a batch, so that little is padding.
        order = sorted(range(len(given)), key=lambda number: sum(map(len, given[number])))
        answers: list[list[dict[str, Any]]] = [[] for _ in given]
        for start in range(0, len(order), batch_size):
            numbers = order[start : start + batch_size]
            batch = [given[number] for number in numbers]
            if are_words:
                width = max(map(len, batch))
                batch = [[*words, *[""] * (width - len(words))] for words in batch]
            strings = tf.constant(batch, tf.string)
            outputs = {name: tensor.numpy() for name, tensor in function(strings).items()}
            for row, number in enumerate(numbers):
                answers[number] = _row_of(outputs, row)
        return answers[0] if isinstance(text, str) else answers

    def make_functions(self) -> tf.Module:
        def emissions(token_ids: Any, token_types: Any, padding_mask: Any) -> Any:
            names = ("token_ids", "token_types", "padding_mask")
            inputs = dict(zip(names, (token_ids, token_types, padding_mask), strict=True))
            return self.call(inputs, training=False)

        def decode(emissions: Any, mask: Any) -> tuple[Any, Any]:
            tags = self._decoded(emissions, mask)
            if self.use_crf:
                probabilities = self.crf.marginals(emissions, mask)
            else:
                probabilities = ops.softmax(emissions)
            own = ops.take_along_axis(probabilities, ops.expand_dims(tags, -1), axis=-1)
            return tags, own[..., 0]

        of_tags = tf.TensorSpec([None, None, len(self.labels)], tf.float32)
        mask = tf.TensorSpec([None, None], tf.int32)
        outputs = [mask, tf.TensorSpec([None, None], tf.float32)]
        return TaggingFunctions(
            in_graph(compiled(self, "emissions", emissions, jit_compile=False), INPUTS, of_tags),
            in_graph(compiled(self, "decode", decode, jit_compile=False), (of_tags, mask), outputs),
            parts=[self.model, self.head, *([self.crf] if self.use_crf else [])],
            tokenizer=self.require_tokenizer("tag"),
            labels=self.labels,
            separator=self.separator,
            max_length=self.sequence_length,
        )


def _mask(y: Any, sample_weight: Any) -> Any:
    """Which tags count, bool [B, T]."""
    return ops.ones_like(y, "bool") if sample_weight is None else sample_weight > 0


def _sentences_of(x: tf.data.Dataset, y: Any) -> tuple[list[Any], list[Any] | None]:
    """Sentences and their tags from a tf.data set of (words [W], tags [W]), or of words alone."""
    if y is not None:
        raise ValueError("y must be None where x is a tf.data set: it gives (x, y) itself")
    if x.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("x is an endless tf.data set; labelled examples are read as a whole")

    def listed(values: np.ndarray) -> list[Any]:
        return [v.decode() if isinstance(v, bytes) else v for v in values.tolist()]

    elements = list(x.as_numpy_iterator())
    if not elements:
        raise ValueError("x is an empty tf.data set; give at least one example")
    if not isinstance(x.element_spec, tuple):
        return [listed(words) for words in elements], None
    words, tags = zip(*elements, strict=True)
    return [listed(row) for row in words], [listed(row) for row in tags]


def _check_given(given: Any) -> bool:
    """Whether texts are given as lists of words; `ValueError` where they are neither."""
    if isinstance(given, bytes) or not isinstance(given, Sequence | np.ndarray) or len(given) == 0:
        raise ValueError(f"text must be a string or a list of strings; got {given!r}")
    are_words = not isinstance(given[0], str)
    for number, item in enumerate(given):
        place = f"text[{number}]"
        if are_words and (isinstance(item, str | bytes) or not isinstance(item, Sequence)):
            raise ValueError(f"{place} is {item!r}; it must be a list of words, as others are")
        for position, string in enumerate(item if are_words else [item]):
            where = f"{place}[{position}]" if are_words else place
            check_string(string, where)
            if are_words and not string:
                raise ValueError(f"{where} is an empty word; leave it out")
    return are_words


def _row_of(outputs: Mapping[str, np.ndarray], row: int) -> list[dict[str, Any]]:
    """The spans of one text as Python values."""
    names = [name for name in outputs if name != "count"]
    columns = [outputs[name][row, : outputs["count"][row]].tolist() for name in names]
    return [
        {
            name: value.decode("utf-8") if isinstance(value, bytes) else value
            for name, value in zip(names, values, strict=True)
        }
        for values in zip(*columns, strict=True)
    ]
