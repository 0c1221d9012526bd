"""The token store: every document of a data set as token ids, one after the other."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from keras_lm.data.progress import LateBar
from keras_lm.data.shards import ShardedTokens, fingerprint, read_index, read_shards

if TYPE_CHECKING:
    from keras_lm.tokenizers.base import Tokenizer

# A batch for the tokenizer is bounded twice: by its number of texts, for speed, and by their
# characters, so that 512 long documents do not stand in the graph at once.
TOKENIZER_BATCH = 512
_TOKENIZER_CHARACTERS = 1 << 20

# One tokenized batch of D documents: ids [n], ids per document [D], UTF-8 bytes per document [D].
EncodedDocuments = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class TokenStore:
    """The token ids of many documents in one array, with where each begins.

    A document is BOS + ids + EOS, so that a document of n + 2 ids gives n + 1 pairs of an input
    and the next token: every token of the text, and its end, is predicted once.

    Args:
        tokens: int32 or uint16 [n], all ids. May be a memory map, or the shards of `prepare`.
        offsets: int64 [documents + 1]; document d is `tokens[offsets[d]:offsets[d + 1]]`.
        num_bytes: int64 [documents], the UTF-8 bytes of each document's text.

    Raises:
        ValueError: the arrays do not fit together, or a document has fewer than two ids.

    Example:

    >>> import numpy as np
    >>> store = TokenStore(tokens=np.array([0, 7, 8, 1, 0, 9, 1], "int32"),
    ...                    offsets=np.array([0, 4, 7]), num_bytes=np.array([2, 1]))
    >>> store.num_documents, store.num_tokens
    (2, 7)
    """

    tokens: np.ndarray | ShardedTokens
    offsets: np.ndarray
    num_bytes: np.ndarray

    def __post_init__(self) -> None:
        for name, dtypes in (
            ("tokens", ("int32", "uint16")),
            ("offsets", ("int64",)),
            ("num_bytes", ("int64",)),
        ):
            array = getattr(self, name)
            if array.dtype not in dtypes or array.ndim != 1:
                raise ValueError(
                    f"{name} is {array.dtype} of {array.ndim} dimensions; it must be "
                    f"{' or '.join(dtypes)} [n]"
                )
        if len(self.offsets) != len(self.num_bytes) + 1:
            raise ValueError(
                f"offsets has {len(self.offsets)} entries for {len(self.num_bytes)} documents; "
                "it must have one more than num_bytes"
            )
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.tokens):
            raise ValueError(
                f"offsets runs from {self.offsets[0]} to {self.offsets[-1]}; "
                f"it must run from 0 to the {len(self.tokens)} tokens"
            )
        if np.any(np.diff(self.offsets) < 2):
            short = int(np.argmax(np.diff(self.offsets) < 2))
            raise ValueError(
                f"document {short} has fewer than two ids; each must be BOS + ids + EOS"
            )

    @property
    def num_tokens(self) -> int:
        """How many ids there are, BOS and EOS included."""
        return len(self.tokens)

    @property
    def num_documents(self) -> int:
        """How many documents there are."""
        return len(self.num_bytes)

    @classmethod
    def from_texts(
        cls, texts: Iterable[str], tokenizer: Tokenizer, progress: bool = False
    ) -> TokenStore:
        """Tokenizes texts, in the graph and in batches, into a store.

        Args:
            texts: the documents. An empty string is a document of no bytes.
            tokenizer: any tokenizer with `document_ends`.
            progress: whether a bar with the time left appears once it has taken two seconds.

        Raises:
            ValueError: `texts` is empty or a bare string, or an item is not a string (the message
                names its position and type); the tokenizer has no token to end a document with.

        Example:

        >>> import keras_lm as klm
        >>> tok = klm.tokenizers.BytePairTokenizer.train(texts=["aa"] * 9, vocab_size=258)
        >>> store = TokenStore.from_texts(["aa bb", "a"], tok)
        >>> store.offsets.tolist(), store.num_bytes.tolist()
        ([0, 6, 9], [5, 1])
        """
        documents = check_texts(texts)
        encode = document_encoder(tokenizer)

        def encode_numpy(batch: Sequence[str]) -> EncodedDocuments:
            ids, lengths, num_bytes = encode(tf.constant(batch))
            return ids.numpy(), lengths.numpy(), num_bytes.numpy()

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            encoded = pool.map(encode_numpy, tokenizer_batches(documents))
            if progress:
                encoded = _with_progress(encoded, len(documents))
            return cls.from_encoded(list(encoded))

    @classmethod
    def load(cls, directory: str | os.PathLike[str], tokenizer: Tokenizer) -> TokenStore:
        """Opens the shards that `keras_lm.data.prepare` wrote; the tokens stay on disk.

        Args:
            directory: where they lie.
            tokenizer: the one that they were made with.

        Raises:
            FileNotFoundError: `directory` holds no shards.
            ValueError: they are not complete, are damaged, or were made by another tokenizer.
        """
        path = Path(directory)
        index = read_index(path)
        if not index["finished"]:
            raise ValueError(f"{str(path)!r} is not complete; start prepare again to finish it")
        if index["source"]["tokenizer"] != fingerprint(tokenizer):
            raise ValueError(f"{str(path)!r} was prepared with another tokenizer")
        tokens, documents = read_shards(path, index)
        offsets = np.concatenate([[0], np.cumsum(documents[:, 0])])
        return cls(tokens, offsets, documents[:, 1].copy())

    @classmethod
    def from_encoded(cls, encoded: Sequence[EncodedDocuments]) -> TokenStore:
        """Joins tokenized batches, each as `document_encoder` gives it, into a store."""
        tokens, lengths, num_bytes = (
            np.concatenate(arrays) for arrays in zip(*encoded, strict=True)
        )
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        return cls(tokens.astype(np.int32), offsets, num_bytes.astype(np.int64))


def check_texts(texts: Iterable[str]) -> list[str]:
    """The texts as a list; ValueError unless it is a non-empty list of strings of valid Unicode."""
    if isinstance(texts, str | bytes):
        raise ValueError(f"texts is one {type(texts).__name__}; give a list of strings")
    documents = list(texts)
    if not documents:
        raise ValueError("texts is empty; give at least one document")
    for position, text in enumerate(documents):
        if not isinstance(text, str):
            raise ValueError(
                f"texts[{position}] is of type {type(text).__name__}; every item must be a str"
            )
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"texts[{position}] holds a lone surrogate at character {error.start}; "
                "it must be valid Unicode"
            ) from None
    return documents


@functools.lru_cache(maxsize=4)  # tracing a tokenizer takes longer than a small data set
def document_encoder(tokenizer: Tokenizer) -> Callable[[tf.Tensor], tuple[tf.Tensor, ...]]:
    """A graph function from texts [D] to their ids BOS + ids + EOS.

    It returns (ids int32 [n] of all documents one after the other, ids per document int64 [D],
    UTF-8 bytes per document int64 [D]).

    Raises:
        ValueError: the tokenizer has no token to end a document with.

    Example:

    >>> import tensorflow as tf, keras_lm as klm
    >>> tok = klm.tokenizers.BytePairTokenizer.train(texts=["aa"] * 9, vocab_size=258)
    >>> _, lengths, num_bytes = document_encoder(tok)(tf.constant(["é", ""]))
    >>> lengths.numpy().tolist(), num_bytes.numpy().tolist()
    ([4, 2], [2, 0])
    """
    begin, end = tokenizer.document_ends

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def encode(texts: tf.Tensor) -> tuple[tf.Tensor, ...]:
        column = tf.ones([tf.shape(texts)[0], 1], tf.int32)
        ids = tf.concat([column * begin, tokenizer(texts), column * end], axis=1)
        num_bytes = tf.cast(tf.strings.length(texts, unit="BYTE"), tf.int64)
        return ids.flat_values, tf.cast(ids.row_lengths(), tf.int64), num_bytes

    return encode


def tokenizer_batches(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for text in texts:
        if len(batch) == TOKENIZER_BATCH or (
            batch and characters + len(text) > _TOKENIZER_CHARACTERS
        ):
            yield batch
            batch, characters = [], 0
        batch.append(text)
        characters += len(text)
    yield batch


def _with_progress(
    encoded: Iterable[EncodedDocuments], num_documents: int
) -> Iterator[EncodedDocuments]:
    """Passes the batches on, and shows a bar once they have taken a while."""
    with LateBar("tokenizing", num_documents) as bar:
        done = 0
        for batch in encoded:
            yield batch
            done += len(batch[1])
            bar.advance_to(done)
