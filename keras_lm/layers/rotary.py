"""Rotary positions: queries and keys are turned by angles that grow with the position."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from keras import ops

from keras_lm.config import PositionConfig, RotaryScaling

Rotary = tuple[Any, Any]


def rotary_frequencies(
    positions: PositionConfig, head_dim: int, max_length: int | None = None
) -> np.ndarray:
    """By which angle each pair of components turns from one position to the next, in radians.

    Pair i of the R components that are turned has `base^(-2i / R)`
    (https://arxiv.org/abs/2104.09864); `RotaryScaling` names the papers of what is made of that.

    Args:
        positions: its `rotary_base`, `rotary_fraction` and `rotary_scaling` are read.
        head_dim: H; R is the whole part of its fraction.
        max_length: of the model, in tokens; read with `"longrope"` alone. Default: short.

    Returns:
        float64 [⌈R / 2⌉].

    Example:

    >>> config = PositionConfig(kind="rotary", rotary_base=100.0)
    >>> rotary_frequencies(config, 4).tolist()
    [1.0, 0.1]
    """
    width = int(head_dim * positions.rotary_fraction)
    frequencies = positions.rotary_base ** -(np.arange(0, width, 2) / width)
    scaling = positions.rotary_scaling
    if scaling is None:
        return frequencies
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    original = scaling.original_max_length or 0
    if scaling.kind == "longrope":
        is_long = max_length is not None and max_length > original
        return frequencies / np.array(scaling.long_factors if is_long else scaling.short_factors)
    if scaling.kind == "llama3":
        kept = _llama3_share(frequencies * original / (2 * math.pi), scaling)
    else:
        kept = _yarn_share(width, original, positions.rotary_base, scaling)
    return frequencies * (kept + (1 - kept) / scaling.factor)


def _llama3_share(turns: np.ndarray, scaling: RotaryScaling) -> np.ndarray:
    """How much of each frequency is left alone, by how often it turns in the original length."""
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    return np.clip((turns - low) / (high - low), 0, 1)


def _yarn_share(width: int, original: int, base: float, scaling: RotaryScaling) -> np.ndarray:
    """How much of each frequency is left alone: a ramp from the pair that turns `beta_fast` times
    in the original length, rounded outwards, to the one that turns `beta_slow` times.
    """

    def pair(turns: float) -> float:
        return width * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))

    first = max(math.floor(pair(scaling.beta_fast)), 0)
    last = min(math.ceil(pair(scaling.beta_slow)), width - 1)
    steep = last - first or 0.001
    return 1 - np.clip((np.arange((width + 1) // 2) - first) / steep, 0, 1)


def rotary_angles(positions: Any, frequencies: np.ndarray, magnitude: float = 1.0) -> Rotary:
    """Cosine and sine of the angles by which queries and keys are turned.

    Args:
        positions: int [B or 1, T].
        frequencies: [R / 2], of `rotary_frequencies`.
        magnitude: both are multiplied by it.

    Returns:
        Two float32 tensors [B or 1, T, R / 2].
    """
    angles = ops.cast(positions, "float32")[..., None] * frequencies.astype("float32")
    return ops.cos(angles) * magnitude, ops.sin(angles) * magnitude


def apply_rotary(heads: Any, rotary: Rotary) -> Any:
    """Turns the first R components of the heads [B, T, N, H] by the angles [B or 1, T, R / 2].

    Component i is paired with component i + R / 2, as in Llama's published weights; the
    paper pairs neighbours, which is the same up to an order of the components.
    """
    cos, sin = (ops.cast(part, heads.dtype)[:, :, None, :] for part in rotary)
    pairs = cos.shape[-1]
    first, second, rest = ops.split(heads, [pairs, 2 * pairs], axis=-1)
    parts = [first * cos - second * sin, second * cos + first * sin]
    return ops.concatenate(parts + ([rest] if rest.shape[-1] else []), axis=-1)
