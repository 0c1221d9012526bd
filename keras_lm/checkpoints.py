"""The pretrained directory, in the Hugging Face layout, both ways. Nothing is ever unpickled.

config.json          architecture and hyper-parameters
model.safetensors    weights; above `SHARD_BYTES` model-00001-of-….safetensors and an index
tokenizer files      written and read by the tokenizer itself
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_lm.config import Config, EncoderConfig
from keras_lm.families import Family, Head, Weight, family_for, family_named
from keras_lm.families.base import linear
from keras_lm.models import (
    Backbone,
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
from keras_lm.storage import (
    INDEX,
    WEIGHTS,
    read_json,
    recover_directory,
    replace_directory,
    tensor_files,
    write_json,
)

SHARD_BYTES = 5 * 2**30
OWNED = (
    "config.json",
    "generation_config.json",
    "*.safetensors",
    INDEX,
    "tokenizer*.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
    "*.spm",
    "target_vocab.json",
    "target_tokenizer",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    # Sentence-Transformers' files, and what tasks have besides a model.
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling",
    "2_Normalize",
    "index",
    "tagger",
    "graph.json",
)
"""What a pretrained directory of ours holds; anything else in it is the user's."""

OWN_PREFIX = "keras_lm."
"""What the names of tensors begin with for which the family has none."""

Variables = Mapping[str, keras.Variable]
"""Variables by their path below the model's or the task's name."""

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


def save_model(model: Backbone, directory: str | os.PathLike[str]) -> None:
    """Writes a model's pretrained directory, replacing an older one as a whole.

    Args:
        model: any model of `keras_lm.models` that has a config.
        directory: where; made if need be. Files of other kinds in it are kept.

    Raises:
        ValueError: `directory` is a file, or holds files and is no pretrained directory.
    """
    with replace_directory(directory, OWNED) as fresh:
        write_model(model, fresh)


def load_model(directory: str | os.PathLike[str], dtype: Any = None) -> Any:
    """Reads the model of a pretrained directory; all of it is checked before any is loaded.

    A head that the directory holds besides is for the task that reads it; a pooler is loaded
    where there is one.

    Args:
        directory: a directory in the Hugging Face layout.
        dtype: a Keras dtype policy; default: the global one.

    Raises:
        FileNotFoundError: the directory, its `config.json` or its weights are missing.
        ValueError: a file is damaged, the family is unknown, or tensors are missing, left
            over or of another shape; they are listed by name.

    Example:

    >>> import tempfile, keras_lm as klm
    >>> config = klm.TransformerConfig(vocab_size=9, num_layers=1, hidden_dim=8, num_heads=2)
    >>> folder = tempfile.mkdtemp()
    >>> save_model(klm.models.Decoder(config), folder)
    >>> load_model(folder).config == config
    True
    """
    return Pretrained(directory).model(dtype)


class Pretrained:
    """A pretrained directory, opened: what it says, and which tensors it holds.

    Args:
        directory: a directory in the Hugging Face layout.

    Raises:
        FileNotFoundError: the directory, its `config.json` or its weights are missing.
        ValueError: a file is damaged, or the family is unknown.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.path = pretrained_directory(directory)
        config_file = self.path / "config.json"
        self.hf_config = read_json(config_file)
        try:
            self.family = family_named(self.hf_config)
            self.config = self.family.read_config(self.hf_config)
        except ValueError as error:
            raise ValueError(f"{str(config_file)!r}: {error}") from error
        self.own = self.hf_config.get("keras_lm", {})
        """What tasks of ours have written for themselves."""
        if not isinstance(self.own, dict):
            raise ValueError(f"{str(config_file)!r} has keras_lm={self.own!r}, not an object")
        self._tensors = _opened(tensor_files(self.path), self.family)
        self.config = self._as_stored(self.config)

    def _as_stored(self, config: Any) -> Any:
        """The config with an output layer of its own, where one is stored that is not the
        embeddings: in T5's `config.json` they are always tied, and the tensors decide.
        """
        if self.family.weights is None or not getattr(config, "tie_embeddings", False):
            return config
        untied = config.replace(tie_embeddings=False)
        names = {weight.ours: weight.names[0] for weight in self.family.weights(untied)}
        tables = [names.get(f"token_embedding/{kind}embeddings") for kind in ("", "reverse_")]
        stored = [self._tensors[name] for name in tables if name in self._tensors]
        if len(stored) < 2:
            return config
        first, second = (file.get_tensor(name) for name, file in stored)
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
            dense = _pooler_name(self.family, head)
            is_stored = any(name in self._tensors for name in dense)
            wanted = is_stored if pooler is None else pooler
            activation = config.pooler or self.family.pooler_activation
            config = config.replace(pooler=activation if wanted else None)
            unread = [] if is_stored and wanted else ["pooler/kernel", "pooler/bias"]
        model = _MODELS[type(config)](config, dtype=dtype)
        weights = [w for w in _weight_map(model, self.family, head) if w.ours not in unread]
        variables = variables_of(model)
        faults = self._faults(variables, weights) + self._left_over(weights, config)
        _refuse(faults, self.family)
        self._assign(variables, weights)
        return model

    def load_head(self, kind: str | None, config: Config, variables: Variables) -> None:
        """Gives a task's own variables their values.

        Raises:
            ValueError: tensors are missing or of another shape.
        """
        weights = _head_map(self.family, kind, config, variables)
        _refuse(self._faults(variables, weights), self.family)
        self._assign(variables, weights)

    def _faults(self, variables: Variables, weights: Iterable[Weight]) -> list[str]:
        """Which tensors are missing or misshapen."""
        missing, misshapen = [], []
        for weight in weights:
            for name, wanted in weight.shapes(variables[weight.ours].shape).items():
                if name not in self._tensors:
                    missing += [] if weight.optional else [f"missing: {name}"]
                    continue
                stored, file = self._tensors[name]
                shape = tuple(file.get_slice(stored).get_shape())
                if shape != wanted:
                    misshapen.append(f"{name}: shape {shape}, the config asks for {wanted}")
        return missing + misshapen

    def _left_over(self, weights: Iterable[Weight], config: Config) -> list[str]:
        """Tensors that neither the model nor a head of its family knows."""
        known = {name for weight in weights for name in weight.names}
        ignored = [*self.family.ignored, re.escape(OWN_PREFIX) + ".*"]
        for head in self.family.heads.values():
            known |= {name for weight in head.weights(config) for name in weight.names}
            known |= set(_pooler_name(self.family, head))
            ignored += head.ignored
        known |= set(_pooler_name(self.family, None))
        if getattr(config, "tie_embeddings", False):  # it may be written out a second time
            ignored.append(r"lm_head\.weight")
        return [
            f"not expected: {stored}"
            for name, (stored, _) in self._tensors.items()
            if name not in known and not any(re.fullmatch(pattern, name) for pattern in ignored)
        ]

    def _assign(self, variables: Variables, weights: Iterable[Weight]) -> None:
        for weight in weights:
            if weight.optional and not self._tensors.keys() >= set(weight.names):
                continue
            stored = [self._tensors[name] for name in weight.names]
            parts = [file.get_tensor(name) for name, file in stored]
            variables[weight.ours].assign(weight.join(parts))


def pretrained_directory(directory: str | os.PathLike[str]) -> Path:
    """The path of an existing pretrained directory, or a `FileNotFoundError`."""
    path = recover_directory(directory)
    if not path.is_dir():
        raise FileNotFoundError(f"no directory {str(directory)!r}")
    if not (path / "config.json").is_file():
        raise FileNotFoundError(
            f"{str(directory)!r} is not a pretrained directory: it has no config.json"
        )
    return path


def write_model(
    model: Backbone,
    directory: Path,
    extra_config: Mapping[str, Any] | None = None,
    head: str | None = None,
    own: Variables | None = None,
) -> None:
    """Writes `config.json` and the weights into an existing directory.

    Args:
        model: the model.
        directory: where.
        extra_config: further keys of `config.json`; those of the family go before them.
        head: the kind of head that the task's own variables are; None: one that no family has.
        own: the task's variables that are not the model's.
    """
    family, own = family_for(model.config), own or {}
    known = family.heads.get(head or "")
    config = {
        **(extra_config or {}),
        "architectures": [known.architectures[0] if known else family.architecture],
        "model_type": family.model_type,
        **family.write_config(model.config),
        "dtype": model.variable_dtype,
    }
    write_json(directory / "config.json", config)
    variables = {**variables_of(model), **own}
    weights = [*_weight_map(model, family, known), *_head_map(family, head, model.config, own)]
    # An encoder without a head of its family: their class for it has no prefix.
    is_bare = bool(family.heads) and known is None
    shards: list[dict[str, np.ndarray]] = [{}]
    size = 0
    for weight in weights:
        tensors = weight.split(keras.ops.convert_to_numpy(variables[weight.ours]))
        for name, tensor in tensors.items():
            if size + tensor.nbytes > SHARD_BYTES and shards[-1]:
                shards.append({})
                size = 0
            name = name.removeprefix(family.prefix) if is_bare else name
            shards[-1][name] = np.ascontiguousarray(tensor)
            size += tensor.nbytes
    _write_shards(shards, directory)


def _write_shards(shards: list[dict[str, np.ndarray]], directory: Path) -> None:
    from safetensors.numpy import save_file

    metadata = {"format": "pt"}  # Transformers refuses a file without it
    if len(shards) == 1:
        save_file(shards[0], directory / WEIGHTS, metadata)
        return
    weight_map: dict[str, str] = {}
    for number, tensors in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(tensors, directory / name, metadata)
        weight_map |= dict.fromkeys(tensors, name)
    total = sum(tensor.nbytes for tensors in shards for tensor in tensors.values())
    write_json(directory / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})


def variables_of(model: keras.Model) -> dict[str, keras.Variable]:
    """The model's weights by their path below its name."""
    return {variable.path.split("/", 1)[1]: variable for variable in model.weights}


def _weight_map(model: Backbone, family: Family, head: Head | None) -> list[Weight]:
    """The map of the model's weights, in files that hold a certain head."""
    if family.weights is None:
        return [Weight(path, path) for path in variables_of(model)]
    weights = family.weights(model.config)
    if head is None or head.pooler is None or getattr(model.config, "pooler", None) is None:
        return weights
    rest = [weight for weight in weights if not weight.ours.startswith("pooler/")]
    return [*rest, *linear("pooler", head.pooler)]


def _pooler_name(family: Family, head: Head | None) -> tuple[str, ...]:
    """The tensors of the pooler, in files that hold a certain head."""
    if family.weights is None:
        return "pooler/kernel", "pooler/bias"
    dense = head.pooler if head is not None and head.pooler else family.pooler
    return f"{dense}.weight", f"{dense}.bias"


def _head_map(
    family: Family, kind: str | None, config: Config, variables: Variables
) -> list[Weight]:
    """The map of a task's own variables; the family has names for some of them, or for none."""
    head = family.heads.get(kind or "")
    weights = [] if head is None else [w for w in head.weights(config) if w.ours in variables]
    named = {weight.ours for weight in weights}
    rest = [path for path in variables if path not in named]
    return weights + [Weight(path, OWN_PREFIX + path.replace("/", ".")) for path in rest]


def _opened(files: Mapping[str, Path], family: Family) -> dict[str, tuple[str, Any]]:
    """The name under which a tensor is stored, and its open file, by its name of today in a
    model with a head: files of a bare model lack the prefix.
    """
    from safetensors import safe_open

    opened = {file: safe_open(file, framework="np") for file in set(files.values())}
    is_bare = not any(name.startswith(family.prefix) for name in files)
    tensors = {}
    for stored, file in files.items():
        name = stored
        for old, new in family.aliases:
            name = name.replace(old, new)
        if is_bare and name != "lm_head.weight" and not name.startswith(OWN_PREFIX):
            name = family.prefix + name
        tensors[name] = stored, opened[file]
    return tensors


def _refuse(faults: list[str], family: Family) -> None:
    """A `ValueError` that lists what is wrong with the tensors, if anything is."""
    if faults:
        shown = "\n  ".join(faults[:20]) + (f"\n  and {len(faults) - 20} more" * (len(faults) > 20))
        raise ValueError(f"the weights do not fit a {family.model_type} model:\n  {shown}")
