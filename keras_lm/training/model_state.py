"""Everything that a training step reads and changes: a model's variables, as arrays by name."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import keras
import numpy as np

_GROUPS = ("metrics.", "model.", "optimizer.")
_GLOBAL_SEED = "random.global_seed_generator"
_MOST_NAMES = 8


def arrays_of(model: keras.Model) -> dict[str, np.ndarray]:
    """Copies of all variables: of the model with its seeds, its optimizer and its metrics.

    Returns:
        Arrays by name, such as `"optimizer.00003.adamw/kernel_momentum"`.
    """
    variables = _variables(model)
    if (seed := _global_seed()) is not None:
        variables[_GLOBAL_SEED] = seed
    return {
        name: np.array(keras.ops.convert_to_numpy(variable.value), order="C")
        for name, variable in variables.items()
    }


def build(model: keras.Model, arrays: dict[str, np.ndarray], batch: Any) -> None:
    """Makes the variables that Keras would make in the first step, so that they can be restored.

    Args:
        model: compiled.
        arrays: what `arrays_of` gave.
        batch: one of those that the model is trained on.
    """
    groups = _GROUPS[:2]
    if _kinds(_variables(model), groups) != _kinds(arrays, groups):
        model._symbolic_build(data_batch=batch)
    if model.optimizer is not None and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def restore(model: keras.Model, arrays: dict[str, np.ndarray]) -> None:
    """Gives all variables the values that `arrays_of` took.

    A variable is known by its place, shape, dtype, and its path but for the numbers that Keras
    puts behind names (`dense_3`): they count the layers that the process has made before.

    Args:
        model: built.
        arrays: by name, others among them perhaps.

    Raises:
        ValueError: the variables are not the same; it names those that differ.
    """
    saved = {name: array for name, array in arrays.items() if name.startswith(_GROUPS)}
    present = _variables(model)
    then, now = _kinds(saved, _GROUPS), _kinds(present, _GROUPS)
    if then != now:
        gone, new = Counter(then) - Counter(now), Counter(now) - Counter(then)
        raise ValueError(
            f"the model's variables differ; only in the checkpoint: {_some(gone)}; "
            f"only in the model: {_some(new)}"
        )
    for name, saved_name in zip(sorted(present), sorted(saved), strict=True):
        present[name].assign(saved[saved_name])
    if _GLOBAL_SEED in arrays:
        from keras.src.random.seed_generator import global_seed_generator

        global_seed_generator().state.assign(arrays[_GLOBAL_SEED])


def _variables(model: keras.Model) -> dict[str, Any]:
    groups = {
        "metrics.": model.metrics_variables,
        "model.": model.variables,
        "optimizer.": [] if model.optimizer is None else model.optimizer.variables,
    }
    return {
        f"{group}{number:05d}.{variable.path}": variable
        for group, variables in groups.items()
        for number, variable in enumerate(variables)
    }


def _kinds(variables: dict[str, Any], groups: tuple[str, ...]) -> list[str]:
    """What must agree of variables or arrays, in their order: `"model dense/kernel float32[2]"`."""
    kinds = []
    for name in sorted(variables):
        if name.startswith(groups):
            group, _, path = name.split(".", 2)
            path = re.sub(r"_\d+(?=[_/]|$)", "", path)
            dtype, shape = str(variables[name].dtype), list(variables[name].shape)
            kinds.append(f"{group} {path} {dtype}{shape}")
    return kinds


def _some(kinds: Counter[str]) -> str:
    names = list(kinds.elements())
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more if names else "none"


def _global_seed() -> Any:
    """The variable behind `keras.random` where no seed is given, if anything has drawn from it."""
    from keras.src.backend.common.global_state import get_global_attribute

    generator = get_global_attribute("global_seed_generator")
    return None if generator is None else generator.state
