"""Sentences with two tagged entities, and the relation between these."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from keras_lm.data.examples.entity_marks import (
    SHORTEST,
    MarkedReader,
    check_tagged,
    shortened,
    tagged_texts,
)
from keras_lm.data.examples.labels import Label, label_ids
from keras_lm.data.examples.sequences import Sequences, offsets_of
from keras_lm.data.examples.store import ExampleStore
from keras_lm.data.examples.tokenizing import check_count, check_strings
from keras_lm.data.progress import LateBar
from keras_lm.data.store import tokenizer_batches

if TYPE_CHECKING:
    from keras_lm.tokenizers.base import Tokenizer


def entity_relations(
    sentences: Iterable[str],
    relations: Sequence[Label] | np.ndarray,
    tokenizer: Tokenizer,
    max_length: int = 512,
    label_names: Sequence[str] | None = None,
    progress: bool = False,
) -> ExampleStore:
    """Examples [CLS] sentence [SEP] with two tagged entities, and the relation between them.

    `The <e1>child</e1> was in the <e2>cradle</e2>.` is read as `The @ child @ was in the # cradle
    # .` (Zhou and Chen 2021, "entity marker (punct)", https://arxiv.org/abs/2102.01373), so that
    no vocabulary changes. A sentence that is too long loses what is farthest from its entities,
    with a warning; both of them, and what stands between them, are kept.

    Args:
        sentences: strings with `<e1>…</e1>` and `<e2>…</e2>`, once each, in either order.
        relations: one for each sentence: names or ints.
        tokenizer: any tokenizer that gives offsets.
        max_length: the most tokens of an example, CLS and SEP included; 8 or more.
        label_names: the name of each relation. None: the names that occur, sorted, or no names.
        progress: whether a bar with the time left appears once it has taken two seconds.

    Returns:
        A store with the inputs `token_ids`; `e1` and `e2`, int32 [examples, 2], the first token of
        each entity and the one after its last; and the target `relation`, int32 [examples].

    Raises:
        ValueError: tags are missing, doubled, crossed or nested, an entity is empty, two stand too
            far apart for `max_length`, the sentences and relations are of different number or of
            a wrong type, or a relation is outside of the set; the message says where.

    Example:

    >>> from keras_lm.tokenizers.byte import ByteTokenizer
    >>> tok = ByteTokenizer.create()
    >>> store = entity_relations(["<e2>cd</e2>, <e1>a</e1>!"], ["part_of"], tok)
    >>> bytes(store.sequences[0].columns["token_ids"][1:-1].tolist()).decode()
    '# cd # , @ a @ !'
    >>> store.values["e1"].tolist(), store.values["e2"].tolist()
    ([[12, 13]], [[3, 5]])
    """
    texts = check_strings(sentences, "sentences")
    for row, text in enumerate(texts):
        check_tagged(text, f"sentences[{row}]")
    if len(relations) != len(texts):
        raise ValueError(f"relations has {len(relations)} items; sentences has {len(texts)}")
    check_count(max_length, "max_length", least=SHORTEST)
    ids, names = label_ids(
        relations, label_names, lambda row: f"relations[{row}] (of {shortened(texts[row])})"
    )
    read = _reader(tokenizer, max_length)

    def read_numpy(batch: Sequence[str]) -> tuple[np.ndarray, ...]:
        return tuple(tensor.numpy() for tensor in read(tf.constant(batch)))

    parts: list[tuple[np.ndarray, ...]] = []
    done = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool, LateBar("tokenizing", len(texts)) as bar:
        for part in pool.map(read_numpy, tokenizer_batches(texts)):
            parts.append(part)
            done += len(part[1])
            if progress:
                bar.advance_to(done)
    token_ids, lengths, e1, e2, is_cut, has_both = map(np.concatenate, zip(*parts, strict=True))
    if not has_both.all():
        row = int(np.argmin(has_both))
        raise ValueError(
            f"sentences[{row}] is {shortened(texts[row])}: its entities stand too far apart for "
            f"max_length={max_length} tokens; leave it out, or give a greater max_length"
        )
    if is_cut.any():
        warnings.warn(
            f"{np.count_nonzero(is_cut)} of {len(texts)} sentences have more tokens than "
            f"max_length={max_length} leaves room for, and lose what is farthest from their "
            "entities",
            stacklevel=3,
        )
    return ExampleStore(
        sequences=(Sequences({"token_ids": token_ids}, offsets_of(lengths)),),
        values={"e1": e1, "e2": e2, "relation": ids},
        inputs=("token_ids", "e1", "e2"),
        targets=("relation",),
        label_names=names,
    )


@functools.lru_cache(maxsize=8)  # tracing a tokenizer takes longer than a small data set
def _reader(tokenizer: Tokenizer, max_length: int) -> Callable[[tf.Tensor], tuple[tf.Tensor, ...]]:
    """A graph function from tagged sentences [B] to flat ids, and what each row has."""
    reader = MarkedReader(tokenizer, max_length)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def read(sentences: tf.Tensor) -> tuple[tf.Tensor, ...]:
        rows = reader(tagged_texts(sentences)[0])
        ids = rows.token_ids
        return ids.flat_values, ids.row_lengths(), rows.e1, rows.e2, rows.is_cut, rows.has_both

    return read
