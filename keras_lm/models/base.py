"""What every model can do, whatever is inside it: backbones, and language models among them."""

from __future__ import annotations

from collections.abc import Mapping
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

    family: str | None = None
    """The `model_type` of the directory that it was read from; saved, it is one of these again."""

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

    reads_source: ClassVar[bool] = False
    """Whether what it writes depends on a source: an `EncoderDecoder`."""

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

    def output_bias(self) -> Any | None:
        """What `logits` adds to that product, [V]; None: nothing."""
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

    def repeat_state(self, state: State, repeats: int) -> State:
        """The state with every row so many times, one after the other."""
        return keras.tree.map_structure(lambda part: ops.repeat(part, repeats, axis=0), state)

    def reorder_state(self, state: State, rows: Any) -> State:
        """The state in which row i goes on where row `rows[i]`, int [B], was.

        An encoder–decoder wants both rows to have one source, and leaves what they share alone.
        """
        return keras.tree.map_structure(lambda part: ops.take(part, rows, axis=0), state)

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

    def hidden_cross_entropy(
        self, hidden: Any, targets: Any, weights: Any, label_smoothing: float = 0.0
    ) -> tuple[Any, Any]:
        """The loss of training: weighted sum of nats, and the nats float32 [B, T].

        Args:
            hidden: [B, T, D].
            targets: int [B, T].
            weights: float32 [B, T].
            label_smoothing: the share of the sum that the mean nats of the whole vocabulary
                have; the nats of tokens are given without it.
        """
        kernel = self.output_kernel()
        if kernel is not None:
            bias = self.output_bias()
            return linear_cross_entropy(
                hidden, kernel, targets, weights, bias, label_smoothing=label_smoothing
            )[:2]
        if not label_smoothing:
            nats = -self.hidden_log_probs(hidden, targets)
            return ops.sum(weights * nats), ops.stop_gradient(nats)
        log_probs, mean = token_log_probs(
            hidden, targets, self.logits, self.config.vocab_size, with_mean=True
        )
        smoothed = (1.0 - label_smoothing) * log_probs + label_smoothing * mean
        return -ops.sum(weights * smoothed), ops.stop_gradient(-log_probs)


class EncoderDecoder(LanguageModel):
    """A language model that writes a target in answer to a source.

    `inputs` is a dict of `token_ids` [B, S], the source; `decoder_token_ids` [B, T], what stands
    before each token of the target; and, optionally, `padding_mask` [B, S]. Without that, padding
    is what has the config's `pad_id`.

    A subclass's `config` is a `SourceConfig` as well, and its states are dicts.
    """

    reads_source = True

    shared_state: ClassVar[tuple[str, ...]] = ("source_mask",)
    """The parts of a state that rows of one source have in common, by name."""

    def adopt(self, tokenizer: Any) -> None:
        config, bos = self.config, tokenizer.bos_id
        start = tokenizer.pad_id if bos is None else bos
        found = {"decoder_start_id": start, "eos_id": tokenizer.eos_id, "pad_id": tokenizer.pad_id}
        self.config = config.replace(
            **{name: value for name, value in found.items() if getattr(config, name) is None}
        )

    def initial_state(
        self, batch_size: Any, max_length: Any, source: Mapping[str, Any] | None = None
    ) -> State:
        """The state before the first token of a target.

        Args:
            batch_size: B.
            max_length: room for so many tokens of the target.
            source: `token_ids` int [B, S] and, optionally, `padding_mask`.

        Returns:
            A dict of the decoder's own parts; `source_mask`, bool [B, S]; and, from a model with
            attention, `coverage`, float32 [B, S]: how much each token of the source was looked at.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define initial_state")

    def attention_maps(self, inputs: Any) -> Any:
        """What the model looks at, float32, rows sum to 1: `"cross"` [L, B, N, T, S], and others.

        A dict; what a model has besides is named in its own description.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define attention_maps")

    def reorder_state(self, state: State, rows: Any) -> State:
        own = {name: part for name, part in state.items() if name not in self.shared_state}
        return {**state, **super().reorder_state(own, rows)}

    def source_mask(self, inputs: Any) -> Any:
        """Which tokens of a source are no padding, bool [B, S].

        Raises:
            ValueError: `inputs` has no `token_ids`.
        """
        if not isinstance(inputs, Mapping) or "token_ids" not in inputs:
            raise ValueError(
                "inputs must be a dict of token_ids, the source, and decoder_token_ids, the "
                f"target; got {type(inputs).__name__}"
            )
        token_ids, mask = inputs["token_ids"], inputs.get("padding_mask")
        if mask is not None:
            return ops.cast(mask, "bool")
        if self.config.pad_id is None:
            return ops.ones_like(token_ids, dtype="bool")
        return ops.not_equal(token_ids, self.config.pad_id)
