"""Whole words as tokens."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from keras_lm.tokenizers.base import Tokenizer, settings_with_usual_names
from keras_lm.tokenizers.corpus import (
    check_vocab_size,
    distinct_tokens,
    training_texts,
    warn_if_smaller,
)
from keras_lm.tokenizers.distinct import WordReader
from keras_lm.tokenizers.rules import model_type, read_rules, refuse
from keras_lm.tokenizers.tensors import checked_utf8
from keras_lm.tokenizers.word_rules import (
    spell,
    unknown_token,
    used_ids,
    word_rules,
    word_table,
)
from keras_lm.tokenizers.words import Words, token_spans

USUAL_TOKENS = {
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "bos_token": "<s>",
    "eos_token": "</s>",
}


@keras.saving.register_keras_serializable("keras_lm")
class WordTokenizer(Tokenizer):
    """The most frequent words, each an id; every other word is unknown.

    Words end at white space; a punctuation mark is a word of its own, and so is a Chinese
    character if the tokenizer was trained so. Ids equal those of Hugging Face `tokenizers`
    (its model `WordLevel`). Decoding puts a space between any two words.

    Args:
        definition: the content of a `tokenizer.json`.
        settings: special tokens by name, such as `eos_token`, and what else is to be kept.

    Raises:
        ValueError: the tokenizer has a rule that cannot be followed exactly; names it.

    Example:

    >>> tokenizer = WordTokenizer.train(texts=["The dog, the cat."], vocab_size=9, lowercase=True)
    >>> ids = tokenizer(["A cat, the dog."])
    >>> tokenizer.detokenize(ids).numpy().tolist()
    [b'<unk> cat , the dog .']
    """

    def __init__(self, definition: str, settings: Mapping[str, Any] | None = None) -> None:
        rules = word_rules(definition, "WordLevel")
        refuse("decoder", (rules.data.get("decoder") or {}).get("type"), (None,))
        super().__init__(
            definition,
            settings_with_usual_names(settings, rules.tokens),
            vocabulary=rules.tokens,
            first_bytes=spell(rules.names),
            token_bytes=spell(rules.names, lambda token: " " + token),
            hidden_ids=rules.hidden_ids,
        )
        self._read = WordReader(rules)
        self._unknown = rules.vocabulary[rules.unk_token]
        self._words = word_table(rules.vocabulary, default=self._unknown)
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
        values = tf.where(words.added >= 0, words.added, self._words.lookup(words.text))
        ids = tf.RaggedTensor.from_row_splits(values, words.row_splits, validate=False)
        word = tf.range(tf.size(values, tf.int64))
        begin, end = tf.zeros_like(word), words.num_bytes()
        return ids, token_spans(words, word, begin, end, ids.value_rowids(), texts)

    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        return super()._decode(tf.ragged.boolean_mask(ids, tf.gather(self._is_used, ids)))

    @classmethod
    def train(
        cls,
        files: Sequence[str | os.PathLike[str]] | None = None,
        texts: Iterable[str] | None = None,
        *,
        vocab_size: int,
        special_tokens: Mapping[str, Any] = USUAL_TOKENS,
        lowercase: bool = False,
        handle_chinese_chars: bool = True,
        min_count: int = 1,
    ) -> Self:
        """Takes the most frequent words of text; of equally frequent ones the first by spelling.

        Args:
            files: UTF-8 text files, or
            texts: strings; exactly one of the two.
            vocab_size: ids in all, special tokens included.
            special_tokens: tokens by name, an `unk_token` among them.
            lowercase: read texts in lower case.
            handle_chinese_chars: make every Chinese character a word.
            min_count: how often a word must occur.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: both or none of `files` and `texts`, a file that is not UTF-8, a
                `vocab_size` that has no room for a word, no `unk_token`.
        """
        import tokenizers

        pieces = training_texts(files, texts)
        unk_token = unknown_token(special_tokens)
        tokens = distinct_tokens(special_tokens)
        check_vocab_size(vocab_size, len(tokens) + 1, f"{len(tokens)} special tokens and a word")
        learner = tokenizers.Tokenizer(tokenizers.models.WordLevel({unk_token: 0}, unk_token))
        learner.normalizer = tokenizers.normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=handle_chinese_chars,
            strip_accents=False,
            lowercase=lowercase,
        )
        learner.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        learner.train_from_iterator(
            pieces,
            tokenizers.trainers.WordLevelTrainer(
                vocab_size=vocab_size,
                min_frequency=min_count,
                special_tokens=tokens,
                show_progress=False,
            ),
        )
        warn_if_smaller(learner.get_vocab_size(), vocab_size)
        return cls(learner.to_str(), special_tokens)

    @classmethod
    def reads(cls, definition: str | bytes) -> bool:
        if not isinstance(definition, str) or model_type(definition) != "WordLevel":
            return False
        return (read_rules(definition).get("pre_tokenizer") or {}).get("type") != "Split"
