"""Checks of what a caller of the engine gives, each a `ValueError` that names the argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops


def check_sampling(
    max_new_tokens: Any,
    temperature: Any,
    top_k: Any,
    top_p: Any,
    num_return_sequences: Any,
    seed: Any,
) -> None:
    """A `ValueError` that names the argument that is out of its range."""
    require(is_int(max_new_tokens, 0), "max_new_tokens", max_new_tokens, "an int, 0 or more")
    require(is_real(temperature, 0, 1e6), "temperature", temperature, "a number, 0 or more")
    require(top_k is None or is_int(top_k, 0), "top_k", top_k, "an int, 0 or more, or None")
    in_range = top_p is None or (is_real(top_p, 0, 1) and top_p > 0)
    require(in_range, "top_p", top_p, "a number in (0, 1], or None")
    require(
        is_int(num_return_sequences, 1),
        "num_return_sequences",
        num_return_sequences,
        "an int, 1 or more",
    )
    require(is_int(seed, -(2**31)) and seed < 2**31, "seed", seed, "an int of 32 bits")


def check_length(prompt_length: int, max_new_tokens: int, max_length: int | None) -> None:
    """A `ValueError` where the prompt and its continuation do not fit into the model."""
    if max_length is not None and prompt_length + max_new_tokens > max_length:
        raise ValueError(
            f"a prompt of {prompt_length} tokens and max_new_tokens={max_new_tokens} exceed the "
            f"model's max_length={max_length}; shorten the prompt or ask for at most "
            f"{max(max_length - prompt_length, 0)} new tokens"
        )


def check_ids(name: str, ids: Any, vocab_size: int) -> None:
    """A `ValueError` where one of the ids is no token of the vocabulary."""
    for value in np.asarray(ids, dtype=object).tolist():
        if not is_int(value, 0) or value >= vocab_size:
            raise ValueError(
                f"{name} holds {value!r}; token ids are ints from 0 to {vocab_size - 1}"
            )


def check_id_list(name: str, ids: Any, vocab_size: int) -> None:
    """A `ValueError` where something is no list of token ids."""
    require(is_list(ids), name, ids, "a list of token ids")
    check_ids(name, list(ids), vocab_size)


def id_rows(name: str, ids: Any, vocab_size: int, pad_id: int | None = None) -> list[np.ndarray]:
    """Rows of token ids of several lengths, int32.

    Args:
        name: of the argument.
        ids: int [B, T], or a list of lists.
        vocab_size: V.
        pad_id: is padding where it ends the rows of an array; None: there is none.

    Raises:
        ValueError: it is neither, or empty, or holds what is no token id.
    """
    if not isinstance(ids, list | tuple):
        ids = np.asarray(ops.convert_to_numpy(ids))
        if ids.ndim != 2:
            raise ValueError(f"{name} must be [B, T] or a list of lists; got {ids!r}")
        if pad_id is not None:
            ends = [np.flatnonzero(np.append(pad_id + 1, row) != pad_id)[-1] for row in ids]
            ids = [row[:end] for row, end in zip(ids, ends, strict=True)]
    if len(ids) == 0:
        raise ValueError(f"{name} is empty; give at least one prompt")
    rows = []
    for number, row in enumerate(ids):
        array = np.asarray(row)
        if array.ndim != 1:
            raise ValueError(f"{name} must be [B, T] or a list of lists; row {number} is {row!r}")
        if len(array) == 0:
            raise ValueError(
                f"{name}[{number}] is an empty prompt; give at least one token, such as BOS"
            )
        check_ids(f"{name}[{number}]", array, vocab_size)
        rows.append(array.astype("int32"))
    return rows


def require(good: bool, name: str, value: Any, wanted: str) -> None:
    """A `ValueError` that says what an argument must be, unless it is good."""
    if not good:
        raise ValueError(f"{name} must be {wanted}; got {value!r}")


def is_list(value: Any) -> bool:
    return isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes)


def is_int(value: Any, low: int) -> bool:
    return (
        isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= low)
    )


def is_real(value: Any, low: float, high: float) -> bool:
    number = isinstance(value, int | float | np.integer | np.floating)
    return number and not isinstance(value, bool) and bool(low <= value <= high)
