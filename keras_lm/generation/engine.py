"""The decode loop: pure `keras.ops`, ignorant of tokenizers and of what the model is."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_lm.generation.constraints import Constraints
from keras_lm.generation.sampling import Sampler
from keras_lm.models.base import LanguageModel


def decode(
    model: LanguageModel,
    prompt_ids: Any,
    lengths: Any,
    room: Any,
    limit: Any,
    stop_ids: Any,
    sampler: Sampler,
    constraints: Constraints | None = None,
    source: Any = None,
) -> tuple[Any, ...]:
    """Continues each row of a batch of prompts.

    Args:
        model: any state machine.
        prompt_ids: int [B, P], padded on the right.
        lengths: int [B], the real tokens of each prompt; 0 marks a row that only fills the
            batch.
        room: int [R], of which only the shape is used: R tokens can be generated. A compiled
            function must know its shapes, and this is how it learns them.
        limit: int scalar, 1 to R: how many tokens to generate at most.
        stop_ids: int [E]; a row is finished once it has one of these.
        sampler: chooses the tokens.
        constraints: are applied to the logits; None: there are none.
        source: for a model that reads one: `token_ids` and `padding_mask`, int [B, S].

    Returns:
        The new tokens, int [B, R], of which the first `count` count, and `count`, int [B]. The
        stop token that finished a row is among them. With constraints also the sums of the new
        tokens' log-probabilities, float32 [B]: the model's own, or with `renormalize_logits` those
        that the constraints have left.
    """
    batch, prompt_length = ops.shape(prompt_ids)
    capacity = ops.shape(room)[0]
    state = first_state(model, batch, prompt_length + capacity, source)
    logits, state = model.step(prompt_ids, state, lengths=lengths, last_only=True)
    tokens = ops.zeros((batch, capacity), "int32")
    running = lengths > 0
    constrained = {}
    if constraints is not None:
        history = ops.pad(ops.cast(prompt_ids, "int32"), [[0, 0], [0, capacity]])
        constrained = {"history": history, "scores": ops.zeros((batch,))}

    def unfinished(index: Any, running: Any, *_: Any) -> Any:
        return ops.logical_and(index < limit, ops.any(running))

    def advance(
        index: Any,
        running: Any,
        count: Any,
        logits: Any,
        tokens: Any,
        constrained: dict[str, Any],
        state: Any,
    ) -> tuple[Any, ...]:
        logits = logits[:, 0]
        if constraints is None:
            token = sampler(logits, step=index)
        else:
            history, length = constrained["history"], lengths + index
            left = constraints(logits, history, length, index, limit, stop_ids)
            token = sampler(left, step=index)
            log_probs = ops.where(constraints.renormalize_logits, left, ops.log_softmax(logits))
            log_prob = ops.take_along_axis(log_probs, token[:, None], axis=1)[:, 0]
            constrained = {
                "history": with_token(history, length, token),
                "scores": constrained["scores"] + ops.where(running, log_prob, 0.0),
            }
        tokens = ops.slice_update(tokens, (0, index), token[:, None])
        count = count + ops.cast(running, "int32")
        running = ops.logical_and(running, ops.logical_not(is_any(token, stop_ids)))
        # The step after the last token is one too many; the sampler, which takes longer to
        # compile than to run, stands in the program only once for it.
        logits, state = model.step(token[:, None], state)
        return index + 1, running, count, logits, tokens, constrained, state

    zero = ops.zeros((), "int32")
    start = (zero, running, ops.zeros_like(lengths), logits, tokens, constrained, state)
    _, _, count, _, tokens, constrained, _ = ops.while_loop(unfinished, advance, start)
    return (tokens, count) if constraints is None else (tokens, count, constrained["scores"])


def first_state(model: LanguageModel, batch_size: Any, max_length: Any, source: Any) -> Any:
    """The state before the first token, of a model that reads a source or of one that does not."""
    initial_state: Any = model.initial_state  # that of an encoder–decoder takes the source too
    given = {"source": source} if model.reads_source else {}
    return initial_state(batch_size, max_length, **given)


def with_token(history: Any, column: Any, token: Any) -> Any:
    """Ids [..., S] with `token` in `column`, both int [...]."""
    columns = ops.arange(ops.shape(history)[-1], dtype="int32")
    return ops.where(ops.equal(columns, column[..., None]), token[..., None], history)


def is_any(token: Any, stop_ids: Any) -> Any:
    """Which tokens, int [...], are among the stop ids, int [E]: bool [...]."""
    return ops.any(ops.equal(token[..., None], stop_ids), axis=-1)
