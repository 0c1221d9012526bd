"""Each constraint by hand, then against a plain reading of what it says."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import keras_lm as klm
from keras_lm.generation import Constraints, SearchSettings

generate_ids = functools.partial(klm.generation.generate_ids, jit_compile=False)
Markov = Callable[..., Any]
NEVER = -np.inf
LOGITS = [[0.5, -1.0, 2.0, 0.0, -0.25]]
NAMES = [name for name in SearchSettings().arrays() if name in Constraints.__dataclass_fields__]


def constrained(
    history: Any, count: Any, step: int = 1, limit: int = 9, stops: Any = (-1,), **rules: Any
) -> list[list[float]]:
    """What is left of `LOGITS` in each row."""
    arrays = SearchSettings(**rules).arrays()
    constraints = Constraints(**{name: ops.convert_to_tensor(arrays[name]) for name in NAMES})
    logits = np.repeat(LOGITS, len(history), axis=0).astype("float32")
    others = (np.asarray(part, "int32") for part in (history, count, step, limit, stops))
    tensors = (ops.convert_to_tensor(part) for part in (logits, *others))
    result = ops.convert_to_numpy(constraints(*tensors))
    assert result.dtype == np.float32
    return result.tolist()


def test_nothing_asked_for_changes_nothing() -> None:
    assert constrained([[1, 2, 1, 2]], [4], stops=[2]) == LOGITS


def test_repetition_penalty_counts_the_filled_part_once() -> None:
    """Positive ones are divided, negative ones multiplied; 4 stands behind the end."""
    left = constrained([[1, 2, 2, 4], [3, 0, 0, 0]], [3, 1], repetition_penalty=2.0)
    assert left == [[0.5, -2.0, 1.0, 0.0, -0.25], LOGITS[0]]
    assert constrained([[1, 2]], [2], repetition_penalty=0.5) == [[0.5, -0.5, 4.0, 0.0, -0.25]]


@pytest.mark.parametrize(
    ("size", "history", "banned"),
    [
        (1, [3, 1, 3], [1, 3]),
        (2, [3, 1, 3], [1]),
        (2, [3, 1, 3, 3], [1, 3]),
        (2, [3, 1], []),
        (3, [3, 1, 2, 3, 1], [2]),
        (3, [1, 2, 3, 1], []),
        (3, [2, 2, 2], [2]),
        (3, [2, 2], []),
        (9, [2, 2, 2], []),
    ],
)
def test_no_ngram_twice(size: int, history: list[int], banned: list[int]) -> None:
    padded = [*history, 0, 0]
    left = constrained([padded], [len(history)], no_repeat_ngram_size=size)
    assert np.flatnonzero(np.isneginf(left[0])).tolist() == banned


@pytest.mark.parametrize(
    ("words", "banned"),
    [
        ([[4]], [4]),
        ([[1, 2]], []),
        ([[3, 2]], [2]),
        ([[3, 2], [1, 3, 0], [4, 3, 1]], [0, 2]),
        ([[2, 1, 3, 4]], []),  # longer than what stands there
        ([[0, 1, 3, 4]], []),
        ([[3, 3], [3, 4], [1]], [1, 3, 4]),
    ],
)
def test_bad_words_are_not_completed(words: list[list[int]], banned: list[int]) -> None:
    left = constrained([[1, 3, 0, 0]], [2], bad_words_ids=words)
    assert np.flatnonzero(np.isneginf(left[0])).tolist() == banned


def test_a_stop_id_is_no_bad_word() -> None:
    left = constrained([[1, 3]], [2], stops=[4, 0], bad_words_ids=[[4], [2], [3, 0]])
    assert left == [[NEVER, -1.0, NEVER, 0.0, -0.25]]


def test_minimum_suppressed_and_forced() -> None:
    stops = [4, 0]
    early = [[NEVER, -1.0, 2.0, 0.0, NEVER]]
    assert constrained([[1]], [1], step=2, stops=stops, min_new_tokens=3) == early
    assert constrained([[1]], [1], step=3, stops=stops, min_new_tokens=3) == LOGITS
    assert constrained([[1]], [1], suppress_tokens=[4, 0]) == early
    only = [[NEVER, 0.0, NEVER, NEVER, NEVER]]
    assert constrained([[1]], [1], step=0, forced_bos_token_id=1) == only
    assert constrained([[1]], [1], step=1, forced_bos_token_id=1) == LOGITS
    assert constrained([[1]], [1], step=8, limit=9, forced_eos_token_id=1) == only
    assert constrained([[1]], [1], step=7, limit=9, forced_eos_token_id=1) == LOGITS
    # What is forced overrules the others, except what is suppressed.
    rules = {"bad_words_ids": [[1]], "forced_eos_token_id": 1}
    assert constrained([[1]], [1], step=8, **rules) == only
    assert constrained([[1]], [1], step=8, suppress_tokens=[1], **rules) == [[NEVER] * 5]


def test_what_is_left_sums_to_one() -> None:
    left = constrained([[1]], [1], suppress_tokens=[2], renormalize_logits=True)[0]
    kept = np.exp([0.5, -1.0, 0.0, -0.25])
    np.testing.assert_allclose(np.delete(np.exp(left), 2), kept / kept.sum(), rtol=1e-6)
    assert left[2] == NEVER
    # Nothing is left: no token, and no NaN, which would win every comparison of beams.
    rules = {"forced_bos_token_id": 1, "suppress_tokens": [1], "renormalize_logits": True}
    assert constrained([[1]], [1], step=0, **rules) == [[NEVER] * 5]


@settings(max_examples=150, deadline=None)
@given(
    history=st.lists(st.integers(0, 4), min_size=1, max_size=7),
    size=st.integers(0, 4),
    words=st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=3), max_size=3),
)
def test_what_is_banned_is_what_would_be_wrong(
    history: list[int], size: int, words: list[list[int]]
) -> None:
    padded = [[*history, *[0] * (7 - len(history))]]
    left = constrained(padded, [len(history)], no_repeat_ngram_size=size, bad_words_ids=words)
    for token in range(5):
        text = [*history, token]
        ngrams = [tuple(text[i : i + size]) for i in range(len(text) - size + 1)]
        repeats = size > 0 and ngrams[-1:] != [] and ngrams[-1] in ngrams[:-1]
        is_bad = any(text[-len(word) :] == word for word in words)
        assert np.isneginf(left[0][token]) == (repeats or is_bad)


def test_greedy_choice_and_draws_obey(markov: Markov) -> None:
    model = markov()
    assert generate_ids(model, [[0]], max_new_tokens=4).tolist() == [[0, 1, 2, 3, 4]]
    for sampling in ({}, {"temperature": 1.0, "top_k": 4, "seed": 1}):
        ids = generate_ids(
            model, [[0]] * 20, max_new_tokens=4, bad_words_ids=[[1, 2], [0, 3], [2]], **sampling
        )
        for row in ids.tolist():
            assert 2 not in row
            assert (0, 3) not in list(itertools.pairwise(row))


def test_the_prompt_is_part_of_the_history_and_its_padding_is_not(markov: Markov) -> None:
    model = markov()
    ids = generate_ids(
        model, [[1, 2, 4, 1], [1]], max_new_tokens=2, no_repeat_ngram_size=2, stop_ids=[4]
    )
    assert ids.tolist() == [[1, 2, 4, 1, 3, 4], [1, 2, 3, 0, 0, 0]]


def test_forced_and_least_tokens(markov: Markov) -> None:
    common = {"max_new_tokens": 5, "stop_ids": [2]}
    assert generate_ids(markov(), [[0]], **common).tolist() == [[0, 1, 2]]
    found = generate_ids(markov(), [[0]], min_new_tokens=3, **common)
    assert found.tolist() == [[0, 1, 3, 4, 0, 1]]
    found = generate_ids(markov(), [[0]], forced_bos_token_id=3, forced_eos_token_id=2, **common)
    assert found.tolist() == [[0, 3, 4, 0, 1, 2]]


def test_scores_of_a_greedy_choice(markov: Markov) -> None:
    """The model's own log-probabilities, whatever was forbidden; nothing after the end."""
    ids, scores = generate_ids(
        markov(),
        [[0], [3]],
        max_new_tokens=3,
        bad_words_ids=[[1]],
        stop_ids=[4],
        length_penalty=2.0,
        return_scores=True,
    )
    assert ids.tolist() == [[0, 2, 3, 4], [3, 4, 0, 0]]
    np.testing.assert_allclose(scores, [np.log(0.3 * 0.6 * 0.4) / 9, np.log(0.4)], rtol=1e-5)


def test_scores_of_what_the_constraints_have_left(markov: Markov) -> None:
    """Before `temperature` and `top_k` change anything."""
    expected = np.log(0.3 / 0.4 * 0.6 / 0.9 * 0.4 / 0.95)
    for sampling in ({}, {"temperature": 0.5, "top_k": 1}):
        ids, scores = generate_ids(
            markov(),
            [[0]],
            max_new_tokens=3,
            bad_words_ids=[[1]],
            length_penalty=0.0,
            renormalize_logits=True,
            return_scores=True,
            **sampling,
        )
        assert ids.tolist() == [[0, 2, 3, 4]]
        np.testing.assert_allclose(scores, [expected], rtol=1e-5)
