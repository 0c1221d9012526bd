"""What a callback remembers: those of its attributes that are data, and how they became so."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

_CONTAINERS = (list, tuple, set, frozenset)
_ARRAY_TYPES = {f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)}
_ARRAY_TYPES |= {"bool", "bfloat16"}

# Attributes by name. A value is JSON, in which {"array": n} stands for the n-th array.
Memory = dict[str, tuple[Any, list[np.ndarray]]]


def memory_of(callback: keras.callbacks.Callback) -> Memory:
    """A copy of the attributes that are data.

    Data are None, bools, numbers, strings, arrays, tensors, and lists, tuples, sets and dicts of
    such. A model, a file, a function, or a container with one of them is not.

    Example:

    >>> early = keras.callbacks.EarlyStopping(patience=3)
    >>> memory_of(early)["patience"], memory_of(early)["best_weights"]
    ((3, []), (None, []))
    """
    memory: Memory = {}
    for name, value in vars(callback).items():
        # Keras's own callbacks turn the sign of min_delta when they first look at a metric.
        if name == "params" or (name == "min_delta" and hasattr(callback, "monitor_op")):
            continue
        arrays: list[np.ndarray] = []
        try:
            memory[name] = (encode(value, arrays), arrays)
        except TypeError:
            continue
    return memory


def since(begin: Memory, now: Memory) -> Memory:
    """What is new in `now`. The rest, a callback's settings for one, need not be remembered."""
    return {name: value for name, value in now.items() if not _same(value, begin.get(name))}


def remind(callback: keras.callbacks.Callback, memory: Memory) -> None:
    """Gives a callback's attributes back, but for those that are the same or no data by now.

    Example:

    >>> one, other = keras.callbacks.History(), keras.callbacks.History()
    >>> one.history = {"loss": [2.5, float("inf")]}
    >>> remind(other, memory_of(one))
    >>> other.history
    {'loss': [2.5, inf]}
    """
    now = memory_of(callback)
    for name in since(now, memory):
        if name in now or not hasattr(callback, name):
            setattr(callback, name, decode(*memory[name]))


def _same(one: tuple[Any, list[np.ndarray]], other: tuple[Any, list[np.ndarray]] | None) -> bool:
    if other is None or repr(one[0]) != repr(other[0]):  # NaN is the same as NaN, 1 is not True
        return False
    return all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(one[1], other[1], strict=True)
    )


def encode(value: Any, arrays: list[np.ndarray]) -> Any:
    """Data as JSON; arrays and tensors are appended to `arrays`.

    Raises:
        TypeError: it is not data.
    """
    # By exact type: an IntEnum or a numpy float64, which is a float too, would come back changed.
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind in _CONTAINERS:
        return {kind.__name__: [encode(item, arrays) for item in value]}
    if kind is dict:
        pairs = [[encode(key, arrays), encode(item, arrays)] for key, item in value.items()]
        return {"dict": pairs}
    if isinstance(value, np.ndarray | np.generic):
        array, name = np.array(value, order="C"), "array" if kind is np.ndarray else "number"
    elif keras.ops.is_tensor(value):
        array, name = np.array(keras.ops.convert_to_numpy(value), order="C"), "tensor"
    else:
        raise TypeError(f"{kind} is not data")
    if array.dtype.name not in _ARRAY_TYPES:
        raise TypeError(f"an array of {array.dtype} is not data")
    arrays.append(array)
    return {name: len(arrays) - 1}


def decode(value: Any, arrays: list[np.ndarray]) -> Any:
    """What was given to `encode`."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "array":
        return arrays[content].copy()
    if kind == "number":
        return arrays[content][()]
    if kind == "tensor":
        return keras.ops.convert_to_tensor(arrays[content])
    if kind == "dict":
        return {decode(key, arrays): decode(item, arrays) for key, item in content}
    container = next(container for container in _CONTAINERS if container.__name__ == kind)
    return container(decode(item, arrays) for item in content)
