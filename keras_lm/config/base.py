"""What a config is: a frozen dataclass, checked, to and from plain JSON values."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, Self


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Base of all configs: checked on construction, to and from plain JSON values."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None or field.default is not None:
                value = _coerce(value, hints[field.name], field.name)
                object.__setattr__(self, field.name, value)

    def get_config(self) -> dict[str, Any]:
        """The config as a dict of JSON values; nested configs become nested dicts."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A config from the dict of `get_config`; a `ValueError` names unknown or missing keys."""
        fields = dataclasses.fields(cls)
        names = [field.name for field in fields]
        for key in config:
            if key not in names:
                near = difflib.get_close_matches(key, names, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(names)}"
                raise ValueError(f"{cls.__name__} has no field {key!r}{hint}")
        needed = [f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING]
        missing = [name for name in needed if name not in config]
        if missing:
            raise ValueError(f"{cls.__name__} needs {', '.join(missing)} as well")
        return cls(**config)

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked like a new one.

        A field that was derived from others when the config was made keeps its value: to change
        `hidden_dim`, give `feed_forward_dim` and `attention` as well, or None to derive them.
        """
        return type(self).from_config({**self.get_config(), **changes})


def _coerce(value: Any, hint: Any, name: str) -> Any:
    """`value` as the annotation `hint` wants it, or a `ValueError` naming the field."""
    if typing.get_origin(hint) is Literal:
        if value not in typing.get_args(hint):
            wanted = ", ".join(repr(choice) for choice in typing.get_args(hint))
            raise ValueError(f"{name} must be one of {wanted}; got {value!r}")
        return value
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _coerce(value, typing.get_args(hint)[0], name)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{name} must be a list; got {value!r}")
        return tuple(_coerce(item, typing.get_args(hint)[0], name) for item in value)
    if isinstance(hint, type) and issubclass(hint, Config):
        if isinstance(value, hint):
            return value
        if isinstance(value, Mapping):
            return hint.from_config(value)
        if isinstance(value, str) and "kind" in {f.name for f in dataclasses.fields(hint)}:
            return hint.from_config({"kind": value})
        raise ValueError(f"{name} must be a {hint.__name__}; got {value!r}")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ValueError(f"{name} must be of type {hint.__name__}; got {value!r}")
    return value


def derived() -> Any:
    """A field that may be left open (None) and is filled in from others on construction."""
    return dataclasses.field(default=None)


def require(condition: bool, name: str, value: Any, wanted: str) -> None:
    """A `ValueError` that names the field and what would be right, unless `condition` holds."""
    if not condition:
        raise ValueError(f"{name} must be {wanted}; got {value!r}")
