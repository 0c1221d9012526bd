"""Texts of an example set to ragged token ids, in batches, with the special tokens around them."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from keras_lm.data.examples.sequences import Sequences, joined, offsets_of
from keras_lm.data.progress import LateBar
from keras_lm.data.store import tokenizer_batches
from keras_lm.tokenizers.spans import character_spans

if TYPE_CHECKING:
    from keras_lm.tokenizers.base import Tokenizer


def tokenize(
    texts: Sequence[str], tokenizer: Tokenizer, spans: bool = False, progress: bool = False
) -> Sequences:
    """Token ids of texts, without special tokens.

    Args:
        texts: strings of valid Unicode, as `check_strings` gives them.
        tokenizer: any tokenizer.
        spans: whether to say where each token stands in its text.
        progress: whether a bar with the time left appears once it has taken two seconds.

    Returns:
        A row a text with the column `token_ids`, int32 [n]; with `spans` also `byte_spans` and
        `character_spans`, int32 [n, 2], half-open.
    """
    encode = _encoder(tokenizer, spans)

    def encode_numpy(batch: Sequence[str]) -> tuple[np.ndarray, ...]:
        return tuple(tensor.numpy() for tensor in encode(tf.constant(batch)))

    encoded = []
    done = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool, LateBar("tokenizing", len(texts)) as bar:
        for batch in pool.map(encode_numpy, tokenizer_batches(texts)):
            encoded.append(batch)
            done += len(batch[1])
            if progress:
                bar.advance_to(done)
    ids, lengths, *both = (np.concatenate(arrays) for arrays in zip(*encoded, strict=True))
    columns = {"token_ids": ids.astype(np.int32)}
    columns |= dict(zip(("byte_spans", "character_spans"), both, strict=False))
    return Sequences(columns, offsets_of(lengths))


def cls_and_sep(tokenizer: Tokenizer) -> tuple[int, int]:
    """The ids that open an example and close each of its texts: CLS or BOS, and SEP or EOS.

    Raises:
        ValueError: the tokenizer has neither CLS nor BOS, or neither SEP nor EOS.
    """
    found = []
    for part, instead in (("cls", "bos"), ("sep", "eos")):
        own = getattr(tokenizer, f"{part}_id", None)
        token = getattr(tokenizer, f"{instead}_id", None) if own is None else own
        if token is None:
            raise ValueError(
                f"tokenizer has no {part}_token and no {instead}_token; the examples "
                "[CLS] text [SEP] need one of them among its special tokens"
            )
        found.append(int(token))
    return found[0], found[1]


def between_cls_and_sep(ends: tuple[int, int], *texts: Sequences, separators: int = 1) -> Sequences:
    """Rows [CLS] first [SEP], or [CLS] first [SEP] second [SEP], as BERT reads them.

    Args:
        ends: the ids of CLS and SEP.
        texts: one or two, with the column `token_ids` and any others, which are -1 at CLS and SEP.
        separators: how many SEP stand between two texts: `tokenizer.separators_between_texts`.

    Returns:
        Rows with `token_types` as well: 0 up to the first SEP, 1 after it; int32.

    Example:

    >>> a = Sequences({"token_ids": np.array([7, 8], "int32")}, np.array([0, 2]))
    >>> rows = between_cls_and_sep((1, 2), a, a)
    >>> rows.columns["token_ids"].tolist(), rows.columns["token_types"].tolist()
    ([1, 7, 8, 2, 7, 8, 2], [0, 0, 0, 0, 1, 1, 1])
    """
    cls, sep = (
        Sequences(
            {"token_ids": np.full(len(texts[0]), token, np.int32)}, np.arange(len(texts[0]) + 1)
        )
        for token in ends
    )
    first = joined([cls, texts[0], sep])
    more = [sep] * (separators - 1)
    parts = [first, *(joined([*more, text, sep]) for text in texts[1:])]
    return joined(
        [
            Sequences(
                {**part.columns, "token_types": np.full(part.offsets[-1], kind, np.int32)},
                part.offsets,
            )
            for kind, part in enumerate(parts)
        ]
    )


def warn_of_cuts(
    lengths: np.ndarray,
    kept: np.ndarray,
    limit: int,
    texts: str = "texts",
    limit_name: str = "max_length",
) -> None:
    """Warns where texts lost tokens, and of how many."""
    cut = int(np.count_nonzero(kept < lengths))
    if cut:
        warnings.warn(
            f"{cut} of {len(lengths)} {texts} have more tokens than {limit_name}={limit} leaves "
            "room for, and are cut at their end",
            stacklevel=4,
        )


def check_strings(strings: Iterable[str], name: str) -> list[str]:
    """The strings as a list; ValueError unless it is a non-empty list of strings of valid Unicode.

    Example:

    >>> check_strings(["ok", 3], "questions")
    Traceback (most recent call last):
    ValueError: questions[1] is of type int; every item must be a str
    """
    if isinstance(strings, str | bytes):
        raise ValueError(f"{name} is one {type(strings).__name__}; give a list of strings")
    listed = list(strings)
    if not listed:
        raise ValueError(f"{name} is empty; give at least one")
    for position, string in enumerate(listed):
        check_string(string, f"{name}[{position}]")
    return listed


def check_string(string: str, name: str) -> None:
    """ValueError unless it is a string of valid Unicode; `name` says where it stands."""
    if not isinstance(string, str):
        raise ValueError(f"{name} is of type {type(string).__name__}; every item must be a str")
    try:
        string.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name} holds a lone surrogate at character {error.start}; it must be valid Unicode"
        ) from None


def check_count(value: int, name: str, least: int) -> None:
    """ValueError unless it is an int of at least `least`."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be an int, at least {least}")


@functools.lru_cache(maxsize=8)  # tracing a tokenizer takes longer than a small data set
def _encoder(tokenizer: Tokenizer, spans: bool) -> Callable[[tf.Tensor], tuple[tf.Tensor, ...]]:
    """A graph function from texts [D] to flat ids, ids per text, and spans in both units."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def encode(texts: tf.Tensor) -> tuple[tf.Tensor, ...]:
        ids: Any
        in_bytes: Any
        if not spans:
            ids = tokenizer(texts)
            return ids.flat_values, ids.row_lengths()
        ids, in_bytes = tokenizer(texts, return_offsets=True)
        in_characters = character_spans(texts, in_bytes.flat_values, ids.value_rowids())
        return ids.flat_values, ids.row_lengths(), in_bytes.flat_values, in_characters

    return encode
