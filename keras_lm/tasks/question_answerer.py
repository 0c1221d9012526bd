"""The task of answering a question by a piece of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_lm import data
from keras_lm.data.examples.tokenizing import check_count
from keras_lm.generation.compiled import compiled
from keras_lm.metrics import AnswerScore
from keras_lm.models.base import Backbone
from keras_lm.tasks.answer_functions import NEVER, AnswerFunctions, Inputs
from keras_lm.tasks.head_task import HeadTask
from keras_lm.tasks.in_graph import in_graph
from keras_lm.tasks.labelled import are_batches
from keras_lm.tasks.question_examples import Answers, Question, check_text, question_rows
from keras_lm.tasks.reading import INPUTS
from keras_lm.tasks.retrieval.search import DocumentSearch
from keras_lm.tokenizers import Tokenizer

USUAL_LENGTH = 384
"""Tokens of a window with its question where the model has room for them."""

USUAL_DOCUMENTS = 5
"""Documents that a retriever finds, and that are read."""

NO_ANSWER = {"answer": "", "start": 0, "end": 0, "start_byte": 0, "end_byte": 0, "score": 0.0}


@keras.saving.register_keras_serializable("keras_lm")
class QuestionAnswerer(HeadTask):
    """Finds the piece of a text that answers a question.

    A model reads `[CLS] question [SEP] context [SEP]`; a dense layer gives every token the logits
    of being the answer's first and last (Devlin et al. 2018, section 4.2,
    https://arxiv.org/abs/1810.04805). Long contexts are read in overlapping windows, as
    `data.answer_spans` cuts them.

    Args:
        model: any `Backbone`, such as `Encoder`.
        tokenizer: its tokenizer, which must give offsets.
        sequence_length: T, the most tokens of a window with its question; default: 384, or the
            model's `max_length` if that is less.
        doc_stride: how many tokens after the window before it a window begins.
        max_question_length: the most tokens of a question; what is longer is cut, with a warning.
        max_answer_length: the most tokens of an answer.
        allow_no_answer: whether "" may be the answer. `fit` sets it to True where a question has
            no answer among the examples; a model that was trained on none such always answers.
        language: `"en"` or `"zh"`, by whose rules `evaluate` compares answers: see
            `metrics.AnswerScore`.

    Raises:
        ValueError: an argument is out of its range, or `sequence_length` leaves no room for a
            context beside a question.

    Example:

    >>> import keras_lm as klm
    >>> context = "Lima is the capital of Peru."
    >>> examples = [
    ...     {"question": "what ?", "context": context, "answer": "Lima", "answer_start": 0},
    ...     {"question": "where ?", "context": context, "answer": "Peru", "answer_start": 23},
    ... ] * 16
    >>> tok = klm.tokenizers.WordPieceTokenizer.train(
    ...     texts=[context, "what ? where ?"] * 20, vocab_size=46)
    >>> config = klm.EncoderConfig(vocab_size=tok.vocab_size, num_layers=1, hidden_dim=32,
    ...                            num_heads=2, max_length=32, dropout=0.0)
    >>> qa = QuestionAnswerer(klm.models.Encoder(config), tok, max_question_length=8)
    >>> qa.compile(klm.training.fine_tuning_optimizer(0.02))
    >>> history = qa.fit(examples, epochs=8, batch_size=8, verbose=0)
    >>> answer = qa.find_answer("where ?", context)
    >>> answer["answer"], answer["start"], answer["end"]
    ('Peru', 23, 27)
    >>> round(qa.evaluate(examples, verbose=0, return_dict=True)["f1"])
    100
    """

    HEAD = "question_answerer"
    per_token = True
    SETTINGS = (
        *HeadTask.SETTINGS,
        "doc_stride",
        "max_question_length",
        "max_answer_length",
        "allow_no_answer",
        "language",
    )

    def __init__(
        self,
        model: Backbone,
        tokenizer: Tokenizer | None = None,
        sequence_length: int | None = None,
        doc_stride: int = 128,
        max_question_length: int = 64,
        max_answer_length: int = 30,
        allow_no_answer: bool = False,
        language: str = "en",
        **kwargs: Any,
    ) -> None:
        if sequence_length is None and isinstance(model, Backbone):
            sequence_length = min(USUAL_LENGTH, model.config.max_length or USUAL_LENGTH)
        super().__init__(model, tokenizer, sequence_length, **kwargs)
        check_count(doc_stride, "doc_stride", least=1)
        check_count(max_question_length, "max_question_length", least=1)
        check_count(max_answer_length, "max_answer_length", least=1)
        separators = self.require_tokenizer("finding answers").separators_between_texts
        least = max_question_length + separators + 3
        if self.sequence_length < least:
            raise ValueError(
                f"sequence_length={self.sequence_length} leaves no room for a context beside a "
                f"question of max_question_length={max_question_length} tokens; it must be at "
                f"least {least}"
            )
        if not isinstance(allow_no_answer, bool):
            raise ValueError(f"allow_no_answer must be True or False; got {allow_no_answer!r}")
        AnswerScore(language)  # refuses one that it does not know
        self.doc_stride, self.max_question_length = doc_stride, max_question_length
        self.max_answer_length, self.language = max_answer_length, language
        self._allow_no_answer = allow_no_answer
        # In float32 whatever the model computes in: in bfloat16 neighbours would often be equal.
        self.head = keras.layers.Dense(
            2,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
            dtype="float32",
            name="head",
        )
        self.head.build((None, None, model.config.hidden_dim))

    @property
    def allow_no_answer(self) -> bool:
        """Whether "" may be the answer."""
        return self._allow_no_answer

    @allow_no_answer.setter
    def allow_no_answer(self, allowed: bool) -> None:
        self._allow_no_answer = allowed
        self._functions = None  # which have it built in

    # ---- training

    def rows(self, x: Any, y: Any) -> tuple[list[Question], list[Answers] | None]:
        return question_rows(x, y)

    def examples(
        self, x: list[Question], y: list[Answers] | None, progress: bool
    ) -> data.ExampleStore:
        questions, contexts = zip(*x, strict=True)
        return data.answer_spans(
            questions,
            contexts,
            [None] * len(x) if y is None else y,
            self.require_tokenizer("reading questions"),
            self.sequence_length,
            self.doc_stride,
            self.max_question_length,
            progress,
        )

    def _require_targets(self, targets: Any) -> None:
        if targets is None:
            raise ValueError(
                "x has no answers; give each question its answers, or an answer and answer_start"
            )

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """The logits `start` and `end` of each token, float32 [B, T]; -1e9 for padding."""
        logits = self.head(self.model.hidden_states(inputs, training=training))
        mask = inputs.get("padding_mask") if isinstance(inputs, dict) else None
        if mask is not None:
            logits = ops.where(ops.cast(mask, "bool")[..., None], logits, NEVER)
        return {"start": logits[..., 0], "end": logits[..., 1]}

    def compile(
        self,
        optimizer: Any = "auto",
        loss: Any = "auto",
        metrics: Any = None,
        weighted_metrics: Any = "auto",
        **kwargs: Any,
    ) -> None:
        """Keras's `compile`.

        Args:
            optimizer: default: `keras_lm.training.fine_tuning_optimizer()`, AdamW.
            loss: default: the mean of the cross-entropies of `start` and `end`, the answer's first
                and last token, over the places of a window.
            metrics: as in Keras; the outputs are `start` and `end`.
            weighted_metrics: default: the accuracy of both, unless `metrics` are given.
            **kwargs: as in Keras: `jit_compile`, `steps_per_execution`, …
        """
        if loss == "auto":
            kwargs.setdefault("loss_weights", {"start": 0.5, "end": 0.5})
        super().compile(optimizer, loss, metrics, weighted_metrics, **kwargs)

    def usual_loss(self) -> Any:
        return {
            side: keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, reduction="mean_with_sample_weight"
            )
            for side in ("start", "end")
        }

    def usual_metrics(self) -> Any:
        return {
            side: [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
            for side in ("start", "end")
        }

    def fit(
        self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any
    ) -> keras.callbacks.History:
        """Keras's `fit`, on questions; the further arguments are those of every task with a head.

        A window that does not hold the whole answer points to CLS.

        Args:
            x: the path of a file in the layout of SQuAD 1.1 or 2.0, gzipped or not, or a list of
                paths; what `data.squad` gives; a list, or a tf.data set, of dicts with
                `question`, `context` and `answers` (`{"text": […], "answer_start": […]}`, in
                characters; empty lists where there is none), or `answer` and `answer_start`.
                Of several answers the first is learned.
            y: None; or the answers, where x is `(questions, contexts)`.
            *args: as in `HeadTask.fit`.
            **kwargs: `epochs`, `validation_data` of the same kinds as x, …

        Raises:
            ValueError: a question, a context or an answer is empty, missing or of a wrong kind, or
                an answer does not stand where it says; the message says which.
        """
        questions, answers = self.rows(x, y)
        self._require_targets(answers)
        if not all(one["text"] for one in answers or ()):
            self.allow_no_answer = True
        return super().fit(questions, answers, *args, **kwargs)

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Loss and metrics of `compile` over all windows; `exact_match` and `f1` of the answers.

        The answers are those of `find_answer`, each beside all its references, in percent as in
        SQuAD's own script (`metrics.AnswerScore`).

        Args:
            x: as in `fit`.
            y: as in `fit`.
            batch_size: windows in a batch of the first part; default 32.
            return_dict: a dict of the figures by name; default: a list, the loss first.
            **kwargs: as in Keras.
        """
        if are_batches(x):  # Keras's `fit` validates by this method, and batches hold no texts
            return super().evaluate(x, return_dict=return_dict, **kwargs)
        questions, answers = self.rows(x, y)
        self._require_targets(answers)
        results = super().evaluate(questions, answers, batch_size, return_dict=True, **kwargs)
        for side in ("start", "end"):  # Keras's means over batches, which are not exact
            results.pop(f"{side}_loss", None)
        found = self.text_functions.answers(
            [question for question, _ in questions],
            [[context] for _, context in questions],
            progress=bool(kwargs.get("verbose", "auto")),
        )
        score = AnswerScore(self.language)
        references = [one["text"] for one in answers or ()]
        score.update_state([one["answer"] for one in found], references)
        results |= {name: float(value) for name, value in score.result().items()}
        return results if return_dict else [results.pop("loss"), *results.values()]

    # ---- answers

    def find_answer(
        self,
        question: str | Sequence[str],
        context: str | Sequence[str] | Sequence[Sequence[str]] | None = None,
        retriever: DocumentSearch | None = None,
        k: int | None = None,
    ) -> Any:
        """The piece of a context that answers a question.

        Args:
            question: a string, or a list.
            context: the text that may hold the answer, or a list of texts any of which may. For a
                list of questions a list of as many items, each of either kind.
            retriever: instead of a context, where to search for one: a `Retriever`, a
                `BM25Retriever`, … with documents.
            k: how many of the documents found are read; default: 5, or all if they are fewer.

        Returns:
            A dict for a string, a list of dicts for a list:

            - `answer`: the piece of the context, or "" where none answers and `allow_no_answer`;
            - `start`, `end`: where it stands, half-open, in characters; 0, 0 for no answer;
            - `start_byte`, `end_byte`: the same in bytes of the UTF-8 text;
            - `score`: 0 to 1, the product of the probabilities that its window's softmax gives to
              its first and last token (`AnswerFunctions`);
            - `document`: which of the texts it is from, where a list of texts was given;
            - `citation`: with a retriever, the document that it is from, as `search_documents`
              gives it: `id`, `document`, `score`. None where nothing was found or none answers.

        Raises:
            ValueError: a question or context is empty or not a string, or their numbers differ;
                not exactly one of `context` and `retriever` is given; the retriever has no
                documents, or less than k.
        """
        is_one = isinstance(question, str)
        questions = _items("question", [question] if is_one else question)
        if (context is None) == (retriever is None):
            raise ValueError("give find_answer a context, or a retriever to search for one")
        if retriever is not None:
            for number, text in enumerate(questions):
                check_text(text, "question" if is_one else f"question[{number}]")
            found = self._find_and_cite(questions, retriever, k)
            return found[0] if is_one else found
        if k is not None:
            raise ValueError(f"k={k!r} is for a retriever; there is none")
        contexts = [context] if is_one else _items("context", context)
        if len(contexts) != len(questions):
            raise ValueError(
                f"context has {len(contexts)} items; question has {len(questions)}: give a text, "
                "or a list of texts, for each"
            )
        for number, text in enumerate(questions):
            check_text(text, "question" if is_one else f"question[{number}]")
        documents = []
        for number, given in enumerate(contexts):
            name = "context" if is_one else f"context[{number}]"
            texts = [given] if isinstance(given, str) else _items(name, given)
            for place, text in enumerate(texts):
                check_text(text, name if isinstance(given, str) else f"{name}[{place}]")
            documents.append(texts)
        found = self.text_functions.answers(questions, documents, progress=True)
        for answer, given in zip(found, contexts, strict=True):
            if isinstance(given, str):
                del answer["document"]
        return found[0] if is_one else found

    def _find_and_cite(
        self, questions: list[str], retriever: DocumentSearch, k: int | None
    ) -> list[dict[str, Any]]:
        if not isinstance(retriever, DocumentSearch):
            raise ValueError(f"retriever must be one of keras_lm.tasks; got {retriever!r}")
        if k is None and retriever.documents:
            k = min(USUAL_DOCUMENTS, len(retriever.documents))
        hits = retriever.search_documents(questions, k)
        answers = [{**NO_ANSWER, "citation": None} for _ in questions]
        rows = [row for row, found in enumerate(hits) if found]
        texts = [[hit["document"] for hit in hits[row]] for row in rows]
        asked = [questions[row] for row in rows]
        found = self.text_functions.answers(asked, texts, progress=True) if rows else []
        for row, answer in zip(rows, found, strict=True):
            cited = hits[row][answer.pop("document")]
            answers[row] = {**answer, "citation": cited if answer["answer"] else None}
        return answers

    def make_functions(self) -> AnswerFunctions:
        function = compiled(self, "answer_logits", self._logits, jit_compile=False)
        logits = tf.TensorSpec([None, None], tf.float32)
        core = in_graph(function, INPUTS, [logits, logits])

        def read(inputs: Inputs) -> Inputs:
            start, end = core(*(inputs[spec.name] for spec in INPUTS))
            return {"start": start, "end": end}

        return AnswerFunctions(
            read,
            self.require_tokenizer("finding answers"),
            self.sequence_length,
            self.doc_stride,
            self.max_question_length,
            self.max_answer_length,
            self.allow_no_answer,
            layers=(self.model, self.head),
        )

    def _logits(self, token_ids: Any, token_types: Any, padding_mask: Any) -> list[Any]:
        inputs = {"token_ids": token_ids, "token_types": token_types, "padding_mask": padding_mask}
        outputs = self.call(inputs, training=False)
        return [outputs["start"], outputs["end"]]


def _items(name: str, values: Any) -> list[Any]:
    if isinstance(values, str | bytes) or not isinstance(values, Sequence | np.ndarray):
        raise ValueError(f"{name} must be a string or a list of strings; got {values!r:.80}")
    if not len(values):
        raise ValueError(f"{name} is an empty list; give at least one string")
    return list(values)
