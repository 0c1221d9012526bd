"""The three compiled programs that generate, as functions of flat lists of tensors.

Python calls them, and so do the graph functions that a task exports: what a program takes stands
in one place, `program_inputs`. Which of the three a call wants, and with what, is said by
`SearchSettings`. A program is compiled when it is first used.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, TypeVar

import keras

from keras_lm.generation.beam import BeamScoring, beam_search, length_normalized
from keras_lm.generation.compiled import compiled
from keras_lm.generation.constraints import Constraints
from keras_lm.generation.engine import decode
from keras_lm.generation.sampling import Sampler
from keras_lm.models.base import LanguageModel

Kind = Literal["decode", "constrained", "beam"]
Parameters = TypeVar("Parameters", Sampler, BeamScoring, Constraints)

SMALLEST_BUCKET = 16

_SOURCE = {"source_ids": ("int32", 2), "source_mask": ("int32", 2)}
_PROMPTS = {
    "prompt_ids": ("int32", 2),
    "lengths": ("int32", 1),
    "room": ("int32", 1),
    "limit": ("int32", 0),
    "stop_ids": ("int32", 1),
}
_SAMPLING = {
    "temperature": ("float32", 0),
    "top_k": ("int32", 0),
    "top_p": ("float32", 0),
    "seed": ("int32", 0),
}
_SCORING = {
    "beams": ("int32", 2),
    "length_penalty": ("float32", 0),
    "early_stopping": ("int32", 0),
    "coverage_penalty": ("float32", 0),
    "diversity_penalty": ("float32", 0),
}
_CONSTRAINTS = {
    "repetition_penalty": ("float32", 0),
    "no_repeat_ngram_size": ("int32", 0),
    "bad_words_ids": ("int32", 2),
    "suppress_tokens": ("int32", 1),
    "min_new_tokens": ("int32", 0),
    "forced_bos_token_id": ("int32", 0),
    "forced_eos_token_id": ("int32", 0),
    "renormalize_logits": ("bool", 0),
}
_INPUTS = {
    "decode": _SAMPLING,
    "constrained": {**_SAMPLING, "length_penalty": ("float32", 0), **_CONSTRAINTS},
    "beam": {**_SCORING, **_CONSTRAINTS},
}


def program_inputs(model: LanguageModel, kind: Kind) -> dict[str, tuple[str, int]]:
    """What a program takes: the dtype and the rank of each tensor by name, in order.

    `source_ids` and `source_mask`, of models that read a source: a row that only fills the batch
    must have a token too. The others are the arguments of `decode` and `beam_search`, and the
    fields of `Sampler`, `BeamScoring` and `Constraints`, of these names.
    """
    return {**(_SOURCE if model.reads_source else {}), **_PROMPTS, **_INPUTS[kind]}


def program(model: LanguageModel, kind: Kind, jit_compile: bool | None = None) -> Any:
    """A compiled function of the tensors that `program_inputs` names, in their order.

    Args:
        model: any state machine.
        kind: `"decode"` gives the new tokens, int [B, R], and their count, int [B];
            `"constrained"` also the scores, float32 [B], the log-probabilities that `decode` sums,
            divided by count^`length_penalty`; `"beam"` gives the three for every beam,
            [B, M, …], the best first.
        jit_compile: use XLA; default: yes, but not for a bfloat16 model on a CPU, where XLA
            computes in float32.
    """
    names = list(program_inputs(model, kind))

    def run(*tensors: Any) -> Any:
        given = dict(zip(names, tensors, strict=True))
        prompts = {name: given[name] for name in _PROMPTS}
        source = None
        if model.reads_source:
            source = {"token_ids": given["source_ids"], "padding_mask": given["source_mask"]}
        if kind == "decode":
            return decode(model, **prompts, sampler=_parameters(Sampler, given), source=source)
        constraints = _parameters(Constraints, given)
        if kind == "beam":
            scoring = _parameters(BeamScoring, given)
            return beam_search(
                model,
                **prompts,
                beams=given["beams"],
                scoring=scoring,
                constraints=constraints,
                source=source,
            )
        sampler = _parameters(Sampler, given)
        tokens, count, scores = decode(
            model, **prompts, sampler=sampler, constraints=constraints, source=source
        )
        return tokens, count, length_normalized(scores, count, given["length_penalty"])

    if jit_compile is None:
        jit_compile = model.compute_dtype != "bfloat16" or _has_accelerator()
    return compiled(model, kind, run, jit_compile)


def bucket(size: int, smallest: int = 1) -> int:
    """The power of two that is at least `size` and `smallest`."""
    return max(smallest, 1 << (size - 1).bit_length())


def _parameters(of: type[Parameters], given: dict[str, Any]) -> Parameters:
    return of(**{field.name: given[field.name] for field in dataclasses.fields(of)})


def _has_accelerator() -> bool:
    return bool(keras.distribution.list_devices("gpu") or keras.distribution.list_devices("tpu"))
