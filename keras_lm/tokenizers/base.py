"""What every tokenizer can do: be called, decode, name its special tokens, save and load."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

import numpy as np
import tensorflow as tf

from keras_lm.tokenizers.chat import render_chat
from keras_lm.tokenizers.files import (
    SPECIAL_PARTS,
    read_files,
    usual_special_tokens,
)
from keras_lm.tokenizers.pairs import begins_with_special, separators_between
from keras_lm.tokenizers.rules import WRONG_VALUES, model_type
from keras_lm.tokenizers.spans import character_spans
from keras_lm.tokenizers.tensors import (
    Encoded,
    Ids,
    Texts,
    id_tensor,
    join_rows,
    shaped,
    string_tensor,
)

# So that Transformers loads what `save` writes as it stands.
_TRANSFORMERS_SETTINGS = {
    "clean_up_tokenization_spaces": False,
    "tokenizer_class": "PreTrainedTokenizerFast",
}


class Tokenizer(tf.Module):
    """Texts to ids and back, in the graph. Subclasses give the rules; this gives the rest.

    A tokenizer is defined by two things, which are what is saved: the content of its reference's
    own file, and its settings, the content of a Hugging Face `tokenizer_config.json`, in which
    special tokens stand by name and, where there is one, the chat template.

    A subclass says in `reads` which definitions are its own, gives this constructor what it needs,
    and writes `_encode`.

    Args:
        definition: the content of a `tokenizer.json`, or of a SentencePiece model.
        settings: special tokens by the names of `SPECIAL_PARTS`, and whatever else is to be kept.
        vocabulary: token to id, special and added tokens included.
        token_bytes: the bytes that each id decodes to; empty for an unused id.
        first_bytes: what it decodes to as the first of a text; default: the same.
        hidden_ids: ids that `skip_special_tokens` leaves out.

    Raises:
        ValueError: a special token is not in the vocabulary.
    """

    FILE: ClassVar[str] = "tokenizer.json"

    def __init__(
        self,
        definition: str | bytes,
        settings: Mapping[str, Any] | None = None,
        *,
        vocabulary: Mapping[str, int],
        token_bytes: Sequence[bytes],
        first_bytes: Sequence[bytes] | None = None,
        hidden_ids: Sequence[int],
    ) -> None:
        super().__init__(name=None)
        self._definition = definition
        # Mapping proxies, because tf.Module wraps (and would save) plain dicts.
        self._settings: Mapping[str, Any] = MappingProxyType(
            _TRANSFORMERS_SETTINGS | dict(settings or {})
        )
        self._ids: Mapping[str, int] = MappingProxyType(dict(vocabulary))
        self._tokens = MappingProxyType({i: token for token, i in vocabulary.items()})
        special = {part: self._settings[part] for part in SPECIAL_PARTS if part in self._settings}
        self.special_tokens: Mapping[str, str] = MappingProxyType(special)
        for part, token in special.items():
            if token not in vocabulary:
                raise ValueError(f"{part}={token!r} is not a token of this vocabulary")
        self.vocab_size = len(token_bytes)
        hidden = np.zeros(self.vocab_size, bool)
        hidden[list(hidden_ids)] = True
        with tf.init_scope(), tf.device("CPU:0"):
            self._token_bytes = tf.constant(token_bytes, tf.string)
            self._first_bytes = (
                self._token_bytes if first_bytes is None else tf.constant(first_bytes, tf.string)
            )
            self._is_hidden = tf.constant(hidden)

    def __call__(
        self,
        texts: Texts,
        sequence_length: int | None = None,
        return_offsets: bool | Literal["bytes", "characters"] = False,
        errors: Literal["strict", "replace"] = "strict",
    ) -> Encoded | tuple[Encoded, Encoded]:
        """Ids of texts, in the graph or eagerly. Adds no special tokens.

        Args:
            texts: a string, a list of strings, or a string tensor, scalar or [B].
            sequence_length: cut and pad (with `pad_id`) every text to this many ids.
            return_offsets: also where each token stands in its text, as half-open spans: True or
                `"bytes"` counts bytes of the UTF-8 text, `"characters"` its code points. A token
                that is part of a character has that character's whole span.
            errors: what to do with a text that is not UTF-8: refuse, or read U+FFFD for what is
                wrong in it (offsets are then those of the text so read).

        Returns:
            int32 ids: ragged [B, None], or dense [B, sequence_length]; without B for one text.
            With `return_offsets` a pair of them and int32 spans, ragged [B, None, 2] or dense
            [B, sequence_length, 2], of which padding has (0, 0).

        Raises:
            ValueError: `texts` is something else, or `sequence_length` is below 1 or there is no
                padding token, or another argument is not one of those named.
            tf.errors.InvalidArgumentError: a text is not valid UTF-8.
        """
        texts = string_tensor(texts)
        if sequence_length is not None:
            if sequence_length < 1:
                raise ValueError(f"sequence_length={sequence_length} must be 1 or more")
            if self.pad_id is None:
                raise ValueError("sequence_length needs a padding token; this tokenizer has none")
        if return_offsets not in (False, True, "bytes", "characters"):
            raise ValueError(
                f"return_offsets={return_offsets!r} must be True, False, 'bytes' or 'characters'"
            )
        if errors not in ("strict", "replace"):
            raise ValueError(f"errors={errors!r} must be 'strict' or 'replace'")
        rows = tf.reshape(texts, [-1])
        if errors == "replace":
            rows = tf.strings.unicode_transcode(rows, "UTF-8", "UTF-8", replacement_char=0xFFFD)
        if not return_offsets:
            return shaped(self._encode(rows), texts, sequence_length, self.pad_id)
        ids, spans = self._encode_with_spans(rows)
        if return_offsets == "characters":
            spans = character_spans(rows, spans, ids.value_rowids())
        return (
            shaped(ids, texts, sequence_length, self.pad_id),
            shaped(ids.with_values(spans), texts, sequence_length, 0),
        )

    def detokenize(self, ids: Ids, skip_special_tokens: bool = False) -> tf.Tensor:
        """Texts of ids, as the reference decodes them, with U+FFFD for what is not UTF-8.

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
            ids = id_tensor(ids, self.vocab_size)
        if not ids.dtype.is_integer:
            raise ValueError(f"ids must be integers, not {ids.dtype.name}")
        if ids.shape.rank not in (1, 2):
            raise ValueError(f"ids of shape {ids.shape} must be [T] or [B, T]")
        batch = ids if ids.shape.rank == 2 else ids[tf.newaxis]
        if isinstance(batch, tf.Tensor):
            batch = tf.RaggedTensor.from_tensor(batch, row_splits_dtype=tf.int64)
        batch = batch.with_row_splits_dtype(tf.int64)
        if skip_special_tokens:
            batch = tf.ragged.boolean_mask(batch, tf.logical_not(tf.gather(self._is_hidden, batch)))
        texts = self._decode(batch)
        return texts if ids.shape.rank == 2 else texts[0]

    @property
    def byte_lengths(self) -> np.ndarray:
        """UTF-8 bytes that each id stands for, int32 [V]; 0 for special tokens."""
        with tf.init_scope():  # a number even while a graph is traced
            lengths = tf.strings.length(self._token_bytes)
            return tf.where(self._is_hidden, 0, lengths).numpy()

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

    @property
    def cls_id(self) -> int | None:
        """The id that begins what an encoder reads."""
        return self._special_id("cls_token")

    @property
    def sep_id(self) -> int | None:
        """The id that ends each text that an encoder reads."""
        return self._special_id("sep_token")

    @property
    def mask_id(self) -> int | None:
        """The id that stands where an encoder is to say what was there."""
        return self._special_id("mask_token")

    @property
    def document_ends(self) -> tuple[int, int]:
        """The ids before and after a document: BOS and EOS; without them, CLS and SEP.

        A tokenizer that has no token to begin with, as T5's, begins with what it ends with.

        Raises:
            ValueError: the tokenizer has neither EOS nor SEP.
        """
        end = self.sep_id if self.eos_id is None else self.eos_id
        if end is None:
            raise ValueError(
                "tokenizer.eos_id and sep_id are None; a document ends with one of them: name it "
                "in special_tokens, as eos_token"
            )
        begin = self.cls_id if self.bos_id is None else self.bos_id
        return end if begin is None else begin, end

    @property
    def adds_bos(self) -> bool:
        """Whether its model's texts begin with BOS: in BART they do, in T5 they do not."""
        has_bos = self.bos_id is not None
        return has_bos and begins_with_special(self._definition, self._settings)

    @property
    def of_targets(self) -> Tokenizer | None:
        """The tokenizer of what is written, where the same files hold two, as Marian's do."""
        return None

    @property
    def separators_between_texts(self) -> int:
        """How often SEP stands between two texts that an encoder reads: 1, in RoBERTa 2."""
        return separators_between(self._definition, self._settings)

    def _special_id(self, part: str) -> int | None:
        token = self.special_tokens.get(part)
        return None if token is None else self._ids[token]

    def apply_chat_template(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = False,
        **variables: Any,
    ) -> str:
        """The text of a conversation, as the model was trained to read it.

        Args:
            messages: what was said, in order: `{"role": "user", "content": "Hello"}` and so on.
            add_generation_prompt: end with what comes before an answer of the model.
            **variables: further names that the template knows, such as `tools`.

        Raises:
            ValueError: the tokenizer's files hold no chat template, or it refuses the messages.
            ImportError: jinja2 is not installed.
        """
        return render_chat(
            self._settings.get("chat_template"),
            messages,
            add_generation_prompt=add_generation_prompt,
            **self.special_tokens,
            **variables,
        )

    def library_encoder(self) -> Callable[[list[str]], list[list[int]]]:
        """The reference library's encoder: texts to ids, on all cores, outside of the graph."""
        import tokenizers

        library = tokenizers.Tokenizer.from_str(str(self._definition))
        library.no_truncation()
        library.no_padding()

        def encode(texts: list[str]) -> list[list[int]]:
            batch = library.encode_batch_fast(texts, add_special_tokens=False)
            return [encoding.ids for encoding in batch]

        return encode

    def get_config(self) -> dict[str, Any]:
        """All that `from_config` needs; it makes a `.keras` file carry its tokenizer whole."""
        return {"definition": self._definition, "settings": dict(self._settings)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The tokenizer of `get_config`."""
        return cls(**config)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes the reference's own file and `tokenizer_config.json`, the Hugging Face layout.

        Each file is written beside its place and moved there, so none is ever half a file.
        """
        target = Path(directory)
        target.mkdir(parents=True, exist_ok=True)
        config = json.dumps(dict(self._settings), indent=2, ensure_ascii=False) + "\n"
        for name, content in (*self._files().items(), ("tokenizer_config.json", config)):
            fresh = target / f".{name}.{os.getpid()}"
            fresh.write_bytes(content if isinstance(content, bytes) else content.encode())
            os.replace(fresh, target / name)

    def _files(self) -> dict[str, str | bytes]:
        """What `save` writes beside the settings."""
        return {self.FILE: self._definition}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The tokenizer of a directory, or of a tokenizer's file by itself.

        Reads `tokenizer.json`, a SentencePiece model, Marian's two with `vocab.json`, `vocab.txt`,
        or `vocab.json` and `merges.txt`; special tokens and the chat template stand beside it, in
        `tokenizer_config.json` and its like. A GGUF file holds all of it. A subclass's `load`
        takes its own kind only.

        Raises:
            FileNotFoundError: there is no such file or directory, or no tokenizer in it.
            ValueError: the files are damaged, or hold a rule that the graph cannot follow exactly.
        """
        file = Path(path).expanduser()
        refused: ValueError | None = None
        definitions, settings = read_files(file)
        kinds = Tokenizer.__subclasses__() if cls is Tokenizer else [cls]
        for name, definition in definitions.items():
            where = f"{str(path)!r} ({name})" if file.is_dir() else f"{str(path)!r}"
            try:
                kind = next((k for k in kinds if k.reads(definition)), None)
                if kind is not None:
                    return kind.from_config({"definition": definition, "settings": settings})
                error = ValueError(f"{where}: {_is_none_of(definition, kinds)}")
            except (ValueError, *WRONG_VALUES) as problem:
                said = problem if isinstance(problem, ValueError) else f"damaged: {problem!r}"
                error = ValueError(f"{where}: {said}")
                error.__cause__ = problem
            # A directory may hold the same tokenizer twice; the first error says most.
            refused = refused or error
        raise refused or FileNotFoundError(f"{str(path)!r} holds no tokenizer")

    @classmethod
    def reads(cls, definition: str | bytes) -> bool:
        """Whether a definition is of this kind; its rules may be refused all the same."""
        raise NotImplementedError

    def _encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Ids, ragged int32 [B, None], of strings [B]."""
        raise NotImplementedError

    def _encode_with_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """Ids, ragged int32 [B, None], of strings [B], and their spans in bytes, int32 [n, 2]."""
        raise NotImplementedError

    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Strings [B] of ids [B, None]."""
        return join_rows(ids, self._first_bytes, self._token_bytes)


def _is_none_of(definition: str | bytes, kinds: Sequence[type[Tokenizer]]) -> str:
    kind = f"model.type = {model_type(definition)!r}" if isinstance(definition, str) else "it"
    return f"{kind} is no {' or '.join(k.__name__ for k in kinds)}"


def settings_with_usual_names(
    settings: Mapping[str, Any] | None, vocabulary: Mapping[str, int]
) -> dict[str, Any]:
    """The settings; where they name no special token at all, with the usual names."""
    settings = dict(settings or {})
    if not any(part in settings for part in SPECIAL_PARTS):
        settings |= usual_special_tokens(set(vocabulary))
    return settings
