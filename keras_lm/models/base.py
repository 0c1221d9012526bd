"""What every model can do, whatever is inside it: backbones, and language models among them."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
from keras import ops

from keras_lm.config import Configured
from keras_lm.layers.output import linear_cross_entropy, token_log_probs

State = Any
"""A nest of tensors of fixed shapes; axis 0 of each is the batch."""


class Backbone(Configured, keras.Model):
    """Token ids in, hidden states out: what a head of a task reads.

    `inputs` is an int array `token_ids` [B, T] or a dict of it with, optionally, `padding_mask`
    (1 = token, 0 = padding), `segment_ids` (tokens see their own segment only), `token_types`
    (which text a token belongs to) and `positions`, all int [B, T]. A model passes over those
    that mean nothing to it.

    A subclass has a `config` with `vocab_size`, `hidden_dim` and `max_length` (None: any).
    """

    def adopt(self, tokenizer: Any) -> None:
        """Takes from a tokenizer what the model's config has left open; most have nothing."""

    def hidden_states(self, inputs: Any, training: bool | None = None) -> Any:
        """The state of every token, [B, T, D] in the compute dtype."""
        raise NotImplementedError(f"{type(self).__name__} does not define hidden_states")

    @property
    def output_variables(self) -> list[keras.Variable]:
        """Variables that the hidden states do not depend on: of the output layer, of a pooler."""
        return []

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The hidden states [B, T, D]."""
        return self.hidden_states(inputs, training=training)


class LanguageModel(Backbone):
    """A model that says what comes next: a state machine over tokens.

    A subclass gives `hidden_states`, `logits`, `output_kernel`, `initial_state` and `step`;
    generation, scoring, the loss and export are written once against these and know nothing
    else.
    """

    learns_by_counting: ClassVar[bool] = False
    """Whether the model has `estimate`, which reads texts once, and nothing for gradients."""

    def carry_state(self, batch_size: int) -> None:
        """Makes room for a state that goes on from batch to batch; for recurrent models."""
        raise ValueError(
            f"carry_state needs a recurrent model; a {type(self).__name__} has no state to carry "
            "from batch to batch"
        )

    def logits(self, hidden: Any) -> Any:
        """The output layer: [..., D] → float32 [..., V]."""
        raise NotImplementedError(f"{type(self).__name__} does not define logits")

    def output_kernel(self) -> Any | None:
        """The weights [V, D] where `logits` is one product with them, else None."""
        return None

    def initial_state(self, batch_size: Any, max_length: Any) -> State:
        """The state before the first token, with room for `max_length` tokens."""
        raise NotImplementedError(f"{type(self).__name__} does not define initial_state")

    def step(
        self, token_ids: Any, state: State, lengths: Any = None, last_only: bool = False
    ) -> tuple[Any, State]:
        """Reads the next tokens.

        Args:
            token_ids: int [B, T]; T is a prompt or one token.
            state: what `initial_state` or the last `step` returned.
            lengths: int [B], how many of the T tokens are real (the first ones); default: all.
            last_only: logits after the last real token alone.

        Returns:
            float32 logits [B, T, V], or [B, 1, V]; and the new state.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define step")

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """float32 logits [B, T, V] of the token after each."""
        return self.logits(self.hidden_states(inputs, training=training))

    def log_probs(self, inputs: Any, targets: Any) -> Any:
        """Log-probability of each target, float32 [B, T] in nats.

        All logits never exist at once.

        Args:
            inputs: ids [B, T] or a dict.
            targets: int [B, T], the token that follows each input.
        """
        return self.hidden_log_probs(self.hidden_states(inputs), targets)

    def hidden_log_probs(self, hidden: Any, targets: Any) -> Any:
        """`log_probs` from the hidden states [B, T, D]."""
        return token_log_probs(hidden, targets, self.logits, self.config.vocab_size)

    def hidden_cross_entropy(self, hidden: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
        """The loss of training: weighted sum of nats, and the nats float32 [B, T].

        Args:
            hidden: [B, T, D].
            targets: int [B, T].
            weights: float32 [B, T].
        """
        kernel = self.output_kernel()
        if kernel is not None:
            return linear_cross_entropy(hidden, kernel, targets, weights)[:2]
        nats = -self.hidden_log_probs(hidden, targets)
        return ops.sum(weights * nats), ops.stop_gradient(nats)
