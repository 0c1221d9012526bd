"""WordPiece, BERT's tokenizer, in the graph."""

from __future__ import annotations

import os
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from keras_lm.tokenizers.base import Tokenizer, settings_with_usual_names
from keras_lm.tokenizers.corpus import warn_if_smaller
from keras_lm.tokenizers.distinct import WordReader
from keras_lm.tokenizers.rules import model_type, refuse
from keras_lm.tokenizers.tensors import checked_utf8
from keras_lm.tokenizers.word_rules import (
    WordRules,
    spell,
    used_ids,
    word_rules,
    word_table,
)
from keras_lm.tokenizers.wordpiece_training import learn_wordpiece
from keras_lm.tokenizers.words import Words, token_spans

BERT_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
# The longest token that tensorflow-text takes, its prefix aside.
MAX_TOKEN_BYTES = 256


@keras.saving.register_keras_serializable("keras_lm")
class WordPieceTokenizer(Tokenizer):
    """WordPiece with BERT's normalizer; ids equal those of Hugging Face `tokenizers`.

    Texts are cleaned, lower-cased, rid of accents and split into words, as the file says. A word
    of the vocabulary is one id. Every other is the longest token that it begins with, then the
    longest `##` token that goes on from there, and so on; or unknown as a whole.

        texts [B] ─ normalize ─ split ─ words [W] ─┬─ in the vocabulary: its id ─┬─ ids [B, None]
                                                   └─ others: unique ─ pieces ───┘

    Schuster and Nakajima 2012; Devlin et al. 2018 (https://arxiv.org/abs/1810.04805). The pieces
    are found by tensorflow-text: Song et al. 2020 (https://arxiv.org/abs/2012.15524).

    Args:
        definition: the content of a `tokenizer.json`.
        settings: special tokens by name, such as `mask_token`, and what else is to be kept.

    Raises:
        ValueError: the tokenizer has a rule that cannot be followed exactly; names it.
        ImportError: tensorflow-text is not installed.

    Example:

    >>> tokenizer = WordPieceTokenizer.train(texts=["Low, lower, lowest!"] * 2, vocab_size=25)
    >>> ids = tokenizer(["LÖWEST, low", "low"])
    >>> [tokenizer.id_to_token(i) for i in ids[0].numpy()]
    ['lowe', '##st', ',', 'low']
    >>> tokenizer.detokenize(ids).numpy().tolist()
    [b'lowest, low', b'low']
    >>> tokenizer("low", sequence_length=4).shape
    TensorShape([4])
    """

    def __init__(self, definition: str, settings: Mapping[str, Any] | None = None) -> None:
        rules = word_rules(definition, "WordPiece")
        decode = _decoder(rules.data.get("decoder"))
        super().__init__(
            definition,
            settings_with_usual_names(settings, rules.tokens),
            vocabulary=rules.tokens,
            first_bytes=spell(rules.names, lambda token: decode([token])),
            token_bytes=spell(rules.names, lambda token: decode(["x", token])[1:]),
            hidden_ids=rules.hidden_ids,
        )
        self._read = WordReader(rules)
        self._unknown = rules.vocabulary[rules.unk_token]
        self._max_characters = rules.model.get("max_input_chars_per_word", 100)
        if not isinstance(self._max_characters, int):
            refuse("model.max_input_chars_per_word", self._max_characters, ("a number",))
        self._pieces = _piece_finder(rules, self._max_characters)
        self._whole_words = word_table(rules.vocabulary)
        self._is_used = used_ids(rules.names)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def _encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        with tf.device("CPU:0"):
            return self._read(checked_utf8(texts), self._tokenize)[0]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def _encode_with_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        with tf.device("CPU:0"):
            return self._read(checked_utf8(texts), self._tokenize)

    def _tokenize(self, words: Words, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """Ids [B, None] of the words of texts [B], and their spans in bytes."""
        num_characters = words.splits[1:] - words.splits[:-1]
        known = tf.where(
            num_characters > self._max_characters,
            self._unknown,
            self._whole_words.lookup(words.text),
        )
        whole = tf.where(words.added >= 0, words.added, known)
        rest = tf.where(whole < 0)
        others, which = tf.unique(tf.gather_nd(words.text, rest))
        pieces, begin, end = self._pieces.tokenize_with_offsets(others)
        # Every word is a stretch of this pool: its one id, or the ids of its pieces.
        num_words = tf.size(whole, tf.int64)
        pool = tf.concat([whole, pieces.values], 0)
        pool_begin = tf.concat([tf.zeros_like(num_characters), begin.values], 0)
        pool_end = tf.concat([words.num_bytes(), end.values], 0)
        start = tf.tensor_scatter_nd_update(
            tf.range(num_words), rest, num_words + tf.gather(pieces.row_starts(), which)
        )
        length = tf.tensor_scatter_nd_update(
            tf.ones_like(start), rest, tf.gather(pieces.row_lengths(), which)
        )
        place = tf.ragged.range(start, start + length)
        ids = tf.RaggedTensor.from_row_splits(
            tf.gather(pool, place.values),
            tf.gather(place.row_splits, words.row_splits),
            validate=False,
        )
        begin, end = tf.gather(pool_begin, place.values), tf.gather(pool_end, place.values)
        spans = token_spans(words, place.value_rowids(), begin, end, ids.value_rowids(), texts)
        return ids, spans

    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        return super()._decode(tf.ragged.boolean_mask(ids, tf.gather(self._is_used, ids)))

    @classmethod
    def train(
        cls,
        files: Sequence[str | os.PathLike[str]] | None = None,
        texts: Iterable[str] | None = None,
        *,
        vocab_size: int,
        special_tokens: Mapping[str, Any] = BERT_TOKENS,
        lowercase: bool = True,
        strip_accents: bool | None = None,
        handle_chinese_chars: bool = True,
        min_frequency: int = 2,
    ) -> Self:
        """Learns a vocabulary from text; the same text gives the same vocabulary.

        Args:
            files: UTF-8 text files, or
            texts: strings; exactly one of the two.
            vocab_size: ids in all, special tokens included. Where it has no room for all
                characters, the rarest are left out and are unknown.
            special_tokens: tokens by name, an `unk_token` among them.
            lowercase: read texts in lower case.
            strip_accents: read letters without their accents; None: if in lower case.
            handle_chinese_chars: make every Chinese character a word.
            min_frequency: how often a pair must occur to become a token.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: both or none of `files` and `texts`, a file that is not UTF-8, a
                `vocab_size` that has no room for a character, no `unk_token`.
        """
        normalizer = {
            "clean_text": True,
            "handle_chinese_chars": handle_chinese_chars,
            "strip_accents": strip_accents,
            "lowercase": lowercase,
        }
        definition = learn_wordpiece(
            files, texts, vocab_size, special_tokens, normalizer, min_frequency
        )
        # By these names `vocab.txt` is read rightly where there is no `tokenizer.json`.
        settings = {
            "do_lower_case": lowercase,
            "strip_accents": strip_accents,
            "tokenize_chinese_chars": handle_chinese_chars,
        }
        tokenizer = cls(definition, {**settings, **special_tokens})
        warn_if_smaller(tokenizer.vocab_size, vocab_size)
        return tokenizer

    @classmethod
    def reads(cls, definition: str | bytes) -> bool:
        return isinstance(definition, str) and model_type(definition) == "WordPiece"

    def _files(self) -> dict[str, str | bytes]:
        """`vocab.txt` as well, where it can tell the vocabulary: a token a line, from 0 on."""
        vocabulary = word_rules(str(self._definition), "WordPiece").vocabulary
        tokens = sorted(vocabulary, key=vocabulary.__getitem__)
        is_list = max(vocabulary.values()) + 1 == len(tokens) and tokens[-1]
        if not is_list or any({"\n", "\r"} & {*token} for token in tokens):
            return super()._files()
        return super()._files() | {"vocab.txt": "".join(f"{token}\n" for token in tokens)}


def _decoder(rule: Mapping[str, Any] | None) -> Callable[[list[str]], str]:
    """What the reference makes of a few tokens."""
    from tokenizers import decoders

    refuse("decoder", (rule or {}).get("type"), ("WordPiece", None))
    if rule is None:
        return " ".join
    return decoders.WordPiece(rule.get("prefix", "##"), rule.get("cleanup", True)).decode


def _piece_finder(rules: WordRules, max_characters: int) -> Any:
    """tensorflow-text's tokenizer of single words."""
    try:
        import tensorflow_text
    except ImportError as error:
        raise ImportError(
            "WordPieceTokenizer needs tensorflow-text: pip install tensorflow-text"
        ) from error
    prefix = rules.model.get("continuing_subword_prefix", "##")
    if not isinstance(prefix, str) or not prefix or set(prefix) - set(string.punctuation):
        refuse("model.continuing_subword_prefix", prefix, ("punctuation such as '##'",))
    # A number that is no token's, or one of a token that no word is long enough for, is given a
    # name that no word has.
    tokens = [f" {i}" for i in range(max(rules.vocabulary.values()) + 1)]
    for token, i in rules.vocabulary.items():
        piece = token.removeprefix(prefix)
        if len(piece) <= max_characters:
            if len(piece.encode()) > MAX_TOKEN_BYTES:
                raise ValueError(
                    f"model.vocab: {token!r} is of more than {MAX_TOKEN_BYTES} bytes, which is not "
                    "supported"
                )
            tokens[i] = token
    tokens[rules.vocabulary[rules.unk_token]] = rules.unk_token
    with tf.init_scope(), tf.device("CPU:0"):
        return tensorflow_text.FastWordpieceTokenizer(
            tokens,
            suffix_indicator=prefix,
            max_bytes_per_word=4 * max_characters,
            unknown_token=rules.unk_token,
            token_out_type=tf.int32,
            no_pretokenization=True,
        )
