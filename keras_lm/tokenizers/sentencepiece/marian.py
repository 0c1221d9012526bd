"""Marian's pair of SentencePiece models, whose pieces a vocabulary numbers."""

from __future__ import annotations

import base64
import binascii
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from keras_lm.tokenizers.base import Tokenizer
from keras_lm.tokenizers.files import SPECIAL_PARTS
from keras_lm.tokenizers.rules import added_tokens, model_type, read_rules, vocabulary_of
from keras_lm.tokenizers.sentencepiece import model as models
from keras_lm.tokenizers.sentencepiece.added import AddedTokens
from keras_lm.tokenizers.sentencepiece.encoding import Encoding
from keras_lm.tokenizers.sentencepiece.model import SPACE_MARK
from keras_lm.tokenizers.sentencepiece.named_pieces import NamedPieces

SPECIAL_TOKENS = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

# One space parts a special token from what follows, which begins with its own or with none.
AFTER_SPECIAL = "\0"


@keras.saving.register_keras_serializable("keras_lm")
class MarianTokenizer(Encoding, Tokenizer):
    """The tokenizer of Marian's translators (opus-mt); ids equal those of Transformers' class.

    A text is cut by the SentencePiece model of its language, and the pieces have their ids from
    `vocab.json`, which both languages share or have one each of. A language code at the beginning
    of a text, as in `">>fra<< How are you?"`, is one token.

    This is the tokenizer of the sources; that of the targets, of the same files, is `of_targets`.

    Args:
        definition: JSON text: a `model` of `type` `"Marian"` with `vocab`, `target_vocab` (or
            null) and the contents of `source.spm` and `target.spm` in base64, `source` and
            `target`. `Tokenizer.load` makes it of a directory's files.
        settings: special tokens by name, and what else is to be kept; default: EOS `</s>`, PAD
            `<pad>` and UNK `<unk>`.

    Raises:
        ValueError: a part is damaged, or has a rule that cannot be followed exactly; names it.
        ImportError: tensorflow-text is not installed.
    """

    FILE = "source.spm"

    def __init__(self, definition: str, settings: Mapping[str, Any] | None = None) -> None:
        rules = read_rules(definition)
        model, _ = (_read_model(rules, side) for side in ("source", "target"))
        vocabulary = vocabulary_of(rules)
        if sorted(vocabulary.values()) != list(range(len(vocabulary))):
            raise ValueError(
                f"vocab.json must give its {len(vocabulary)} tokens the ids from 0 to "
                f"{len(vocabulary) - 1}, each once"
            )
        settings = {**SPECIAL_TOKENS, **(settings or {}), "tokenizer_class": "MarianTokenizer"}
        if rules["model"].get("target_vocab") is not None:
            settings["separate_vocabs"] = True
        special = {settings[part] for part in SPECIAL_PARTS if part in settings}
        for token in special - set(vocabulary):
            raise ValueError(f"special token {token!r} is not in vocab.json")
        names = sorted(vocabulary, key=lambda name: vocabulary[name])
        texts = [
            name + AFTER_SPECIAL if name in special else name.replace(SPACE_MARK, " ")
            for name in names
        ]
        super().__init__(
            definition,
            settings,
            vocabulary=vocabulary,
            token_bytes=[text.encode() for text in texts],
            hidden_ids=[vocabulary[token] for token in special],
        )
        tokens = added_tokens([{"id": vocabulary[t], "content": t} for t in sorted(special)])
        unk_id = vocabulary[settings["unk_token"]]
        self._encoder = AddedTokens(tokens, NamedPieces(model, vocabulary, unk_id))

    @functools.cached_property
    def of_targets(self) -> Tokenizer:
        model = read_rules(str(self._definition))["model"]
        own, other = model["vocab"], model.get("target_vocab")
        swapped = {
            **model,
            "source": model["target"],
            "target": model["source"],
            "vocab": own if other is None else other,
            "target_vocab": None if other is None else own,
        }
        return MarianTokenizer(
            json.dumps({"model": swapped}, ensure_ascii=False), dict(self._settings)
        )

    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        texts = tf.strings.regex_replace(super()._decode(ids), f"{AFTER_SPECIAL} *", " ")
        return tf.strings.strip(texts)

    def library_encoder(self) -> Callable[[list[str]], list[list[int]]]:
        # SentencePiece alone knows neither the vocabulary nor the language codes.
        return lambda texts: self._encode(tf.constant(texts)).to_list()

    def _files(self) -> dict[str, str | bytes]:
        rules = read_rules(str(self._definition))
        found: dict[str, str | bytes] = {
            f"{side}.spm": _content(rules, side) for side in ("source", "target")
        }
        for name in ("vocab", "target_vocab"):
            if rules["model"].get(name) is not None:
                found[f"{name}.json"] = json.dumps(rules["model"][name], ensure_ascii=False)
        return found

    @classmethod
    def reads(cls, definition: str | bytes) -> bool:
        return isinstance(definition, str) and model_type(definition) == "Marian"


def _read_model(rules: Mapping[str, Any], side: str) -> models.ModelProto:
    try:
        return models.read_model(_content(rules, side))
    except ValueError as error:
        raise ValueError(f"{side}.spm: {error}") from error


def _content(rules: Mapping[str, Any], side: str) -> bytes:
    """A SentencePiece model of a definition."""
    try:
        return base64.b64decode(rules["model"].get(side, ""), validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise ValueError(f"the model's content is not base64: {error}") from error
