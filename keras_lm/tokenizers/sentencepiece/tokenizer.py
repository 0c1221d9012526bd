"""SentencePiece (unigram and byte-pair encoding, byte fallback) in the graph."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Self

import keras
import tensorflow as tf

from keras_lm.tokenizers.base import Tokenizer
from keras_lm.tokenizers.corpus import (
    check_vocab_size,
    distinct_tokens,
    named_special_tokens,
    training_texts,
    warn_if_smaller,
)
from keras_lm.tokenizers.files import SPECIAL_PARTS
from keras_lm.tokenizers.sentencepiece import model as models
from keras_lm.tokenizers.sentencepiece.added import AddedTokens, added_tokens_of
from keras_lm.tokenizers.sentencepiece.decoding import Decoder
from keras_lm.tokenizers.sentencepiece.encoding import Encoder, Encoding, encoder_of
from keras_lm.tokenizers.sentencepiece.training import train_model

# In T5's order, which has no beginning of a document.
SPECIAL_TOKENS = {
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "bos_token": "<s>",
}

# Their ids are not those of the model in their files, but moved or taken from another file.
MOVED_IDS = (
    *("XLMRoberta", "Camembert", "Barthez", "Bartpho", "MBart", "XGLM", "XLMProphetNet", "Nllb"),
    *("LayoutXLM", "M2M100", "SeamlessM4T", "Pegasus", "Speech2Text", "Marian", "ErnieM"),
)
NORMALIZATIONS = ("nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf", "identity")


@keras.saving.register_keras_serializable("keras_lm")
class SentencePieceTokenizer(Encoding, Tokenizer):
    """SentencePiece; ids, offsets and decoded texts equal those of the `sentencepiece` library.

    A text is normalized as the model's file says (usually NFKC, white space made one space and
    marked by U+2581) and cut into the pieces of the best total score (unigram), or merged pair by
    pair (BPE). What the model does not know is its unknown piece or, with byte fallback, its bytes.

    Tokens whose ids follow the model's (T5's `<extra_id_0>`, or those that were added for a chat)
    are looked for in the text first. The stretches between them are texts by themselves, each with
    its own dummy prefix, unless the settings say `legacy: false`: then only a stretch that begins
    its text has one. Control symbols such as `</s>` are, as in the library, no part of any text:
    write them by their ids.

    One limit: where a single text's log-probability falls below -100,000 (some 60 kB), the
    library's unigram search rounds in another way from there on, and two segmentations of the same
    score may be taken one for the other.

    Kudo and Richardson 2018 (https://arxiv.org/abs/1808.06226).

    Args:
        definition: the content of a `*.model` file, or its base64.
        settings: special tokens by name, such as `eos_token`, and what else is to be kept; without
            any, those of the model.

    Raises:
        ValueError: the model is damaged, or has a rule that cannot be followed exactly; names it.
        ImportError: tensorflow-text is not installed.

    Example:

    >>> text = "the cat sat on the mat and the dog sat on the cat"
    >>> tokenizer = SentencePieceTokenizer.train(texts=[text], vocab_size=24, model_type="bpe")
    >>> ids = tokenizer(["the cat", "the dog"])
    >>> ids.shape, ids.dtype
    (TensorShape([2, None]), tf.int32)
    >>> tokenizer.detokenize(ids).numpy().tolist()
    [b'the cat', b'the dog']
    >>> tokenizer.special_tokens["eos_token"], tokenizer.eos_id
    ('</s>', 1)
    """

    FILE = "spiece.model"

    def __init__(self, definition: bytes | str, settings: Mapping[str, Any] | None = None) -> None:
        if isinstance(definition, str):
            definition = base64.b64decode(definition)
        settings = dict(settings or {})
        kind = str(settings.get("tokenizer_class", ""))
        if kind.startswith(MOVED_IDS):
            raise ValueError(
                f"tokenizer_class = {kind!r} is not supported: its ids are not those of its "
                "SentencePiece model"
            )
        model = models.read_model(definition)
        vocabulary = {piece.piece: i for i, piece in enumerate(model.pieces)}
        added = added_tokens_of(settings, model)
        texts = models.piece_texts(model)
        texts += [b""] * (max((token.id for token in added), default=-1) + 1 - len(texts))
        for token in added:
            vocabulary[token.content] = token.id
            texts[token.id] = token.content.encode()
        if not any(part in settings for part in SPECIAL_PARTS):
            settings |= _special_tokens(model)
        named = {settings[part] for part in SPECIAL_PARTS if part in settings}
        super().__init__(
            definition,
            settings,
            vocabulary=vocabulary,
            token_bytes=texts,
            hidden_ids=[
                *(i for i, piece in enumerate(model.pieces) if piece.type in models.SPECIAL),
                *(token.id for token in added if token.special),
                *(vocabulary[token] for token in named if token in vocabulary),
            ],
        )
        self._encoder = encoder_of(model)
        if added:
            later = _encoder_of_what_follows(model, settings)
            self._encoder = AddedTokens(added, self._encoder, later)
        self._decoder = Decoder(model, {token.id: token.content for token in added})

    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        return self._joined(tf.cast(ids.values, tf.int64), ids.row_splits)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)] * 2, autograph=False)
    def _joined(self, ids: tf.Tensor, splits: tf.Tensor) -> tf.Tensor:
        with tf.device("CPU:0"):
            return self._decoder(tf.RaggedTensor.from_row_splits(ids, splits, validate=False))

    def library_encoder(self) -> Callable[[list[str]], list[list[int]]]:
        import sentencepiece

        if isinstance(self._encoder, AddedTokens):  # the library knows the model's own alone
            return lambda texts: self._encode(tf.constant(texts)).to_list()
        definition: Any = self._definition
        library = sentencepiece.SentencePieceProcessor(model_proto=definition)

        def encode(texts: list[str]) -> list[list[int]]:
            ids: list[list[int]] = library.encode(texts, num_threads=-1)
            return ids

        return encode

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return config | {"definition": base64.b64encode(config["definition"]).decode()}

    @classmethod
    def train(
        cls,
        files: Sequence[str | os.PathLike[str]] | None = None,
        texts: Iterable[str] | None = None,
        *,
        vocab_size: int,
        special_tokens: Sequence[str] | Mapping[str, str] | None = None,
        model_type: Literal["unigram", "bpe"] = "unigram",
        byte_fallback: bool = False,
        character_coverage: float = 0.9995,
        normalization: str = "nmt_nfkc",
    ) -> Self:
        """Learns a vocabulary from text, line by line; the same text gives the same vocabulary.

        Special tokens have the first ids, in their order; an unknown piece `<unk>` is always among
        them. The first special token of a list starts and ends documents and pads.

        Args:
            files: UTF-8 text files, or
            texts: strings; exactly one of the two.
            vocab_size: ids in all, special tokens and bytes included.
            special_tokens: control symbols, which no text is cut into: a list, or by name;
                default: pad `<pad>` 0, eos `</s>` 1, unk `<unk>` 2, bos `<s>` 3.
            model_type: which pieces: those of the most probable segmentation, or merged pairs.
            byte_fallback: spell what the model does not know in bytes, which are 256 more ids.
            character_coverage: the share of the text's characters that the model is to know;
                Chinese and Japanese are well served by less than all, the more with bytes.
            normalization: what is done to texts first: NFKC (`"nfkc"`), with more of what looks
                like white space made spaces (`"nmt_nfkc"`), with case folded (`"nfkc_cf"`,
                `"nmt_nfkc_cf"`), or nothing (`"identity"`). All but the last read a run of spaces
                as one, and none at the ends.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: both or none of `files` and `texts`, a file that is not UTF-8, a
                `vocab_size` that has no room for the characters, empty or repeated special
                tokens, or another argument is not one of those named.
        """
        for name, value, allowed in (
            ("model_type", model_type, ("unigram", "bpe")),
            ("normalization", normalization, NORMALIZATIONS),
        ):
            if value not in allowed:
                raise ValueError(f"{name}={value!r} must be one of {', '.join(allowed)}")
        if not 0.98 <= character_coverage <= 1:
            raise ValueError(f"character_coverage={character_coverage} must be in [0.98, 1]")
        special_tokens = SPECIAL_TOKENS if special_tokens is None else special_tokens
        pieces = training_texts(files, texts)
        roles = named_special_tokens(special_tokens, ("bos_token", "eos_token", "pad_token"))
        tokens = distinct_tokens(special_tokens)
        roles.setdefault("unk_token", "<unk>")
        if roles["unk_token"] not in tokens:
            tokens.append(roles["unk_token"])
        num_bytes = 256 if byte_fallback else 0
        check_vocab_size(
            vocab_size,
            num_bytes + len(tokens) + 1,
            f"{num_bytes} bytes, {len(tokens)} special tokens and the characters of the text",
        )
        definition = train_model(
            pieces,
            vocab_size,
            roles,
            tokens,
            model_type=model_type,
            byte_fallback=byte_fallback,
            character_coverage=character_coverage,
            normalization_rule_name=normalization,
            remove_extra_whitespaces=normalization != "identity",
        )
        tokenizer = cls(definition, roles)
        warn_if_smaller(tokenizer.vocab_size, vocab_size)
        return tokenizer

    @classmethod
    def reads(cls, definition: str | bytes) -> bool:
        return isinstance(definition, bytes)


def _encoder_of_what_follows(
    model: models.ModelProto, settings: Mapping[str, Any]
) -> Encoder | None:
    """What encodes a stretch after an added token, where that is not as a text by itself."""
    spec = model.normalizer_spec
    if settings.get("legacy", True) or not spec.add_dummy_prefix:
        return None
    if spec.remove_extra_whitespaces:
        raise ValueError(
            "legacy = false in tokenizer_config.json, beside added tokens, is not supported where "
            "the SentencePiece model removes extra white space"
        )
    return encoder_of(models.without_dummy_prefix(model))


def _special_tokens(model: models.ModelProto) -> dict[str, str]:
    """Special tokens by name, as the model's trainer has kept them."""
    spec = model.trainer_spec
    found = {}
    for part in ("bos", "eos", "pad"):
        i = getattr(spec, f"{part}_id")
        if 0 <= i < len(model.pieces) and model.pieces[i].type == models.CONTROL:
            found[f"{part}_token"] = model.pieces[i].piece
    unknown = [piece.piece for piece in model.pieces if piece.type == models.UNKNOWN]
    return found | {"unk_token": unknown[0]}
