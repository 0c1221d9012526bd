"""The path from strings to strings as graph functions: what Python calls is what is served."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from keras_lm.data import overlapping_windows
from keras_lm.generation.api import SMALLEST_BUCKET, decode_function
from keras_lm.generation.compiled import compiled
from keras_lm.models.base import LanguageModel
from keras_lm.tasks.in_graph import in_graph
from keras_lm.tokenizers import Tokenizer

DEFAULT_NEW_TOKENS = 64
SCORED_ROWS = 16
"""Windows that `score` gives to the model at once."""

_SAMPLING = (
    tf.TensorSpec([], tf.int32, "max_new_tokens"),
    tf.TensorSpec([], tf.float32, "temperature"),
    tf.TensorSpec([], tf.int32, "top_k"),
    tf.TensorSpec([], tf.float32, "top_p"),
    tf.TensorSpec([], tf.int32, "num_return_sequences"),
    tf.TensorSpec([], tf.int32, "seed"),
    tf.TensorSpec([None], tf.string, "stop"),
    tf.TensorSpec([], tf.bool, "return_prompt"),
)
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
    """

    def __init__(self, model: LanguageModel, tokenizer: Tokenizer, window: int) -> None:
        super().__init__()
        self.model, self.tokenizer, self.window = model, tokenizer, window
        self._begin, self._end = tokenizer.document_ends
        self._longest = model.config.max_length or tf.int32.max
        decode = decode_function(model)
        by_table = model.learns_by_counting
        log_probs = compiled(model, "log_probs", model.log_probs, jit_compile=by_table)
        ids, integer, real = (
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([], tf.float32),
        )
        vector = tf.TensorSpec([None], tf.int32)
        specs = (ids, vector, vector, integer, vector, real, integer, real, integer)
        self._decode = in_graph(decode, specs, [ids, vector])
        self._log_probs = in_graph(log_probs, (ids, ids), tf.TensorSpec([None, None], tf.float32))

    def prompts(self, text: tf.Tensor) -> tf.RaggedTensor:
        """BOS + ids of texts [B], ragged."""
        ids = self.tokenizer(text)
        start = tf.fill([tf.shape(text)[0], 1], self._begin)
        return tf.concat([start, ids], axis=1)

    @tf.function(input_signature=[_TEXT, *_SAMPLING], autograph=False)
    def generate(
        self,
        text: tf.Tensor,
        max_new_tokens: tf.Tensor = tf.constant(-1),
        temperature: tf.Tensor = tf.constant(0.0),
        top_k: tf.Tensor = tf.constant(0),
        top_p: tf.Tensor = tf.constant(1.0),
        num_return_sequences: tf.Tensor = tf.constant(1),
        seed: tf.Tensor = tf.constant(0),
        stop: tf.Tensor = tf.constant([], tf.string),
        return_prompt: tf.Tensor = tf.constant(True),
    ) -> dict[str, tf.Tensor]:
        """Texts [B] → {"text": continued texts [B, num_return_sequences]}.

        `max_new_tokens=-1` generates `DEFAULT_NEW_TOKENS`, or as many as the model has room for.
        """
        repeats = tf.repeat(tf.range(tf.shape(text)[0]), num_return_sequences)
        prompts = tf.gather(self.prompts(text), repeats)
        lengths = tf.cast(prompts.row_lengths(), tf.int32)
        free = self._longest - tf.reduce_max(lengths)
        usual = tf.clip_by_value(free, 1, DEFAULT_NEW_TOKENS)
        max_new_tokens = tf.where(max_new_tokens == -1, usual, max_new_tokens)
        with tf.control_dependencies(self._checks(text, lengths, max_new_tokens, top_p)):
            rows, width = _bucket(tf.size(lengths)), _bucket(tf.reduce_max(lengths))
        width = tf.maximum(width, SMALLEST_BUCKET)
        room = tf.zeros([tf.maximum(_bucket(max_new_tokens), SMALLEST_BUCKET)], tf.int32)
        more_rows = [0, rows - tf.size(lengths)]
        more_columns = [0, width - tf.reduce_max(lengths)]
        tokens, count = self._decode(
            tf.pad(prompts.to_tensor(0), [more_rows, more_columns]),
            tf.pad(lengths, [more_rows]),
            room,
            tf.maximum(max_new_tokens, 1),
            tf.constant([self._end]),
            temperature,
            top_k,
            top_p,
            seed,
        )
        count = tf.minimum(count[: tf.size(lengths)], max_new_tokens)
        new = tf.RaggedTensor.from_tensor(tokens[: tf.size(lengths)], lengths=count)
        answer = _cut_at(self._continuation(prompts, new), stop)
        prefix = tf.where(return_prompt, tf.gather(text, repeats), "")
        return {"text": tf.reshape(prefix + answer, [-1, num_return_sequences])}

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
        end = tf.fill([tf.shape(text)[0], 1], self._end)
        ids = tf.concat([self.prompts(text), end], axis=1)
        pairs = ids.row_lengths() - 1
        document, start, counted_from = overlapping_windows(pairs, self.window)
        width = tf.minimum(_bucket(tf.cast(tf.reduce_max(pairs), tf.int32)), self.window)
        rows = tf.minimum(_bucket(tf.size(document)), SCORED_ROWS)
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
        missing = (-count) % rows
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

    def _checks(self, text: Any, lengths: Any, max_new_tokens: Any, top_p: Any) -> list[Any]:
        """Assertions for servers; Python callers have had a `ValueError` before."""
        longest = tf.reduce_max(lengths)
        return [
            tf.debugging.Assert(tf.reduce_all(text != ""), ["text holds an empty prompt"]),
            tf.debugging.Assert(max_new_tokens >= 0, ["max_new_tokens must be 0 or more"]),
            tf.debugging.Assert((top_p > 0) & (top_p <= 1), ["top_p must be in (0, 1]:", top_p]),
            tf.debugging.Assert(
                max_new_tokens <= self._longest - longest,
                ["prompt tokens + max_new_tokens exceed", self._longest, longest, max_new_tokens],
            ),
        ]

    def signatures(self) -> dict[str, Any]:
        """What a server calls: `serving_default`, `generate` and `score`."""

        @tf.function(input_signature=[_TEXT], autograph=False)
        def serving_default(text: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"text": self.generate(text)["text"][:, 0]}

        return {
            "serving_default": serving_default,
            "generate": self.generate,
            "score": self.score,
        }


def _bucket(size: tf.Tensor) -> tf.Tensor:
    """The power of two that is at least `size`, an int32 scalar of 1 or more."""
    bits = tf.math.ceil(tf.math.log(tf.cast(tf.maximum(size, 1), tf.float64)) / np.log(2.0))
    return tf.bitwise.left_shift(1, tf.cast(bits, tf.int32))


def _cut_at(texts: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
    """Texts [B] up to the first place where one of the strings `stop` [M] stands."""

    def cut(index: tf.Tensor, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pieces = tf.strings.split(texts, stop[index], maxsplit=1)
        return index + 1, pieces.to_tensor("", shape=[None, 2])[:, 0]

    start = (tf.constant(0), texts)
    return tf.while_loop(lambda index, _: index < tf.size(stop), cut, start)[1]
