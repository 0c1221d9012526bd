"""The loss of language models."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_lm")
class NextTokenLoss(keras.losses.Loss):
    """Cross-entropy of the next token: mean nats over the tokens that count.

    A task that is compiled with this class, and with no metric that wants logits, computes it
    in chunks of tokens (`LanguageModel.hidden_cross_entropy`). Called directly it is
    `SparseCategoricalCrossentropy(from_logits=True)` in float32 whose mean is taken over the
    weights, not over the batch, so that padding does not make a loss smaller.

    Example:

    >>> round(float(NextTokenLoss()(ops.ones((1, 2), "int32"), ops.zeros((1, 2, 4)))), 4)
    1.3863
    """

    def __init__(
        self,
        reduction: str = "mean_with_sample_weight",
        name: str = "next_token_loss",
        dtype: Any = "float32",
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Nats: int [B, T], float [B, T, V] → float32 [B, T]."""
        logits = ops.cast(y_pred, "float32")
        return keras.losses.sparse_categorical_crossentropy(
            ops.cast(y_true, "int32"), logits, from_logits=True
        )


@keras.saving.register_keras_serializable("keras_lm")
class MaskedTokenLoss(NextTokenLoss):
    """Cross-entropy of masked tokens: mean nats over the masked positions that count.

    A `MaskedLM` that is compiled with this class computes it without ever holding the logits of
    other positions; next-sentence prediction adds its own mean nats.
    """

    def __init__(
        self,
        reduction: str = "mean_with_sample_weight",
        name: str = "masked_token_loss",
        dtype: Any = "float32",
    ) -> None:
        super().__init__(reduction, name, dtype)


class _Given(keras.losses.Loss):
    def call(self, y_true: Any, y_pred: Any) -> Any:
        return y_pred


def scaled_for_replicas(loss: Any) -> Any:
    """A scalar loss as Keras's training step expects it: divided by the replicas in sync.

    Keras does so at the end of every loss object, and for no scalar.
    """
    given = ops.reshape(loss, (1,))
    return _Given("given", "sum_over_batch_size", "float32")(given, given)
