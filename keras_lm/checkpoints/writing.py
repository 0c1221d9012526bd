"""Writes pretrained directories, one weight after the other: memory holds no second model."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_lm.checkpoints.maps import Variables, head_map, variables_of, weight_map
from keras_lm.families import Weight, family_for
from keras_lm.models import Backbone
from keras_lm.storage import (
    INDEX,
    WEIGHTS,
    numpy_dtype,
    replace_directory,
    write_json,
    write_safetensors,
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
    family, own = family_for(model.config, model.family), own or {}
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
    weights = [*weight_map(model, family, known), *head_map(family, head, model.config, own)]
    # An encoder without a head of its family: their class for it has no prefix.
    is_bare = bool(family.heads) and known is None
    write_weights(variables, weights, directory, family.prefix if is_bare else "")


def write_weights(
    variables: Variables, weights: list[Weight], directory: Path, prefix: str = ""
) -> None:
    """Writes the files of weights, and an index where there are several.

    Args:
        variables: by their paths.
        weights: the map of them.
        directory: where.
        prefix: what is left out of their names.
    """
    # The widest numbers first: so all of them begin on even places.
    weights = sorted(weights, key=lambda weight: -_width(variables[weight.ours].dtype))
    layouts: list[dict[str, tuple[str, tuple[int, ...]]]] = [{}]
    size = total = 0
    for weight in weights:
        variable = variables[weight.ours]
        # Some are arrays, whose dtype is no name.
        dtype = keras.backend.standardize_dtype(variable.dtype)
        for name, shape in weight.shapes(variable.shape).items():
            added = math.prod(shape) * _width(dtype)
            total += added
            if size + added > SHARD_BYTES and layouts[-1]:
                layouts.append({})
                size = 0
            layouts[-1][name.removeprefix(prefix)] = dtype, shape
            size += added
    count = len(layouts)
    names = [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
    tensors = _tensors(variables, weights, prefix)
    for name, layout in zip([WEIGHTS] if count == 1 else names, layouts, strict=True):
        write_safetensors(directory / name, layout, itertools.islice(tensors, len(layout)))
    if count > 1:
        weight_map = {tensor: name for name, held in zip(names, layouts) for tensor in held}
        write_json(directory / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})


def _tensors(
    variables: Variables, weights: list[Weight], prefix: str
) -> Iterator[tuple[str, np.ndarray]]:
    for weight in weights:
        # `ops.convert_to_numpy` would copy it twice.
        value = np.asarray(keras.ops.convert_to_tensor(variables[weight.ours]))
        for name, tensor in weight.split(value).items():
            yield name.removeprefix(prefix), tensor


def _width(dtype: str) -> int:
    return numpy_dtype(dtype).itemsize
