"""Bytes as tokens."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from keras_lm.tokenizers.base import Tokenizer, settings_with_usual_names
from keras_lm.tokenizers.bytepair_rules import byte_alphabet
from keras_lm.tokenizers.corpus import (
    check_vocab_size,
    distinct_tokens,
    named_special_tokens,
    training_texts,
    warn_if_smaller,
)
from keras_lm.tokenizers.cutting import Cutter, put, relative_spans
from keras_lm.tokenizers.rules import (
    added_tokens,
    model_type,
    read_rules,
    refuse,
    vocabulary_of,
)
from keras_lm.tokenizers.tensors import checked_utf8

NUM_BYTES = 256
# In no UTF-8 text, so it can stand for an added token.
PLACEHOLDER = b"\xff"
USUAL_TOKENS = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
# A text is split into its bytes alone: whatever is cut from its offsets, there is nothing to cut.
SPLITTERS = [
    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": trim, "use_regex": False}
    for trim in (True, False)
]
# Of the model nothing is on that could make more than a byte one token.
PLAIN: dict[str, Any] = {
    "merges": [],
    "dropout": None,
    "continuing_subword_prefix": None,
    "end_of_word_suffix": None,
    "byte_fallback": False,
    "ignore_merges": False,
}


@keras.saving.register_keras_serializable("keras_lm")
class ByteTokenizer(Tokenizer):
    """The 256 bytes of UTF-8, each its own id, and special tokens from 256 on.

    Nothing is unknown to it. Its file is that of a byte-level BPE without merges, and ids equal
    those of Hugging Face `tokenizers`. ByT5 reads such ids (https://arxiv.org/abs/2105.13626).

    Args:
        definition: the content of a `tokenizer.json`.
        settings: special tokens by name, such as `eos_token`, and what else is to be kept.

    Raises:
        ValueError: the tokenizer has a rule that cannot be followed exactly; names it.

    Example:

    >>> tokenizer = ByteTokenizer.create()
    >>> ids = tokenizer(["né", ""])
    >>> ids.to_list()
    [[110, 195, 169], []]
    >>> tokenizer.detokenize(ids).numpy()[0].decode()
    'né'
    >>> tokenizer.pad_id, tokenizer.vocab_size
    (256, 259)
    """

    def __init__(self, definition: str, settings: Mapping[str, Any] | None = None) -> None:
        data = read_rules(definition)
        refuse("normalizer", data.get("normalizer"), (None,))
        refuse("pre_tokenizer", data.get("pre_tokenizer"), tuple(SPLITTERS))
        refuse("decoder.type", (data.get("decoder") or {}).get("type"), ("ByteLevel",))
        processor = (data.get("post_processor") or {}).get("type")
        refuse("post_processor", processor, (None, "BertProcessing", "TemplateProcessing"))
        for rule, plain in PLAIN.items():
            refuse(f"model.{rule}", data["model"].get(rule) or plain, (plain,))
        vocabulary, added = vocabulary_of(data), added_tokens(data.get("added_tokens") or [])
        missing = [character for character in byte_alphabet() if character not in vocabulary]
        if missing:
            raise ValueError(f"model.vocab lacks {len(missing)} of the 256 bytes: {missing[0]!r}")
        tokens = vocabulary | {token.content: token.id for token in added}
        super().__init__(
            definition,
            settings_with_usual_names(settings, tokens),
            vocabulary=tokens,
            token_bytes=_spell(tokens),
            hidden_ids=[token.id for token in added if token.special],
        )
        self._cut = Cutter(added)
        with tf.init_scope(), tf.device("CPU:0"):
            self._byte_ids = tf.constant([vocabulary[c] for c in byte_alphabet()], tf.int32)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def _encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        with tf.device("CPU:0"):
            return self._bytes(texts)[0]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def _encode_with_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        with tf.device("CPU:0"):
            ids, byte, size = self._bytes(texts)
            begins = tf.bitwise.bitwise_and(byte, 0xC0) != 0x80  # a character, or an added token
            splits = tf.concat(
                [tf.boolean_mask(tf.cumsum(size, exclusive=True), begins), [tf.reduce_sum(size)]], 0
            )
            character = tf.cumsum(tf.cast(begins, tf.int32)) - 1
            return ids, relative_spans(
                tf.gather(splits, character),
                tf.gather(splits, character + 1),
                ids.value_rowids(),
                texts,
            )

    def _bytes(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor, tf.Tensor]:
        """Ids [B, None], the byte of each (the placeholder's of an added token), and its size."""
        pieces = self._cut(checked_utf8(texts))
        is_added = pieces.id >= 0
        spelled = tf.where(is_added, PLACEHOLDER, pieces.text)
        byte = tf.cast(tf.io.decode_raw(tf.strings.reduce_join(spelled), tf.uint8), tf.int32)
        splits = tf.concat([[0], tf.cumsum(tf.cast(tf.strings.length(spelled), tf.int64))], 0)
        places = tf.boolean_mask(splits[:-1], is_added)
        added, content = (tf.boolean_mask(x, is_added) for x in (pieces.id, pieces.text))
        ids = put(tf.gather(self._byte_ids, byte), places, added)
        size = put(tf.ones_like(byte), places, tf.strings.length(content))
        row_splits = pieces.text_splits(splits, tf.size(texts, tf.int64))
        return tf.RaggedTensor.from_row_splits(ids, row_splits, validate=False), byte, size

    @classmethod
    def create(cls, special_tokens: Sequence[str] | Mapping[str, Any] = USUAL_TOKENS) -> Self:
        """The tokenizer of these special tokens; the first of a list starts, ends and pads.

        Args:
            special_tokens: a list, or by name, such as `{"eos_token": "</s>"}`.

        Raises:
            ValueError: a special token is empty or repeated.
        """
        import tokenizers

        named = named_special_tokens(special_tokens, ("bos_token", "eos_token", "pad_token"))
        vocabulary = {character: byte for byte, character in enumerate(byte_alphabet())}
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
            add_prefix_space=False, use_regex=False
        )
        tokenizer.decoder = tokenizers.decoders.ByteLevel()
        tokenizer.add_special_tokens(distinct_tokens(special_tokens))
        return cls(tokenizer.to_str(), named)

    @classmethod
    def train(
        cls,
        files: Sequence[str | os.PathLike[str]] | None = None,
        texts: Iterable[str] | None = None,
        *,
        vocab_size: int | None = None,
        special_tokens: Sequence[str] | Mapping[str, Any] = USUAL_TOKENS,
    ) -> Self:
        """What `create` gives, called as other tokenizers are: the text is checked, not learned.

        Args:
            files: UTF-8 text files, or
            texts: strings; exactly one of the two.
            vocab_size: if given, at least the 256 bytes and the special tokens.
            special_tokens: a list, or by name.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: both or none of `files` and `texts`, a file that is not UTF-8, a
                `vocab_size` that has no room for the bytes, empty or repeated special tokens.
        """
        pieces = training_texts(files, texts)
        tokenizer = cls.create(special_tokens)
        for _ in pieces:
            pass  # each is checked as it is read
        if vocab_size is not None:
            num_special = tokenizer.vocab_size - NUM_BYTES
            check_vocab_size(
                vocab_size, tokenizer.vocab_size, f"256 bytes and {num_special} special tokens"
            )
            warn_if_smaller(tokenizer.vocab_size, vocab_size)
        return tokenizer

    @classmethod
    def reads(cls, definition: str | bytes) -> bool:
        if not isinstance(definition, str) or model_type(definition) not in ("BPE", None):
            return False
        data = read_rules(definition)
        splitter = data.get("pre_tokenizer") or {}
        return data["model"].get("merges") == [] and splitter.get("use_regex") is False


def _spell(vocabulary: Mapping[str, int]) -> list[bytes]:
    """The bytes of each id; a token with a character that is no byte's is itself."""
    byte_of = {character: byte for byte, character in enumerate(byte_alphabet())}

    def spelled(token: str) -> bytes:
        is_bytes = all(character in byte_of for character in token)
        return bytes(map(byte_of.__getitem__, token)) if is_bytes else token.encode()

    table = [b""] * (max(vocabulary.values()) + 1)
    for token, i in vocabulary.items():
        table[i] = spelled(token)
    return table
