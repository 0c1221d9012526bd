"""Words with a tag each, aligned to the sub-words of a tokenizer: entities, parts of speech."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_lm.data.examples.labels import Label, label_ids
from keras_lm.data.examples.sequences import Sequences, offsets_of, windows
from keras_lm.data.examples.store import ExampleStore
from keras_lm.data.examples.tokenizing import (
    between_cls_and_sep,
    check_count,
    check_string,
    cls_and_sep,
    tokenize,
)

if TYPE_CHECKING:
    from keras_lm.tokenizers.base import Tokenizer


def token_labels(
    words: Iterable[Sequence[str]],
    tags: Iterable[Sequence[Label]],
    tokenizer: Tokenizer,
    label_names: Sequence[str] | None = None,
    max_length: int = 512,
    separator: str = " ",
    label_all: bool = False,
    progress: bool = False,
) -> ExampleStore:
    """Examples [CLS] sentence [SEP] with the tag of each word at its first sub-word.

    The words of a sentence are joined by `separator` and tokenized as one text; a token belongs
    to the first word that it shares a byte with. A word of which nothing is left (the tokenizer
    drops it, or joins it to the word before) has no token and is never predicted.

    A sentence that is too long is read in windows that overlap by half. Each tag counts once, in
    the window where its token has the more context; so no word is lost.

    Args:
        words: the words of each sentence.
        tags: the tag of each word, names or ints.
        tokenizer: any tokenizer that gives offsets.
        label_names: the name of each tag. None: the names that occur, sorted, or no names.
        max_length: the most tokens of an example, CLS and SEP included.
        separator: what stands between words; `""` for Chinese characters. Letters and digits that
            are words of their own may then become one token, and all but the first of them lose
            their tag; with a tokenizer that splits at white space, `" "` keeps them.
        label_all: whether all sub-words of a word have its tag and count, not only the first.
        progress: whether a bar with the time left appears once it has taken two seconds.

    Returns:
        A store with the inputs `token_ids` and `token_types`, the targets `labels`, int32, and
        their weights, float32. The column `word` says which word of its sentence a token belongs
        to (-1: none), the value `sentence` which sentence an example is cut from.

    Raises:
        ValueError: words and tags are of different number or wrong type, or a tag is outside of
            the set; the message names the sentence and the word.

    Example:

    >>> from keras_lm.tokenizers.byte import ByteTokenizer
    >>> tok = ByteTokenizer.create()
    >>> store = token_labels([["ab", "c"]], [["X", "O"]], tok, label_names=["O", "X"])
    >>> store.sequences[0].columns["labels"].tolist()
    [0, 1, 0, 0, 0, 0]
    >>> store.sequences[0].columns["word"].tolist()
    [-1, 0, 0, -1, 1, -1]
    """
    sentences = _sentences(words)
    ids, names = _tag_ids(tags, sentences, label_names)
    check_count(max_length, "max_length", least=3)
    ends = cls_and_sep(tokenizer)

    texts = [separator.join(sentence) for sentence in sentences]
    tokens = tokenize(texts, tokenizer, spans=True, progress=progress)
    word_offsets = offsets_of(np.array([len(sentence) for sentence in sentences]))
    sentence_of_token = np.repeat(np.arange(len(tokens)), tokens.lengths)
    word = _word_of_token(
        tokens.columns["byte_spans"],
        np.array([len(text.encode()) for text in texts])[sentence_of_token],
        sentence_of_token,
        _word_spans(sentences, len(separator.encode())),
        word_offsets,
    )
    belongs = word >= 0
    labelled = belongs if label_all else belongs & _is_first(word)
    label = np.where(labelled, ids[np.where(belongs, word, 0)], -1)
    columns = {
        "token_ids": tokens.columns["token_ids"],
        "labels": label.astype(np.int32),
        "word": np.where(belongs, word - word_offsets[sentence_of_token], -1).astype(np.int32),
    }
    rows, sentence = _overlapping(Sequences(columns, tokens.offsets), max_length - 2)
    rows = between_cls_and_sep(ends, rows)
    label = rows.columns["labels"]
    columns = {
        **rows.columns,
        "labels": np.maximum(label, 0),
        "weights": (label >= 0).astype(np.float32),
    }
    return ExampleStore(
        sequences=(Sequences(columns, rows.offsets),),
        values={"sentence": sentence},
        inputs=("token_ids", "token_types"),
        targets=("labels",),
        weights="weights",
        label_names=names,
    )


def _sentences(words: Iterable[Sequence[str]]) -> list[list[str]]:
    if isinstance(words, str):
        raise ValueError("words is one str; give a list of words for each sentence")
    sentences = []
    for number, sentence in enumerate(words):
        if isinstance(sentence, str | bytes):
            raise ValueError(
                f"words[{number}] is of type {type(sentence).__name__}; it must be a list of words"
            )
        listed = list(sentence)
        if not listed:
            raise ValueError(f"words[{number}] is empty; a sentence has at least one word")
        for place, word in enumerate(listed):
            check_string(word, f"words[{number}][{place}]")
        sentences.append(listed)
    if not sentences:
        raise ValueError("words is empty; give at least one sentence")
    return sentences


def _tag_ids(
    tags: Iterable[Sequence[Label]], sentences: list[list[str]], label_names: Sequence[str] | None
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """The ids of all tags, one sentence after the other."""
    listed = list(tags)
    if len(listed) != len(sentences):
        raise ValueError(f"tags has {len(listed)} sentences; words has {len(sentences)}")
    for number, (own, sentence) in enumerate(zip(listed, sentences, strict=True)):
        if isinstance(own, str) or len(own) != len(sentence):
            raise ValueError(
                f"tags[{number}] is {own!r}; it must be a list of {len(sentence)}, one a word"
            )
    offsets = offsets_of(np.array([len(sentence) for sentence in sentences]))

    def place(number: int) -> str:
        sentence = int(np.searchsorted(offsets, number, side="right")) - 1
        word = number - int(offsets[sentence])
        return f"tags[{sentence}][{word}] (of the word {sentences[sentence][word]!r})"

    return label_ids([tag for own in listed for tag in own], label_names, place)


def _word_spans(sentences: list[list[str]], between: int) -> np.ndarray:
    """int64 [words, 2], where each word stands in its sentence's text, in bytes."""
    sizes = np.array([len(word.encode()) for sentence in sentences for word in sentence])
    lengths = np.array([len(sentence) for sentence in sentences])
    ends = np.cumsum(sizes + between) - between
    first = np.repeat(offsets_of(lengths)[:-1], lengths)
    starts = ends - sizes
    return np.stack([starts, ends], axis=1) - starts[first][:, np.newaxis]


def _word_of_token(
    spans: np.ndarray,
    text_bytes: np.ndarray,
    sentence: np.ndarray,
    word_spans: np.ndarray,
    word_offsets: np.ndarray,
) -> np.ndarray:
    """The number of each token's word among the words of all sentences, int64 [n]; -1 for none."""
    # Texts are laid one after the other, with a gap, so that one search serves all of them.
    sizes = np.zeros(len(word_offsets) - 1, np.int64)
    sizes[sentence] = text_bytes
    base = offsets_of(sizes + 1)[:-1]
    word_base = np.repeat(base, np.diff(word_offsets))
    start, end = base[sentence] + spans[:, 0], base[sentence] + spans[:, 1]
    word = np.searchsorted(word_base + word_spans[:, 1], start, side="right")
    word = np.minimum(word, len(word_spans) - 1)
    shares = (word_base[word] + word_spans[word, 0] < end) & (start < end)
    return np.where(shares & (word < word_offsets[sentence + 1]), word, -1)


def _is_first(word: np.ndarray) -> np.ndarray:
    """Whether each token is the first of its word; the numbers of words only rise."""
    highest = np.maximum.accumulate(np.concatenate([[-1], word]))
    return word > highest[:-1]


def _overlapping(rows: Sequences, room: int) -> tuple[Sequences, np.ndarray]:
    """Windows of at most `room` tokens that count each label once, and the row each is cut from."""
    same = np.ones(len(rows), np.int64)
    step = room - room // 2
    row, start, count = windows(rows.lengths, room * same, step * same)
    cut = rows.cut(row, start, count)
    # In the overlap of two windows, the first half counts in the left one.
    middle = room // 4
    position = np.arange(cut.offsets[-1]) - np.repeat(cut.offsets[:-1], count)
    is_last = start + count == rows.lengths[row]
    begin = np.repeat(np.where(start > 0, middle, 0), count)
    end = np.repeat(np.where(is_last, room, step + middle), count)
    counts = (position >= begin) & (position < end)
    label = np.where(counts, cut.columns["labels"], -1).astype(np.int32)
    return Sequences({**cut.columns, "labels": label}, cut.offsets), row
