"""SentencePiece in the graph: ids to texts."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from keras_lm.tokenizers.sentencepiece import model as models
from keras_lm.tokenizers.sentencepiece.model import SPACE_MARK, ModelProto
from keras_lm.tokenizers.sentencepiece.ops import Processor


class Decoder(tf.Module):
    """Joins the pieces of ids; at the start of a text takes the space of the dummy prefix away.

    The op that joins them is an older SentencePiece, which takes other spaces away, and here takes
    none: how many the library would is counted from the ids.

    Args:
        model: the content of a model's file.
        added: id to text of the tokens that stand beside the model.
    """

    def __init__(self, model: ModelProto, added: Mapping[int, str]) -> None:
        super().__init__(name=None)
        self._processor = Processor(models.spelling_model(model, added))
        spec = model.normalizer_spec
        self._strips = spec.add_dummy_prefix or spec.remove_extra_whitespaces
        size = max([len(model.pieces) - 1, *added]) + 1
        # Whether a space of the piece may go, and whether the next piece's may go as well then.
        marked, silent = [False] * size, [True] * size
        for i, text in added.items():
            silent[i] = not text
        for i, piece in enumerate(model.pieces):
            text = piece.piece
            if piece.type == models.UNKNOWN:
                silent[i] = not model.trainer_spec.unk_surface
            elif piece.type != models.CONTROL:
                marked[i] = piece.type != models.BYTE and text.startswith(SPACE_MARK)
                silent[i] = spec.remove_extra_whitespaces and marked[i] and text == SPACE_MARK
        with tf.init_scope(), tf.device("CPU:0"):
            self._is_marked, self._is_silent = tf.constant(marked), tf.constant(silent)

    def __call__(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Strings [B] of ids [B, None]."""
        # This look-up refuses ids that there are not, which the op calls the end of the data.
        marked = tf.cast(tf.gather(self._is_marked, ids.values), tf.int64)
        with tf.control_dependencies([marked]):
            texts = self._processor.decode(ids)
        if not self._strips:
            return texts
        loud = 1 - tf.cast(tf.gather(self._is_silent, ids.values), tf.int64)
        before = tf.cumsum(tf.concat([[0], loud], 0))
        row = ids.value_rowids()
        leads = before[:-1] == tf.gather(tf.gather(before, ids.row_starts()), row)
        spaces = tf.math.unsorted_segment_sum(tf.where(leads, marked, 0), row, ids.nrows(tf.int64))
        return tf.strings.substr(texts, spaces, tf.cast(tf.strings.length(texts), tf.int64))
