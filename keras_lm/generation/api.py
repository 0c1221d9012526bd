"""Generation on token ids, without a tokenizer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from keras import ops

from keras_lm.generation.arguments import (
    check_id_list,
    check_ids,
    check_length,
    check_sampling,
    id_rows,
    is_list,
)
from keras_lm.generation.engine import first_state
from keras_lm.generation.programs import SMALLEST_BUCKET, bucket, program, program_inputs
from keras_lm.generation.settings import SearchSettings
from keras_lm.models.base import LanguageModel


def generate_ids(
    model: LanguageModel,
    ids: Any,
    *,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    num_return_sequences: int = 1,
    seed: int = 0,
    stop_ids: Sequence[int] | None = None,
    pad_id: int | None = None,
    num_beams: int = 1,
    length_penalty: float = 1.0,
    early_stopping: bool | Literal["never"] = False,
    coverage_penalty: float = 0.0,
    num_beam_groups: int = 1,
    diversity_penalty: float = 0.0,
    repetition_penalty: float = 1.0,
    no_repeat_ngram_size: int = 0,
    bad_words_ids: Sequence[Sequence[int]] = (),
    suppress_tokens: Sequence[int] = (),
    min_new_tokens: int = 0,
    forced_bos_token_id: int | None = None,
    forced_eos_token_id: int | None = None,
    renormalize_logits: bool = False,
    decoder_input_ids: Any = None,
    return_scores: bool = False,
    jit_compile: bool | None = None,
) -> Any:
    """Continues prompts of token ids, or writes targets to sources.

    The names, and what they do, are those of Transformers' `generate`. Prompts are padded to a
    bucket (a power of two), so that a second call with others of about the same size compiles
    nothing; nor does another value of any argument but `num_beams`, `num_beam_groups` and the
    number of stop ids and of bad words.

    Args:
        model: any language model.
        ids: int [B, T], or a list of prompts of several lengths. For an encoder–decoder the
            sources; the pad ids at the ends of an array's rows are padding.
        max_new_tokens: the number of tokens to generate at most.
        temperature: 0 is greedy; 1 samples from the model's distribution.
        top_k: sample among the k most likely tokens; None or 0: all.
        top_p: sample among the most likely tokens that reach this probability; None or 1: all.
        num_return_sequences: continuations of each prompt; of a beam search the best, at most
            `num_beams`.
        seed: of the sampling; the same seed gives the same tokens.
        stop_ids: a sequence ends with the first of these; it is part of the result. Default: the
            `eos_id` of an encoder–decoder; otherwise none.
        pad_id: fills the rows that end early; default: the `pad_id` of an encoder–decoder, or 0.
        num_beams: above 1 a beam search, which keeps so many candidates; 1: none.
        length_penalty: a sequence of n new tokens scores its log-probability / n^this.
        early_stopping: when a beam search of a prompt ends. True: once `num_beams` sequences
            have ended; False: once the best beam, at its present length, is no better than the
            worst of these; `"never"`: once no beam can become better.
        coverage_penalty: of parts of the source that were not looked at, in a beam search
            (https://arxiv.org/abs/1609.08144, eq. 14); 0: none.
        num_beam_groups: groups of beams that avoid each other's tokens
            (https://arxiv.org/abs/1610.02424); a divisor of `num_beams`.
        diversity_penalty: what a token loses for each beam of the groups before that took it at
            the same step. The scores contain it.
        repetition_penalty: above 1, tokens that were there before become less likely
            (https://arxiv.org/abs/1909.05858).
        no_repeat_ngram_size: no so many tokens stand in a sequence twice; 0: they may.
        bad_words_ids: ids that must not stand one behind the other: a list of lists.
        suppress_tokens: ids that are never chosen.
        min_new_tokens: a sequence does not end before.
        forced_bos_token_id: the first new token; not of effect behind a `decoder_input_ids` of
            more than the decoder's start.
        forced_eos_token_id: the last new token, where nothing has ended the sequence before.
        renormalize_logits: what constraints have left of the probabilities is made to sum to 1
            again: beams compete by these, and scores are of them. `temperature`, `top_k`, `top_p`
            and `diversity_penalty` come after it.
        decoder_input_ids: what the targets of an encoder–decoder begin with: ids for all, or
            one list for each source; the decoder's start is put before it if it lacks.
        return_scores: also return the scores. Those of a beam search are of its log-probabilities,
            as constraints and penalties have left them; otherwise they are the model's own, or
            with `renormalize_logits` what constraints have left.
        jit_compile: use XLA; default: yes, but not for a bfloat16 model on a CPU, where XLA
            computes in float32.

    Returns:
        int32 [B · num_return_sequences, T + new]: the prompt, then what was generated; of an
        encoder–decoder the target, which begins with the decoder's start. With `return_scores`
        also float32 [B · num_return_sequences]; −1e9 where a beam search found nothing more.

    Raises:
        ValueError: an argument is out of its range; the message names it.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.TransformerConfig(vocab_size=9, num_layers=1, hidden_dim=8, num_heads=2)
    >>> generate_ids(klm.models.Decoder(config), [[1, 2, 3]], max_new_tokens=4).shape
    (1, 7)
    >>> ids, scores = generate_ids(klm.models.Decoder(config), [[1, 2, 3]], max_new_tokens=4,
    ...                            num_beams=3, num_return_sequences=2, return_scores=True)
    >>> ids.shape, bool(scores[0] >= scores[1])
    ((2, 7), True)
    """
    settings = SearchSettings(
        num_beams=num_beams,
        length_penalty=length_penalty,
        early_stopping=early_stopping,
        coverage_penalty=coverage_penalty,
        num_beam_groups=num_beam_groups,
        diversity_penalty=diversity_penalty,
        repetition_penalty=repetition_penalty,
        no_repeat_ngram_size=no_repeat_ngram_size,
        bad_words_ids=bad_words_ids,
        suppress_tokens=suppress_tokens,
        min_new_tokens=min_new_tokens,
        forced_bos_token_id=forced_bos_token_id,
        forced_eos_token_id=forced_eos_token_id,
        renormalize_logits=renormalize_logits,
        return_scores=return_scores,
    )
    config = model.config
    check_sampling(max_new_tokens, temperature, top_k, top_p, num_return_sequences, seed)
    settings.check(config.vocab_size, max_new_tokens, temperature, num_return_sequences)
    prompts, sources = _inputs(model, ids, decoder_input_ids)
    if sources is not None and len(prompts[0]) > 1:
        settings = dataclasses.replace(settings, forced_bos_token_id=None)
    stops = _stop_ids(model, stop_ids)
    if pad_id is None:
        pad_id = _own(model, "pad_id") or 0
    check_ids("pad_id", [pad_id], config.vocab_size)
    check_length(max(len(prompt) for prompt in prompts), max_new_tokens, config.max_length)
    check_coverage(model, coverage_penalty)
    given = {
        "limit": np.int32(max_new_tokens),
        "room": np.zeros(bucket(max(max_new_tokens, 1), SMALLEST_BUCKET), "int32"),
        "stop_ids": stops,
        "temperature": np.float32(temperature),
        "top_k": np.int32(top_k or 0),
        "top_p": np.float32(1.0 if top_p is None else top_p),
        "seed": np.int32(seed),
        **settings.arrays(),
    }
    repeats = num_return_sequences if num_beams == 1 else 1  # the search gives several by itself
    prompts = [prompt for prompt in prompts for _ in range(repeats)]
    if sources is not None:
        sources = [source for source in sources for _ in range(repeats)]
    shape = (len(prompts), num_return_sequences // repeats)
    tokens, count, scores = (
        np.zeros((*shape, 0), "int32"),
        np.zeros(shape, "int32"),
        np.zeros(shape),
    )
    if max_new_tokens > 0:
        given |= _padded(prompts, sources, config)
        names = program_inputs(model, settings.kind)
        function = program(model, settings.kind, jit_compile)
        outputs = function(*(ops.convert_to_tensor(given[name]) for name in names))
        tokens, count, *rest = (ops.convert_to_numpy(part)[: len(prompts)] for part in outputs)
        scores = rest[0] if rest else scores
    if num_beams > 1:
        tokens, count, scores = (part[:, :num_return_sequences] for part in (tokens, count, scores))
    ids = _joined(prompts, tokens.reshape(*shape, -1), count.reshape(shape), pad_id)
    return (ids, scores.astype("float32").ravel()) if return_scores else ids


def _inputs(
    model: LanguageModel, ids: Any, decoder_input_ids: Any
) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """The prompts, and the sources of a model that reads one."""
    config = model.config
    if not model.reads_source:
        if decoder_input_ids is not None:
            raise ValueError(
                f"decoder_input_ids must be None for a {type(model).__name__}, which reads no "
                f"source; put them into ids; got {decoder_input_ids!r}"
            )
        return id_rows("ids", ids, config.vocab_size), None
    sources = id_rows("ids", ids, config.source_vocab_size, config.pad_id)
    longest = max(len(source) for source in sources)
    if config.max_source_length is not None and longest > config.max_source_length:
        raise ValueError(
            f"ids holds a source of {longest} tokens; the model's max_source_length is "
            f"{config.max_source_length}"
        )
    return _decoder_prompts(config, decoder_input_ids, len(sources)), sources


def _decoder_prompts(config: Any, given: Any, number: int) -> list[np.ndarray]:
    """What the target of each source begins with."""
    start = config.decoder_start_id
    if start is None:
        raise ValueError(
            "the model's config has no decoder_start_id: make it with one, or the task with a "
            "tokenizer"
        )
    if given is None:
        return [np.asarray([start], "int32")] * number
    if is_list(given) and len(given) and np.ndim(given[0]) == 0:
        given = [list(given)] * number
    rows = id_rows("decoder_input_ids", given, config.vocab_size)
    if len(rows) != number:
        raise ValueError(
            f"decoder_input_ids must be one list of ids, or one for each of the {number} sources; "
            f"got {len(rows)}"
        )
    return [row if row[0] == start else np.append(np.int32(start), row) for row in rows]


def _stop_ids(model: LanguageModel, stop_ids: Any) -> np.ndarray:
    if stop_ids is None:
        own = _own(model, "eos_id")
        stop_ids = () if own is None else (own,)
    check_id_list("stop_ids", stop_ids, model.config.vocab_size)
    return np.asarray(list(dict.fromkeys(stop_ids)) or [-1], "int32")


def _own(model: LanguageModel, name: str) -> int | None:
    """A special id that the config of an encoder–decoder knows."""
    return getattr(model.config, name) if model.reads_source else None


def check_coverage(model: LanguageModel, coverage_penalty: float) -> None:
    """A `ValueError` for a penalty above 0 where the model does not tell what it looks at."""
    if coverage_penalty <= 0:
        return
    one = ops.ones((1, 1), "int32")
    state = first_state(model, 1, 1, {"token_ids": one, "padding_mask": one})
    if not (isinstance(state, dict) and "coverage" in state):
        raise ValueError(
            f"coverage_penalty must be 0 for a {type(model).__name__}, which does not tell what "
            f"of a source it has looked at; got {coverage_penalty!r}"
        )


def _padded(
    prompts: list[np.ndarray], sources: list[np.ndarray] | None, config: Any
) -> dict[str, np.ndarray]:
    """Prompts and sources as arrays whose shapes others of about the size have too."""
    rows = bucket(len(prompts))
    longest = max(len(prompt) for prompt in prompts)
    # The prompts of an encoder–decoder are mostly one token.
    width = bucket(longest, SMALLEST_BUCKET if sources is None else 1)
    padded, mask = _pad(prompts, rows, width)
    given = {"prompt_ids": padded, "lengths": mask.sum(axis=1, dtype="int32")}
    if sources is not None:
        width = bucket(max(len(source) for source in sources), SMALLEST_BUCKET)
        given["source_ids"], mask = _pad(
            sources, rows, min(width, config.max_source_length or width)
        )
        mask[len(sources) :, 0] = 1  # attention to nothing at all would not be a number
        given["source_mask"] = mask
    return given


def _pad(ids: list[np.ndarray], rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ids, int32 [rows, width], and which of them are real, 1 or 0."""
    padded, mask = np.zeros((rows, width), "int32"), np.zeros((rows, width), "int32")
    for row, own in enumerate(ids):
        padded[row, : len(own)] = own
        mask[row, : len(own)] = 1
    return padded, mask


def _joined(
    prompts: list[np.ndarray], tokens: np.ndarray, count: np.ndarray, pad_id: int
) -> np.ndarray:
    """Each prompt [B] with its continuations [B, N, R], of which `count` [B, N] are real."""
    lengths = np.asarray([[len(prompt)] for prompt in prompts]) + count
    ids = np.full((count.size, lengths.max()), pad_id, "int32")
    for row, (number, which) in enumerate(np.ndindex(count.shape)):
        prompt, new = prompts[number], tokens[number, which, : count[number, which]]
        ids[row, : len(prompt) + len(new)] = np.concatenate([prompt, new])
    return ids
