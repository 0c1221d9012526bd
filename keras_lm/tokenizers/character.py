"""Characters as tokens."""

from __future__ import annotations

import os
from collections import Counter
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
from keras_lm.tokenizers.cutting import Cutter, put, relative_spans, utf8_size
from keras_lm.tokenizers.rules import model_type, read_rules, refuse
from keras_lm.tokenizers.tensors import checked_utf8
from keras_lm.tokenizers.word import USUAL_TOKENS
from keras_lm.tokenizers.word_rules import spell, unknown_token, word_rules

# Every character by itself, line ends too.
ANY = r"[\s\S]"
SPLIT = {"type": "Split", "pattern": {"Regex": ANY}, "behavior": "Isolated", "invert": False}


@keras.saving.register_keras_serializable("keras_lm")
class CharacterTokenizer(Tokenizer):
    """The most frequent characters (Unicode code points), each an id; every other is unknown.

    Texts are read as they stand: with case, white space and line ends. Ids equal those of Hugging
    Face `tokenizers` (its model `WordLevel`, split at every character).

    Args:
        definition: the content of a `tokenizer.json`.
        settings: special tokens by name, such as `eos_token`, and what else is to be kept.

    Raises:
        ValueError: the tokenizer has a rule that cannot be followed exactly; names it.

    Example:

    >>> tokenizer = CharacterTokenizer.train(texts=["a red ant"], vocab_size=11)
    >>> ids = tokenizer(["a rat", "tarn"])
    >>> ids.to_list()
    [[5, 4, 9, 5, 10], [10, 5, 9, 8]]
    >>> tokenizer.detokenize(ids).numpy().tolist()
    [b'a rat', b'tarn']
    """

    def __init__(self, definition: str, settings: Mapping[str, Any] | None = None) -> None:
        rules = word_rules(definition, "WordLevel")
        refuse("normalizer", rules.data.get("normalizer"), (None,))
        refuse("pre_tokenizer", rules.data.get("pre_tokenizer"), (SPLIT,))
        refuse("decoder", (rules.data.get("decoder") or {}).get("type"), ("Fuse",))
        super().__init__(
            definition,
            settings_with_usual_names(settings, rules.tokens),
            vocabulary=rules.tokens,
            token_bytes=spell(rules.names),
            hidden_ids=rules.hidden_ids,
        )
        self._cut = Cutter(rules.added)
        codes = {ord(token): i for token, i in rules.vocabulary.items() if len(token) == 1}
        with tf.init_scope(), tf.device("CPU:0"):
            self._codes = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    # No character has the code -1; it is there because a table may not be empty.
                    tf.constant([-1, *codes.keys()], tf.int32),
                    tf.constant([-1, *codes.values()], tf.int32),
                ),
                rules.vocabulary[rules.unk_token],
            )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def _encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        with tf.device("CPU:0"):
            return self._characters(texts)[0]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def _encode_with_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        with tf.device("CPU:0"):
            ids, size = self._characters(texts)
            end = tf.cumsum(size)
            return ids, relative_spans(end - size, end, ids.value_rowids(), texts)

    def _characters(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """Ids [B, None], and the bytes that each stands for."""
        pieces = self._cut(checked_utf8(texts))
        is_added = pieces.id >= 0
        # One character for an added token, and then the token's id and size.
        codes = tf.strings.unicode_decode(tf.where(is_added, " ", pieces.text), "UTF-8")
        places = tf.boolean_mask(codes.row_starts(), is_added)
        added, content = (tf.boolean_mask(x, is_added) for x in (pieces.id, pieces.text))
        ids = put(self._codes.lookup(codes.values), places, added)
        size = put(utf8_size(codes.values), places, tf.strings.length(content))
        splits = pieces.text_splits(codes.row_splits, tf.size(texts, tf.int64))
        return tf.RaggedTensor.from_row_splits(ids, splits, validate=False), size

    @classmethod
    def train(
        cls,
        files: Sequence[str | os.PathLike[str]] | None = None,
        texts: Iterable[str] | None = None,
        *,
        vocab_size: int,
        special_tokens: Mapping[str, Any] = USUAL_TOKENS,
        min_count: int = 1,
    ) -> Self:
        """Takes the most frequent characters of text; ids are in the order of code points.

        Args:
            files: UTF-8 text files, or
            texts: strings; exactly one of the two.
            vocab_size: ids in all, special tokens included.
            special_tokens: tokens by name, an `unk_token` among them.
            min_count: how often a character must occur.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: both or none of `files` and `texts`, a file that is not UTF-8, a
                `vocab_size` that has no room for a character, no `unk_token`.
        """
        import tokenizers

        unk_token = unknown_token(special_tokens)
        special = distinct_tokens(special_tokens)
        check_vocab_size(
            vocab_size, len(special) + 1, f"{len(special)} special tokens and a character"
        )
        counts: Counter[str] = Counter()
        for text in training_texts(files, texts):
            counts.update(text)
        frequent = [character for character in counts if counts[character] >= min_count]
        frequent.sort(key=lambda character: (-counts[character], character))
        tokens = dict.fromkeys([*special, *sorted(frequent[: vocab_size - len(special)])])
        model = tokenizers.models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token)
        tokenizer = tokenizers.Tokenizer(model)
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(ANY), "isolated")
        tokenizer.decoder = tokenizers.decoders.Fuse()
        tokenizer.add_special_tokens(special)
        warn_if_smaller(tokenizer.get_vocab_size(), vocab_size)
        return cls(tokenizer.to_str(), special_tokens)

    @classmethod
    def reads(cls, definition: str | bytes) -> bool:
        if not isinstance(definition, str) or model_type(definition) != "WordLevel":
            return False
        return (read_rules(definition).get("pre_tokenizer") or {}).get("type") == "Split"
