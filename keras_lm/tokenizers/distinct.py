"""Reading once what stands in a batch of texts many times."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from keras_lm.tokenizers.cutting import Cutter, Pieces
from keras_lm.tokenizers.rules import refuse
from keras_lm.tokenizers.word_rules import WordRules, normalizer_rules
from keras_lm.tokenizers.words import Words, WordSplitter


class WordReader(tf.Module):
    """Reads the words of texts, those of each distinct stretch between two spaces once.

        texts [B] ─ added tokens, stretches [S] ─ unique ─ words ─ ids [U, None] ─ ids [B, None]

    Args:
        rules: of the tokenizer.

    Raises:
        ValueError: it has a rule about words that cannot be followed exactly; names it.
    """

    def __init__(self, rules: WordRules) -> None:
        super().__init__(name=None)
        splitter = (rules.data.get("pre_tokenizer") or {}).get("type")
        refuse("pre_tokenizer.type", splitter, ("BertPreTokenizer",))
        normalized = [token for token in rules.added if token.normalized]
        self._cut = Cutter([token for token in rules.added if not token.normalized])
        self._split = WordSplitter(normalizer_rules(rules.data), normalized)
        # In normalized text an added token may stand across spaces.
        self._at_spaces = not normalized

    def __call__(
        self,
        texts: tf.Tensor,
        tokenize: Callable[[Words, tf.Tensor], tuple[tf.RaggedTensor, tf.Tensor]],
    ) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """Ids, ragged int32 [B, None], and their spans in bytes, int32 [n, 2].

        Args:
            texts: valid UTF-8, strings [B].
            tokenize: gives just this of the words of texts [U], and those texts.
        """
        pieces = self._cut(texts)
        is_added = pieces.id >= 0
        stretches, piece = pieces.text, tf.range(tf.size(pieces.id, tf.int64))
        if self._at_spaces:
            # An added token is one stretch, whatever is put for it.
            indices, stretches, _ = tf.raw_ops.StringSplit(
                input=tf.where(is_added, "_", pieces.text), delimiter=" ", skip_empty=False
            )
            piece = indices[:, 0]
        distinct, which = tf.unique(stretches)
        ids, spans = tokenize(self._split(distinct), distinct)
        # Every stretch is one of this pool: of the ids of distinct ones, and of the pieces' own.
        num_ids = tf.size(ids.values, tf.int64)
        stands_alone = tf.gather(is_added, piece)
        start = tf.where(stands_alone, num_ids + piece, tf.gather(ids.row_starts(), which))
        length = tf.where(stands_alone, tf.ones_like(start), tf.gather(ids.row_lengths(), which))
        place = tf.ragged.range(start, start + length)
        row_splits = tf.searchsorted(
            tf.gather(pieces.row, piece), tf.range(tf.size(texts, tf.int64) + 1)
        )
        all_ids = tf.RaggedTensor.from_row_splits(
            tf.gather(tf.concat([ids.values, pieces.id], 0), place.values),
            tf.gather(place.row_splits, row_splits),
            validate=False,
        )
        size = tf.strings.length(pieces.text)
        pool = tf.concat([spans, tf.stack([tf.zeros_like(size), size], 1)], 0)
        begin = tf.gather(_starts(texts, pieces, stretches, piece), place.value_rowids())
        return all_ids, tf.gather(pool, place.values) + begin[:, tf.newaxis]


def _starts(texts: tf.Tensor, pieces: Pieces, stretches: tf.Tensor, piece: tf.Tensor) -> tf.Tensor:
    """Where in its text each stretch begins, int32 [S], a space after the one before."""
    in_all = tf.cumsum(tf.strings.length(stretches) + 1, exclusive=True)
    is_first = tf.concat([[True], piece[1:] != piece[:-1]], 0)[: tf.size(piece)]
    first = tf.boolean_mask(in_all, is_first)
    in_piece = in_all - tf.gather(first, tf.cumsum(tf.cast(is_first, tf.int32)) - 1)
    piece_start = tf.cumsum(tf.strings.length(pieces.text), exclusive=True)
    text_start = tf.cumsum(tf.strings.length(texts), exclusive=True)
    row = tf.gather(pieces.row, piece)
    return in_piece + tf.gather(piece_start, piece) - tf.gather(text_start, row)
