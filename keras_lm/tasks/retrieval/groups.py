"""What users give a retriever to learn from, as a list of texts or of tuples of texts."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from keras_lm.tasks.labelled import elements_of, values_of
from keras_lm.tasks.reading import check_texts


def text_rows(x: Any) -> list[Any]:
    """A list of strings, or of tuples of strings.

    Args:
        x: such a list; a tuple of lists, one for each place in the tuples; or a tf.data set of
            strings or of tuples, one at a time or batched, which is read once as a whole.

    Raises:
        ValueError: x is something else or empty, a text is empty or no string, or lists are of
            different length.

    Example:

    >>> text_rows((["a", "b"], ["c", "d"]))
    [('a', 'c'), ('b', 'd')]
    """
    if isinstance(x, tf.data.Dataset):
        rows = elements_of(x)
    elif isinstance(x, tuple) and len(x) > 1 and not isinstance(x[0], str | bytes):
        columns = [values_of(part, f"x[{number}]") for number, part in enumerate(x)]
        if len({len(column) for column in columns}) > 1:
            raise ValueError(f"x is a tuple of lists of {[len(c) for c in columns]} items")
        rows = list(zip(*columns, strict=True))
    else:
        rows = values_of(x, "x")
    if not rows:
        raise ValueError("x is empty; give at least one example")
    if all(isinstance(row, str) for row in rows):
        return check_texts("x", rows)
    for number, row in enumerate(rows):
        if not isinstance(row, tuple | list) or len(row) < 2:
            raise ValueError(
                f"x[{number}] must be a tuple of two or more strings, as others; got {row!r:.80}"
            )
        check_texts(f"x[{number}]", row)
    return [tuple(row) for row in rows]
