"""Data sets of TensorFlow Datasets, by name."""

from __future__ import annotations

import os
from collections.abc import Sequence

import tensorflow as tf


def tfds(
    name: str,
    split: str = "train",
    fields: str | Sequence[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> tf.data.Dataset:
    """Loads a data set of TensorFlow Datasets, in the same order every time.

    It downloads and prepares what is not in `data_dir` yet. A data set of strings streams into
    `fit`; `list(dataset.as_numpy_iterator())`, decoded, is a list that can be resumed exactly.

    Args:
        name: as for `tensorflow_datasets.load`: `"imdb_reviews"`, `"glue/sst2"`, or the name of a
            builder of your own whose class was imported.
        split: such as `"train"` or `"train[:10%]"`.
        fields: one name gives a data set of that feature alone; several, of dicts of these; None
            (default), of all features, as they are.
        data_dir: where the data sets lie; None (default) is `~/tensorflow_datasets`.

    Raises:
        ValueError: there is no such data set, split or field; the message says which there are.

    Example:

    >>> import tensorflow_datasets
    >>> with tensorflow_datasets.testing.mock_data(num_examples=3):
    ...     reviews = tfds("imdb_reviews", fields="text")
    >>> reviews.element_spec, len(reviews)
    (TensorSpec(shape=(), dtype=tf.string, name=None), 3)
    """
    import tensorflow_datasets

    try:
        dataset = tensorflow_datasets.load(name, split=split, data_dir=data_dir)
    except tensorflow_datasets.core.DatasetNotFoundError:  # its message lists a thousand names
        raise ValueError(f"name is {name!r}; TensorFlow Datasets has no such data set") from None
    if fields is None:
        return dataset
    known = dataset.element_spec
    for field in [fields] if isinstance(fields, str) else fields:
        if not isinstance(known, dict) or field not in known:
            has = sorted(known) if isinstance(known, dict) else known
            raise ValueError(f"fields names {field!r}; {name!r} has {has}")
    if isinstance(fields, str):
        return dataset.map(lambda example: example[fields])
    return dataset.map(lambda example: {field: example[field] for field in fields})
