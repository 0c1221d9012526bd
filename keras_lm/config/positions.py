"""Hyper-parameters of positions."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from keras_lm.config.base import Config, require

PositionKind = Literal["learned", "rotary", "sinusoidal", "relative", "none"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RotaryScaling(Config):
    """How rotary angles are slowed down, so that a model reads longer texts than it first did.

    Args:
        kind: `"linear"`: all frequencies are divided by `factor`. `"llama3"`: the low ones are, the
            high ones stay, those between are blended (Llama 3.1, https://arxiv.org/abs/2407.21783).
            `"yarn"`: the same with another ramp, and sharper attention
            (https://arxiv.org/abs/2309.00071). `"longrope"`: every frequency has a divisor of its
            own (https://arxiv.org/abs/2402.13753), one for texts of up to `original_max_length`
            tokens and another for longer ones; a model's `max_length` decides which it has.
        factor: how many times as long the texts are; positive.
        original_max_length: the longest text before, in tokens. For all kinds but `"linear"`.
        low_frequency_factor: of `"llama3"`: what turns less often than this in the original length
            is divided.
        high_frequency_factor: of `"llama3"`: what turns more often than this is left alone.
        beta_fast: of `"yarn"`: what turns more often than this is left alone.
        beta_slow: of `"yarn"`: what turns less often than this is divided.
        attention_factor: sines and cosines are multiplied by it; default: 1, with `"yarn"`
            `0.1 ln(factor) + 1` and with `"longrope"` `√(1 + ln(factor) / ln(original_max_length))`
            where `factor` is above 1.
        short_factors: of `"longrope"`: the divisors for a `max_length` up to the original one, one
            for each frequency.
        long_factors: of `"longrope"`: those for a longer `max_length`.

    Raises:
        ValueError: a field has a wrong type or value; the message names it.

    Example:

    >>> import keras_lm as klm
    >>> yarn = {"kind": "yarn", "factor": 4.0, "original_max_length": 2048}
    >>> positions = klm.PositionConfig(kind="rotary", rotary_scaling=yarn)
    >>> round(positions.rotary_scaling.magnitude, 4)
    1.1386
    """

    kind: Literal["linear", "llama3", "yarn", "longrope"]
    factor: float
    original_max_length: int | None = None
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    short_factors: tuple[float, ...] = ()
    long_factors: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("factor", "low_frequency_factor", "beta_slow"):
            require(getattr(self, name) > 0, name, getattr(self, name), "positive")
        for name in ("original_max_length", "attention_factor"):
            value = getattr(self, name)
            least = 1 if name == "original_max_length" else 0  # a logarithm divides
            require(value is None or value > least, name, value, f"above {least}, or None")
        require(
            self.kind == "linear" or self.original_max_length is not None,
            "original_max_length",
            self.original_max_length,
            f"given with kind={self.kind!r}",
        )
        for high, low in (
            ("high_frequency_factor", "low_frequency_factor"),
            ("beta_fast", "beta_slow"),
        ):
            least = getattr(self, low)
            require(getattr(self, high) > least, high, getattr(self, high), f"above {low}={least}")
        for name in ("short_factors", "long_factors"):
            factors = getattr(self, name)
            if self.kind == "longrope":
                is_right = bool(factors) and min(factors) > 0
                require(is_right, name, factors, "one positive number for each frequency")

    @property
    def magnitude(self) -> float:
        """By what sines and cosines are multiplied: `attention_factor`, or its default."""
        if self.attention_factor is not None:
            return self.attention_factor
        if self.kind not in ("yarn", "longrope") or self.factor <= 1:
            return 1.0
        if self.kind == "yarn":
            return 0.1 * math.log(self.factor) + 1
        return math.sqrt(1 + math.log(self.factor) / math.log(self.original_max_length or 0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PositionConfig(Config):
    """How a model knows where a token stands.

    Args:
        kind: `"learned"` (a table of `max_length` vectors), `"rotary"` (queries and keys are
            turned by an angle that grows with the position, https://arxiv.org/abs/2104.09864),
            `"sinusoidal"` (https://arxiv.org/abs/1706.03762), `"relative"` (every head adds a
            number to its scores that the distance decides, https://arxiv.org/abs/1910.10683) or
            `"none"`. The bare word is accepted wherever this config is.
        rotary_base: the base of the rotary angles' geometric series.
        rotary_fraction: the share of a head that is turned, above 0 and at most 1; the first
            components.
        rotary_scaling: a `RotaryScaling`; default: angles are as they are.
        local_rotary_base: the base in layers with a sliding window, whose angles are not scaled;
            default: as in all others.
        relative_buckets: into so many kinds distances are sorted: half of them single ones, the
            others ever wider; an encoder uses half of them for each direction.
        relative_distance: from this distance on all are of one kind.
    """

    kind: PositionKind = "learned"
    rotary_base: float = 10000.0
    rotary_fraction: float = 1.0
    rotary_scaling: RotaryScaling | None = None
    local_rotary_base: float | None = None
    relative_buckets: int = 32
    relative_distance: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.rotary_base > 0, "rotary_base", self.rotary_base, "positive")
        share, local = self.rotary_fraction, self.local_rotary_base
        require(0 < share <= 1, "rotary_fraction", share, "above 0 and at most 1")
        require(local is None or local > 0, "local_rotary_base", local, "positive, or None")
        buckets = self.relative_buckets
        require(buckets > 0 and buckets % 4 == 0, "relative_buckets", buckets, "a multiple of 4")
        require(
            self.relative_distance > buckets // 2,
            "relative_distance",
            self.relative_distance,
            f"above relative_buckets / 2 = {buckets // 2}",
        )

    def of_layer(self, is_local: bool) -> PositionConfig:
        """The positions of a layer that has a sliding window, or of one that has none."""
        if not is_local or self.local_rotary_base is None:
            return self
        changes: dict[str, Any] = {"rotary_base": self.local_rotary_base, "rotary_scaling": None}
        return dataclasses.replace(self, **changes)

    def check_heads(self, head_dim: int) -> None:
        """A `ValueError` where heads of that width cannot be turned."""
        if self.kind != "rotary":
            return
        require(head_dim % 2 == 0, "attention.head_dim", head_dim, "even with rotary positions")
        turned = int(head_dim * self.rotary_fraction)
        require(
            turned > 0,
            "positions.rotary_fraction",
            self.rotary_fraction,
            f"enough to turn a component of {head_dim}",
        )
        scaling = self.rotary_scaling
        if scaling is not None and scaling.kind == "yarn":
            require(self.rotary_base > 1, "rotary_base", self.rotary_base, "above 1 with yarn")
        if scaling is not None and scaling.kind == "longrope":
            wanted = (turned + 1) // 2
            for name in ("short_factors", "long_factors"):
                count = len(getattr(scaling, name))
                require(count == wanted, name, f"{count} numbers", f"{wanted} of them")
