"""Tasks that are trained by the cross-entropy of tokens, counted exactly and in chunks."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_lm.metrics import BitsPerByte, CrossEntropy, Perplexity
from keras_lm.models.base import LanguageModel
from keras_lm.tasks.base import Task
from keras_lm.tokenizers import Tokenizer
from keras_lm.training import NextTokenLoss, default_optimizer
from keras_lm.training.losses import scaled_for_replicas


class TokenTask(Task):
    """A task whose usual loss is `NextTokenLoss`: what Keras's training loop calls.

    With that loss, and no metric that wants logits, a step stops at the hidden states, and loss
    and metrics are computed from them in chunks: all logits never exist at once. Which way is
    taken follows from what was given to `compile`, so a reloaded task takes the same.

    Args:
        model: a `LanguageModel`.
        tokenizer: its tokenizer; without one there are no bits per byte.
        sequence_length: T, the tokens of a window; default: the model's `max_length`.
    """

    model_class = LanguageModel
    own_loss = NextTokenLoss

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer | None = None,
        sequence_length: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, tokenizer, sequence_length, **kwargs)
        self._exact_loss = CrossEntropy(name="loss")
        self._perplexity = Perplexity()
        self._bits_per_byte = None if tokenizer is None else BitsPerByte()

    def compile(
        self,
        optimizer: Any = "auto",
        loss: Any = "auto",
        metrics: Any = None,
        **kwargs: Any,
    ) -> None:
        """Keras's `compile`.

        Args:
            optimizer: default: `keras_lm.training.default_optimizer()`, AdamW.
            loss: default: `keras_lm.training.NextTokenLoss()`, with perplexity and bits per
                byte as metrics; all three are reported without its label smoothing. Any other
                loss sees the full logits [B, T, V].
            metrics: see the full logits too, which then are computed.
            **kwargs: as in Keras: `weighted_metrics`, `jit_compile`, `steps_per_execution`, …
        """
        if self.model.learns_by_counting:  # its look-ups are small operations, and many
            kwargs.setdefault("jit_compile", True)
        super().compile(
            optimizer=default_optimizer() if optimizer == "auto" else optimizer,
            loss=NextTokenLoss() if loss == "auto" else loss,
            metrics=metrics,
            **kwargs,
        )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Logits float32 [B, T, V] of token ids [B, T] or a dict of them."""
        if self._stops_before_logits:
            return self.model.hidden_states(inputs, training=training)
        return self.model(inputs, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        if not self._has_own_loss:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        weights = _token_weights(y, sample_weight)
        total = ops.maximum(ops.sum(weights), 1e-9)
        if not self._stops_before_logits:
            nats = self.loss.nats(y, y_pred)
            loss = ops.sum(weights * self.loss.smoothed(nats, y_pred)) / total
        elif training:
            loss, nats = self.model.hidden_cross_entropy(
                y_pred, y, weights / total, self.loss.label_smoothing
            )
        else:
            nats = -self.model.hidden_log_probs(y_pred, y)
            loss = ops.sum(weights * nats) / total
        self._exact_loss.update_nats(nats, weights)
        self._perplexity.update_nats(nats, weights)
        if self._bits_per_byte is not None:
            num_bytes = self._num_bytes(x, y, weights, training)
            self._bits_per_byte.update_nats(nats, weights, num_bytes)
        for extra in self.losses:
            loss = loss + ops.sum(ops.cast(extra, "float32"))
        return scaled_for_replicas(loss)

    def _num_bytes(self, x: Any, y: Any, weights: Any, training: bool) -> Any:
        """UTF-8 bytes of what each row is trained or evaluated on, int [B].

        Evaluation counts the bytes of the texts themselves. They stand in the row in which a
        text begins, which is right for the sum over a data set; in the middle of an epoch of
        training, and for bare ids, the bytes that the tokens spell say more.
        """
        if not training and isinstance(x, dict) and "num_bytes" in x:
            return x["num_bytes"]
        self.require_tokenizer("counting bytes")
        lengths = ops.take(ops.convert_to_tensor(self.output_tokenizer.byte_lengths), y)
        return ops.sum(ops.where(weights > 0, lengths, 0), axis=-1)

    @property
    def output_tokenizer(self) -> Any:
        """The tokenizer of what the model writes."""
        return self.tokenizer

    @property
    def exact_totals(self) -> tuple[float, float]:
        """Nats and tokens since the metrics were last reset, as Python floats."""
        return self._exact_loss.totals

    @property
    def metrics(self) -> list[Any]:
        """Keras's metrics; perplexity and bits per byte only where our own loss counts them."""
        own = (self._exact_loss, self._perplexity, self._bits_per_byte)
        keep = self.compiled and self._has_own_loss
        return [m for m in super().metrics if keep or not any(m is metric for metric in own)]


def _token_weights(targets: Any, sample_weight: Any) -> Any:
    """Weights float32 [B, T]; Keras gives those of rows as [B]."""
    weights = ops.ones(ops.shape(targets), "float32")
    if sample_weight is None:
        return weights
    return weights * ops.reshape(ops.cast(sample_weight, "float32"), (ops.shape(targets)[0], -1))
