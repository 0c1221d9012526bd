"""The rules of a `tokenizer.json` that splits words as BERT does: WordPiece, and whole words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from keras_lm.tokenizers.corpus import named_special_tokens
from keras_lm.tokenizers.normalization import NormalizerRules
from keras_lm.tokenizers.rules import AddedToken, added_tokens, read_rules, refuse, vocabulary_of

NORMALIZER_OPTIONS = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")


@dataclass(frozen=True)
class WordRules:
    """What decides the ids of words, however they are spelled by the vocabulary."""

    vocabulary: dict[str, int]
    unk_token: str
    added: list[AddedToken]
    model: dict[str, Any]
    data: dict[str, Any]

    @property
    def tokens(self) -> dict[str, int]:
        """Token to id, added tokens included."""
        return self.vocabulary | {token.content: token.id for token in self.added}

    @property
    def names(self) -> dict[int, str]:
        """Id to token as the reference decodes it: some are spelled as once normalized."""
        normalize = normalizer_rules(self.data).reference().normalize_str
        return {i: token for token, i in self.vocabulary.items()} | {
            token.id: normalize(token.content) if token.normalized else token.content
            for token in self.added
        }

    @property
    def hidden_ids(self) -> list[int]:
        """The ids of special tokens."""
        return [token.id for token in self.added if token.special]


def unknown_token(special_tokens: Mapping[str, Any]) -> str:
    """The token that stands for what the vocabulary cannot spell; ValueError if none is named."""
    named = named_special_tokens(special_tokens)
    if "unk_token" not in named:
        raise ValueError(f"special_tokens={special_tokens!r} must name an unk_token")
    return named["unk_token"]


def spell(names: Mapping[int, str], decode: Callable[[str], str] = str) -> list[bytes]:
    """What each id decodes to; nothing for a number that is no token's."""
    spelled = [b""] * (max(names) + 1)
    for i, name in names.items():
        spelled[i] = decode(name).encode()
    return spelled


def used_ids(names: Mapping[int, str]) -> tf.Tensor:
    """Whether each number is a token's, bool [V]. The reference skips the others as it decodes."""
    used = np.zeros(max(names) + 1, bool)
    used[list(names)] = True
    with tf.init_scope(), tf.device("CPU:0"):
        return tf.constant(used)


def word_table(vocabulary: Mapping[str, int], default: int = -1) -> tf.lookup.StaticHashTable:
    """Words to ids, int32; the default for others."""
    with tf.init_scope(), tf.device("CPU:0"):
        return tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(list(vocabulary), tf.string),
                tf.constant(list(vocabulary.values()), tf.int32),
            ),
            default,
        )


def word_rules(tokenizer_json: str, kind: str) -> WordRules:
    """Reads the rules of a model that gives ids to words.

    Args:
        tokenizer_json: the file's content.
        kind: the type that its model must be of.

    Raises:
        ValueError: it is damaged, or has a rule that cannot be followed exactly; names it.
    """
    data = read_rules(tokenizer_json)
    model = data["model"]
    refuse("model.type", model.get("type"), (kind,))
    vocabulary = vocabulary_of(data)
    ids = list(vocabulary.values())
    if len(set(ids)) < len(ids) or min(ids, default=0) < 0:
        raise ValueError("model.vocab must map each token to an id of its own, from 0 on")
    unk_token = model.get("unk_token")
    if unk_token not in vocabulary:
        raise ValueError(
            f"model.unk_token = {unk_token!r} is not in the vocabulary; the reference has no id "
            "for what the vocabulary cannot spell"
        )
    # Special tokens around a text are the task's to add.
    processor = (data.get("post_processor") or {}).get("type")
    refuse("post_processor", processor, (None, "BertProcessing", "TemplateProcessing"))
    return WordRules(
        vocabulary=vocabulary,
        unk_token=unk_token,
        added=added_tokens(data.get("added_tokens") or []),
        model=model,
        data=data,
    )


def normalizer_rules(data: dict[str, Any]) -> NormalizerRules:
    """The normalizer of a `tokenizer.json`: BERT's, or none."""
    normalizer = data.get("normalizer")
    if normalizer is None:
        return NormalizerRules()
    refuse("normalizer", normalizer.get("type"), ("BertNormalizer", None))
    options = {name: normalizer.get(name) for name in NORMALIZER_OPTIONS}
    for name, value in options.items():
        supported = (True, False, None) if name == "strip_accents" else (True, False)
        refuse(f"normalizer.{name}", value, supported)
    if options["strip_accents"] is None:
        options["strip_accents"] = options["lowercase"]
    return NormalizerRules(**options)
