"""From questions and contexts to answers as graph functions: what Python calls is served."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_lm.data.examples.tokenizing import cls_and_sep
from keras_lm.data.progress import LateBar
from keras_lm.tasks.reading import dense
from keras_lm.tokenizers import Tokenizer
from keras_lm.tokenizers.spans import character_spans

WINDOWS_AT_ONCE = 16
"""Windows that the model reads at once."""

QUESTIONS_AT_ONCE = 32
"""Questions that are put into one call of the graph."""

NEVER = -1e9
"""The logit, or log-probability, of a place where no answer can begin or end."""

_QUESTIONS = tf.TensorSpec([None], tf.string, "question")
_CONTEXTS = tf.TensorSpec([None], tf.string, "context")

Inputs = Mapping[str, tf.Tensor]


class AnswerFunctions(tf.Module):
    """`find_answer` and `find_in_documents` on string tensors.

    The `score` of a span is the product of the probabilities that its window's softmax over all
    places gives to its first and last token: what was trained, so that a window that points to
    CLS has little left for its spans. The answer is the span with the highest score in all windows
    of all contexts that belong to a question. With `allow_no_answer` it competes with CLS as a
    span, in the window where that has the lowest score (Devlin et al. 2018, section 4.3, with the
    threshold 0, https://arxiv.org/abs/1810.04805).

    Args:
        logits: `token_ids`, `token_types` and `padding_mask`, int32 [W, T], → the logits `start`
            and `end` of each token, float32 [W, T]; `NEVER` for padding.
        tokenizer: any tokenizer that gives offsets, with CLS and SEP, or BOS and EOS.
        sequence_length: the most tokens of a window with its question.
        doc_stride: how many tokens after the window before it a window begins.
        max_question_length: the most tokens of a question; the rest is cut.
        max_answer_length: the most tokens of an answer.
        allow_no_answer: whether "" is an answer.
        layers: what `logits` reads, so that a SavedModel has its weights.
    """

    def __init__(
        self,
        logits: Callable[[Inputs], Inputs],
        tokenizer: Tokenizer,
        sequence_length: int,
        doc_stride: int,
        max_question_length: int,
        max_answer_length: int,
        allow_no_answer: bool,
        layers: Sequence[Any] = (),
    ) -> None:
        super().__init__()
        self.layers = layers
        self._logits, self.tokenizer = logits, tokenizer
        cls, sep = cls_and_sep(tokenizer)
        self._between = (cls, sep, tokenizer.separators_between_texts)
        self._length, self._stride = sequence_length, doc_stride
        self._longest_question, self._longest_answer = max_question_length, max_answer_length
        self._allow_no_answer = allow_no_answer

    @tf.function(input_signature=[_QUESTIONS, _CONTEXTS], autograph=False)
    def find_answer(self, question: tf.Tensor, context: tf.Tensor) -> dict[str, tf.Tensor]:
        """Questions [B] and the context of each [B] → fields [B].

        `answer`: the piece of the context, "" where there is none; `start`, `end`: int32, where
        it stands in characters, half-open, and 0, 0 for none; `start_byte`, `end_byte`: int32, in
        bytes; `score`: float32, 0 to 1; `truncated`: bool, whether the question was cut.
        """
        sizes = tf.size(question), tf.size(context)
        same = tf.debugging.Assert(
            tf.equal(*sizes), ["question and context must be of one size:", *sizes]
        )
        with tf.control_dependencies([same]):
            owner = tf.range(tf.size(question))
        found = self.find(question, context, owner)
        return {name: field for name, field in found.items() if name != "document"}

    @tf.function(
        input_signature=[tf.TensorSpec([], tf.string, "question"), _CONTEXTS], autograph=False
    )
    def find_in_documents(self, question: tf.Tensor, context: tf.Tensor) -> dict[str, tf.Tensor]:
        """One question and several contexts [C] → the fields of the one answer, scalars.

        As in `find_answer`, with `document`: int32, which of the contexts it stands in.
        """
        some = tf.debugging.Assert(tf.size(context) > 0, ["context holds no text"])
        with tf.control_dependencies([some]):
            owner = tf.zeros_like(context, tf.int32)
        found = self.find(question[tf.newaxis], context, owner)
        return {name: field[0] for name, field in found.items()}

    @tf.function(
        input_signature=[_QUESTIONS, _CONTEXTS, tf.TensorSpec([None], tf.int32, "owner")],
        autograph=False,
    )
    def find(
        self, question: tf.Tensor, context: tf.Tensor, owner: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Questions [Q], contexts [C] and the question that each belongs to [C] → fields [Q].

        As in `find_answer`, with `document`: int32 [Q], which of all contexts the answer is of.
        """
        with tf.control_dependencies(_checks(question, context)):
            asked: Any = self.tokenizer(question)
            ids, in_bytes = self.tokenizer(context, return_offsets=True)
        cut, in_bytes = asked[:, : self._longest_question], in_bytes.flat_values
        windows = context_windows(
            tf.gather(cut, owner), ids, self._between, self._length, self._stride
        )
        # SentencePiece's first token may stand for a space that is not there.
        has_text = tf.pad(in_bytes[:, 0] < in_bytes[:, 1], [[0, 1]])
        spans = self._read(windows, tf.gather(has_text, windows.places))
        asker = tf.gather(owner, windows.context)
        window, tokens, score = self._choose(windows, spans, asker, tf.size(question))
        # The place of no answer, one beyond all tokens, is byte 0.
        ends = tf.gather(tf.pad(in_bytes, [[0, 1], [0, 0]]), tokens)  # [Q, first and last, 2]
        document = tf.gather(windows.context, window)
        text = tf.gather(context, document)
        in_bytes = tf.stack([ends[:, 0, 0], ends[:, 1, 1]], axis=1)
        # In characters, because a token may be a part of one.
        in_characters = character_spans(text, in_bytes, tf.range(tf.size(question)))
        start, end = _without_spaces(text, *tf.unstack(in_characters, axis=1))
        answer = tf.strings.substr(text, start, end - start, unit="UTF8_CHAR")
        before = tf.strings.substr(text, tf.zeros_like(start), start, unit="UTF8_CHAR")
        return {
            "answer": answer,
            "start": start,
            "end": end,
            "start_byte": tf.strings.length(before),
            "end_byte": tf.strings.length(before) + tf.strings.length(answer),
            "score": score,
            "truncated": asked.row_lengths() > cut.row_lengths(),
            "document": tf.cast(document, tf.int32),
        }

    def _read(self, windows: Windows, may_answer: tf.Tensor) -> Spans:
        """The best spans of windows, some of them at a time; `may_answer`: bool [W, T]."""

        def read(rows: tf.Tensor) -> Spans:
            logits = self._logits({name: tf.gather(v, rows) for name, v in windows.inputs.items()})
            start, end = (tf.nn.log_softmax(logits[side]) for side in ("start", "end"))
            none = start[:, 0] + end[:, 0]
            may = tf.gather(may_answer, rows)
            start, end = (tf.where(may, side, NEVER) for side in (start, end))
            return Spans(*best_spans(start, end, self._longest_answer), none)

        # Chunks of one size; the last row fills up the last one.
        count = tf.shape(may_answer)[0]
        chunks = tf.maximum((count + WINDOWS_AT_ONCE - 1) // WINDOWS_AT_ONCE, 1)
        size = (count + chunks - 1) // chunks
        rows = tf.reshape(tf.minimum(tf.range(chunks * size), count - 1), [chunks, size])
        place, score = tf.TensorSpec([None], tf.int64), tf.TensorSpec([None])
        spec = Spans(place, place, score, score)
        parts = tf.map_fn(read, rows, fn_output_signature=spec, parallel_iterations=1)
        return Spans(*(tf.reshape(part, [-1])[:count] for part in parts))

    def _choose(
        self, windows: Windows, spans: Spans, asker: tf.Tensor, count: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The answers of Q questions.

        Args:
            windows: W of them.
            spans: the best of each.
            asker: int32 [W], the question of each.
            count: Q.

        Returns:
            The window [Q] that holds each answer; its first and last token among those of all
            contexts, [Q, 2], or the place beyond them for no answer; its score [Q].
        """
        highest = tf.math.unsorted_segment_max(spans.score, asker, count)
        last = tf.size(asker) - 1
        number = tf.where(spans.score >= tf.gather(highest, asker), tf.range(last + 1), last)
        window = tf.math.unsorted_segment_min(number, asker, count)
        ends = tf.gather(tf.stack([spans.first, spans.last], axis=1), window)
        tokens = tf.gather(tf.gather(windows.places, window), ends, batch_dims=1)
        is_none = highest < NEVER / 2  # no context has a token
        if self._allow_no_answer:
            none = tf.math.unsorted_segment_min(spans.none, asker, count)
            is_none |= none > highest
            highest = tf.maximum(none, highest)
        nowhere = tf.reduce_max(windows.places)
        return window, tf.where(is_none[:, tf.newaxis], nowhere, tokens), tf.exp(highest)

    def answers(
        self, questions: Sequence[str], documents: Sequence[Sequence[str]], progress: bool
    ) -> list[dict[str, Any]]:
        """The fields of `find` for questions, each with some documents, as Python values.

        Those with documents of about one length go together, so that little is padding;
        `document` counts those of the question.
        """
        order = np.argsort([sum(map(len, texts)) for texts in documents], kind="stable")
        answers: list[dict[str, Any]] = [{} for _ in questions]
        num_cut = 0
        with LateBar("answering", len(questions)) as bar:
            for begin in range(0, len(order), QUESTIONS_AT_ONCE):
                chosen = order[begin : begin + QUESTIONS_AT_ONCE]
                sizes = [len(documents[number]) for number in chosen]
                found = self.find(
                    tf.constant([questions[number] for number in chosen]),
                    tf.constant([text for number in chosen for text in documents[number]]),
                    tf.constant(np.repeat(np.arange(len(chosen)), sizes), tf.int32),
                )
                found["document"] -= np.cumsum([0, *sizes[:-1]]).astype(np.int32)
                fields = {name: field.numpy().tolist() for name, field in found.items()}
                for row, number in enumerate(chosen):
                    answer = {name: field[row] for name, field in fields.items()}
                    num_cut += answer.pop("truncated")
                    answers[number] = {**answer, "answer": answer["answer"].decode("utf-8")}
                if progress and len(order) > QUESTIONS_AT_ONCE:
                    bar.advance_to(begin + len(chosen))
        if num_cut:
            warnings.warn(
                f"{num_cut} of {len(questions)} questions have more than "
                f"max_question_length={self._longest_question} tokens, and are cut at their end",
                stacklevel=3,
            )
        return answers

    def signatures(self) -> dict[str, Any]:
        """What a server calls: `serving_default` for pairs, `documents` for one question."""
        return {"serving_default": self.find_answer, "documents": self.find_in_documents}


class Windows(NamedTuple):
    """W rows `[CLS] question [SEP] window of the context [SEP]`, as `data.answer_spans` cuts them.

    Args:
        inputs: `token_ids`, `token_types` and `padding_mask`, int32 [W, T].
        places: int64 [W, T], which of the tokens of all contexts stands there; elsewhere the
            number of these tokens.
        context: int64 [W], the number of the context that the row is cut from.
    """

    inputs: Inputs
    places: tf.Tensor
    context: tf.Tensor


class Spans(NamedTuple):
    """The likeliest span of each of W windows.

    Args:
        first: int64 [W], the place of its first token.
        last: int64 [W], of its last.
        score: float32 [W], the sum of the log-probabilities of both.
        none: float32 [W], the same of CLS.
    """

    first: tf.Tensor
    last: tf.Tensor
    score: tf.Tensor
    none: tf.Tensor


def context_windows(
    questions: tf.RaggedTensor,
    contexts: tf.RaggedTensor,
    between: tuple[int, int, int],
    length: int,
    stride: int,
) -> Windows:
    """Lays a question before each window of its context.

    Args:
        questions: int32 ids [C, None], short enough to leave room in a row.
        contexts: int32 ids [C, None], the context of each.
        between: the ids of CLS and SEP, and how many SEP stand between question and context.
        length: the most tokens of a row.
        stride: how many tokens after the window before it a window begins; less where the
            question leaves less room than that.
    """
    cls, sep, separators = between
    room = length - 2 - separators - questions.row_lengths()
    step, size = tf.minimum(tf.constant(stride, tf.int64), room), contexts.row_lengths()
    number = 1 + tf.maximum(-((room - size) // step), 0)
    context = tf.repeat(tf.range(tf.size(number, tf.int64)), number)
    start = tf.ragged.range(number).flat_values * tf.gather(step, context)
    count = tf.minimum(tf.gather(room, context), tf.gather(size, context) - start)
    first = tf.gather(contexts.row_starts(), context) + start
    cut = tf.ragged.range(first, first + count)
    one = tf.ones([tf.size(context), 1], tf.int32)
    first_part = tf.concat([one * cls, tf.gather(questions, context), one * sep], axis=1)
    more = tf.repeat(one * sep, separators - 1, axis=1)
    ids = cut.with_values(tf.gather(contexts.flat_values, cut.flat_values))
    second_part = tf.concat([more, ids, one * sep], axis=1)
    token_ids = tf.concat([first_part, second_part], axis=1)
    nowhere = tf.size(contexts.flat_values, tf.int64)
    before = tf.concat([first_part, more], axis=1)
    before = before.with_values(tf.fill([tf.size(before.flat_values)], nowhere))
    inputs = {
        "token_ids": dense(token_ids),
        "token_types": dense(
            tf.concat([tf.zeros_like(first_part), tf.ones_like(second_part)], axis=1)
        ),
        "padding_mask": dense(tf.ones_like(token_ids)),
    }
    places = tf.concat([before, cut], axis=1).to_tensor(
        nowhere, shape=tf.shape(inputs["token_ids"], tf.int64)
    )
    return Windows(inputs, places, context)


def best_spans(
    start: tf.Tensor, end: tf.Tensor, longest: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The span of each window with the highest sum of what its two ends have.

    Args:
        start: float32 [W, T], the log-probability of each token to be a span's first; `NEVER`
            where it cannot.
        end: float32 [W, T], to be its last.
        longest: the most tokens of a span.

    Returns:
        `first` and `last`, int64 [W], `first <= last < first + longest`, of equal ones the
        earliest and shortest; and their sum, float32 [W].

    Example:

    >>> start, end = tf.constant([[0.0, 2.0, 1.0]]), tf.constant([[3.0, 0.0, 1.0]])
    >>> [part.numpy().tolist() for part in best_spans(start, end, longest=2)]
    [[0], [0], [3.0]]
    """
    width = tf.shape(end)[1]
    reach = tf.range(width)[:, tf.newaxis] + tf.range(longest)
    beyond = tf.pad(end, [[0, 0], [0, longest - 1]], constant_values=NEVER)
    sums = start[:, :, tf.newaxis] + tf.gather(beyond, reach, axis=1)  # [W, T, longest]
    sums = tf.reshape(sums, [-1, width * longest])
    place = tf.argmax(sums, axis=1)
    first = place // longest
    return first, first + place % longest, tf.gather(sums, place, batch_dims=1)


def _checks(question: tf.Tensor, context: tf.Tensor) -> list[Any]:
    """Assertions for servers; Python callers have had a `ValueError` before."""
    return [
        tf.debugging.Assert(
            tf.reduce_all(tf.strings.strip(texts) != ""), [f"{name} holds an empty text"]
        )
        for name, texts in (("question", question), ("context", context))
    ]


def _without_spaces(
    text: tf.Tensor, start: tf.Tensor, end: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Spans [Q] in characters without the white space at their edges.

    Tokens of byte-level BPE and of SentencePiece begin with the space before a word.
    """
    piece = tf.strings.substr(text, start, end - start, unit="UTF8_CHAR")
    sizes = [
        tf.strings.length(tf.strings.regex_replace(piece, pattern, r"\1"), unit="UTF8_CHAR")
        for pattern in (r"^[\s\p{Z}]+([^\s\p{Z}])", r"([^\s\p{Z}])[\s\p{Z}]+$")
    ]
    return end - sizes[0], start + sizes[1]
