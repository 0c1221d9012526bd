"""Byte-level byte-pair encoding (GPT-2's tokenizer) in pure TensorFlow ops."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from keras_lm.tokenizers.base import Tokenizer, settings_with_usual_names
from keras_lm.tokenizers.bytepair_rules import (
    byte_alphabet,
    byte_pair_rules,
    splitting_rules,
)
from keras_lm.tokenizers.bytepair_spans import SpanFinder
from keras_lm.tokenizers.corpus import (
    check_vocab_size,
    distinct_tokens,
    named_special_tokens,
    training_texts,
    warn_if_smaller,
)
from keras_lm.tokenizers.merging import Merger
from keras_lm.tokenizers.normal_form import (
    compose,
    compose_with_sources,
    require_tensorflow_text,
)
from keras_lm.tokenizers.rules import model_type, read_rules
from keras_lm.tokenizers.splitting import (
    ADDS_SPACE,
    PATTERNS,
    Marker,
    Splitter,
    added_token_key,
)
from keras_lm.tokenizers.tensors import checked_utf8


@keras.saving.register_keras_serializable("keras_lm")
class BytePairTokenizer(Tokenizer):
    """Byte-level BPE, as of GPT-2, Llama 3, Qwen 2 and SmolLM.

    Ids and offsets equal those of Hugging Face `tokenizers`.

    A text is split into words. A word that the table of whole words knows is one id; every
    other distinct word is merged, pair by pair, in the order of the merges' ranks.

        texts [B] ─ split ─ words [B, None] ─┬─ whole word: its id ───────────┬─ ids [B, None]
                                             └─ others: unique ─ merge ─ ids ─┘

    Sennrich et al. 2016 (https://arxiv.org/abs/1508.07909); on bytes: Radford et al. 2019.

    Args:
        definition: the content of a `tokenizer.json`.
        settings: special tokens by name, such as `eos_token`, and what else is to be kept.

    Raises:
        ValueError: the tokenizer has a rule that cannot be followed exactly; names it.

    Example:

    >>> tokenizer = BytePairTokenizer.train(texts=["low lower lowest"] * 2, vocab_size=262)
    >>> ids = tokenizer(["low lowest", "low"])
    >>> ids.shape, ids.dtype
    (TensorShape([2, None]), tf.int32)
    >>> tokenizer.detokenize(ids).numpy().tolist()
    [b'low lowest', b'low']
    >>> tokenizer("low", sequence_length=4).shape
    TensorShape([4])
    """

    def __init__(self, definition: str, settings: Mapping[str, Any] | None = None) -> None:
        rules = byte_pair_rules(definition)
        vocabulary = rules.vocabulary | {token.content: token.id for token in rules.added}
        spelled = _spell(vocabulary)
        super().__init__(
            definition,
            settings_with_usual_names(settings, vocabulary),
            vocabulary=vocabulary,
            token_bytes=spelled,
            hidden_ids=[token.id for token in rules.added if token.special],
        )
        ids = rules.vocabulary
        self._merge = Merger(
            [(ids[a], ids[b], ids[a + b]) for a, b in rules.merges],
            spelled,
            [ids.get(character) for character in byte_alphabet()],
        )
        lacking = (byte for byte, token in enumerate(byte_alphabet()) if token not in ids)
        self._lacking = sorted(lacking)
        # Where texts are normalized, added tokens that are not are looked for before that.
        self._composes = rules.composes
        if rules.composes:
            require_tensorflow_text()
        after = [token for token in rules.added if rules.composes and token.normalized]
        self._mark = Marker([token for token in rules.added if token not in after])
        self._mark_composed = Marker(after, passes_over=True)
        self._split = Splitter(rules.pattern, rules.added, rules.add_prefix_space)
        self._adds_space = rules.add_prefix_space
        words = {spelled[i]: i for i in ids.values() if _is_utf8(spelled[i])}
        if not rules.ignore_merges:
            words = self._unchanged_by_merging(words)
        words |= {added_token_key(token.content): token.id for token in rules.added}
        tokens = [self._tokens.get(i, "") for i in range(len(spelled))]
        self._find_spans = SpanFinder(
            tokens,
            spelled,
            rules.trimming,
            rules.add_prefix_space,
            any(token.lstrip or token.rstrip for token in rules.added),
        )
        with tf.init_scope(), tf.device("CPU:0"):
            self._whole_words = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    tf.constant(list(words.keys()), tf.string),
                    tf.constant(list(words.values()), tf.int64),
                ),
                -1,
            )

    def _unchanged_by_merging(self, words: dict[bytes, int]) -> dict[bytes, int]:
        """The words that merging gives back as the one id they are: they need not be merged."""
        with tf.init_scope():
            merged = self._merge(tf.constant(list(words.keys()), tf.string))
        first, count = merged.values.numpy()[merged.row_starts()], merged.row_lengths().numpy()
        kept = (count == 1) & (first == list(words.values()))
        return {word: i for (word, i), keep in zip(words.items(), kept, strict=True) if keep}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def _encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        with tf.device("CPU:0"):
            texts = self._mark(checked_utf8(texts))
            if self._composes:
                texts = self._mark_composed(compose(texts))
            words, _ = self._words(texts)
            ids = self._ids_of(words.values)
            return _of_texts(ids, words)

    def _words(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """Words [B, None] of marked texts [B], and whether each, [W], has an added space."""
        words = self._split(texts)
        if not self._adds_space:
            return words, tf.zeros_like(words.values, tf.bool)
        is_word = words != ADDS_SPACE
        return (
            tf.ragged.boolean_mask(words, is_word),
            tf.boolean_mask(tf.roll(~is_word.values, 1, 0), is_word.values),
        )

    def _ids_of(self, words: tf.Tensor) -> tf.RaggedTensor:
        """Ids [W, None] of words [W]."""
        words = self._split.keys(words)
        whole = self._whole_words.lookup(words)
        rest = tf.where(whole < 0)
        others, which = tf.unique(tf.gather_nd(words, rest))
        merged = self._merge(others)
        # Every word is a stretch of this pool: its one id, or its merged ids.
        num_words = tf.size(whole, tf.int64)
        pool = tf.concat([tf.cast(whole, tf.int32), merged.values], 0)
        start = tf.tensor_scatter_nd_update(
            tf.range(num_words), rest, num_words + tf.gather(merged.row_starts(), which)
        )
        length = tf.tensor_scatter_nd_update(
            tf.ones_like(whole), rest, tf.gather(merged.row_lengths(), which)
        )
        places = tf.ragged.range(start, start + length)
        return places.with_values(tf.gather(pool, places.values))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def _encode_with_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        with tf.device("CPU:0"):
            marked = self._mark(self._without_lacking(checked_utf8(texts)))
            sources = None
            if self._composes:
                marked, sources = compose_with_sources(marked)
                marked = self._mark_composed(marked)
            words, has_added_space = self._words(marked)
            ids = self._ids_of(words.values)
            spans = self._find_spans(texts, words, has_added_space, ids, sources)
            return _of_texts(ids, words), spans

    def _without_lacking(self, texts: tf.Tensor) -> tf.Tensor:
        """The texts [B], where nothing in them is dropped: then their tokens leave no gaps."""
        if not self._lacking:
            return texts
        byte = tf.io.decode_raw(tf.strings.reduce_join(texts), tf.uint8)
        is_lacking = tf.reduce_any(byte[:, None] == tf.constant(self._lacking, tf.uint8))
        message = "offsets of texts with characters that this vocabulary drops are not supported"
        with tf.control_dependencies([tf.debugging.Assert(~is_lacking, [message])]):
            return tf.identity(texts)

    @classmethod
    def train(
        cls,
        files: Sequence[str | os.PathLike[str]] | None = None,
        texts: Iterable[str] | None = None,
        *,
        vocab_size: int,
        special_tokens: Sequence[str] | Mapping[str, str] = ("<|endoftext|>",),
        min_frequency: int = 2,
        pattern: str = "gpt2",
    ) -> Self:
        """Learns a vocabulary from text; the same text gives the same vocabulary.

        The first special token of a list starts and ends documents and pads.

        Args:
            files: UTF-8 text files, or
            texts: strings; exactly one of the two.
            vocab_size: ids in all, special tokens and the 256 bytes included.
            special_tokens: tokens that no text is merged into: a list, or by name, such as
                `{"eos_token": "<|im_end|>"}`.
            min_frequency: how often a pair must occur to become a token.
            pattern: how texts are split into words: as `"gpt2"`, `"llama3"`, `"qwen2"` (which
                also normalizes to Unicode's form C) or `"smollm"` (digits alone) do.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: both or none of `files` and `texts`, a file that is not UTF-8, a
                `vocab_size` that has no room for the bytes, empty or repeated special tokens, an
                unknown `pattern`.
        """
        import tokenizers

        pieces = training_texts(files, texts)
        special = named_special_tokens(special_tokens, ("bos_token", "eos_token", "pad_token"))
        tokens = distinct_tokens(special_tokens)
        check_vocab_size(
            vocab_size, 256 + len(tokens), f"256 bytes and {len(tokens)} special tokens"
        )
        if pattern not in PATTERNS:
            raise ValueError(f"pattern={pattern!r} must be one of {', '.join(PATTERNS)}")
        model = {"type": "BPE", "vocab": {}, "merges": [], "ignore_merges": pattern == "llama3"}
        empty = {"model": model, **splitting_rules(pattern)}
        learner = tokenizers.Tokenizer.from_str(json.dumps(empty))
        learner.decoder = tokenizers.decoders.ByteLevel()
        learner.train_from_iterator(
            pieces,
            tokenizers.trainers.BpeTrainer(
                vocab_size=vocab_size,
                min_frequency=min_frequency,
                special_tokens=tokens,
                initial_alphabet=byte_alphabet(),
                show_progress=False,
            ),
        )
        warn_if_smaller(learner.get_vocab_size(), vocab_size)
        return cls(learner.to_str(), special)

    @classmethod
    def reads(cls, definition: str | bytes) -> bool:
        if not isinstance(definition, str) or model_type(definition) not in ("BPE", None):
            return False
        # Without merges and without words it is a `ByteTokenizer`'s.
        rules = read_rules(definition)
        splitter = rules.get("pre_tokenizer") or {}
        return rules["model"].get("merges") != [] or splitter.get("use_regex") is not False


def _spell(vocabulary: Mapping[str, int]) -> list[bytes]:
    """The bytes of each id. A token with a character outside of the byte alphabet is itself."""
    byte_of = {character: byte for byte, character in enumerate(byte_alphabet())}
    spelled = [b""] * (max(vocabulary.values()) + 1)
    for token, i in vocabulary.items():
        is_spelled = all(character in byte_of for character in token)
        spelled[i] = bytes(byte_of[c] for c in token) if is_spelled else token.encode()
    return spelled


def _is_utf8(word: bytes) -> bool:
    try:
        word.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _of_texts(ids: tf.RaggedTensor, words: tf.RaggedTensor) -> tf.RaggedTensor:
    """Ids [B, None] from those of words [W, None] and the words [B, None]."""
    return tf.RaggedTensor.from_row_splits(
        ids.values, tf.gather(ids.row_splits, words.row_splits), validate=False
    )
