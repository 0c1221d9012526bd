"""SentencePiece in the graph with the ids of another vocabulary."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from keras_lm.tokenizers.sentencepiece import model as models
from keras_lm.tokenizers.sentencepiece.encoding import encoder_of
from keras_lm.tokenizers.sentencepiece.model import SPACE_MARK, ModelProto
from keras_lm.tokenizers.sentencepiece.ops import Processor

# Where a text begins with a language to write, as in ">>fra<< Hello".
CODE = r"(?s)^(>>.*?<<)"


class NamedPieces(tf.Module):
    """Encodes texts as a model does, and gives each piece the id that its name has elsewhere.

    What the model does not know is looked up as it is written: a vocabulary that two languages
    share may have it from the other one. A language code that begins a text is one token.

    Args:
        model: the content of a model's file.
        vocabulary: piece to id.
        unk_id: the id of what is not in it.
    """

    def __init__(self, model: ModelProto, vocabulary: Mapping[str, int], unk_id: int) -> None:
        super().__init__(name=None)
        self._encoder = encoder_of(model)
        self._normalize = Processor(models.normalizing_model(model))
        self._encoder_of_normalized = encoder_of(models.without_normalization(model))
        self._unknown = models.unknown_id(model)
        pieces = [piece.piece for piece in model.pieces]
        found = set(pieces)
        others = {name: i for name, i in vocabulary.items() if name not in found} or {"": unk_id}
        with tf.init_scope(), tf.device("CPU:0"):
            self._ids = tf.constant([vocabulary.get(name, unk_id) for name in pieces], tf.int32)
            self._other_ids = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    tf.constant(list(others), tf.string), tf.constant([*others.values()], tf.int32)
                ),
                unk_id,
            )

    def ids(self, texts: tf.Tensor) -> tf.RaggedTensor:
        code, rest = self._cut(texts)
        pieces = self._encoder.ids(rest)
        return tf.concat([self._of_code(code), self._named(pieces, rest)], axis=1)

    def ids_and_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        code, rest = self._cut(texts)
        pieces, spans = self._encoder.ids_and_spans(rest)
        of_code, size = self._of_code(code), tf.strings.length(code)
        spans += tf.gather(size, pieces.value_rowids())[:, tf.newaxis]
        size = tf.boolean_mask(size, size > 0)
        of_first = of_code.with_values(tf.stack([tf.zeros_like(size), size], axis=1))
        ids = tf.concat([of_code, self._named(pieces, rest)], axis=1)
        return ids, tf.concat([of_first, pieces.with_values(spans)], axis=1).values

    def _cut(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The language codes that texts begin with, empty where there is none, and the rest."""
        rest = tf.strings.regex_replace(texts, CODE, "", replace_global=False)
        size = tf.strings.length(texts) - tf.strings.length(rest)
        return tf.strings.substr(texts, tf.zeros_like(size), size), rest

    def _of_code(self, code: tf.Tensor) -> tf.RaggedTensor:
        """[B, None]: one id for each code, none where there is none."""
        ids = self._other_ids.lookup(tf.boolean_mask(code, code != ""))
        return tf.RaggedTensor.from_row_lengths(ids, tf.cast(code != "", tf.int64), validate=False)

    def _named(self, pieces: tf.RaggedTensor, texts: tf.Tensor) -> tf.RaggedTensor:
        """The vocabulary's ids of the model's ids of texts."""
        is_unknown = pieces.values == self._unknown
        ids = tf.gather(self._ids, pieces.values)
        return pieces.with_values(
            tf.cond(
                tf.reduce_any(is_unknown),
                lambda: tf.where(is_unknown, self._of_names(texts), ids),
                lambda: ids,
            )
        )

    def _of_names(self, texts: tf.Tensor) -> tf.Tensor:
        """The ids [n] of all pieces of texts by what stands there, normalized."""
        parts = self._normalize.encode(texts, tf.string)
        normalized = tf.strings.unsorted_segment_join(
            parts.values, parts.value_rowids(), parts.nrows()
        )
        pieces, spans = self._encoder_of_normalized.ids_and_spans(normalized)
        names = tf.strings.substr(
            tf.gather(normalized, pieces.value_rowids()), spans[:, 0], spans[:, 1] - spans[:, 0]
        )
        return self._other_ids.lookup(tf.strings.regex_replace(names, " ", SPACE_MARK))
