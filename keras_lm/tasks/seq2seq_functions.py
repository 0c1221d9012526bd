"""From source strings to target strings as graph functions: what Python calls is what is served."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import tensorflow as tf

from keras_lm.generation.programs import Kind
from keras_lm.tasks.decoding import KINDS, OPTIONS, Decoding, Found, Options, served
from keras_lm.tasks.reading import TEXT

_SPECS = [
    TEXT,
    tf.TensorSpec([], tf.int32, "max_new_tokens"),
    *(tf.TensorSpec(spec.shape, spec.dtype, name) for name, (spec, _) in OPTIONS.items()),
]


class Seq2SeqFunctions(tf.Module):
    """`generate` on string tensors: texts in, what the model writes out.

    Args:
        task: a `Seq2SeqLM`.
    """

    def __init__(self, task: Any) -> None:
        super().__init__()
        self.source = SourceReader(task)
        self._target = task.target_tokenizer or task.tokenizer
        self._start = task.model.config.decoder_start_id
        self._stop = tf.constant([task.model.config.eos_id])
        self._most = task.sequence_length - 1
        settings, self._defaults = task.search_options({})
        self._kind = settings.kind
        self._decoding = Decoding(task.model)
        # A mapping proxy, because tf.Module would save what is in a plain dict.
        self.by_kind = MappingProxyType({kind: self._function(kind) for kind in KINDS})
        """`generate` of one kind of search: function of texts, `max_new_tokens` and `OPTIONS`."""

    def _function(self, kind: Kind) -> Any:
        @tf.function(input_signature=_SPECS, autograph=False)
        def generate(text: Any, max_new_tokens: Any, *values: Any) -> dict[str, tf.Tensor]:
            options = dict(zip(OPTIONS, values, strict=True))
            return self._answers(text, max_new_tokens, options, lambda *a: self._decoding(kind, *a))

        return generate

    def _answers(
        self, text: tf.Tensor, max_new_tokens: tf.Tensor, options: Options, search: Any
    ) -> dict[str, tf.Tensor]:
        """Texts [B] → `text` and `score` [B, N], `truncated` [B]."""
        sources, was_cut = self.source(text)
        count = tf.shape(text)[0]
        prompts = tf.RaggedTensor.from_tensor(tf.fill([count, 1], self._start))
        limit = tf.where(max_new_tokens < 0, self._most, max_new_tokens)
        with tf.control_dependencies(self._checks(limit)):
            limit = tf.maximum(limit, 1)
        tokens, lengths, scores = search(prompts, limit, self._stop, options, sources)
        lengths = tf.minimum(lengths, tf.where(max_new_tokens == 0, 0, limit))
        flat = tf.reshape(tokens, [-1, tf.shape(tokens)[2]])
        ids = tf.RaggedTensor.from_tensor(flat, lengths=tf.reshape(lengths, [-1]))
        texts = self._target.detokenize(ids, skip_special_tokens=True)
        return {
            "text": tf.reshape(texts, tf.shape(scores)),
            "score": scores,
            "truncated": was_cut,
        }

    def _checks(self, limit: tf.Tensor) -> list[Any]:
        """Assertions for servers; Python callers have had a `ValueError` before."""
        message = ["max_new_tokens must be at most", self._most, limit]
        return [tf.debugging.Assert(limit <= self._most, message)]

    def signatures(self) -> dict[str, Any]:
        """What a server calls: `serving_default`, and `generate` with all its parameters."""

        def generate(text: Any, max_new_tokens: Any, *values: Any) -> dict[str, tf.Tensor]:
            options = dict(zip(OPTIONS, values, strict=True))

            def search(*arguments: Any) -> Found:
                return self._decoding.chosen(
                    options, lambda kind: self._decoding(kind, *arguments), with_scores=True
                )

            return self._answers(text, max_new_tokens, options, search)

        # A method of the object that is restored, too.
        self.generate = served(generate, [TEXT], {"max_new_tokens": -1, **self._defaults})

        @tf.function(input_signature=[TEXT], autograph=False)
        def serving_default(text: tf.Tensor) -> dict[str, tf.Tensor]:
            values = (tf.constant(value) for value in self._defaults.values())
            return {"text": self.by_kind[self._kind](text, tf.constant(-1), *values)["text"][:, 0]}

        return {"serving_default": serving_default, "generate": self.generate}


class SourceReader(tf.Module):
    """Texts as an encoder–decoder reads them: (BOS) prefix and text EOS.

    Args:
        task: a `Seq2SeqLM`.
    """

    def __init__(self, task: Any) -> None:
        super().__init__()
        self.tokenizer, self._prefix = task.require_tokenizer("reading texts"), task.prefix
        self._bos = self.tokenizer.bos_id if task.add_bos else None
        self._room = task.source_length - 1 - (self._bos is not None)

    def __call__(self, text: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """Ids int32 [B, None] of strings [B], and whether a text was cut, bool [B]."""
        ids: Any = self.tokenizer(tf.strings.join([self._prefix, text]))
        lengths = ids.row_lengths()
        parts = [ids[:, : self._room], self._column(text, self.tokenizer.eos_id)]
        if self._bos is not None:
            parts.insert(0, self._column(text, self._bos))
        return tf.concat(parts, axis=1), lengths > self._room

    def _column(self, text: tf.Tensor, token: int) -> tf.Tensor:
        return tf.fill([tf.shape(text)[0], 1], token)
