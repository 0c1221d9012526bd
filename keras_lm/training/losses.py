"""The loss of language models."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class TokenLoss(keras.losses.Loss):
    """Mean nats of tokens: `SparseCategoricalCrossentropy(from_logits=True)` in float32.

    Its mean is taken over the weights, not over the batch, so that padding does not make a loss
    smaller.
    """

    def __init__(self, reduction: str, name: str, dtype: Any) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def nats(self, y_true: Any, y_pred: Any) -> Any:
        """int [B, T], float [B, T, V] → float32 [B, T]."""
        logits = ops.cast(y_pred, "float32")
        return keras.losses.sparse_categorical_crossentropy(
            ops.cast(y_true, "int32"), logits, from_logits=True
        )

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The nats."""
        return self.nats(y_true, y_pred)


@keras.saving.register_keras_serializable("keras_lm")
class NextTokenLoss(TokenLoss):
    """Cross-entropy of the next token: mean nats over the tokens that count.

    A task that is compiled with this class, and with no metric that wants logits, computes it
    in chunks of tokens (`LanguageModel.hidden_cross_entropy`). Called directly it is
    `SparseCategoricalCrossentropy(from_logits=True)` in float32 whose mean is taken over the
    weights, not over the batch, so that padding does not make a loss smaller.

    With label smoothing ε (Szegedy et al. 2016, section 7, https://arxiv.org/abs/1512.00567;
    0.1 in Vaswani et al. 2017) a token costs (1 − ε) times its nats and ε times the mean nats of
    the whole vocabulary. This is what the gradients are taken of, and what the loss gives when it
    is called. The `loss` and `perplexity` that a task reports, for training and for validation,
    are of the nats alone, so that runs with different ε can be compared.

    Args:
        label_smoothing: ε, from 0 to below 1; default 0, none.
        reduction: as in Keras; default: the mean over the weights.
        name: as in Keras.
        dtype: as in Keras.

    Raises:
        ValueError: `label_smoothing` is out of its range.

    Example:

    >>> round(float(NextTokenLoss()(ops.ones((1, 2), "int32"), ops.zeros((1, 2, 4)))), 4)
    1.3863
    >>> logits = ops.log(ops.array([[[0.1, 0.7, 0.1, 0.1]]]))
    >>> round(float(NextTokenLoss(label_smoothing=0.2)(ops.array([[1]]), logits)), 4)
    0.6486
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        reduction: str = "mean_with_sample_weight",
        name: str = "next_token_loss",
        dtype: Any = "float32",
    ) -> None:
        super().__init__(reduction, name, dtype)
        is_number = isinstance(label_smoothing, int | float)
        if not is_number or isinstance(label_smoothing, bool) or not 0 <= label_smoothing < 1:
            raise ValueError(
                f"label_smoothing is {label_smoothing!r}; it must be a number from 0 to below 1"
            )
        self.label_smoothing = float(label_smoothing)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The nats, smoothed: int [B, T], float [B, T, V] → float32 [B, T]."""
        return self.smoothed(self.nats(y_true, y_pred), y_pred)

    def smoothed(self, nats: Any, y_pred: Any) -> Any:
        """(1 − ε) of the nats [B, T], and ε of the mean over the vocabulary; float32 [B, T]."""
        if not self.label_smoothing:
            return nats
        logits = ops.cast(y_pred, "float32")
        mean = ops.logsumexp(logits, axis=-1) - ops.mean(logits, axis=-1)
        return (1 - self.label_smoothing) * nats + self.label_smoothing * mean

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable("keras_lm")
class MaskedTokenLoss(TokenLoss):
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
