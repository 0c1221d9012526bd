"""Choosing the next token. All parameters may be tensors, so none of them costs a retrace."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from keras import ops

_NEVER = -1e30


@dataclasses.dataclass(frozen=True)
class Sampler:
    """Temperature, then top-k, then top-p (https://arxiv.org/abs/1904.09751), then a draw.

    The draw is the argmax of logits plus Gumbel noise, and the noise is a function of
    (seed, row, step, token): the same on every backend, in Python and in a SavedModel.

    Args:
        temperature: float; 0 takes the most likely token (greedy).
        top_k: int; only the k most likely tokens; 0: all.
        top_p: float; only the most likely tokens that together reach this probability; 1: all.
        seed: int32.

    Example:

    >>> sampler = Sampler(temperature=0.0, top_k=0, top_p=1.0, seed=0)
    >>> int(sampler(ops.convert_to_tensor([[0.1, 2.0, 0.3]]), step=0)[0])
    1
    """

    temperature: Any
    top_k: Any
    top_p: Any
    seed: Any

    def __call__(self, logits: Any, step: Any) -> Any:
        """float32 logits [B, V] of step `step` → int32 tokens [B]."""
        temperature = ops.cast(self.temperature, "float32")
        return ops.cond(
            ops.greater(temperature, 0.0),
            lambda: self._draw(logits / ops.maximum(temperature, 1e-6), step),
            lambda: ops.cast(ops.argmax(logits, axis=-1), "int32"),
        )

    def _draw(self, logits: Any, step: Any) -> Any:
        top_k, top_p = ops.cast(self.top_k, "int32"), ops.cast(self.top_p, "float32")
        logits = ops.cond(ops.greater(top_k, 0), lambda: keep_top_k(logits, top_k), lambda: logits)
        logits = ops.cond(ops.less(top_p, 1.0), lambda: keep_top_p(logits, top_p), lambda: logits)
        noise = gumbel_noise(self.seed, step, ops.shape(logits))
        return ops.cast(ops.argmax(logits + noise, axis=-1), "int32")


def keep_top_k(logits: Any, k: Any) -> Any:
    """The k largest logits of each row [B, V], ties with the last included; the others −1e30."""
    k = ops.cast(k, "float32")
    return _keep_above(logits, lambda kept: ops.sum(ops.cast(kept, "float32"), axis=-1) >= k)


def keep_top_p(logits: Any, p: Any) -> Any:
    """The largest logits of each row [B, V] that reach probability p; the others −1e30."""
    probabilities = ops.softmax(logits, axis=-1)
    return _keep_above(
        logits, lambda kept: ops.sum(ops.where(kept, probabilities, 0.0), axis=-1) >= p
    )


def _keep_above(logits: Any, enough: Any) -> Any:
    """Keeps the logits above the highest threshold at which `enough` (bool [B]) still holds.

    The threshold is found by bisection: 40 passes over the row until the bounds are
    neighbouring floats. XLA's sort of a whole vocabulary costs several times as much.
    """
    high = ops.max(logits, axis=-1)
    # What an earlier filter struck out must not stretch the interval that is halved.
    alive = logits > _NEVER / 2
    low = ops.min(ops.where(alive, logits, high[:, None]), axis=-1)

    def halve(_: Any, low: Any, high: Any) -> tuple[Any, Any, Any]:
        middle = low + (high - low) * 0.5
        fits = enough(logits >= middle[:, None])
        return _ + 1, ops.where(fits, middle, low), ops.where(fits, high, middle)

    top = enough(logits >= high[:, None])
    _, low, _ = ops.while_loop(lambda i, *_: i < 40, halve, (0, low, high))
    threshold = ops.where(top, high, low)
    return ops.where(logits >= threshold[:, None], logits, _NEVER)


def gumbel_noise(seed: Any, step: Any, shape: tuple[Any, Any]) -> Any:
    """Standard Gumbel noise, float32 [B, V], as a hash of (seed, step, row, token).

    `keras.random` takes no tensor as a seed, and a seed that is an input of a SavedModel is
    one. The hash is the 32-bit finaliser "lowbias32" (C. Wellons, 2018) applied to each of
    the four in turn.
    """
    rows = ops.cast(ops.arange(shape[0], dtype="int32"), "uint32")
    tokens = ops.cast(ops.arange(shape[1], dtype="int32"), "uint32")
    state = _hash(ops.cast(seed, "uint32"))
    state = _hash(state + ops.cast(step, "uint32"))
    state = _hash(state + rows)[:, None]
    bits = _hash(_hash(state + tokens[None]) + _uint32(0x9E3779B9))
    # 24 bits fill a float32's mantissa; the half keeps the uniform number inside (0, 1).
    high_bits = ops.cast(ops.right_shift(bits, _uint32(8)), "float32")
    uniform = (high_bits + 0.5) * (2.0**-24)
    return -ops.log(-ops.log(uniform))


def _uint32(value: int) -> Any:
    return ops.convert_to_tensor(np.uint32(value))


def _hash(bits: Any) -> Any:
    bits = ops.bitwise_xor(bits, ops.right_shift(bits, _uint32(16))) * _uint32(0x7FEB352D)
    bits = ops.bitwise_xor(bits, ops.right_shift(bits, _uint32(15))) * _uint32(0x846CA68B)
    return ops.bitwise_xor(bits, ops.right_shift(bits, _uint32(16)))
