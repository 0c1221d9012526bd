"""Generation on token ids, without a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lm.generation.compiled import compiled
from keras_lm.generation.engine import decode
from keras_lm.generation.sampling import Sampler
from keras_lm.models.base import LanguageModel

SMALLEST_BUCKET = 16


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
    stop_ids: Sequence[int] = (),
    pad_id: int = 0,
    jit_compile: bool | None = None,
) -> np.ndarray:
    """Continues prompts of token ids.

    Prompts are padded to a bucket (a power of two), so that a second call with others of about
    the same size compiles nothing.

    Args:
        model: any language model.
        ids: int [B, T], or a list of prompts of several lengths.
        max_new_tokens: the number of tokens to generate at most.
        temperature: 0 is greedy; 1 samples from the model's distribution.
        top_k: sample among the k most likely tokens; None or 0: all.
        top_p: sample among the most likely tokens that reach this probability; None or 1: all.
        num_return_sequences: continuations of each prompt.
        seed: of the sampling; the same seed gives the same tokens.
        stop_ids: a sequence ends with the first of these; it is part of the result.
        pad_id: fills the rows that end early.
        jit_compile: use XLA; default: yes, but not for a bfloat16 model on a CPU, where XLA
            computes in float32.

    Returns:
        int32 [B · num_return_sequences, T + new]: the prompt, then what was generated.

    Raises:
        ValueError: an argument is out of its range; the message names it.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.TransformerConfig(vocab_size=9, num_layers=1, hidden_dim=8, num_heads=2)
    >>> generate_ids(klm.models.Decoder(config), [[1, 2, 3]], max_new_tokens=4).shape
    (1, 7)
    """
    prompts = _checked_prompts(model, ids)
    check_sampling(max_new_tokens, temperature, top_k, top_p, num_return_sequences, seed)
    if isinstance(stop_ids, str) or not isinstance(stop_ids, Sequence | np.ndarray):
        raise ValueError(f"stop_ids must be a list of token ids; got {stop_ids!r}")
    for name, values in (("stop_ids", list(stop_ids)), ("pad_id", [pad_id])):
        _check_ids(name, np.asarray(values, dtype=object), model.config.vocab_size)
    longest = max(len(prompt) for prompt in prompts)
    check_length(longest, max_new_tokens, model.config.max_length)
    prompts = [prompt for prompt in prompts for _ in range(num_return_sequences)]
    if max_new_tokens == 0:
        tokens, count = np.zeros((len(prompts), 0), "int32"), np.zeros(len(prompts), "int32")
    else:
        padded, lengths = _pad(prompts, bucket(len(prompts)), bucket(longest, SMALLEST_BUCKET))
        function = decode_function(model, jit_compile)
        room = np.zeros(bucket(max_new_tokens, SMALLEST_BUCKET), "int32")
        stops = np.asarray(list(stop_ids) or [-1], "int32")
        arguments = (padded, lengths, room, np.int32(max_new_tokens), stops)
        sampling = (
            np.float32(temperature),
            np.int32(top_k or 0),
            np.float32(1.0 if top_p is None else top_p),
            np.int32(seed),
        )
        outputs = function(*(ops.convert_to_tensor(a) for a in (*arguments, *sampling)))
        tokens, count = (ops.convert_to_numpy(part)[: len(prompts)] for part in outputs)
    width = max(len(prompt) + n for prompt, n in zip(prompts, count, strict=True))
    result = np.full((len(prompts), width), pad_id, "int32")
    for row, (prompt, new, n) in enumerate(zip(prompts, tokens, count, strict=True)):
        result[row, : len(prompt) + n] = np.concatenate([prompt, new[:n]])
    return result


def decode_function(model: LanguageModel, jit_compile: bool | None = None) -> Any:
    """The compiled `decode` of a model.

    It takes the tensors prompt_ids, lengths, room, limit, stop_ids, temperature, top_k, top_p
    and seed, and returns the new tokens and their count.
    """

    def run(
        prompt_ids: Any, lengths: Any, room: Any, limit: Any, stop_ids: Any, *sampling: Any
    ) -> Any:
        sampler = Sampler(*sampling)
        return decode(model, prompt_ids, lengths, room, limit, stop_ids, sampler)

    if jit_compile is None:
        jit_compile = model.compute_dtype != "bfloat16" or _has_accelerator()
    return compiled(model, "decode", run, jit_compile)


def bucket(size: int, smallest: int = 1) -> int:
    """The power of two that is at least `size` and `smallest`."""
    return max(smallest, 1 << (size - 1).bit_length())


def check_sampling(
    max_new_tokens: Any,
    temperature: Any,
    top_k: Any,
    top_p: Any,
    num_return_sequences: Any,
    seed: Any,
) -> None:
    """A `ValueError` that names the argument that is out of its range."""
    checks = (
        ("max_new_tokens", max_new_tokens, _is_int(max_new_tokens, 0), "an int, 0 or more"),
        ("temperature", temperature, _is_real(temperature, 0, 1e6), "a number, 0 or more"),
        ("top_k", top_k, top_k is None or _is_int(top_k, 0), "an int, 0 or more, or None"),
        (
            "top_p",
            top_p,
            top_p is None or (_is_real(top_p, 0, 1) and top_p > 0),
            "a number in (0, 1], or None",
        ),
        (
            "num_return_sequences",
            num_return_sequences,
            _is_int(num_return_sequences, 1),
            "an int, 1 or more",
        ),
        ("seed", seed, _is_int(seed, -(2**31)) and seed < 2**31, "an int of 32 bits"),
    )
    for name, value, good, wanted in checks:
        if not good:
            raise ValueError(f"{name} must be {wanted}; got {value!r}")


def check_length(prompt_length: int, max_new_tokens: int, max_length: int | None) -> None:
    """A `ValueError` where the prompt and its continuation do not fit into the model."""
    if max_length is not None and prompt_length + max_new_tokens > max_length:
        raise ValueError(
            f"a prompt of {prompt_length} tokens and max_new_tokens={max_new_tokens} exceed the "
            f"model's max_length={max_length}; shorten the prompt or ask for at most "
            f"{max(max_length - prompt_length, 0)} new tokens"
        )


def _is_int(value: Any, low: int) -> bool:
    return (
        isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= low)
    )


def _is_real(value: Any, low: float, high: float) -> bool:
    number = isinstance(value, int | float | np.integer | np.floating)
    return number and not isinstance(value, bool) and bool(low <= value <= high)


def _has_accelerator() -> bool:
    return bool(keras.distribution.list_devices("gpu") or keras.distribution.list_devices("tpu"))


def _checked_prompts(model: LanguageModel, ids: Any) -> list[np.ndarray]:
    if not isinstance(ids, list | tuple):
        ids = np.asarray(ops.convert_to_numpy(ids))
        if ids.ndim != 2:
            raise ValueError(f"ids must be [B, T] or a list of lists; got {ids!r}")
    if len(ids) == 0:
        raise ValueError("ids is empty; give at least one prompt")
    prompts = []
    for row, prompt in enumerate(ids):
        array = np.asarray(prompt)
        if array.ndim != 1:
            raise ValueError(f"ids must be [B, T] or a list of lists; row {row} is {prompt!r}")
        if len(array) == 0:
            raise ValueError(f"ids[{row}] is an empty prompt; give at least one token, such as BOS")
        _check_ids(f"ids[{row}]", array, model.config.vocab_size)
        prompts.append(array.astype("int32"))
    return prompts


def _check_ids(name: str, ids: np.ndarray, vocab_size: int) -> None:
    for value in ids.tolist():
        if not _is_int(value, 0) or value >= vocab_size:
            raise ValueError(
                f"{name} holds {value!r}; token ids are ints from 0 to {vocab_size - 1}"
            )


def _pad(prompts: list[np.ndarray], rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    padded, lengths = np.zeros((rows, width), "int32"), np.zeros(rows, "int32")
    for row, prompt in enumerate(prompts):
        padded[row, : len(prompt)] = prompt
        lengths[row] = len(prompt)
    return padded, lengths
