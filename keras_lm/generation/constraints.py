"""What a continuation may and may not be, as changes to the logits of each step."""

from __future__ import annotations

import dataclasses
from typing import Any

from keras import ops

_NEVER = -float("inf")


@dataclasses.dataclass(frozen=True)
class Constraints:
    """Rules on what may come next, with the names and the meaning that Transformers gives them.

    They are applied in the order in which they stand here, except that `suppress_tokens` comes
    right before `renormalize_logits`. All are tensors, so another value compiles nothing.

    Args:
        repetition_penalty: float; a token that stands in the history has its logit divided by
            this if it is positive, else multiplied (https://arxiv.org/abs/1909.05858); 1: none.
        no_repeat_ngram_size: int n; no n tokens stand in a text twice; 0: they may.
        bad_words_ids: int [W, L], rows of token ids that never stand one behind the other, filled
            with −1 on the right. A row that is one of the stop ids alone is passed over.
        suppress_tokens: int [U], ids that are never chosen; −1: none.
        min_new_tokens: int; none of the stop ids comes before so many tokens.
        forced_bos_token_id: int, the first new token; −1: any.
        forced_eos_token_id: int, the token at the last step; −1: any.
        renormalize_logits: bool; what is left becomes log-probabilities.

    Example:

    >>> none = dict(repetition_penalty=1.0, no_repeat_ngram_size=0, bad_words_ids=[[-1]],
    ...             suppress_tokens=[-1], min_new_tokens=0, forced_bos_token_id=-1,
    ...             forced_eos_token_id=-1, renormalize_logits=False)
    >>> rules = Constraints(**none | {"no_repeat_ngram_size": 2})
    >>> history = ops.convert_to_tensor([[2, 0, 1, 2]])  # 0 has followed 2
    >>> logits = ops.convert_to_tensor([[0.1, 0.2, 0.3]])
    >>> stops, count = ops.convert_to_tensor([-1]), ops.convert_to_tensor([4])
    >>> rules(logits, history, count, step=1, limit=9, stop_ids=stops).numpy().tolist()[0][0]
    -inf
    """

    repetition_penalty: Any
    no_repeat_ngram_size: Any
    bad_words_ids: Any
    suppress_tokens: Any
    min_new_tokens: Any
    forced_bos_token_id: Any
    forced_eos_token_id: Any
    renormalize_logits: Any

    def __call__(
        self, logits: Any, history: Any, count: Any, step: Any, limit: Any, stop_ids: Any
    ) -> Any:
        """The logits that are left of those of a step.

        Args:
            logits: float32 [R, V].
            history: int [R, S], the ids before, a prompt's among them.
            count: int [R], how many of the history's columns are filled.
            step: int, the new tokens so far.
            limit: int, the step after the last one.
            stop_ids: int [E].

        Returns:
            float32 [R, V]; −inf where a token may not come.
        """
        size = logits.shape[-1]
        logits = self._penalize_repetition(logits, history, count)
        banned = (
            self._ends_of_ngrams(history, count),
            self._ends_of_bad_words(history, count, stop_ids),
            self._ends_too_early(history, step, stop_ids),
        )
        ids, chosen = (ops.concatenate(parts, axis=1) for parts in zip(*banned, strict=True))
        logits = ops.where(_marked(ids, chosen, size), _NEVER, logits)
        tokens = ops.arange(size, dtype="int32")
        for forced, forced_step in (
            (self.forced_bos_token_id, 0),
            (self.forced_eos_token_id, limit - 1),
        ):
            due = ops.logical_and(ops.greater_equal(forced, 0), ops.equal(step, forced_step))
            only = ops.where(ops.equal(tokens, forced), 0.0, _NEVER)
            logits = ops.where(due, only[None], logits)
        suppressed = ops.convert_to_tensor(self.suppress_tokens)[None]
        logits = ops.where(_marked(suppressed, suppressed >= 0, size), _NEVER, logits)
        return ops.cond(
            ops.cast(self.renormalize_logits, "bool"), lambda: _normalized(logits), lambda: logits
        )

    def _penalize_repetition(self, logits: Any, history: Any, count: Any) -> Any:
        penalty = ops.cast(self.repetition_penalty, "float32")

        def penalized() -> Any:
            seen = _marked(history, _filled(history, count), logits.shape[-1])
            worse = ops.where(logits < 0, logits * penalty, logits / penalty)
            return ops.where(seen, worse, logits)

        return ops.cond(ops.not_equal(penalty, 1.0), penalized, lambda: logits)

    def _ends_of_ngrams(self, history: Any, count: Any) -> tuple[Any, Any]:
        """The history, and which of it would end an n-gram again if it came next."""
        n = ops.cast(self.no_repeat_ngram_size, "int32")

        def compare(back: Any, equal: Any, shifted: Any) -> tuple[Any, Any, Any]:
            """Whether what stands `back` before a column stands `back` before what comes next."""
            shifted = ops.pad(shifted[:, :-1], [[0, 0], [1, 0]], constant_values=-1)
            before = _last(history, count, back + ops.zeros((1,), "int32"))
            return back + 1, ops.logical_and(equal, ops.equal(shifted, before)), shifted

        start = (ops.ones((), "int32"), ops.logical_and(_filled(history, count), n > 0), history)
        return history, ops.while_loop(lambda back, *_: back < n, compare, start)[1]

    def _ends_of_bad_words(self, history: Any, count: Any, stop_ids: Any) -> tuple[Any, Any]:
        """The last ids of the bad words, and of which the others stand there, both [R, W]."""
        words = ops.convert_to_tensor(self.bad_words_ids)
        lengths = ops.sum(ops.cast(words >= 0, "int32"), axis=1)
        back = ops.arange(1, ops.shape(words)[1], dtype="int32")
        ends = _last(words, lengths, ops.ones((1,), "int32"))[:, 0]
        before = _last(words, lengths, back + 1)[None]  # [1, W, L − 1]
        stands = ops.equal(before, _last(history, count, back)[:, None])
        stands = ops.all(ops.logical_or(stands, back >= lengths[:, None]), axis=-1)
        is_stop = ops.any(ops.equal(ends[:, None], stop_ids), axis=-1)
        is_word = ops.logical_or(lengths > 1, ops.logical_and(lengths > 0, ~is_stop))
        chosen = ops.logical_and(stands, is_word)
        return ops.broadcast_to(ends, ops.shape(chosen)), chosen

    def _ends_too_early(self, history: Any, step: Any, stop_ids: Any) -> tuple[Any, Any]:
        """The stop ids, and whether they may not come yet, both [R, E]."""
        shape = (ops.shape(history)[0], ops.shape(stop_ids)[0])
        chosen = ops.logical_and(stop_ids >= 0, ops.less(step, self.min_new_tokens))
        return ops.broadcast_to(stop_ids, shape), ops.broadcast_to(chosen, shape)


def _normalized(logits: Any) -> Any:
    """Their log-softmax; a row of −inf alone stays one, where a softmax would not be a number."""
    return logits - ops.maximum(ops.logsumexp(logits, axis=-1, keepdims=True), -1e30)


def _filled(history: Any, count: Any) -> Any:
    """bool [R, S]: the first `count` columns of each row."""
    return ops.arange(ops.shape(history)[1], dtype="int32") < count[:, None]


def _last(rows: Any, count: Any, back: Any) -> Any:
    """Ids [R, N] that stand `back` int [N] from the end of rows [R, S], 1 the last; −2: none there.

    `count` int [R] columns of a row are filled.
    """
    columns = count[:, None] - back[None]
    ids = ops.take_along_axis(rows, ops.maximum(columns, 0), axis=1)
    return ops.where(columns >= 0, ids, -2)


def _marked(ids: Any, chosen: Any, size: int) -> Any:
    """bool [R, V]: which tokens are among the chosen ones of ids [R, S]."""
    rows, width = ops.shape(ids)
    row = ops.broadcast_to(ops.arange(rows, dtype="int32")[:, None], (rows, width))
    places = ops.stack([row, ops.where(chosen, ids, size)], axis=-1)  # a column for the others
    marks = ops.scatter_update(
        ops.zeros((rows, size + 1), "bool"),
        ops.reshape(places, (-1, 2)),
        ops.ones((rows * width,), "bool"),
    )
    return marks[:, :size]
