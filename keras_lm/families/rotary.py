"""Rotary positions in a `config.json`, in both spellings.

Transformers 5 writes `rope_parameters`; older files have `rope_theta`, `rope_scaling` and
`partial_rotary_factor`, or a family's own names for them. Where both stand, `rope_scaling` counts,
as it does there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_lm.config import PositionConfig, RotaryScaling, TransformerConfig
from keras_lm.families.base import HFConfig, refuse_unless, required

_FIELDS = {
    "factor": "factor",
    "original_max_position_embeddings": "original_max_length",
    "low_freq_factor": "low_frequency_factor",
    "high_freq_factor": "high_frequency_factor",
    "beta_fast": "beta_fast",
    "beta_slow": "beta_slow",
    "attention_factor": "attention_factor",
    "short_factor": "short_factors",
    "long_factor": "long_factors",
}
_KINDS = {
    "linear": ("factor",),
    "llama3": (
        "factor",
        "original_max_position_embeddings",
        "low_freq_factor",
        "high_freq_factor",
    ),
    "yarn": (
        "factor",
        "original_max_position_embeddings",
        "beta_fast",
        "beta_slow",
        "attention_factor",
    ),
    "longrope": (
        "factor",
        "original_max_position_embeddings",
        "short_factor",
        "long_factor",
        "attention_factor",
    ),
}
"""What is said of each kind; the others' keys are without effect there, and are not read."""

_OTHERS = {"rope_type", "type", "rope_theta", "partial_rotary_factor", "mscale", "mscale_all_dim"}


def rope_parameters(
    hf: Mapping[str, Any],
    base: str = "rope_theta",
    fraction: str = "partial_rotary_factor",
    default_fraction: float = 1.0,
) -> dict[str, Any]:
    """Their `rope_parameters`, from either spelling.

    Args:
        hf: their config.
        base: what older files call the base of the angles.
        fraction: what they call the share of a head that is turned.
        default_fraction: the share where none is given.
    """
    for name in ("rope_parameters", "rope_scaling"):
        if not isinstance(hf.get(name) or {}, Mapping):
            raise ValueError(f"config.json has {name}={hf[name]!r}; it must be an object")
    rope = dict(hf.get("rope_scaling") or hf.get("rope_parameters") or {})
    for name, old, default in (
        ("rope_theta", base, 10000.0),
        ("partial_rotary_factor", fraction, default_fraction),
    ):
        if rope.get(name) is None:
            rope[name] = default if hf.get(old) is None else hf[old]
    return rope


def read_rotary(
    hf: Mapping[str, Any], rope: Mapping[str, Any] | None = None, part: bool = True
) -> dict[str, Any]:
    """The fields `positions` and `max_length` of a config.

    With `longrope`, their model takes one set of factors for sequences of up to the original length
    and another for longer ones; ours has one, or the tokens of a cache would have angles of both.
    What is read has the first: its `max_length` is the original one, and it computes what theirs
    does for all texts that are no longer. A `max_length` above it makes the model for long texts.

    Args:
        hf: their config.
        rope: their `rope_parameters`; default: those in `hf`.
        part: the family can turn a part of a head; else that is refused.
    """
    rope = rope_parameters(hf) if rope is None else rope
    if not part:
        refuse_unless(rope, partial_rotary_factor=1.0)
    longest = required(hf, "max_position_embeddings")
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "su" or (kind == "yarn" and rope.get("short_factor")):  # Phi 3's first names of it
        kind = "longrope"
    positions = {
        "kind": "rotary",
        "rotary_base": rope["rope_theta"],
        "rotary_fraction": rope["partial_rotary_factor"],
    }
    if kind == "default":
        return {"positions": PositionConfig(**positions), "max_length": longest}
    if not isinstance(kind, str) or kind not in _KINDS:
        known = ", ".join(["default", *_KINDS])
        raise ValueError(f"config.json has rope_type={kind!r}; supported: {known}")
    for name, value in rope.items():
        is_known = name in _OTHERS or name in _FIELDS or (name, value) == ("truncate", True)
        if not is_known and value is not None:
            raise ValueError(f"config.json turns by {name}={value!r}, which keras_lm does not know")
    _check(type(longest) is int and longest > 0, "max_position_embeddings", longest, "a length")
    scaling = _read_scaling(kind, rope, hf, longest)
    if kind == "longrope":
        longest = min(longest, scaling.original_max_length or longest)
    positions["rotary_scaling"] = scaling
    return {"positions": PositionConfig(**positions), "max_length": longest}


def _read_scaling(
    kind: Any, rope: Mapping[str, Any], hf: Mapping[str, Any], longest: Any
) -> RotaryScaling:
    """Their way of scaling, with all that follows from other fields."""
    given: dict[str, Any] = {name: rope.get(name) for name in _KINDS[kind]}
    name = "original_max_position_embeddings"
    if name in given:
        given[name] = hf.get(name) or given[name] or longest
        _check(type(given[name]) is int and given[name] > 1, name, given[name], "an int above 1")
        ratio = longest / given[name]
        if kind != "llama3" and given.get("factor") is None:
            given["factor"] = ratio
    if given["factor"] is None:
        raise ValueError(f"config.json lacks 'factor' in its rope parameters of type {kind!r}")
    fields = {_FIELDS[name]: value for name, value in given.items() if value is not None}
    scaling = RotaryScaling(kind=kind, **fields)
    if kind == "yarn" and scaling.attention_factor is None:
        strengths: list[Any] = [rope.get("mscale"), rope.get("mscale_all_dim")]
        if all(strengths):
            for strength in strengths:
                is_number = type(strength) in (int, float) and strength > 0
                _check(is_number, "mscale", strength, "a positive number")
            first, second = (1 + strength * (scaling.magnitude - 1) for strength in strengths)
            return scaling.replace(attention_factor=first / second)
    if kind == "longrope" and scaling.factor != ratio:  # `ratio` says the length, theirs the rest
        return scaling.replace(factor=ratio, attention_factor=scaling.magnitude)
    return scaling


def write_rotary(config: TransformerConfig, part: bool = False) -> HFConfig:
    """The inverse of `read_rotary`, as Transformers 5 writes it.

    Args:
        config: ours.
        part: the family can turn a part of a head.
    """
    positions, longest = config.positions, config.max_length
    rope: HFConfig = {"rope_type": "default", "rope_theta": positions.rotary_base}
    if part:
        rope["partial_rotary_factor"] = positions.rotary_fraction
    scaling = positions.rotary_scaling
    if scaling is not None:
        values = {name: getattr(scaling, _FIELDS[name]) for name in _KINDS[scaling.kind]}
        if scaling.kind == "longrope":
            longest = round((scaling.original_max_length or 0) * values.pop("factor"))
        written = {name: value for name, value in values.items() if value is not None}
        rope |= {"rope_type": scaling.kind, **written}
    return {"max_position_embeddings": longest, "rope_parameters": rope}


def _check(condition: bool, name: str, value: Any, wanted: str) -> None:
    if not condition:
        raise ValueError(f"config.json has {name}={value!r}; it must be {wanted}")
