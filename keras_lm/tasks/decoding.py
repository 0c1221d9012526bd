"""The ways of decoding that a model has, inside of graphs: what tasks that write texts share."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_lm.generation.programs import SMALLEST_BUCKET, Kind, program, program_inputs
from keras_lm.models.base import LanguageModel
from keras_lm.tasks.in_graph import in_graph

KINDS: tuple[Kind, ...] = ("decode", "constrained", "beam")
"""The programs of `generation.programs`: greedy or a draw; the same with constraints; beams."""

Options = Mapping[str, tf.Tensor]
"""Parameters of `generate_ids` as tensors, by name."""

Found = tuple[tf.Tensor, tf.Tensor, tf.Tensor]
"""Tokens int32 [B, N, R]; how many of them count, int32 [B, N]; scores float32 [B, N]."""

OPTIONS = {
    "num_return_sequences": (tf.TensorSpec([], tf.int32), 1),
    "temperature": (tf.TensorSpec([], tf.float32), 0.0),
    "top_k": (tf.TensorSpec([], tf.int32), 0),
    "top_p": (tf.TensorSpec([], tf.float32), 1.0),
    "seed": (tf.TensorSpec([], tf.int32), 0),
    "num_beams": (tf.TensorSpec([], tf.int32), 1),
    "num_beam_groups": (tf.TensorSpec([], tf.int32), 1),
    "length_penalty": (tf.TensorSpec([], tf.float32), 1.0),
    "early_stopping": (tf.TensorSpec([], tf.int32), 0),
    "coverage_penalty": (tf.TensorSpec([], tf.float32), 0.0),
    "diversity_penalty": (tf.TensorSpec([], tf.float32), 0.0),
    "renormalize_logits": (tf.TensorSpec([], tf.bool), False),
    "repetition_penalty": (tf.TensorSpec([], tf.float32), 1.0),
    "no_repeat_ngram_size": (tf.TensorSpec([], tf.int32), 0),
    "bad_words_ids": (tf.TensorSpec([None, None], tf.int32), [[-1]]),
    "suppress_tokens": (tf.TensorSpec([None], tf.int32), [-1]),
    "min_new_tokens": (tf.TensorSpec([], tf.int32), 0),
    "forced_bos_token_id": (tf.TensorSpec([], tf.int32), -1),
    "forced_eos_token_id": (tf.TensorSpec([], tf.int32), -1),
}
"""What may be asked of a search, in the order of signatures: its spec, and "not asked for"."""


class Decoding(tf.Module):
    """The programs of a model as functions that graphs call, with shapes rounded up to buckets.

    Args:
        model: any language model.
    """

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        # What a SavedModel must hold. Of a whole Keras model TensorFlow would trace `call` as well,
        # with inputs that it guesses.
        self._variables = [variable.value for variable in model.variables]
        self._inputs = {kind: tuple(program_inputs(model, kind)) for kind in KINDS}
        self._programs = {kind: _program_in_graph(model, kind) for kind in KINDS}

    def __call__(
        self,
        kind: Kind,
        prompts: tf.RaggedTensor,
        limit: tf.Tensor,
        stop_ids: tf.Tensor,
        options: Options,
        source: tf.RaggedTensor | None = None,
    ) -> Found:
        """Continues prompts.

        Args:
            kind: one of `KINDS`.
            prompts: int32 [B, None].
            limit: int32 scalar, 1 or more: the most new tokens.
            stop_ids: int32 [E].
            options: those of `OPTIONS`.
            source: int32 [B, None], what an encoder–decoder reads.
        """
        answers = options["num_return_sequences"]
        if kind != "beam":  # every answer is a row by itself
            repeats = tf.repeat(tf.range(prompts.nrows()), tf.cast(answers, tf.int64))
            prompts = tf.gather(prompts, repeats)
            source = None if source is None else tf.gather(source, repeats)
        count = tf.cast(prompts.nrows(), tf.int32)
        rows = bucket_of(count)
        arguments = dict(options)
        if source is not None:
            arguments["source_ids"], lengths = _padded(source, rows, SMALLEST_BUCKET)
            # A row that fills the batch has one token, so that no softmax is over nothing.
            width = tf.range(tf.shape(arguments["source_ids"])[1])
            mask = width[tf.newaxis] < tf.maximum(lengths, 1)[:, tf.newaxis]
            arguments["source_mask"] = tf.cast(mask, tf.int32)
        smallest = 1 if source is not None else SMALLEST_BUCKET
        arguments["prompt_ids"], arguments["lengths"] = _padded(prompts, rows, smallest)
        arguments["room"] = tf.zeros([tf.maximum(bucket_of(limit), SMALLEST_BUCKET)], tf.int32)
        arguments |= {"limit": limit, "stop_ids": stop_ids}
        groups = options["num_beam_groups"]
        arguments["beams"] = tf.zeros([groups, options["num_beams"] // groups], tf.int32)
        found = self._programs[kind](*(arguments[name] for name in self._inputs[kind]))
        tokens, lengths, *scores = (part[:count] for part in found)
        if kind == "beam":
            return tokens[:, :answers], lengths[:, :answers], scores[0][:, :answers]
        score = scores[0] if scores else tf.zeros([count], tf.float32)
        shape = [-1, answers]
        tokens = tf.reshape(tokens, [-1, answers, tf.shape(tokens)[1]])
        return tokens, tf.reshape(lengths, shape), tf.reshape(score, shape)

    def chosen(self, options: Options, search: Any, with_scores: bool | tf.Tensor) -> Any:
        """Calls `search(kind)` with the kind that the options, known when it runs, ask for.

        Args:
            options: those of `OPTIONS`.
            search: what to call.
            with_scores: whether scores are wanted, which a plain "decode" does not give.
        """
        kinds = [kind for kind in KINDS if kind != "decode" or with_scores is not True]
        names = list(OPTIONS)
        is_plain = tf.logical_not(with_scores)
        # The constraints stand from there on; what stands before changes no plain token.
        for name in names[names.index("repetition_penalty") :]:
            is_plain &= tf.reduce_all(tf.equal(options[name], tf.constant(OPTIONS[name][1])))
        number = tf.where(is_plain, 0, len(kinds) - 2)
        number = tf.where(options["num_beams"] > 1, len(kinds) - 1, number)
        return tf.switch_case(number, [lambda kind=kind: search(kind) for kind in kinds])


def _program_in_graph(model: LanguageModel, kind: Kind) -> Any:
    specs = [
        tf.TensorSpec([None] * rank, dtype, name)
        for name, (dtype, rank) in program_inputs(model, kind).items()
    ]
    ranks = {"decode": (2, 1), "constrained": (2, 1, 1), "beam": (3, 2, 2)}[kind]
    dtypes = (tf.int32, tf.int32, tf.float32)[: len(ranks)]
    outputs = [tf.TensorSpec([None] * n, dtype) for n, dtype in zip(ranks, dtypes, strict=True)]
    return in_graph(program(model, kind), specs, outputs)


def served(function: Any, first: Sequence[tf.TensorSpec], defaults: Mapping[str, Any]) -> Any:
    """A `tf.function` of tensors, the last of which have default values.

    Args:
        function: takes tensors by position.
        first: specs of those without defaults.
        defaults: the names of the others and their values; a dimension of one may be any.
    """
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    values = {name: tf.constant(value) for name, value in defaults.items()}
    parameters = [inspect.Parameter(spec.name, kind) for spec in first]
    parameters += [inspect.Parameter(name, kind, default=v) for name, v in values.items()]

    def run(*tensors: Any) -> Any:
        return function(*tensors)

    # What TensorFlow reads names and defaults from: there are too many to write them out twice.
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    specs = [
        tf.TensorSpec([None] * value.shape.rank, value.dtype, name)
        for name, value in values.items()
    ]
    return tf.function(run, input_signature=[*first, *specs], autograph=False)


def bucket_of(size: tf.Tensor) -> tf.Tensor:
    """The power of two that is at least `size`, an int32 scalar of 1 or more."""
    bits = tf.math.ceil(tf.math.log(tf.cast(tf.maximum(size, 1), tf.float64)) / np.log(2.0))
    return tf.bitwise.left_shift(1, tf.cast(bits, tf.int32))


def _padded(ids: tf.RaggedTensor, rows: tf.Tensor, smallest: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Rows of ids filled up to a bucket's shape, [rows, T], and their lengths, [rows]."""
    lengths = tf.cast(ids.row_lengths(), tf.int32)
    width = tf.maximum(bucket_of(tf.reduce_max(lengths)), smallest)
    dense = ids.to_tensor(0, shape=[None, None])
    missing = [[0, rows - tf.shape(dense)[0]], [0, width - tf.shape(dense)[1]]]
    return tf.pad(dense, missing), tf.pad(lengths, missing[:1])
