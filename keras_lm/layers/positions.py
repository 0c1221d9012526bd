"""Rotary and sinusoidal positions. Learned ones are a plain embedding."""

from __future__ import annotations

from typing import Any

from keras import ops

Rotary = tuple[Any, Any]


def rotary_angles(positions: Any, head_dim: int, base: float) -> Rotary:
    """Cosine and sine of the angles by which queries and keys are turned.

    Pair i of a head turns by `position · base^(-2i / H)` (https://arxiv.org/abs/2104.09864).

    Args:
        positions: int [B or 1, T].
        head_dim: H, even.
        base: 10,000 in the paper.

    Returns:
        Two float32 tensors [B or 1, T, H / 2].
    """
    exponents = ops.arange(0, head_dim, 2, dtype="float32") / head_dim
    frequencies = ops.power(ops.cast(base, "float32"), -exponents)
    angles = ops.cast(positions, "float32")[..., None] * frequencies
    return ops.cos(angles), ops.sin(angles)


def apply_rotary(heads: Any, rotary: Rotary) -> Any:
    """Turns the heads [B, T, N, H] by the angles [B or 1, T, H / 2].

    Component i is paired with component i + H / 2, as in Llama's published weights; the
    paper pairs neighbours, which is the same up to an order of the components.
    """
    cos, sin = (ops.cast(part, heads.dtype)[:, :, None, :] for part in rotary)
    first, second = ops.split(heads, 2, axis=-1)
    return ops.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def sinusoidal_positions(positions: Any, hidden_dim: int) -> Any:
    """Fixed position vectors of "Attention Is All You Need": int [B, T] → float32 [B, T, D].

    The sines of all frequencies stand before the cosines; the paper interleaves them.
    """
    half = (hidden_dim + 1) // 2
    exponents = ops.arange(half, dtype="float32") / max(half - 1, 1)
    frequencies = ops.power(ops.cast(10000.0, "float32"), -exponents)
    angles = ops.cast(positions, "float32")[..., None] * frequencies
    return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)[..., :hidden_dim]
