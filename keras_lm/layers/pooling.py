"""Pooling: the states of a text's tokens to one for the whole text."""

from __future__ import annotations

from typing import Any, Literal

from keras import ops

Pooling = Literal["cls", "mean", "max", "last"]
POOLINGS = ("cls", "mean", "max", "last")


def pool(hidden: Any, padding_mask: Any, pooling: Pooling) -> Any:
    """[B, T, D] → [B, D].

    Args:
        hidden: the state of each token.
        padding_mask: int [B, T], 1 = token; None: all are.
        pooling: `"cls"`, the first token's state; `"last"`, the last token's; `"mean"` or `"max"`
            over the tokens. The mean is computed in float32.

    Raises:
        ValueError: `pooling` is something else.

    Example:

    >>> import numpy as np
    >>> hidden = np.array([[[1.0], [3.0], [9.0]]], "float32")
    >>> mask = np.array([[1, 1, 0]])
    >>> [float(pool(hidden, mask, kind)[0, 0]) for kind in ("cls", "mean", "max", "last")]
    [1.0, 2.0, 3.0, 3.0]
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be 'cls', 'mean', 'max' or 'last'; got {pooling!r}")
    if pooling == "cls":
        return hidden[:, 0]
    if padding_mask is None:
        padding_mask = ops.ones(ops.shape(hidden)[:2], "int32")
    if pooling == "last":
        place = ops.arange(1, ops.shape(hidden)[1] + 1, dtype="int32")
        last = ops.max(place * ops.cast(padding_mask, "int32"), axis=1) - 1
        return ops.take_along_axis(hidden, last[:, None, None], axis=1)[:, 0]
    real = ops.cast(padding_mask, "bool")[:, :, None]
    if pooling == "max":
        return ops.max(ops.where(real, hidden, ops.cast(-1e4, hidden.dtype)), axis=1)
    total = ops.sum(ops.where(real, ops.cast(hidden, "float32"), 0.0), axis=1)
    mean = total / ops.sum(ops.cast(real, "float32"), axis=1)
    return ops.cast(mean, hidden.dtype)


def unit(vectors: Any) -> Any:
    """Vectors of length 1, float32 [..., D]."""
    squares = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    return vectors * ops.rsqrt(ops.maximum(squares, 1e-24))
