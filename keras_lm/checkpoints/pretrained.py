"""Reads pretrained models: everything that is said of the weights is checked before one is read."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from keras_lm.checkpoints.gguf import open_gguf
from keras_lm.checkpoints.hub import find_pretrained
from keras_lm.checkpoints.maps import (
    OWN_PREFIX,
    Variables,
    head_map,
    pooler_name,
    variables_of,
    weight_map,
)
from keras_lm.checkpoints.unfilled import fill, fill_the_rest, make_unfilled
from keras_lm.config import Config, EncoderConfig
from keras_lm.data.progress import LateBar
from keras_lm.families import Family, Head, Weight, family_named
from keras_lm.models import (
    ConvolutionalEncoder,
    Decoder,
    Encoder,
    KnowledgeGraphEmbedding,
    NGramLM,
    RecurrentEncoder,
    RecurrentLM,
    RecurrentSeq2Seq,
    Transformer,
)
from keras_lm.storage import SafetensorsFiles, TensorSource, numpy_dtype, read_json

_MODELS: dict[type[Config], Any] = {
    model.config_class: model
    for model in (
        Decoder,
        Encoder,
        Transformer,
        RecurrentLM,
        RecurrentEncoder,
        RecurrentSeq2Seq,
        ConvolutionalEncoder,
        NGramLM,
        KnowledgeGraphEmbedding,
    )
}

# Up to here the tensors themselves are compared, which says more.
_HARMLESS = {"tensors": 100, "numbers": 2**20}


def load_model(
    directory: str | os.PathLike[str],
    dtype: Any = None,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> Any:
    """Reads the model of a pretrained directory; all of it is checked before any is loaded.

    A head that the directory holds besides is for the task that reads it; a pooler is loaded
    where there is one.

    Args:
        directory: a directory in the Hugging Face layout, a GGUF file, or an id of the Hugging
            Face hub such as `"openai-community/gpt2"`.
        dtype: a Keras dtype policy; default: the global one.
        revision: a branch, a tag or a commit of the hub's repository; default: its main branch.
        token: of the hub, for what is private or gated; default: the one it has kept.
        cache_dir: where fetched files are kept; default: the hub's own cache.
        local_files_only: take what is in the cache, and ask nobody.

    Raises:
        FileNotFoundError: the directory, its `config.json` or its weights are missing.
        ImportError: the hub's library, or the one for GGUF, is not installed.
        ValueError: a file is damaged, the family is unknown, or tensors are missing, left
            over or of another shape; they are listed by name.

    Example:

    >>> import tempfile, keras_lm as klm
    >>> config = klm.TransformerConfig(vocab_size=9, num_layers=1, hidden_dim=8, num_heads=2)
    >>> folder = tempfile.mkdtemp()
    >>> klm.checkpoints.save_model(klm.models.Decoder(config), folder)
    >>> load_model(folder).config == config
    True
    """
    path = find_pretrained(
        directory,
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
    )
    return Pretrained(path).model(dtype)


class Pretrained:
    """A pretrained model's files, opened: what they say, and which tensors they hold.

    Args:
        directory: a directory in the Hugging Face layout, a GGUF file, or an id of the hub.

    Raises:
        FileNotFoundError: the directory, its `config.json` or its weights are missing.
        ValueError: a file is damaged, or the family is unknown.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.path = find_pretrained(directory)
        self._source: TensorSource
        if self.path.is_file():
            self._config_file = self.path
            self.hf_config, self._source = open_gguf(self.path)
        else:
            self._config_file = self.path / "config.json"
            self.hf_config = read_json(self._config_file)
            self._source = SafetensorsFiles(self.path)
        try:
            self.family = family_named(self.hf_config)
            self._refuse_many_layers()
            self.config = self.family.read_config(self.hf_config)
        except ValueError as error:
            raise self._fault(error) from error
        self.own = self.hf_config.get("keras_lm", {})
        """What tasks of ours have written for themselves."""
        if not isinstance(self.own, dict):
            raise ValueError(f"{str(self._config_file)!r} has keras_lm={self.own!r}, not an object")
        self._stored = _names(self._source.shapes, self.family)
        self._num_elements = sum(math.prod(shape) for shape in self._source.shapes.values())
        self._refuse_huge(self.config)
        self.config = self._as_stored(self.config)

    def _fault(self, what: object) -> ValueError:
        return ValueError(f"{str(self._config_file)!r}: {what}")

    def _refuse_many_layers(self) -> None:
        """Refuses numbers of layers before a family works through them to read its config."""
        count = len(self._source.shapes)
        most = max(count, _HARMLESS["tensors"])
        for name, value in self.hf_config.items():
            if "layer" in name and isinstance(value, int | float) and value > most:
                raise ValueError(f"{name}={value}, yet all weights together are {count} tensors")

    def _refuse_huge(self, config: Any) -> None:
        """Refuses numbers of layers and widths that the files cannot have, before all work."""
        elements = self._num_elements
        heads = getattr(config, "num_heads", 0) * (getattr(config, "attention", None) is not None)
        width = heads * config.attention.head_dim if heads else 0
        for name, value in (*_integers(config), ("num_heads × head_dim", width)):
            counts = name.endswith(("layers", "order"))
            most, kind = (len(self._stored), "tensors") if counts else (elements, "numbers")
            is_size = counts or name.endswith(("dim", "vocab_size", "heads", "entities"))
            if is_size and value > max(most, _HARMLESS[kind]):
                raise self._fault(f"{name}={value}, yet all weights together are {most} {kind}")

    def _as_stored(self, config: Any) -> Any:
        """The config with an output layer of its own, where one is stored that is not the
        embeddings: in T5's `config.json` they are always tied, and the tensors decide.
        """
        if self.family.weights is None or not getattr(config, "tie_embeddings", False):
            return config
        untied = config.replace(tie_embeddings=False)
        names = {weight.ours: weight.names[0] for weight in self.family.weights(untied)}
        tables = [names.get(f"token_embedding/{kind}embeddings") for kind in ("", "reverse_")]
        stored = [name for name in tables if name in self._stored]
        if len(stored) < 2:
            return config
        first, second = (self._read(name) for name in stored)
        return config if np.array_equal(first, second) else untied

    def has_head(self, kind: str | None, task: str) -> bool:
        """Whether the weights of a task's head stand here, for a head of that kind."""
        if "head" in self.own:
            return self.own["head"] == kind and self.own.get("task") == task
        head = self.family.heads.get(kind or "")
        return head is not None and self._is_named(head)

    def _is_named(self, head: Head) -> bool:
        named = self.hf_config.get("architectures")
        return isinstance(named, list) and any(name in head.architectures for name in named)

    def model(self, dtype: Any = None, pooler: bool | None = None) -> Any:
        """The model, without any head.

        Args:
            dtype: a Keras dtype policy; default: the global one.
            pooler: whether an encoder has a pooler, made afresh if the directory has none;
                default: as in the directory.

        Raises:
            ValueError: tensors are missing, left over or of another shape.
        """
        head = next((h for h in self.family.heads.values() if self._is_named(h)), None)
        config = self.config
        unread: list[str] = []
        if isinstance(config, EncoderConfig):
            is_stored = any(name in self._stored for name in pooler_name(self.family, head))
            wanted = is_stored if pooler is None else pooler
            activation = config.pooler or self.family.pooler_activation
            config = config.replace(pooler=activation if wanted else None)
            unread = [] if is_stored and wanted else ["pooler/kernel", "pooler/bias"]
        model, made = make_unfilled(lambda: _MODELS[type(config)](config, dtype=dtype))
        weights = [w for w in weight_map(model, self.family, head) if w.ours not in unread]
        variables = variables_of(model)
        self._refuse(self._faults(variables, weights) + self._left_over(weights, config))
        self._fill(variables, weights)
        fill_the_rest(made)
        model.family = self.family.model_type
        return model

    def load_head(self, kind: str | None, config: Config, variables: Variables) -> None:
        """Gives a task's own variables their values.

        Raises:
            ValueError: tensors are missing or of another shape.
        """
        weights = head_map(self.family, kind, config, variables)
        self._refuse(self._faults(variables, weights))
        self._fill(variables, weights)

    def _refuse(self, faults: list[str]) -> None:
        """A `ValueError` that lists what is wrong with the tensors, if anything is."""
        if faults:
            shown = "\n  ".join(faults[:20])
            shown += f"\n  and {len(faults) - 20} more" * (len(faults) > 20)
            raise ValueError(
                f"{str(self.path)!r}: the weights do not fit a {self.family.model_type} model:\n"
                f"  {shown}"
            )

    def _faults(self, variables: Variables, weights: Iterable[Weight]) -> list[str]:
        """Which tensors are missing, misshapen, or no numbers of the kind that is wanted."""
        missing, misshapen = [], []
        most = self._num_elements
        for weight in weights:
            variable = variables[weight.ours]
            shape = tuple(variable.shape)
            if math.prod(shape) > max(most, _HARMLESS["numbers"]):
                numbers = f"all tensors together have {most} numbers"
                misshapen.append(f"{weight.names[0]}: the config asks for {shape}; {numbers}")
                continue
            for name, wanted in weight.shapes(shape).items():
                if name not in self._stored:
                    missing += [] if weight.optional else [f"missing: {name}"]
                    continue
                stored = self._stored[name]
                found, kind = self._source.shapes[stored], self._source.dtypes[stored]
                if found != wanted:
                    misshapen.append(f"{name}: shape {found}, the config asks for {wanted}")
                elif ("float" in kind) != ("float" in variable.dtype):
                    misshapen.append(f"{name}: {kind}, where {variable.dtype} is wanted")
        return missing + misshapen

    def _left_over(self, weights: Iterable[Weight], config: Config) -> list[str]:
        """Tensors that neither the model nor a head of its family knows."""
        known = {name for weight in weights for name in weight.names}
        ignored = [*self.family.ignored, re.escape(OWN_PREFIX) + ".*"]
        for head in self.family.heads.values():
            known |= {name for weight in head.weights(config) for name in weight.names}
            known |= set(pooler_name(self.family, head))
            ignored += head.ignored
        known |= set(pooler_name(self.family, None))
        if getattr(config, "tie_embeddings", False):  # it may be written out a second time
            ignored.append(r"lm_head\.weight")
        return [
            f"not expected: {stored}"
            for name, stored in self._stored.items()
            if name not in known and not any(re.fullmatch(pattern, name) for pattern in ignored)
        ]

    def _fill(self, variables: Variables, weights: Iterable[Weight]) -> None:
        """Reads the weights, the largest first: what is copied on the way is freed while the
        others do not exist yet.
        """
        by_size = sorted(weights, key=lambda weight: -math.prod(variables[weight.ours].shape))
        sizes = [math.prod(variables[weight.ours].shape) for weight in by_size]
        done = 0
        with LateBar("loading", sum(sizes)) as bar:
            for weight, size in zip(by_size, sizes, strict=True):
                if weight.optional and not self._stored.keys() >= set(weight.names):
                    continue
                variable = variables[weight.ours]
                fill(variable, self._joined(weight, variable.dtype))
                done += size
                bar.advance_to(done)

    def _joined(self, weight: Weight, dtype: str) -> np.ndarray:
        """The value of a variable; what it was made of is freed with the return."""
        whole = weight.join([self._read(name) for name in weight.names])
        with np.errstate(over="ignore"):  # float16 makes infinity of what it cannot hold
            return np.ascontiguousarray(whole, numpy_dtype(dtype))

    def _read(self, name: str) -> np.ndarray:
        return self._source.read(self._stored[name])


def _names(stored: Mapping[str, Any], family: Family) -> dict[str, str]:
    """The name under which a tensor is stored, by its name of today in a model with a head:
    files of a bare model lack the prefix.
    """
    is_bare = not any(name.startswith(family.prefix) for name in stored)
    names: dict[str, str] = {}
    for name_there in stored:
        name = name_there
        for old, new in family.aliases:
            name = name.replace(old, new)
        if is_bare and name != "lm_head.weight" and not name.startswith(OWN_PREFIX):
            name = family.prefix + name
        if name in names:
            raise ValueError(f"the tensors {names[name]!r} and {name_there!r} are both {name!r}")
        names[name] = name_there
    return names


def _integers(config: Any) -> Iterator[tuple[str, int]]:
    """The whole numbers of a config and of those in it."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _integers(value)
        elif isinstance(value, int):
            yield field.name, value
