"""The decode loop: pure `keras.ops`, ignorant of tokenizers and of what the model is."""

from __future__ import annotations

from typing import Any

from keras import ops

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
) -> tuple[Any, Any]:
    """Continues each row of a batch of prompts.

    Args:
        model: any state machine.
        prompt_ids: int [B, P], padded on the right.
        lengths: int [B], the real tokens of each prompt; 0 marks a row that only fills the
            batch.
        room: int [R], of which only the shape is used: R tokens can be generated. A compiled
            function must know its shapes, and this is how it learns them.
        limit: int scalar, 1 to R: how many tokens to generate at most.
        stop_ids: int [M]; a row is finished once it has one of these.
        sampler: chooses the tokens.

    Returns:
        The new tokens, int [B, R], of which the first `count` count, and `count`, int [B]. The
        stop token that finished a row is among them.
    """
    batch, prompt_length = ops.shape(prompt_ids)
    capacity = ops.shape(room)[0]
    state = model.initial_state(batch, prompt_length + capacity)
    logits, state = model.step(prompt_ids, state, lengths=lengths, last_only=True)
    tokens = ops.zeros((batch, capacity), "int32")
    running = lengths > 0

    def unfinished(index: Any, running: Any, *_: Any) -> Any:
        return ops.logical_and(index < limit, ops.any(running))

    def advance(
        index: Any, running: Any, count: Any, logits: Any, tokens: Any, state: Any
    ) -> tuple[Any, ...]:
        token = sampler(logits[:, 0], step=index)
        tokens = ops.slice_update(tokens, (0, index), token[:, None])
        count = count + ops.cast(running, "int32")
        running = ops.logical_and(running, ops.logical_not(_is_any(token, stop_ids)))
        # The step after the last token is one too many; the sampler, which takes longer to
        # compile than to run, stands in the program only once for it.
        logits, state = model.step(token[:, None], state)
        return index + 1, running, count, logits, tokens, state

    start = (ops.zeros((), "int32"), running, ops.zeros_like(lengths), logits, tokens, state)
    _, _, count, _, tokens, _ = ops.while_loop(unfinished, advance, start)
    return tokens, count


def _is_any(token: Any, stop_ids: Any) -> Any:
    return ops.any(ops.equal(token[:, None], stop_ids[None]), axis=-1)
