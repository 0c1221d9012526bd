"""The pretrained directory, in the Hugging Face layout, both ways. Nothing is ever unpickled.

config.json          architecture and hyper-parameters
model.safetensors    weights; above `SHARD_BYTES` model-00001-of-….safetensors and an index
tokenizer files      written and read by the tokenizer itself
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_lm.config import Config, NGramConfig, RecurrentConfig, TransformerConfig
from keras_lm.families import Family, Weight, family_for, family_named
from keras_lm.models import Decoder, LanguageModel, NGramLM, RecurrentLM
from keras_lm.storage import read_json, recover_directory, replace_directory, write_json

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
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
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
)
"""What a pretrained directory of ours holds; anything else in it is the user's."""

_MODELS: dict[type[Config], Any] = {
    TransformerConfig: Decoder,
    RecurrentConfig: RecurrentLM,
    NGramConfig: NGramLM,
}


def save_model(model: LanguageModel, directory: str | os.PathLike[str]) -> None:
    """Writes a model's pretrained directory, replacing an older one as a whole.

    Args:
        model: any language model.
        directory: where; made if need be. Files of other kinds in it are kept.

    Raises:
        ValueError: `directory` is a file, or holds files and is no pretrained directory.
    """
    with replace_directory(directory, OWNED) as fresh:
        write_model(model, fresh)


def load_model(directory: str | os.PathLike[str], dtype: Any = None) -> LanguageModel:
    """Reads the model of a pretrained directory; all of it is checked before any is loaded.

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
    path = pretrained_directory(directory)
    hf_config = read_json(path / "config.json")
    try:
        family = family_named(hf_config)
        config = family.read_config(hf_config)
    except ValueError as error:
        raise ValueError(f"{str(path / 'config.json')!r}: {error}") from error
    files = _tensor_files(path)
    model = _MODELS[type(config)](config, dtype=dtype)
    _load_weights(model, family, files)
    return model


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
    model: LanguageModel, directory: Path, extra_config: Mapping[str, Any] | None = None
) -> None:
    """Writes `config.json` and the weights into an existing directory."""
    family = family_for(model.config)
    config = {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        **family.write_config(model.config),
        "dtype": model.variable_dtype,
        **(extra_config or {}),
    }
    write_json(directory / "config.json", config)
    variables = _variables(model)
    shards: list[dict[str, np.ndarray]] = [{}]
    size = 0
    for weight in _weight_map(model, family):
        tensors = weight.split(keras.ops.convert_to_numpy(variables[weight.ours]))
        for name, tensor in tensors.items():
            if size + tensor.nbytes > SHARD_BYTES and shards[-1]:
                shards.append({})
                size = 0
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


def _variables(model: LanguageModel) -> dict[str, keras.Variable]:
    """The model's weights by their path below its name."""
    return {variable.path.split("/", 1)[1]: variable for variable in model.weights}


def _weight_map(model: LanguageModel, family: Family) -> list[Weight]:
    if family.weights is None:
        return [Weight(path, path) for path in _variables(model)]
    return family.weights(model.config)


def _tensor_files(path: Path) -> dict[str, Path]:
    """Which file holds each tensor."""
    from safetensors import SafetensorError, safe_open

    if (path / INDEX).is_file():
        weight_map = read_json(path / INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise ValueError(f"{str(path / INDEX)!r} has no 'weight_map'")
        names = sorted({str(name) for name in weight_map.values()})
    else:
        names = [WEIGHTS]
    files: dict[str, Path] = {}
    for name in names:
        file = path / name
        if Path(name).name != name:
            raise ValueError(f"{str(path / INDEX)!r} names a file outside its directory: {name!r}")
        if not file.is_file():
            raise FileNotFoundError(f"no weights: {str(file)!r} does not exist")
        try:
            with safe_open(file, framework="np") as tensors:
                files |= dict.fromkeys(tensors.keys(), file)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{str(file)!r} is not a whole safetensors file: {error}") from error
    return files


def _load_weights(model: LanguageModel, family: Family, files: dict[str, Path]) -> None:
    from safetensors import safe_open

    opened = {file: safe_open(file, framework="np") for file in set(files.values())}
    tensors = {
        _full_name(name, family, files): (name, opened[file]) for name, file in files.items()
    }
    variables, weight_map = _variables(model), _weight_map(model, family)
    _check_tensors(variables, weight_map, family, tensors)
    for weight in weight_map:
        parts = [tensors[name][1].get_tensor(tensors[name][0]) for name in weight.names]
        variables[weight.ours].assign(weight.join(parts))


def _full_name(name: str, family: Family, files: Mapping[str, Path]) -> str:
    """A tensor's name as in a model with a head: files of a bare model lack the prefix."""
    bare = not any(other.startswith(family.prefix) for other in files)
    return family.prefix + name if bare and name != "lm_head.weight" else name


def _check_tensors(
    variables: Mapping[str, keras.Variable],
    weight_map: list[Weight],
    family: Family,
    tensors: Mapping[str, tuple[str, Any]],
) -> None:
    """A `ValueError` that lists tensors which are missing, left over or misshapen."""
    wanted: dict[str, tuple[int, ...]] = {}
    for weight in weight_map:
        wanted |= weight.shapes(variables[weight.ours].shape)
    tied = "lm_head.weight" not in wanted  # a tied head may be written out a second time
    ignored = [*family.ignored, r"lm_head\.weight"] if tied else family.ignored
    faults = [f"missing: {name}" for name in wanted if name not in tensors]
    for name, (stored, file) in tensors.items():
        if name in wanted:
            shape = tuple(file.get_slice(stored).get_shape())
            if shape != wanted[name]:
                faults.append(f"{name}: shape {shape}, the config asks for {wanted[name]}")
        elif not any(re.fullmatch(pattern, name) for pattern in ignored):
            faults.append(f"not expected: {stored}")
    if faults:
        shown = "\n  ".join(faults[:20]) + (f"\n  and {len(faults) - 20} more" * (len(faults) > 20))
        raise ValueError(f"the weights do not fit a {family.model_type} model:\n  {shown}")
