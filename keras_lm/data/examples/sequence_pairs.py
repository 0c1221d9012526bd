"""Pairs of sequences with teacher forcing: translation, summaries, answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from keras_lm.data.examples.sequences import Sequences, joined
from keras_lm.data.examples.store import ExampleStore
from keras_lm.data.examples.tokenizing import check_count, check_strings, tokenize, warn_of_cuts

if TYPE_CHECKING:
    from keras_lm.tokenizers.base import Tokenizer


def sequence_pairs(
    sources: Iterable[str],
    targets: Iterable[str],
    source_tokenizer: Tokenizer,
    target_tokenizer: Tokenizer | None = None,
    max_source_length: int = 512,
    max_target_length: int = 512,
    source_bos: bool = False,
    source_eos: bool = True,
    decoder_start_id: int | None = None,
    target_bos: bool = False,
    progress: bool = False,
) -> ExampleStore:
    """Examples for an encoder–decoder: it reads the source and predicts the target's next token.

        encoder reads        source EOS
        decoder reads        BOS target
        decoder predicts     target EOS

    A source that is too long is cut before its EOS. A target that is too long is cut at its end,
    and then no EOS is predicted, so that the model does not learn to stop in the middle. Either
    is warned of.

    Args:
        sources: strings.
        targets: the string that belongs to each.
        source_tokenizer: any tokenizer.
        target_tokenizer: the targets'; default: the same.
        max_source_length: the most tokens of a source, BOS and EOS included.
        max_target_length: the most tokens that the decoder reads.
        source_bos: whether sources begin with BOS, as BART's do.
        source_eos: whether sources end with EOS.
        decoder_start_id: what the decoder reads first; default: the target tokenizer's BOS. T5
            begins with padding, BART with EOS.
        target_bos: whether BOS, which then is predicted first, stands between the decoder's start
            and the target, as BART has it: the decoder reads `start BOS target` and predicts
            `BOS target EOS`.
        progress: whether a bar with the time left appears once it has taken two seconds.

    Returns:
        A store of two sequences, with the inputs `token_ids` and `decoder_token_ids` and the
        targets `targets`, int32.

    Raises:
        ValueError: the lists differ in their number, a string is empty for its tokenizer, or a
            special token is missing; the message says where.

    Warns:
        UserWarning: sources or targets are cut; it says how many.

    Example:

    >>> import keras_lm as klm
    >>> tok = klm.tokenizers.BytePairTokenizer.train(texts=["aa"] * 9, vocab_size=258)
    >>> store = sequence_pairs(["ab", "c"], ["d", "e"], tok)
    >>> store.lengths.tolist()
    [[3, 2], [2, 2]]
    """
    target_tokenizer = target_tokenizer or source_tokenizer
    source_texts = check_strings(sources, "sources")
    target_texts = check_strings(targets, "targets")
    if len(source_texts) != len(target_texts):
        raise ValueError(f"targets has {len(target_texts)} items; sources has {len(source_texts)}")
    check_count(max_source_length, "max_source_length", least=1 + source_bos + source_eos)
    check_count(max_target_length, "max_target_length", least=1 + target_bos)
    ends = []
    if source_bos:
        ends.append(_special_id(source_tokenizer, "bos_id", "source_tokenizer"))
    if source_eos:
        ends.append(_special_id(source_tokenizer, "eos_id", "source_tokenizer"))
    eos = _special_id(target_tokenizer, "eos_id", "target_tokenizer")
    if decoder_start_id is None:
        decoder_start_id = _special_id(target_tokenizer, "bos_id", "target_tokenizer")
    opening = [decoder_start_id]
    if target_bos:
        opening.append(_special_id(target_tokenizer, "bos_id", "target_tokenizer"))

    source = _without_empty(tokenize(source_texts, source_tokenizer, progress=progress), "sources")
    target = _without_empty(tokenize(target_texts, target_tokenizer, progress=progress), "targets")
    every = np.arange(len(source))
    start = np.zeros_like(every)
    kept = np.minimum(source.lengths, max_source_length - len(ends))
    warn_of_cuts(source.lengths, kept, max_source_length, "sources", "max_source_length")
    parts = [source.cut(every, start, kept)]
    if source_bos:
        parts.insert(0, _ids(ends[0], len(source)))
    if source_eos:
        parts.append(_ids(ends[-1], len(source)))
    # One row BOS target EOS: the decoder reads all but its last token, and predicts all but its
    # first.
    begin = [_ids(token, len(target)) for token in opening]
    whole = joined([*begin, target, _ids(eos, len(target))])
    counts = np.minimum(whole.lengths - 1, max_target_length)
    warn_of_cuts(whole.lengths - 1, counts, max_target_length, "targets", "max_target_length")
    read = whole.cut(every, start, counts)
    predicted = whole.cut(every, start + 1, counts)
    decoder = {
        "decoder_token_ids": read.columns["token_ids"],
        "targets": predicted.columns["token_ids"],
    }
    return ExampleStore(
        sequences=(joined(parts), Sequences(decoder, read.offsets)),
        values={},
        inputs=("token_ids", "decoder_token_ids"),
        targets=("targets",),
    )


def _special_id(tokenizer: Tokenizer, name: str, argument: str) -> int:
    token = getattr(tokenizer, name)
    if token is None:
        raise ValueError(
            f"{argument}.{name} is None; pairs with teacher forcing need this special token"
        )
    return int(token)


def _without_empty(rows: Sequences, name: str) -> Sequences:
    if not rows.lengths.all():
        empty = np.flatnonzero(rows.lengths == 0)
        raise ValueError(
            f"{name}[{empty[0]}] holds no tokens, {len(empty)} of {len(rows)} in all; "
            "leave such pairs out"
        )
    return rows


def _ids(token: int, rows: int) -> Sequences:
    """A row of one token, so many times."""
    return Sequences({"token_ids": np.full(rows, token, np.int32)}, np.arange(rows + 1))
