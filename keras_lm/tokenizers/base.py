"""What every tokenizer can do: be called, decode, name its special tokens, save and load."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, TypeAlias

import numpy as np
import tensorflow as tf

from keras_lm.tokenizers.files import read_special_tokens, read_tokenizer_json

Texts: TypeAlias = str | bytes | Sequence[str | bytes] | tf.Tensor
Ids: TypeAlias = Sequence[int] | Sequence[Sequence[int]] | np.ndarray | tf.Tensor | tf.RaggedTensor


class Tokenizer(tf.Module):
    """Texts to ids and back, in the graph. Subclasses give the rules; this gives the rest.

    A tokenizer is defined by two things, which are what is saved: the text of its Hugging Face
    `tokenizer.json`, and which token plays which part (`bos_token`, `eos_token`, …).

    Args:
        tokenizer_json: the content of a `tokenizer.json`.
        special_tokens: part to token, such as `{"eos_token": "<|endoftext|>"}`.
        vocabulary: token to id, special and added tokens included.
        token_bytes: the bytes that each id decodes to; empty for an unused id.
        hidden_ids: ids that `skip_special_tokens` leaves out.

    Raises:
        ValueError: a special token is not in the vocabulary.
    """

    def __init__(
        self,
        tokenizer_json: str,
        special_tokens: Mapping[str, str],
        *,
        vocabulary: Mapping[str, int],
        token_bytes: Sequence[bytes],
        hidden_ids: Sequence[int],
    ) -> None:
        super().__init__(name=None)
        self._tokenizer_json = tokenizer_json
        # A mapping proxy, because tf.Module wraps (and would save) plain dicts.
        self.special_tokens = MappingProxyType(dict(special_tokens))
        self._ids = MappingProxyType(dict(vocabulary))
        self._tokens = MappingProxyType({i: token for token, i in vocabulary.items()})
        for part, token in special_tokens.items():
            if token not in vocabulary:
                raise ValueError(
                    f"special_tokens[{part!r}]={token!r} is not a token of this vocabulary"
                )
        self.vocab_size = len(token_bytes)
        visible = list(token_bytes)
        for i in hidden_ids:
            visible[i] = b""
        with tf.init_scope(), tf.device("CPU:0"):
            self._token_bytes = tf.constant(token_bytes, tf.string)
            self._visible_bytes = tf.constant(visible, tf.string)

    def __call__(
        self, texts: Texts, sequence_length: int | None = None
    ) -> tf.RaggedTensor | tf.Tensor:
        """Ids of texts, in the graph or eagerly. Adds no special tokens.

        Args:
            texts: a string, a list of strings, or a string tensor, scalar or [B].
            sequence_length: cut and pad (with `pad_id`) every text to this many ids.

        Returns:
            int32 ids: ragged [B, None], or dense [B, sequence_length]; without B for one text.

        Raises:
            ValueError: `texts` is something else, or `sequence_length` is below 1 or there is no
                padding token.
            tf.errors.InvalidArgumentError: a text is not valid UTF-8.
        """
        texts = _string_tensor(texts)
        if sequence_length is not None:
            if sequence_length < 1:
                raise ValueError(f"sequence_length={sequence_length} must be 1 or more")
            if self.pad_id is None:
                raise ValueError("sequence_length needs a padding token; this tokenizer has none")
        ids = self._encode(tf.reshape(texts, [-1]))
        if sequence_length is not None:
            dense = ids.to_tensor(self.pad_id, shape=[None, sequence_length])
            return dense if texts.shape.rank else dense[0]
        return ids if texts.shape.rank else ids.values

    def detokenize(self, ids: Ids, skip_special_tokens: bool = False) -> tf.Tensor:
        """Texts of ids: the exact bytes, with U+FFFD for what is not UTF-8, as the reference does.

        Args:
            ids: integers, one text or a batch: lists, an array, a tensor [T] or [B, T], or ragged.
            skip_special_tokens: leave out tokens that are marked as special.

        Returns:
            A scalar string, or strings [B].

        Raises:
            ValueError: a list or array holds an id outside of `[0, vocab_size)`.
            tf.errors.InvalidArgumentError: a tensor does.
        """
        if not isinstance(ids, tf.Tensor | tf.RaggedTensor):
            ids = _id_tensor(ids, self.vocab_size)
        if not ids.dtype.is_integer:
            raise ValueError(f"ids must be integers, not {ids.dtype.name}")
        if ids.shape.rank not in (1, 2):
            raise ValueError(f"ids of shape {ids.shape} must be [T] or [B, T]")
        batch = ids if ids.shape.rank == 2 else ids[tf.newaxis]
        if isinstance(batch, tf.Tensor):
            batch = tf.RaggedTensor.from_tensor(batch, row_splits_dtype=tf.int64)
        table = self._visible_bytes if skip_special_tokens else self._token_bytes
        texts = _join_rows(batch.with_row_splits_dtype(tf.int64), table)
        return texts if ids.shape.rank == 2 else texts[0]

    @property
    def byte_lengths(self) -> np.ndarray:
        """UTF-8 bytes that each id stands for, int32 [V]; 0 for special tokens."""
        with tf.init_scope():  # a number even while a graph is traced
            return tf.strings.length(self._visible_bytes).numpy()

    def token_to_id(self, token: str) -> int:
        """The id of a token as the vocabulary spells it; ValueError where there is none."""
        if token not in self._ids:
            raise ValueError(f"token={token!r} is not in the vocabulary")
        return self._ids[token]

    def id_to_token(self, id: int) -> str:
        """The token of an id as the vocabulary spells it; ValueError where there is none."""
        if id not in self._tokens:
            raise ValueError(f"id={id} names no token; ids are in [0, {self.vocab_size})")
        return self._tokens[id]

    @property
    def bos_id(self) -> int | None:
        """The id that starts a document."""
        return self._special_id("bos_token")

    @property
    def eos_id(self) -> int | None:
        """The id that ends a document."""
        return self._special_id("eos_token")

    @property
    def pad_id(self) -> int | None:
        """The id that fills up short sequences."""
        return self._special_id("pad_token")

    @property
    def unk_id(self) -> int | None:
        """The id of what the vocabulary cannot spell."""
        return self._special_id("unk_token")

    def _special_id(self, part: str) -> int | None:
        token = self.special_tokens.get(part)
        return None if token is None else self._ids[token]

    def get_config(self) -> dict[str, Any]:
        """All that `from_config` needs; it makes a `.keras` file carry its tokenizer whole."""
        return {
            "tokenizer_json": self._tokenizer_json,
            "special_tokens": dict(self.special_tokens),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The tokenizer of `get_config`."""
        return cls(**config)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes `tokenizer.json` and `tokenizer_config.json`, the Hugging Face layout.

        Each file is written beside its place and moved there, so none is ever half a file.
        """
        target = Path(directory)
        target.mkdir(parents=True, exist_ok=True)
        settings = {
            **self.special_tokens,
            "clean_up_tokenization_spaces": False,
            "tokenizer_class": "PreTrainedTokenizerFast",
        }
        for name, text in (
            ("tokenizer.json", self._tokenizer_json),
            ("tokenizer_config.json", json.dumps(settings, indent=2, ensure_ascii=False) + "\n"),
        ):
            fresh = target / f".{name}.{os.getpid()}"
            fresh.write_text(text, encoding="utf-8")
            os.replace(fresh, target / name)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The tokenizer of a directory, or of a `tokenizer.json` by itself.

        Reads `tokenizer.json`, or the older pair `vocab.json` and `merges.txt`; which token plays
        which part is read from `tokenizer_config.json` or `special_tokens_map.json` beside it.

        Raises:
            FileNotFoundError: there is no such file or directory, or no tokenizer in it.
            ValueError: the files are damaged, or hold a rule that the graph cannot follow exactly.
        """
        file = Path(path).expanduser()
        text = read_tokenizer_json(file)
        # One kind so far: byte-level BPE, which refuses what is anything else.
        kind: Any = (cls.__subclasses__() or [cls])[0]
        try:
            return kind(text, read_special_tokens(file, text))
        except ValueError as error:
            raise ValueError(f"{str(path)!r}: {error}") from error

    def _encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Ids, ragged int32 [B, None], of strings [B]."""
        raise NotImplementedError


def _string_tensor(texts: Texts) -> tf.Tensor:
    """Texts as a string tensor of rank 0 or 1."""
    if isinstance(texts, list | tuple):
        for position, text in enumerate(texts):
            if not isinstance(text, str | bytes):
                raise ValueError(
                    f"texts[{position}] is of type {type(text).__name__}; texts must be strings"
                )
        tensor = tf.constant(texts, tf.string, shape=[len(texts)])
    else:
        tensor = tf.convert_to_tensor(texts)
    if tensor.dtype != tf.string or tensor.shape.rank not in (0, 1):
        raise ValueError(
            f"texts must be a string, a list of strings or a string tensor [B], not a "
            f"{tensor.dtype.name} tensor of shape {tensor.shape}"
        )
    return tensor


def _id_tensor(ids: Any, vocab_size: int) -> tf.Tensor | tf.RaggedTensor:
    """Ids given in Python as a tensor [T] or ragged [B, None], each in its range."""
    is_batch = len(ids) > 0 and isinstance(ids[0], Sequence | np.ndarray)
    rows = ids if is_batch else [ids]
    # An empty list has no type that NumPy could know.
    flat = np.concatenate([np.zeros(0, np.int32), *(np.asarray(row) for row in rows if len(row))])
    if flat.dtype.kind not in "iu":
        raise ValueError(f"ids must be integers, not {flat.dtype.name}")
    wrong = flat[(flat < 0) | (flat >= vocab_size)]
    if wrong.size:
        raise ValueError(f"ids holds {wrong[0]}; ids must be in [0, {vocab_size})")
    values = tf.constant(flat.astype(np.int32))
    if not is_batch:
        return values
    return tf.RaggedTensor.from_row_lengths(values, tf.constant([len(row) for row in rows]))


@tf.function(reduce_retracing=True, autograph=False)
def _join_rows(ids: tf.RaggedTensor, token_bytes: tf.Tensor) -> tf.Tensor:
    """Strings [B]: the bytes of each row's ids, with U+FFFD for what is not UTF-8.

    As Rust's `from_utf8_lossy` does, every maximal part of an invalid sequence gives one U+FFFD.
    """
    with tf.device("CPU:0"):
        words = tf.gather(token_bytes, ids.values)
        texts = tf.strings.unsorted_segment_join(words, ids.value_rowids(), ids.nrows())
        return tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", replacement_char=0xFFFD)
