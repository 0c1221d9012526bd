"""tensorflow-text's two SentencePiece ops, as objects that a SavedModel takes along."""

from __future__ import annotations

import hashlib
from types import ModuleType

import tensorflow as tf


def tensorflow_text() -> ModuleType:
    """The package of the ops; ImportError that says what to do where it is missing."""
    try:
        import tensorflow_text as package
    except ImportError as error:
        raise ImportError(
            "SentencePieceTokenizer needs tensorflow-text: pip install tensorflow-text"
        ) from error
    return package


def _raw_ops() -> ModuleType:
    """The ops themselves: the public class keeps its model in a way that loses it, see below."""
    tensorflow_text()
    from tensorflow_text.python.ops.sentencepiece_tokenizer import gen_sentencepiece_tokenizer

    return gen_sentencepiece_tokenizer


class _Model(tf.saved_model.experimental.TrackableResource):
    """A model in the runtime, under a name that its content gives.

    Without a name it belongs to the kernel that has made it, and the runtime drops kernels from
    its cache, `keras.utils.set_random_seed` for one makes it do so, and the model with them.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._content = content
        self._shared_name = f"sentencepiece_{hashlib.sha256(content).hexdigest()}"
        _ = self.resource_handle  # made here, outside of any graph

    def _create_resource(self) -> tf.Tensor:
        return _raw_ops().sentencepiece_op(model=self._content, shared_name=self._shared_name)


class Processor(tf.Module):
    """SentencePiece 0.1.96 with a model.

    Args:
        model: the content of a model's file.

    Raises:
        ValueError: it refuses the model.
    """

    def __init__(self, model: bytes) -> None:
        super().__init__(name=None)
        try:
            with tf.init_scope(), tf.device("CPU:0"):
                self._model = _Model(model)
        except tf.errors.OpError as error:
            raise ValueError(
                f"the SentencePiece model is not supported: {error.message}"
            ) from error

    def encode(self, texts: tf.Tensor, out_type: tf.DType = tf.int32) -> tf.RaggedTensor:
        """Ids [B, None] of texts [B], or with `tf.string` what the pieces stand for."""
        values, splits = _raw_ops().sentencepiece_tokenize_op(
            self._model.resource_handle, texts, *self._no_extras(), out_type=out_type
        )
        return tf.RaggedTensor.from_row_splits(values, splits, validate=False)

    def encode_with_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor, tf.Tensor]:
        """Ids [B, None] of texts [B], and where each starts and ends in its text, in bytes."""
        values, splits, starts, ends = _raw_ops().sentencepiece_tokenize_with_offsets_op(
            self._model.resource_handle, texts, *self._no_extras(), out_type=tf.int32
        )
        ids = tf.RaggedTensor.from_row_splits(values, splits, validate=False)
        return ids, tf.cast(starts, tf.int32), tf.cast(ends, tf.int32)

    def decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Texts [B] of ids [B, None]."""
        return _raw_ops().sentencepiece_detokenize_op(
            self._model.resource_handle,
            tf.cast(ids.values, tf.int32),
            ids.row_splits,
            add_bos=False,
            add_eos=False,
            reverse=False,
        )

    def _no_extras(self) -> tuple[int, float, bool, bool, bool]:
        """No sampling, with its temperature; nothing before or after; not in reverse."""
        return 0, 1.0, False, False, False


class Search:
    """The search for the best pieces with a model; see `model.searching_model`.

    Args:
        model: the content of a model's file.
    """

    def __init__(self, model: bytes) -> None:
        with tf.init_scope(), tf.device("CPU:0"):
            self._op = tensorflow_text().FastSentencepieceTokenizer(model)

    def __call__(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Ids [n] of all texts [B], and their row splits, int64 [B + 1]."""
        ids = self._op.tokenize(texts)
        return ids.values, tf.cast(ids.row_splits, tf.int64)
