"""Texts, or pairs of texts, with a label: a class, several classes, or a number."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_lm.data.examples.labels import check_label_names, label_ids
from keras_lm.data.examples.sequences import longest_first
from keras_lm.data.examples.store import ExampleStore
from keras_lm.data.examples.tokenizing import (
    between_cls_and_sep,
    check_count,
    check_strings,
    cls_and_sep,
    tokenize,
    warn_of_cuts,
)

if TYPE_CHECKING:
    from keras_lm.tokenizers.base import Tokenizer


def classification(
    texts: Iterable[str] | tuple[Iterable[str], Iterable[str]],
    labels: Sequence[Any] | np.ndarray,
    tokenizer: Tokenizer,
    max_length: int = 512,
    label_names: Sequence[str] | None = None,
    multi_label: bool = False,
    progress: bool = False,
) -> ExampleStore:
    """Examples [CLS] text [SEP], or [CLS] text [SEP] second text [SEP], each with its label.

    What is longer than `max_length` is cut at its end, with a warning; of a pair the longer text
    first, as Transformers' `longest_first` does. A tokenizer without CLS or SEP gives BOS or EOS
    instead.

    Args:
        texts: strings, or a tuple of two lists of them.
        labels: one for each text: names or ints; floats for a regression; with `multi_label` a
            list of names or ints for each text, which may be empty.
        tokenizer: any tokenizer.
        max_length: the most tokens of an example, CLS and SEP included.
        label_names: the name of each class. None: the names that occur, sorted, or no names.
        multi_label: whether a text may have any number of labels.
        progress: whether a bar with the time left appears once it has taken two seconds.

    Returns:
        A store with the inputs `token_ids` and `token_types` (0 up to the first SEP, 1 after it)
        and the target `label`: int32 [examples]; float32 for a regression; with `multi_label`
        int32 [examples, classes], 1 where the label holds.

    Raises:
        ValueError: the texts or labels are of different number or wrong type, a label is outside
            of the set, or the tokenizer lacks the special tokens; the message says where.

    Example:

    >>> import keras_lm as klm
    >>> tok = klm.tokenizers.BytePairTokenizer.train(texts=["aa"] * 9, vocab_size=258)
    >>> store = classification(["b", "bbb"], ["no", "yes"], tok)
    >>> store.lengths.tolist(), store.values["label"].tolist(), store.label_names
    ([[3], [5]], [0, 1], ('no', 'yes'))
    """
    is_pair = isinstance(texts, tuple) and len(texts) == 2 and not isinstance(texts[0], str)
    names = ("texts[0]", "texts[1]") if is_pair else ("texts",)
    given: Any = texts if is_pair else (texts,)
    both = [check_strings(strings, name) for strings, name in zip(given, names, strict=True)]
    for name, listed in (*zip(names, both, strict=True), ("labels", labels)):
        if len(listed) != len(both[0]):
            raise ValueError(f"{name} has {len(listed)} items; {names[0]} has {len(both[0])}")
    check_count(max_length, "max_length", least=2 * len(both) + 1)
    values, found_names = _targets(labels, label_names, multi_label)
    ends = cls_and_sep(tokenizer)

    rows = [tokenize(strings, tokenizer, progress=progress) for strings in both]
    separators = tokenizer.separators_between_texts
    room = max_length - 2 - (separators if is_pair else 0)
    kept: Sequence[np.ndarray] = (
        longest_first(rows[0].lengths, rows[1].lengths, room)
        if is_pair
        else [np.minimum(rows[0].lengths, room)]
    )
    whole = np.sum([row.lengths for row in rows], axis=0)
    warn_of_cuts(whole, np.sum(kept, axis=0), max_length)
    every = np.arange(len(both[0]))
    cut = [row.cut(every, np.zeros_like(every), n) for row, n in zip(rows, kept, strict=True)]
    return ExampleStore(
        sequences=(between_cls_and_sep(ends, *cut, separators=separators),),
        values={"label": values},
        inputs=("token_ids", "token_types"),
        targets=("label",),
        label_names=found_names,
    )


def _targets(
    labels: Any, label_names: Sequence[str] | None, multi_label: bool
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if multi_label:
        return _multi_hot(labels, label_names)
    if not any(isinstance(label, float | np.floating) for label in labels):
        return label_ids(labels, label_names, "labels[{}]".format)
    if label_names is not None:
        raise ValueError("labels holds floats; a regression has no label_names")
    for position, label in enumerate(labels):
        is_number = isinstance(label, int | float | np.number) and not isinstance(label, bool)
        if not is_number or not np.isfinite(label):
            raise ValueError(f"labels[{position}] is {label!r}; it must be a finite number")
    return np.array(labels, np.float32), None


def _multi_hot(
    labels: Sequence[Collection[Any]], label_names: Sequence[str] | None
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    for position, several in enumerate(labels):
        if isinstance(several, str) or not isinstance(several, Collection):
            raise ValueError(
                f"labels[{position}] is {several!r}; with multi_label it must be a list of labels"
            )
    example = np.repeat(np.arange(len(labels)), [len(several) for several in labels])
    flat = [label for several in labels for label in several]
    if not flat and label_names is None:
        raise ValueError("labels names no class at all; give label_names")
    ids, names = label_ids(flat, label_names, lambda place: f"labels[{example[place]}]")
    hot = np.zeros([len(labels), len(names) if names else int(ids.max()) + 1], np.int32)
    hot[example, ids] = 1
    return hot, names or (None if label_names is None else check_label_names(label_names))
