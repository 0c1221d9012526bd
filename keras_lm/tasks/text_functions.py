"""The path from strings to strings as graph functions: what Python calls is what is served."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import tensorflow as tf

from keras_lm.data import overlapping_windows
from keras_lm.generation.compiled import compiled
from keras_lm.generation.programs import Kind
from keras_lm.models.base import LanguageModel
from keras_lm.tasks.decoding import KINDS, OPTIONS, Decoding, Found, bucket_of, served
from keras_lm.tasks.in_graph import in_graph
from keras_lm.tokenizers import Tokenizer

DEFAULT_NEW_TOKENS = 64
SCORED_ROWS = 16
"""Windows that `score` gives to the model at once."""

PARAMETERS = {
    "max_new_tokens": -1,
    **{name: value for name, (_, value) in OPTIONS.items() if name != "coverage_penalty"},
    "stop": tf.constant([], tf.string),
    "return_prompt": True,
    "return_scores": False,
}
"""What `generate` takes besides texts, in this order, and its defaults."""

_TEXT = tf.TensorSpec([None], tf.string, "text")


class TextFunctions(tf.Module):
    """`generate` and `score` on string tensors.

    Strings cannot enter XLA, so each function is a graph (tokenizing, bucketing, decoding of
    the answer) around a compiled core. The core's shapes are rounded up to buckets: calls of
    about the same size share one compilation, in Python and in a server.

    Args:
        model: the language model.
        tokenizer: its tokenizer, with `document_ends`.
        window: T, the longest stretch that `score` reads at once.
        add_bos: prompts begin with BOS.
    """

    def __init__(
        self, model: LanguageModel, tokenizer: Tokenizer, window: int, add_bos: bool
    ) -> None:
        super().__init__()
        self.model, self.tokenizer, self.window = model, tokenizer, window
        self._add_bos = add_bos
        self._begin, self._end = tokenizer.document_ends
        self._longest = model.config.max_length or tf.int32.max
        by_table = model.learns_by_counting
        log_probs = compiled(model, "log_probs", model.log_probs, jit_compile=by_table)
        ids = tf.TensorSpec([None, None], tf.int32)
        self._log_probs = in_graph(log_probs, (ids, ids), tf.TensorSpec([None, None], tf.float32))
        self._decoding = Decoding(model)
        # A mapping proxy, because tf.Module would save what is in a plain dict.
        self.by_kind = MappingProxyType({kind: self._of_kind(kind) for kind in KINDS})
        """`generate` with one kind of search: functions of texts and, in order, `PARAMETERS`."""

    def prompts(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Ids of texts [B], ragged, behind BOS; a text of no tokens has it in any case."""
        ids: Any = self.tokenizer(text)
        first = ids[:, :1].to_tensor(-1, shape=[None, 1])[:, 0]
        lacks = first != self._begin if self._add_bos else first == -1
        return self._behind_bos(ids, lacks)

    def _behind_bos(self, ids: tf.RaggedTensor, lacks: tf.Tensor) -> tf.RaggedTensor:
        """BOS before the rows of ids that lack it, bool [B]."""
        start = tf.fill([tf.math.count_nonzero(lacks)], self._begin)
        return tf.concat(
            [tf.RaggedTensor.from_row_lengths(start, tf.cast(lacks, tf.int64)), ids], axis=1
        )

    def _of_kind(self, kind: Kind) -> Any:
        """Python knows the kind of a call before, and need not trace the other programs."""

        def generate(text: tf.Tensor, *values: Any) -> dict[str, tf.Tensor]:
            return self._generate(text, values, lambda _, *given: self._decoding(kind, *given))

        return served(generate, [_TEXT], PARAMETERS)

    def _generate(self, text: tf.Tensor, values: Any, search: Any) -> dict[str, tf.Tensor]:
        """Texts [B] → `text`, the continued texts, and `score`, both [B, num_return_sequences].

        `max_new_tokens=-1` generates `DEFAULT_NEW_TOKENS`, or as many as the model has room for.
        """
        given = dict(zip(PARAMETERS, values, strict=True))
        options = {name: given.get(name, tf.constant(OPTIONS[name][1])) for name in OPTIONS}
        prompts = self.prompts(text)
        longest = tf.cast(tf.reduce_max(prompts.row_lengths()), tf.int32)
        usual = tf.clip_by_value(self._longest - longest, 1, DEFAULT_NEW_TOKENS)
        wanted = tf.where(given["max_new_tokens"] == -1, usual, given["max_new_tokens"])
        with tf.control_dependencies(self._checks(text, longest, wanted, options)):
            limit = tf.maximum(wanted, 1)
        tokens, count, scores = search(
            given["return_scores"], prompts, limit, tf.constant([self._end]), options
        )
        rows = tf.repeat(tf.range(tf.shape(text)[0]), options["num_return_sequences"])
        flat = tf.reshape(tokens, [-1, tf.shape(tokens)[2]])
        count = tf.minimum(tf.reshape(count, [-1]), wanted)
        new = tf.RaggedTensor.from_tensor(flat, lengths=count)
        answer = _cut_at(self._continuation(tf.gather(prompts, rows), new), given["stop"])
        prefix = tf.where(given["return_prompt"], tf.gather(text, rows), "")
        scores = tf.where(wanted > 0, scores, 0.0)
        return {"text": tf.reshape(prefix + answer, tf.shape(scores)), "score": scores}

    def _continuation(self, prompts: tf.RaggedTensor, new: tf.RaggedTensor) -> tf.Tensor:
        """Strings [B] of new ids, with the white space that they have behind their prompt's."""
        last = prompts[:, -1:]
        before = self.tokenizer.detokenize(last, skip_special_tokens=True)
        whole = self.tokenizer.detokenize(tf.concat([last, new], axis=1), skip_special_tokens=True)
        begin = tf.strings.length(before)
        return tf.strings.substr(whole, begin, tf.strings.length(whole) - begin)

    @tf.function(input_signature=[_TEXT], autograph=False)
    def score(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Texts [B] → {"score": log-probability of each and of its end, float32 [B], in nats}."""
        documents = self._behind_bos(self.tokenizer(text), tf.ones_like(text, tf.bool))
        end = tf.fill([tf.shape(text)[0], 1], self._end)
        ids = tf.concat([documents, end], axis=1)
        pairs = ids.row_lengths() - 1
        document, start, counted_from = overlapping_windows(pairs, self.window)
        width = tf.minimum(bucket_of(tf.cast(tf.reduce_max(pairs), tf.int32)), self.window)
        rows = tf.minimum(bucket_of(tf.size(document)), SCORED_ROWS)
        # Window w reads pairs start + offset of its document; what lies beyond weighs nothing.
        offset = tf.range(tf.cast(width, tf.int64))[None]
        last = tf.gather(pairs, document)[:, None] - 1
        pair = tf.minimum(start[:, None] + offset, last)
        counts = (offset >= counted_from[:, None]) & (start[:, None] + offset <= last)
        position = tf.gather(ids.row_starts(), document)[:, None] + pair
        log_probs = self._in_chunks(
            tf.gather(ids.flat_values, position), tf.gather(ids.flat_values, position + 1), rows
        )
        sums = tf.reduce_sum(tf.where(counts, log_probs, 0.0), axis=1)
        return {"score": tf.math.unsorted_segment_sum(sums, document, tf.shape(text)[0])}

    def _in_chunks(self, inputs: tf.Tensor, targets: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """`log_probs` of windows [W, T], `rows` of them at a time."""
        count, width = tf.shape(inputs)[0], tf.shape(inputs)[1]
        # A chunk at least: there must be something to stack.
        missing = tf.where(count > 0, (-count) % rows, rows)
        chunks = [
            tf.reshape(tf.pad(part, [[0, missing], [0, 0]]), [-1, rows, width])
            for part in (inputs, targets)
        ]
        log_probs = tf.map_fn(
            lambda chunk: self._log_probs(*chunk),
            tuple(chunks),
            fn_output_signature=tf.TensorSpec([None, None], tf.float32),
            parallel_iterations=1,
        )
        return tf.reshape(log_probs, [-1, width])[:count]

    def _checks(self, text: Any, longest: Any, max_new_tokens: Any, options: Any) -> list[Any]:
        """Assertions for servers; Python callers have had a `ValueError` before."""
        top_p, beams = options["top_p"], options["num_beams"]
        groups, answers = options["num_beam_groups"], options["num_return_sequences"]
        checks: list[tuple[Any, list[Any]]] = [
            (tf.reduce_all(text != ""), ["text holds an empty prompt"]),
            (max_new_tokens >= 0, ["max_new_tokens must be 0 or more"]),
            ((top_p > 0) & (top_p <= 1), ["top_p must be in (0, 1]:", top_p]),
            ((beams > 0) & (groups > 0), ["num_beams must be 1 or more:", beams, groups]),
            (beams % groups == 0, ["num_beam_groups must divide num_beams:", groups, beams]),
            (
                (beams == 1) | ((answers <= beams) & (options["temperature"] == 0)),
                ["a beam search gives at most num_beams sequences and has temperature 0:", answers],
            ),
            (
                max_new_tokens <= self._longest - longest,
                ["prompt tokens + max_new_tokens exceed", self._longest, longest, max_new_tokens],
            ),
        ]
        return [tf.debugging.Assert(good, message) for good, message in checks]

    def signatures(self) -> dict[str, Any]:
        """What a server calls: `serving_default`, `generate` and `score`.

        `generate` has the parameters of `generation.generate_ids`; ids that are not given are −1,
        `early_stopping` is 0, 1 or, for "never", 2, and `score` is 0 where neither
        `return_scores`, `num_beams` nor a constraint asks for more than the plain program.
        """

        def generate(text: tf.Tensor, *values: Any) -> dict[str, tf.Tensor]:
            def search(with_scores: Any, prompts: Any, *given: Any) -> Found:
                return self._decoding.chosen(
                    given[-1], lambda kind: self._decoding(kind, prompts, *given), with_scores
                )

            return self._generate(text, values, search)

        # A method of the object that is restored, too.
        self.generate = served(generate, [_TEXT], PARAMETERS)

        @tf.function(input_signature=[_TEXT], autograph=False)
        def serving_default(text: tf.Tensor) -> dict[str, tf.Tensor]:
            values = (tf.constant(value) for value in PARAMETERS.values())
            return {"text": self.by_kind["decode"](text, *values)["text"][:, 0]}

        return {
            "serving_default": serving_default,
            "generate": self.generate,
            "score": self.score,
        }


def _cut_at(texts: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
    """Texts [B] up to the first place where one of the strings `stop` [M] stands."""

    def cut(index: tf.Tensor, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pieces = tf.strings.split(texts, stop[index], maxsplit=1)
        return index + 1, pieces.to_tensor("", shape=[None, 2])[:, 0]

    start = (tf.constant(0), texts)
    return tf.while_loop(lambda index, _: index < tf.size(stop), cut, start)[1]
