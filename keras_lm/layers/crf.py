"""A chain over the tags of a sentence: conditional random field, Viterbi, marginals.

The chain runs over the places where `mask` is 1 and skips the others: later sub-words of a word,
special tokens, padding. All functions take T that is known or not.

`transitions` [C + 1, C + 1] holds the score of every step from one tag (row) to the next (column).
The last row is the step into the first tag, the last column the step out of the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

IMPOSSIBLE = -1e7
"""The score of a step that must not be; finite, so that differences stay numbers."""


@keras.saving.register_keras_serializable("keras_lm")
class LinearChainCRF(keras.layers.Layer):
    """The scores of steps from tag to tag, learned beside the scores of the tags themselves.

    Lafferty, McCallum and Pereira 2001 (https://repository.upenn.edu/handle/20.500.14332/6188): the
    probability of a sequence of tags is the exponential of the sum of its emissions and
    transitions, over the sum of all sequences'. Everything is computed in float32.

    Args:
        num_labels: C.

    Raises:
        ValueError: `num_labels` is no positive int.

    Example:

    >>> crf = LinearChainCRF(2)
    >>> crf.build((None, None, 2))
    >>> emissions, mask = np.array([[[0.0, 1.0], [2.0, 0.0], [0.0, 1.0]]]), np.array([[1, 0, 1]])
    >>> tags, score = crf.viterbi(emissions, mask)
    >>> tags.numpy().tolist(), score.numpy().tolist()    # the middle one is skipped
    ([[1, 1, 1]], [2.0])
    >>> probability = ops.exp(crf.log_likelihood(emissions, tags, mask))
    >>> bool(abs(probability[0] - crf.marginals(emissions, mask)[0, 0, 1] ** 2) < 1e-6)
    True
    """

    def __init__(self, num_labels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(num_labels, int) or num_labels < 1:
            raise ValueError(f"num_labels is {num_labels!r}; it must be an int, at least 1")
        self.num_labels = num_labels

    def build(self, emissions_shape: Any) -> None:
        size = self.num_labels + 1
        self.transitions = self.add_weight(
            shape=(size, size), initializer="zeros", dtype="float32", name="transitions"
        )
        self.built = True

    def call(self, emissions: Any) -> Any:
        """The emissions, float32 [B, T, C]: what the methods take."""
        return ops.cast(emissions, "float32")

    def log_likelihood(self, emissions: Any, tags: Any, mask: Any) -> Any:
        """The log-probability of whole sequences of tags; see `log_likelihood`."""
        return log_likelihood(emissions, tags, mask, self.transitions)

    def viterbi(self, emissions: Any, mask: Any, allowed: Any = None) -> tuple[Any, Any]:
        """The likeliest sequences of tags; see `viterbi`.

        Args:
            emissions: float [B, T, C].
            mask: [B, T].
            allowed: bool [C + 1, C + 1], which steps there may be; default: all.
        """
        return viterbi(emissions, mask, allowed_only(self.transitions, allowed))

    def marginals(self, emissions: Any, mask: Any) -> Any:
        """The probability of every tag at every place; see `marginals`."""
        return marginals(emissions, mask, self.transitions)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_labels": self.num_labels}


def allowed_transitions(label_names: Sequence[str]) -> np.ndarray:
    """Which tag may follow which, bool [C + 1, C + 1], laid out as transitions are.

    In BIO tags, I-x follows B-x or I-x. Where there are E- tags (BIOES), E-x does as well, and
    B-x and I-x must be followed by I-x or E-x. A type without B-, and tags that are no entities,
    have no rules. IOB1 tags, where B- stands between neighbours alone, must be rewritten as BIO.

    Args:
        label_names: C names.

    Example:

    >>> allowed_transitions(["O", "B-x", "I-x"]).astype(int).tolist()    # the last: begin and end
    [[1, 1, 0, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 1]]
    """
    names = [*label_names, "O"]
    known = set(names)

    def may_follow(left: str, right: str) -> bool:
        (before, _, left_type), (after, _, right_type) = (
            name.partition("-") for name in (left, right)
        )
        goes_on = after in ("I", "E") and f"B-{right_type}" in known
        is_open = before in ("B", "I")
        if goes_on and not (is_open and left_type == right_type):
            return False
        must_go_on = is_open and f"B-{left_type}" in known and f"E-{left_type}" in known
        return goes_on or not must_go_on

    return np.array([[may_follow(left, right) for right in names] for left in names])


def allowed_only(transitions: Any, allowed: Any) -> Any:
    """Transitions with the steps that are not allowed made impossible; None allows all."""
    transitions = ops.convert_to_tensor(transitions)  # it may be a variable
    return transitions if allowed is None else ops.where(allowed, transitions, IMPOSSIBLE)


def log_likelihood(emissions: Any, tags: Any, mask: Any, transitions: Any) -> Any:
    """The log-probability of sequences of tags among all of the same length.

    Args:
        emissions: float [B, T, C], the score of each tag at each place.
        tags: int [B, T].
        mask: [B, T], 1 at the places of the chain.
        transitions: float [C + 1, C + 1].

    Returns:
        float32 [B], in nats; 0 where the mask is 0 throughout.
    """
    emissions, mask, transitions = _prepared(emissions, mask, transitions)
    own = ops.take_along_axis(emissions, ops.expand_dims(ops.cast(tags, "int32"), -1), axis=-1)
    score = ops.sum(ops.where(mask, own[..., 0], 0.0), axis=1)
    size = transitions.shape[0]
    # The chain's tags side by side, with the ends before and after: step by step from one to next.
    length = ops.shape(mask)[1]
    place = ops.arange(length, dtype="int32")
    order = ops.argsort(ops.where(mask, place, place + length), axis=1)
    rest = place >= ops.sum(ops.cast(mask, "int32"), axis=1, keepdims=True)
    chain = ops.take_along_axis(ops.cast(tags, "int32"), order, axis=1)
    chain = ops.pad(ops.where(rest, size - 1, chain), [[0, 0], [1, 1]], constant_values=size - 1)
    steps = chain[:, :-1] * size + chain[:, 1:]
    score = score + ops.sum(ops.take(ops.reshape(transitions, (-1,)), steps), axis=1)
    return score - _log_partition(emissions, mask, transitions)


def viterbi(emissions: Any, mask: Any, transitions: Any) -> tuple[Any, Any]:
    """The sequences of tags with the highest scores (Viterbi 1967).

    Args:
        emissions: float [B, T, C].
        mask: [B, T], 1 at the places of the chain.
        transitions: float [C + 1, C + 1]; `IMPOSSIBLE` forbids a step, as `allowed_only` does.

    Returns:
        `tags`, int32 [B, T], which where the mask is 0 repeat the tag before, 0 if there is none;
        and the `score` of each sequence, float32 [B].
    """
    emissions, mask, transitions = _prepared(emissions, mask, transitions)
    size = transitions.shape[0]
    # Numbers of tags as floats: a scan on TensorFlow keeps what it has carried, of one dtype.
    itself = ops.arange(size, dtype="float32")[None]

    def forward(state: Any, at: Any) -> tuple[Any, Any]:
        emission, is_in_chain = _at(at, size)
        scores = state[:, :, None] + transitions
        best = ops.max(scores, axis=1) + emission
        came_from = ops.where(is_in_chain, ops.cast(ops.argmax(scores, axis=1), "float32"), itself)
        return ops.where(is_in_chain, best, state), came_from

    state, came_from = ops.scan(forward, _before(emissions, size), _by_place(emissions, mask))
    final = state + transitions[:, -1]

    def backward(tag: Any, came_from: Any) -> tuple[Any, Any]:
        return ops.take_along_axis(ops.cast(came_from, "int32"), tag[:, None], axis=1)[:, 0], tag

    last = ops.cast(ops.argmax(final, axis=1), "int32")
    _, tags = ops.scan(backward, last, came_from, reverse=True)
    tags = ops.transpose(tags)
    # Before its first place the chain stays at its beginning, which is no tag.
    return ops.where(tags == size - 1, 0, tags), ops.max(final, axis=1)


def marginals(emissions: Any, mask: Any, transitions: Any) -> Any:
    """The probability of every tag at every place, over all sequences (forward–backward).

    Args:
        emissions: float [B, T, C].
        mask: [B, T], 1 at the places of the chain.
        transitions: float [C + 1, C + 1].

    Returns:
        float32 [B, T, C]; each place of the chain sums to 1, others are 0.
    """
    emissions, mask, transitions = _prepared(emissions, mask, transitions)
    up_to = _forward(emissions, mask, transitions)
    return _marginals(up_to, _backward(emissions, mask, transitions), mask)


def _prepared(emissions: Any, mask: Any, transitions: Any) -> tuple[Any, Any, Any]:
    """In float32, bool and float32; from the beginning to the end of nothing costs nothing."""
    transitions = ops.cast(ops.convert_to_tensor(transitions), "float32")
    size = transitions.shape[0]
    corner = ops.arange(size * size, dtype="int32") == size * size - 1
    transitions = ops.where(ops.reshape(corner, (size, size)), 0.0, transitions)
    return ops.cast(emissions, "float32"), ops.cast(mask, "int32") > 0, transitions


def _log_partition(emissions: Any, mask: Any, transitions: Any) -> Any:
    """The log of the sum of the exponentials of all sequences' scores, float32 [B].

    Its gradients are the probabilities of tags and of steps. They are written out, as XLA has no
    gradient of a loop whose length it does not know beforehand.
    """

    @ops.custom_gradient
    def partition(emissions: Any, transitions: Any) -> tuple[Any, Any]:
        up_to = _forward(emissions, mask, transitions)
        final = up_to[-1] + transitions[:, -1]
        total = ops.logsumexp(final, axis=1)

        def gradient(*upstream: Any) -> tuple[Any, Any]:
            scale = keras.tree.flatten(upstream)[0]
            after = _backward(emissions, mask, transitions)
            # Of each step: all that leads to it, itself, and all that may follow.
            before = up_to[:-1, :, :, None] - total[:, None, None]
            emission = ops.pad(emissions, [[0, 0], [0, 0], [0, 1]], constant_values=IMPOSSIBLE)
            entered = (ops.transpose(emission, (1, 0, 2)) + after)[:, :, None]
            weights = ops.transpose(scale[:, None] * ops.cast(mask, "float32"))[..., None, None]
            steps = ops.sum(weights * ops.exp(before + transitions + entered), axis=(0, 1))
            last = ops.sum(scale[:, None] * ops.exp(final - total[:, None]), axis=0)
            into_end = ops.arange(transitions.shape[0], dtype="int32") == transitions.shape[0] - 1
            steps = steps + ops.where(into_end, last[:, None], 0.0)
            return scale[:, None, None] * _marginals(up_to, after, mask), steps

        return total, gradient

    return partition(emissions, transitions)


def _forward(emissions: Any, mask: Any, transitions: Any) -> Any:
    """Log-sums over all that leads to a tag, float32 [T + 1, B, C + 1], before the first place
    and after each.
    """
    size = transitions.shape[0]
    start = _before(emissions, size)

    def forward(state: Any, at: Any) -> tuple[Any, Any]:
        emission, is_in_chain = _at(at, size)
        state = ops.where(is_in_chain, _step(state, transitions) + emission, state)
        return state, state

    _, states = ops.scan(forward, start, _by_place(emissions, mask))
    return ops.concatenate([start[None], states])


def _backward(emissions: Any, mask: Any, transitions: Any) -> Any:
    """Log-sums over all that may follow a tag after each place, float32 [T, B, C + 1]."""
    size = transitions.shape[0]

    def backward(state: Any, at: Any) -> tuple[Any, Any]:
        emission, is_in_chain = _at(at, size)
        earlier = _step(state + emission, ops.transpose(transitions))
        return ops.where(is_in_chain, earlier, state), state

    end = ops.zeros_like(_before(emissions, size)) + transitions[:, -1]
    return ops.scan(backward, end, _by_place(emissions, mask), reverse=True)[1]


def _marginals(up_to: Any, after: Any, mask: Any) -> Any:
    both = ops.transpose(up_to[1:] + after, (1, 0, 2))[..., :-1]
    return ops.where(mask[..., None], ops.softmax(both, axis=-1), 0.0)


def _step(state: Any, transitions: Any) -> Any:
    """Log-sums [B, C + 1] over where a step [C + 1, C + 1] may come from."""
    return ops.logsumexp(state[:, :, None] + transitions, axis=1)


def _before(emissions: Any, size: int) -> Any:
    """The state [B, C + 1] before the first place: nothing but the beginning."""
    nothing = ops.zeros_like(emissions[:, 0, :1])
    return ops.concatenate([*[nothing + IMPOSSIBLE] * (size - 1), nothing], axis=1)


def _by_place(emissions: Any, mask: Any) -> Any:
    """Emissions and mask as one array [T, B, C + 1]: scans over several want to know T."""
    both = ops.concatenate([emissions, ops.cast(mask[..., None], "float32")], axis=-1)
    return ops.transpose(both, (1, 0, 2))


def _at(at: Any, size: int) -> tuple[Any, Any]:
    """Of one place: the emissions [B, C + 1], none for the ends, and whether it is in the chain."""
    is_in_chain = at[:, size - 1 :] > 0
    no_end = ops.arange(size, dtype="int32")[None] == size - 1
    return ops.where(no_end, IMPOSSIBLE, at), is_in_chain
