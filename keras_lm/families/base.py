"""What a family is: two mappings, each written once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_lm.config import Config, TransformerConfig

HFConfig = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Weight:
    """One of our weights and the tensor, or the tensors side by side, that hold it there.

    Args:
        ours: path of the variable below the model's name.
        theirs: names of their tensors; ours is their concatenation along its last axis.
        transpose: theirs are [out, in], ours is [in, out].
        sizes: width of each of `theirs` along our last axis, where there are several.
        optional: theirs may be missing; ours is zero then.
    """

    ours: str
    theirs: str | Sequence[str]
    transpose: bool = False
    sizes: Sequence[int] = ()
    optional: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of their tensors."""
        return (self.theirs,) if isinstance(self.theirs, str) else tuple(self.theirs)

    def shapes(self, shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """The shape each of their tensors must have if ours has `shape`."""
        return {name: part.shape for name, part in self.split(np.broadcast_to(0.0, shape)).items()}

    def split(self, ours: np.ndarray) -> dict[str, np.ndarray]:
        """Their tensors, made from ours."""
        cuts = np.cumsum(self.sizes)[:-1]
        parts = np.split(ours, cuts, axis=-1) if self.sizes else [ours]
        turned = [part.T if self.transpose else part for part in parts]
        return dict(zip(self.names, turned, strict=True))

    def join(self, theirs: Sequence[np.ndarray]) -> np.ndarray:
        """Our weight, made from their tensors."""
        parts = [part.T if self.transpose else part for part in theirs]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


@dataclasses.dataclass(frozen=True)
class Head:
    """What a family calls a task's own weights.

    Args:
        architectures: the classes in whose files the head stands; the first is written.
        weights: our config → the map of the task's own weights, by their path in the task.
        pooler: the dense layer that holds the encoder's pooler in these files, where it is not
            the family's own.
        ignored: regular expressions of tensors that repeat others.
    """

    architectures: Sequence[str]
    weights: Callable[[Any], list[Weight]]
    pooler: str | None = None
    ignored: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Family:
    """A Hugging Face model type.

    Args:
        model_type: as in `config.json`.
        architecture: the class that `config.json` names for a language model with its head, or
            for an encoder without any.
        read_config: their config → ours; a `ValueError` names what we cannot express.
        write_config: our config → theirs; what it loses shows when it is read back.
        weights: our config → the map of weights; None where names are our own.
        prefix: what their names begin with in a model with a head, and lack in one without.
        ignored: regular expressions of tensors that hold no weights.
        config_class: the class of the configs.
        heads: the kind of a task's head → what it is called here.
        pooler: the dense layer of the pooler in a file without a head.
        pooler_activation: what a pooler computes that is made because a task wants one.
        aliases: older spellings of parts of names, and those of today.
    """

    model_type: str
    architecture: str
    read_config: Callable[[Mapping[str, Any]], Any]
    write_config: Callable[[Any], HFConfig]
    weights: Callable[[Any], list[Weight]] | None
    prefix: str = ""
    ignored: tuple[str, ...] = ()
    config_class: type[Config] = TransformerConfig
    heads: Mapping[str, Head] = dataclasses.field(default_factory=dict)
    pooler: str | None = None
    pooler_activation: str = "tanh"
    aliases: tuple[tuple[str, str], ...] = ()

    def expresses(self, config: Config) -> bool:
        """Whether the config survives the way there and back."""
        if type(config) is not self.config_class:
            return False
        try:
            return self.read_config(self.write_config(config)) == config
        except ValueError:
            return False


def linear(
    ours: str, theirs: str | Sequence[str], sizes: Sequence[int] = (), bias: bool = True
) -> list[Weight]:
    """The map of a dense layer, whose kernel they keep as [out, in].

    Args:
        ours: path of the layer.
        theirs: name of theirs, or of several that are ours side by side.
        sizes: width of each of them, where there are several.
        bias: it has a bias.
    """
    names = (theirs,) if isinstance(theirs, str) else theirs
    weights = [Weight(f"{ours}/kernel", [f"{name}.weight" for name in names], True, sizes)]
    if bias:
        weights.append(Weight(f"{ours}/bias", [f"{name}.bias" for name in names], False, sizes))
    return weights


def layer_norm(ours: str, theirs: str) -> list[Weight]:
    """The map of a layer normalisation."""
    return [
        Weight(f"{ours}/gamma", f"{theirs}.weight"),
        Weight(f"{ours}/beta", f"{theirs}.bias"),
    ]


def required(hf_config: Mapping[str, Any], name: str) -> Any:
    """A field that their config must have."""
    if hf_config.get(name) is None:
        raise ValueError(f"config.json lacks {name!r}")
    return hf_config[name]


def special_id(hf_config: Mapping[str, Any], name: str, default: int | None = None) -> Any:
    """The id of a special token; the first where a list of them stands."""
    value = hf_config.get(name, default)
    if isinstance(value, list):
        return value[0] if value else None
    return value


def refuse_unless(hf_config: Mapping[str, Any], **expected: Any) -> None:
    """A `ValueError` for a field whose value, where it is given, is not the one we compute."""
    for name, value in expected.items():
        if hf_config.get(name, value) != value:
            raise ValueError(
                f"config.json has {name}={hf_config[name]!r}; keras_lm supports {value!r} only"
            )


def translated(table: Mapping[str, str], name: str, value: Any) -> Any:
    """The value under our name, or a `ValueError` that lists those known."""
    if not isinstance(value, str) or value not in table:
        raise ValueError(f"config.json has {name}={value!r}; supported: {', '.join(table)}")
    return table[value]
