"""What a family is: two mappings, each written once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_lm.config import Config, TransformerConfig

HFConfig = dict[str, Any]

BlockNames = Mapping[str, str | Sequence[str]]
"""What a family calls the layers of a block, by the paths of ours below it; three names where
queries, keys and values stand apart.
"""

ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
"""Their names of activations and ours; of several for one, the first is written."""

_SIZES = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_dim",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
}


@dataclasses.dataclass(frozen=True)
class Weight:
    """One of our weights and the tensor, or the tensors side by side, that hold it there.

    Args:
        ours: path of the variable below the model's name.
        theirs: names of their tensors; ours is their concatenation along its last axis.
        transpose: theirs are [out, in], ours is [in, out].
        sizes: width of each of `theirs` along our last axis, where there are several.
        optional: theirs may be missing; ours is zero then.
        order: of theirs along our last axis, the place of each that is ours; default: as it is.
        shift: what is added to theirs. It is computed in float32: a weight of 16 bits comes back
            as it was, one of 32 up to rounding.
    """

    ours: str
    theirs: str | Sequence[str]
    transpose: bool = False
    sizes: Sequence[int] = ()
    optional: bool = False
    order: Sequence[int] = ()
    shift: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """Names of their tensors."""
        return (self.theirs,) if isinstance(self.theirs, str) else tuple(self.theirs)

    def shapes(self, shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """The shape each of their tensors must have if ours has `shape`."""
        return {name: part.shape for name, part in self._cut(np.broadcast_to(0.0, shape)).items()}

    def split(self, ours: np.ndarray) -> dict[str, np.ndarray]:
        """Their tensors, made from ours."""
        if self.shift:
            ours = (ours.astype(np.float32) - self.shift).astype(ours.dtype)
        return self._cut(ours[..., np.argsort(self.order)] if self.order else ours)

    def _cut(self, ours: np.ndarray) -> dict[str, np.ndarray]:
        cuts = np.cumsum(self.sizes)[:-1]
        parts = np.split(ours, cuts, axis=-1) if self.sizes else [ours]
        turned = [part.T if self.transpose else part for part in parts]
        return dict(zip(self.names, turned, strict=True))

    def join(self, theirs: Sequence[np.ndarray]) -> np.ndarray:
        """Our weight, made from their tensors."""
        parts = [part.T if self.transpose else part for part in theirs]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
        if self.shift:
            whole = whole.astype(np.float32) + np.float32(self.shift)
        return whole[..., list(self.order)] if self.order else whole


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
        title: the models that it holds, for readers.
        refused: what some of them have that is not supported, for readers.
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
    title: str = ""
    refused: str = ""

    def expresses(self, config: Config) -> bool:
        """Whether the config survives the way there and back."""
        if type(config) is not self.config_class:
            return False
        try:
            return self.read_config(self.write_config(config)) == config
        except ValueError:
            return False


def linear(
    ours: str,
    theirs: str | Sequence[str],
    sizes: Sequence[int] = (),
    bias: bool = True,
    order: Sequence[int] = (),
    transpose: bool = True,
) -> list[Weight]:
    """The map of a dense layer.

    Args:
        ours: path of the layer.
        theirs: name of theirs, or of several that are ours side by side.
        sizes: width of each of them, where there are several.
        bias: it has a bias.
        order: of their outputs, the place of each of ours; default: as they are.
        transpose: they keep the kernel as [out, in].
    """
    names = (theirs,) if isinstance(theirs, str) else theirs
    kernels, biases = ([f"{name}.{kind}" for name in names] for kind in ("weight", "bias"))
    weights = [Weight(f"{ours}/kernel", kernels, transpose, sizes, order=order)]
    if bias:
        weights.append(Weight(f"{ours}/bias", biases, False, sizes, order=order))
    return weights


def order_of_groups(config: TransformerConfig) -> tuple[int, ...]:
    """The `order` of a fused projection that holds one group of heads after the other.

    Each of the K groups has its N / K queries, its key and its value there; ours has all queries,
    all keys and all values.
    """
    groups, head_dim = config.num_kv_heads, config.attention.head_dim
    places = np.arange((config.num_heads + 2 * groups) * head_dim).reshape(groups, -1, head_dim)
    parts = (places[:, :-2], places[:, -2], places[:, -1])
    return tuple(np.concatenate([part.ravel() for part in parts]).tolist())


def layer_norm(ours: str, theirs: str) -> list[Weight]:
    """The map of a layer normalisation."""
    return [
        Weight(f"{ours}/gamma", f"{theirs}.weight"),
        Weight(f"{ours}/beta", f"{theirs}.bias"),
    ]


def plain_block(
    config: Any,
    ours: str,
    theirs: str,
    names: BlockNames,
    transpose: bool = True,
) -> list[Weight]:
    """The map of a block whose norms are layer norms, and whose branches have the model's biases.

    Args:
        config: of the model.
        ours: path of the block.
        theirs: name of theirs.
        names: of their layers, below it.
        transpose: they keep kernels as [out, in].
    """
    heads, groups = (n * config.attention.head_dim for n in (config.num_heads, config.num_kv_heads))
    weights = []
    for layer, name in names.items():
        if layer.endswith("norm"):
            weights += layer_norm(f"{ours}/{layer}", f"{theirs}.{name}")
            continue
        parts, sizes = ([name], ()) if isinstance(name, str) else (name, (heads, groups, groups))
        full = [f"{theirs}.{part}" for part in parts]
        weights += linear(f"{ours}/{layer}", full, sizes, config.use_bias, transpose=transpose)
    return weights


def token_weights(config: Any, table: str, output: str = "lm_head.weight") -> list[Weight]:
    """The map of the token embeddings, and of the output layer where that is not tied to them."""
    weights = [Weight("token_embedding/embeddings", table)]
    if not config.tie_embeddings:
        weights.append(Weight("token_embedding/reverse_embeddings", output, transpose=True))
    return weights


def read_sizes(hf_config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a config that nearly all spell alike: V, L, D and N."""
    return {ours: required(hf_config, theirs) for theirs, ours in _SIZES.items()}


def write_sizes(config: TransformerConfig) -> HFConfig:
    """The inverse of `read_sizes`."""
    return {theirs: getattr(config, ours) for theirs, ours in _SIZES.items()}


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


def read_activation(hf_config: Mapping[str, Any], name: str, default: str) -> Any:
    """Our name of the activation in a field, or a `ValueError` that lists those known."""
    return translated(ACTIVATIONS, name, hf_config.get(name, default))


def write_activation(activation: str, **others: str) -> Any:
    """Their name of one of our activations, or a `ValueError` that lists those known.

    Args:
        activation: ours.
        others: the family's own names of some.
    """
    ours = {value: key for key, value in reversed(ACTIVATIONS.items())} | others
    return translated(ours, "activation", activation)


def translated(table: Mapping[str, str], name: str, value: Any) -> Any:
    """The value under our name, or a `ValueError` that lists those known."""
    if not isinstance(value, str) or value not in table:
        raise ValueError(f"config.json has {name}={value!r}; supported: {', '.join(table)}")
    return table[value]
