"""Beam search: the most probable continuations, as far as a search that keeps a few can tell."""

from __future__ import annotations

import dataclasses
from typing import Any

from keras import ops

from keras_lm.generation.constraints import Constraints
from keras_lm.generation.engine import first_state, is_any, with_token
from keras_lm.models.base import LanguageModel

_NONE = -1e9
"""The score where there is no hypothesis; what is forbidden has −inf."""

_Beams = dict[str, Any]
"""Tensors [I, N, …]: of each item, which is a search of its own, N beams or candidates."""


@dataclasses.dataclass(frozen=True)
class BeamScoring:
    """What makes one hypothesis better than another, and when a search ends. All are tensors.

    A hypothesis of n new tokens, the stop id among them, scores
    Σ log p / n^`length_penalty` + `coverage_penalty` · Σ_s log min(Σ_t a_ts, 1), with a_ts how
    much of the attention of step t the token s of the source had (https://arxiv.org/abs/1609.08144,
    eq. 14, with Transformers' length).

    Args:
        length_penalty: float; above 0 favours long hypotheses, below 0 short ones.
        early_stopping: int. 1: a search ends once it has as many hypotheses as beams. 0: also
            goes on while the best beam, at its present length, scores more than the worst
            hypothesis. 2: the same with the length at which that beam would score best, so that
            nothing better is missed where `length_penalty` is above 0.
        coverage_penalty: float, 0 or more; counts where a hypothesis ends.
        diversity_penalty: float; a token loses this much for each beam of the groups before that
            took it at the same step (https://arxiv.org/abs/1610.02424, Hamming diversity).
    """

    length_penalty: Any
    early_stopping: Any
    coverage_penalty: Any
    diversity_penalty: Any

    def of_coverage(self, state: Any) -> Any:
        """What a model's attention so far adds to each row, float32 [R]; None: it tells none."""
        if not (isinstance(state, dict) and "coverage" in state):
            return None
        covered = ops.log(ops.clip(state["coverage"], 1e-9, 1.0))
        covered = ops.where(ops.cast(state["source_mask"], "bool"), covered, 0.0)
        return ops.cast(self.coverage_penalty, "float32") * ops.sum(covered, axis=-1)

    def may_improve(self, running: _Beams, finished: _Beams, length: Any, limit: Any) -> Any:
        """Whether beams of a length may yet become hypotheses that are wanted, bool [I]."""
        looks_ahead = ops.logical_and(
            ops.equal(self.early_stopping, 2), ops.greater(self.length_penalty, 0.0)
        )
        best_length = ops.where(looks_ahead, limit, length)
        best = length_normalized(running["scores"][:, 0], best_length, self.length_penalty)
        all_real = ops.all(finished["is_real"], axis=1)
        worst = ops.where(all_real, ops.min(finished["scores"], axis=1), _NONE)
        enough = ops.logical_and(ops.equal(self.early_stopping, 1), all_real)
        return ops.logical_and(best > worst, ops.logical_not(enough))


def beam_search(
    model: LanguageModel,
    prompt_ids: Any,
    lengths: Any,
    room: Any,
    limit: Any,
    stop_ids: Any,
    beams: Any,
    scoring: BeamScoring,
    constraints: Constraints,
    source: Any = None,
) -> tuple[Any, Any, Any]:
    """Searches for the best continuations of each prompt of a batch, as Transformers does.

    With M beams and E stop ids a step keeps (1 + E)·M candidates, so that M of them go on. A
    candidate that ends is a hypothesis if it is among the first M; the best M hypotheses are kept.

    Args:
        model: any state machine.
        prompt_ids: int [B, P], padded on the right.
        lengths: int [B], the real tokens of each prompt; 0 marks a row that only fills the
            batch.
        room: int [R], of which only the shape is used: R tokens can be generated.
        limit: int scalar, 1 to R: how many tokens to generate at most.
        stop_ids: int [E], E at least 1; −1 is no token.
        beams: int [G, M / G], of which only the shape is used: the M beams in G groups, each of
            which is a search of its own that avoids what the groups before it took.
        scoring: the penalties.
        constraints: are applied to the log-probabilities.
        source: for a model that reads one: `token_ids` and `padding_mask`, int [B, S].

    Returns:
        The new tokens, int [B, M, R], of which the first `count` count; `count`, int [B, M]; and
        the scores, float32 [B, M], the best first, −1e9 where there is no hypothesis.
    """
    batch, prompt_length = ops.shape(prompt_ids)
    capacity = ops.shape(room)[0]
    groups, width = ops.shape(beams)
    items = batch * groups  # I: a group of a row of the batch is a search
    state = first_state(model, batch, prompt_length + capacity, source)
    logits, state = model.step(prompt_ids, state, lengths=lengths, last_only=True)
    state = model.repeat_state(state, groups * width)
    logits = ops.repeat(logits, groups * width, axis=0)
    history = ops.pad(ops.cast(prompt_ids, "int32"), [[0, 0], [0, capacity]])
    history = ops.repeat(history[:, None], groups * width, axis=1)
    history = ops.reshape(history, (items, width, prompt_length + capacity))
    lengths = ops.repeat(lengths, groups, axis=0)
    running = {
        "history": history,
        # All beams are the same at first, so only the first one's candidates may be chosen.
        "scores": ops.zeros((items, width))
        + ops.where(ops.arange(width) > 0, -float("inf"), 0.0)[None],
    }
    finished = {
        "history": history,
        "scores": ops.full((items, width), _NONE),
        "count": ops.zeros((items, width), "int32"),
        "is_real": ops.zeros((items, width), "bool"),
    }

    def advance(
        index: Any, is_open: Any, running: _Beams, finished: _Beams, logits: Any, state: Any
    ) -> tuple[Any, ...]:
        length = lengths + index
        log_probs = constraints(
            ops.log_softmax(logits[:, 0]),
            ops.reshape(running["history"], (items * width, -1)),
            ops.repeat(length, width, axis=0),
            index,
            limit,
            stop_ids,
        )
        log_probs = ops.reshape(log_probs, (batch, groups, width, logits.shape[-1]))
        found, onward = _expand(log_probs, running["scores"], index + 1 >= limit, stop_ids, scoring)
        history = _pick(running["history"], found["beam"])
        found["history"] = with_token(history, length[:, None], found["token"])
        scores = length_normalized(found["scores"], index + 1, scoring.length_penalty)
        if (coverage := scoring.of_coverage(state)) is not None:
            scores = scores + _pick(ops.reshape(coverage, (items, width)), found["beam"])
        finished = _with_hypotheses(finished, found, scores, is_open, index + 1)
        # One that has ended stands among these only where nothing else is left: it cannot go on.
        scores = ops.where(found["ends"], -float("inf"), found["scores"])
        running = {"history": _pick(found["history"], onward), "scores": _pick(scores, onward)}
        rows = ops.arange(items, dtype="int32")[:, None] * width + _pick(found["beam"], onward)
        token = ops.reshape(_pick(found["token"], onward), (-1, 1))
        state = model.reorder_state(state, ops.reshape(rows, (-1,)))
        logits, state = model.step(token, state)
        is_open = ops.logical_and(is_open, scoring.may_improve(running, finished, index + 1, limit))
        return index + 1, is_open, running, finished, logits, state

    def unfinished(index: Any, is_open: Any, *_: Any) -> Any:
        return ops.logical_and(index < limit, ops.any(is_open))

    start = (ops.zeros((), "int32"), lengths > 0, running, finished, logits, state)
    _, _, _, finished, _, _ = ops.while_loop(unfinished, advance, start)
    columns = ops.repeat(lengths, width, axis=0)[:, None] + ops.arange(capacity, dtype="int32")
    history = ops.reshape(finished["history"], (items * width, -1))
    every = batch, groups * width
    new = ops.reshape(ops.take_along_axis(history, columns, axis=1), (*every, capacity))
    scores, order = ops.top_k(ops.reshape(finished["scores"], every), groups * width)
    return _pick(new, order), _pick(ops.reshape(finished["count"], every), order), scores


def _expand(
    log_probs: Any, scores: Any, is_last: Any, stop_ids: Any, scoring: BeamScoring
) -> tuple[_Beams, Any]:
    """The best continuations of each item by one token.

    Args:
        log_probs: float32 [B, G, m, V] of the next token.
        scores: float32 [I, m] of the beams; I = B · G.
        is_last: bool; every candidate ends here.
        stop_ids: int [E].
        scoring: has the penalty between groups.

    Returns:
        The candidates, the best first: `scores`, the `beam` that each continues, its `token` and
        whether it `ends`, [I, K]. And which of them go on, int [I, m].
    """
    batch, groups, width, size = ops.shape(log_probs)
    each = 1 + ops.shape(stop_ids)[0]
    number = (min(each, size) if isinstance(each, int) else each) * width
    scores = ops.reshape(scores, (batch, groups, width))

    def of_group(group: Any, penalty: Any, *parts: Any) -> tuple[Any, ...]:
        own = ops.take(log_probs, group, axis=1) - penalty[:, None]
        own = own + ops.take(scores, group, axis=1)[:, :, None]
        total, places = ops.top_k(ops.reshape(own, (batch, width * size)), number)
        beam, token = ops.floor_divide(places, size), ops.mod(places, size)
        ends = ops.logical_or(is_any(token, stop_ids), is_last)
        onward = ops.cast(ops.top_k(ops.where(ends, total + _NONE, total), width)[1], "int32")
        taken = ops.sum(ops.one_hot(_pick(token, onward), size), axis=1)
        penalty = penalty + ops.cast(scoring.diversity_penalty, "float32") * taken
        found = (total, ops.cast(beam, "int32"), ops.cast(token, "int32"), ends, onward)
        placed = (
            ops.slice_update(part, (0, group, 0), new[:, None])
            for part, new in zip(parts, found, strict=True)
        )
        return group + 1, penalty, *placed

    shape = (batch, groups, number)
    empty = [ops.zeros(shape, dtype) for dtype in ("float32", "int32", "int32", "bool")]
    empty.append(ops.zeros((batch, groups, width), "int32"))
    start = (ops.zeros((), "int32"), ops.zeros((batch, size)), *empty)
    if isinstance(groups, int) and groups == 1:
        _, _, *parts, onward = of_group(*start)
    else:
        _, _, *parts, onward = ops.while_loop(lambda group, *_: group < groups, of_group, start)
    total, beam, token, ends = (ops.reshape(part, (batch * groups, number)) for part in parts)
    onward = ops.reshape(onward, (batch * groups, width))
    ends = ops.logical_and(ends, total > _NONE / 2)
    return {"scores": total, "beam": beam, "token": token, "ends": ends}, onward


def length_normalized(scores: Any, length: Any, length_penalty: Any) -> Any:
    """Sums of log-probabilities, float32, divided by length^`length_penalty`."""
    length = ops.maximum(ops.cast(length, "float32"), 1.0)
    return scores / ops.power(length, ops.cast(length_penalty, "float32"))


def _with_hypotheses(
    finished: _Beams, found: _Beams, scores: Any, is_open: Any, length: Any
) -> _Beams:
    """The best hypotheses of those before and the candidates that end, with `scores` [I, K]."""
    width, number = ops.shape(finished["scores"])[1], ops.shape(found["scores"])[1]
    # What stands behind the first `width` is there only to keep that many going on.
    first = ops.arange(number) < width
    is_real = ops.logical_and(ops.logical_and(found["ends"], first[None]), is_open[:, None])
    ending = {
        "history": found["history"],
        "scores": ops.where(is_real, scores, _NONE),
        "count": ops.zeros_like(found["token"]) + length,
        "is_real": is_real,
    }
    both = {name: ops.concatenate([finished[name], ending[name]], axis=1) for name in ending}
    best = ops.top_k(both["scores"], width)[1]
    return {name: _pick(part, best) for name, part in both.items()}


def _pick(values: Any, places: Any) -> Any:
    """values [I, A, …] at places int [I, N] of their own row: [I, N, …]."""
    items, each, *rest = ops.shape(values)
    rows = ops.arange(items, dtype="int32")[:, None] * each + ops.cast(places, "int32")
    return ops.take(ops.reshape(values, (items * each, *rest)), rows, axis=0)
