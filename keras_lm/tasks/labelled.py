"""From labelled examples, as users give them, to lists; and the labels themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_lm.checkpoints import Pretrained
from keras_lm.data.examples.labels import check_label_names


def listed(x: Any, y: Any = None) -> tuple[list[Any], list[Any] | None]:
    """Inputs and targets as lists of Python values of one length.

    Args:
        x: a list of inputs; a tuple of two lists, which gives pairs; or a tf.data set of inputs
            or of (input, target), one at a time or batched, which is read once as a whole.
        y: a list of targets; None: there are none, or they are in x.

    Raises:
        ValueError: x is something else, is empty, or endless; x and y are of different length.

    Example:

    >>> listed((["a", "b"], ["c", "d"]), [0, 1])
    ([('a', 'c'), ('b', 'd')], [0, 1])
    """
    if isinstance(x, tf.data.Dataset):
        if y is not None:
            raise ValueError("y must be None where x is a tf.data set: it gives (x, y) itself")
        return _of_dataset(x)
    if isinstance(x, tuple) and len(x) == 2 and not isinstance(x[0], str | bytes):
        first, second = (values_of(part, f"x[{i}]") for i, part in enumerate(x))
        if len(first) != len(second):
            raise ValueError(f"x is a pair of lists of {len(first)} and {len(second)} items")
        inputs: list[Any] = list(zip(first, second, strict=True))
    else:
        inputs = values_of(x, "x")
    if not inputs:
        raise ValueError("x is empty; give at least one example")
    if y is None:
        return inputs, None
    targets = values_of(y, "y")
    if len(targets) != len(inputs):
        raise ValueError(f"y has {len(targets)} items; x has {len(inputs)}")
    return inputs, targets


def are_batches(x: Any) -> bool:
    """Whether x is a data set of what models read: no strings in it."""
    if not isinstance(x, tf.data.Dataset):
        return False
    return all(spec.dtype != tf.string for spec in tf.nest.flatten(x.element_spec))


def values_of(values: Any, name: str) -> list[Any]:
    """What a list, an array or a tensor holds, as Python values; `ValueError` for other things."""
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__len__"):
        raise ValueError(f"{name} must be a list; got {values!r:.80}")
    if isinstance(values, tf.Tensor | tf.RaggedTensor):
        values = values.numpy()
    if isinstance(values, np.ndarray):
        values = values.tolist()
    return [_decoded(value) for value in values]


def _decoded(value: Any) -> Any:
    """The same with strings for bytes and lists for arrays."""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, np.ndarray):
        return _decoded(value.tolist())
    if isinstance(value, list | tuple):
        return type(value)(_decoded(item) for item in value)
    return value


def _of_dataset(dataset: tf.data.Dataset) -> tuple[list[Any], list[Any] | None]:
    elements = elements_of(dataset)
    if isinstance(dataset.element_spec, tuple):
        inputs, targets = zip(*elements, strict=True)
        return list(inputs), list(targets)
    return elements, None


def elements_of(dataset: tf.data.Dataset) -> list[Any]:
    """The elements of a finite data set, one at a time, as Python values."""
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("x is an endless tf.data set; labelled examples are read as a whole")
    first = tf.nest.flatten(dataset.element_spec)[0]
    if len(first.shape) == 1 and isinstance(first, tf.TensorSpec) and _is_batched(dataset):
        dataset = dataset.unbatch()
    elements = [_decoded(element) for element in dataset.as_numpy_iterator()]
    if not elements:
        raise ValueError("x is an empty tf.data set; give at least one example")
    return elements


def _is_batched(dataset: tf.data.Dataset) -> bool:
    """Whether every component has a first axis in common: strings [B] with labels [B]."""
    return all(len(spec.shape) > 0 for spec in tf.nest.flatten(dataset.element_spec))


def split(
    inputs: list[Any], targets: list[Any] | None, share: float
) -> tuple[tuple[list[Any], Any], tuple[list[Any], Any]]:
    """What comes before and what makes up the last `share` of the examples."""
    if not 0 < share < 1:
        raise ValueError(f"validation_split={share} must be in (0, 1)")
    cut = int(len(inputs) * (1 - share))
    if not 0 < cut < len(inputs):
        raise ValueError(
            f"validation_split={share} of {len(inputs)} examples leaves none to train or none to "
            "validate on; give more examples or validation_data"
        )
    heads = inputs[:cut], None if targets is None else targets[:cut]
    return heads, (inputs[cut:], None if targets is None else targets[cut:])


def check_labels(labels: Any) -> tuple[str, ...]:
    """The names of a task's labels; a number n stands for LABEL_0 … LABEL_n−1."""
    if isinstance(labels, int | np.integer) and not isinstance(labels, bool) and labels > 0:
        return tuple(f"LABEL_{number}" for number in range(labels))
    if labels is None or isinstance(labels, int | float | bool):
        raise ValueError(f"labels must be a list of names or a positive number; got {labels!r}")
    return check_label_names(labels)


def label_settings(labels: Sequence[str]) -> dict[str, Any]:
    """`id2label` and `label2id` of a Hugging Face `config.json`."""
    return {
        "id2label": {str(number): name for number, name in enumerate(labels)},
        "label2id": {name: number for number, name in enumerate(labels)},
    }


def labels_in(files: Pretrained) -> tuple[str, ...] | None:
    """The labels that a `config.json` names; None where it names none."""
    names = files.hf_config.get("id2label")
    if names is None:
        return None
    try:
        return check_label_names([names[str(number)] for number in range(len(names))])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{str(files.path / 'config.json')!r} has id2label={names!r}; it must be an object "
            'of the names of the labels "0", "1", …'
        ) from error


def labels_agree(files: Pretrained, labels: tuple[str, ...]) -> bool:
    """Whether a head in the directory tells the same labels; unnamed ones need the same number."""
    stored = labels_in(files) or check_labels(2)  # Transformers' default is two
    return stored == labels or (len(stored) == len(labels) and stored == check_labels(len(stored)))
