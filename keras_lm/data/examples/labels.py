"""Labels of examples, names or ints, as ids."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

Label = str | int


def label_ids(
    labels: Collection[Any], label_names: Sequence[str] | None, place: Callable[[int], str]
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """The ids of labels.

    Args:
        labels: names or ints, all of one kind.
        label_names: the name of each id. None: names make up their own set, sorted; ints need no
            names.
        place: how a message calls the label at a position.

    Returns:
        int32 [labels], and the names of the ids if there are any.

    Raises:
        ValueError: a label is neither, of another kind than the first, or outside of the set.

    Example:

    >>> ids, names = label_ids(["no", "yes", "no"], None, "labels[{}]".format)
    >>> ids.tolist(), names
    ([0, 1, 0], ('no', 'yes'))
    >>> label_ids([0, 2], ["no", "yes"], "labels[{}]".format)
    Traceback (most recent call last):
    ValueError: labels[1] is 2; label_names has 2 names, so it must be 0 to 1
    """
    names = None if label_names is None else check_label_names(label_names)
    are_names = isinstance(next(iter(labels), None), str)
    for position, label in enumerate(labels):
        if are_names != isinstance(label, str) or not is_label(label):
            raise ValueError(
                f"{place(position)} is {label!r}; labels must be names or ints, all of one kind"
            )
    if not are_names:
        for position, label in enumerate(labels):
            if label < 0 or (names is not None and label >= len(names)):
                known = "" if names is None else f"label_names has {len(names)} names, so "
                bound = "at least 0" if names is None else f"0 to {len(names) - 1}"
                raise ValueError(f"{place(position)} is {label}; {known}it must be {bound}")
        return np.fromiter(labels, np.int32, len(labels)), names
    if names is None:
        names = tuple(sorted(set(labels)))
    ids = {name: number for number, name in enumerate(names)}
    for position, label in enumerate(labels):
        if label not in ids:
            raise ValueError(f"{place(position)} is {label!r}; label_names are {_shown(names)}")
    return np.fromiter((ids[label] for label in labels), np.int32, len(labels)), names


def is_label(label: Any) -> bool:
    """Whether it is a name or an int; True and False are neither."""
    return isinstance(label, str | int | np.integer) and not isinstance(label, bool)


def check_label_names(label_names: Sequence[str]) -> tuple[str, ...]:
    """The names as a tuple; ValueError unless they are different strings."""
    if isinstance(label_names, str) or not all(isinstance(name, str) for name in label_names):
        raise ValueError(f"label_names is {label_names!r}; it must be a list of strings")
    if not label_names or len(set(label_names)) < len(label_names):
        raise ValueError(f"label_names is {list(label_names)}; it must hold different names")
    return tuple(label_names)


def _shown(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:20])) + (", …" if len(names) > 20 else "")
