"""Beam search on models whose every probability is known, against a search through everything."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import harness
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import keras_lm as klm
from keras_lm.models import Decoder, NGramLM, RecurrentLM

generate_ids = functools.partial(klm.generation.generate_ids, jit_compile=False)
search = functools.partial(generate_ids, return_scores=True)
Markov = Callable[..., Any]


@pytest.fixture(scope="module")
def three(markov: Markov) -> Any:
    """Three tokens; tests write their table."""
    return markov(np.full((3, 3), 1 / 3))


def hypotheses(vocab_size: int, longest: int, stops: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """All sequences that end with their first stop id, or at the last step without one."""
    for length in range(1, longest + 1):
        for sequence in itertools.product(range(vocab_size), repeat=length):
            has_stop = any(token in stops for token in sequence[:-1])
            if not has_stop and (sequence[-1] in stops or length == longest):
                yield sequence


def best_of_all(
    table: np.ndarray, first: int, longest: int, stops: tuple[int, ...], penalty: float
) -> list[tuple[float, tuple[int, ...]]]:
    """Scores and sequences after a token, the best first."""
    scored = []
    for sequence in hypotheses(len(table), longest, stops):
        total = sum(table[pair] for pair in itertools.pairwise((first, *sequence)))
        scored.append((total / len(sequence) ** penalty, sequence))
    return sorted(scored, reverse=True)


TABLES = st.lists(
    st.lists(st.floats(0.02, 1.0), min_size=3, max_size=3), min_size=3, max_size=3
).map(lambda rows: np.asarray(rows) / np.sum(rows, axis=1, keepdims=True))


@settings(max_examples=60, deadline=None)
@given(
    table=TABLES,
    first=st.sampled_from([0, 1]),
    penalty=st.sampled_from([0.0, 0.5, 1.0, 2.0, -1.0]),
    stops=st.sampled_from([(2,), (1,)]),
    early_stopping=st.sampled_from([True, False, "never"]),
)
def test_beams_as_wide_as_the_space_find_the_best_of_all(
    three: Any, table: Any, first: int, penalty: float, stops: tuple[int, ...], early_stopping: Any
) -> None:
    """4 tokens of 3: there are 31 hypotheses, so 32 beams lose none and are never full."""
    three.set_table(table)
    exact = np.log(table)
    expected = best_of_all(exact, first, 4, stops, penalty)
    ids, scores = search(
        three,
        [[first]],
        max_new_tokens=4,
        num_beams=32,
        num_return_sequences=32,
        stop_ids=stops,
        length_penalty=penalty,
        early_stopping=early_stopping,
        pad_id=0,
    )
    assert len(expected) == 31
    np.testing.assert_allclose(scores[:31], [score for score, _ in expected], atol=1e-4)
    rows = {tuple(row) for row in ids[:31].tolist()}
    padded = {(first, *sequence, *[0] * (4 - len(sequence))) for _, sequence in expected}
    assert rows == padded
    assert scores[31] == -1e9
    assert ids[31].tolist() == [first, 0, 0, 0, 0]


def test_it_beats_greedy_and_keeps_the_best_hypothesis(markov: Markov) -> None:
    """Greedy goes 0 → 1 (.6) and then has at most .4; 0 → 2 (.4) → 3 (.9) is better."""
    table = [[0.0, 0.6, 0.4, 0.0], [0.3, 0.3, 0.0, 0.4], [0.0, 0.1, 0.0, 0.9], [0.0, 0.0, 0.0, 1.0]]
    model = markov(table)
    assert generate_ids(model, [[0]], max_new_tokens=2).tolist() == [[0, 1, 3]]
    ids, scores = search(model, [[0]], max_new_tokens=2, num_beams=2, num_return_sequences=2)
    assert ids.tolist() == [[0, 2, 3], [0, 1, 3]]
    np.testing.assert_allclose(scores, np.log([0.4 * 0.9, 0.6 * 0.4]) / 2, rtol=1e-5)


def test_when_a_search_ends(markov: Markov) -> None:
    """1 3 (.33) and 2 3 (.32) end at once; 1 1 … 3 wins by its length, but .27 is behind then."""
    table = [[0, 0.6, 0.4, 0], [0, 0.45, 0, 0.55], [0, 0.2, 0, 0.8], [1, 0, 0, 0]]
    model = markov(table)
    common = {"max_new_tokens": 8, "num_beams": 2, "stop_ids": [3], "length_penalty": 2.0}
    for early_stopping in (True, False):
        found = generate_ids(model, [[0]], early_stopping=early_stopping, **common)
        assert found.tolist() == [[0, 1, 3]]
    late, scores = search(model, [[0]], early_stopping="never", **common)
    assert late.tolist() == [[0, *[1] * 7, 3]]
    log_prob = math.log(0.6) + 6 * math.log(0.45) + math.log(0.55)
    assert scores[0] == pytest.approx(log_prob / 64, rel=1e-5)


def of_model(model: Any, prompt: list[int], longest: int) -> list[tuple[float, tuple[int, ...]]]:
    """All continuations and their log-probabilities as the model scores them, the best first."""
    found = list(itertools.product(range(model.config.vocab_size), repeat=longest))
    ids = np.array([[*prompt, *new] for new in found], "int32")
    log_probs = ops.convert_to_numpy(model.log_probs(ids[:, :-1], ids[:, 1:]))
    sums = log_probs[:, len(prompt) - 1 :].sum(axis=1)
    return sorted(zip(sums.tolist(), found, strict=True), reverse=True)


@pytest.fixture(scope="module")
def kinds() -> dict[str, Any]:
    small = {"vocab_size": 5, "num_layers": 1, "hidden_dim": 8}
    ngrams = NGramLM(order=3, vocab_size=5, begin_id=0, end_id=0, smoothing="add_k")
    text = np.array([0, 1, 2, 3, 4, 1, 3, 0, 2, 2, 4, 1, 2, 0, 4, 4, 3, 1])
    ngrams.estimate([(text, text == 0)], progress=False)
    return {
        "decoder": harness.random_model(Decoder, klm.TransformerConfig(num_heads=2, **small)),
        "recurrent": harness.random_model(RecurrentLM, klm.RecurrentConfig(cell="lstm", **small)),
        "ngram": ngrams,
    }


@pytest.mark.parametrize("kind", ["decoder", "recurrent", "ngram"])
def test_every_model_is_searched(kinds: dict[str, Any], kind: str) -> None:
    """25 beams hold all pairs of 5 tokens, so of three tokens the best 25 are found."""
    model, prompts = kinds[kind], [[1, 2, 4], [3]]
    ids, scores = search(
        model, prompts, max_new_tokens=3, num_beams=25, num_return_sequences=5, length_penalty=0.0
    )
    for row, prompt in enumerate(prompts):
        expected = of_model(model, prompt, 3)[:5]
        found = ids[5 * row : 5 * row + 5, : len(prompt) + 3].tolist()
        np.testing.assert_allclose(
            scores[5 * row : 5 * row + 5], [score for score, _ in expected], atol=2e-5
        )
        assert {tuple(new) for new in found} == {(*prompt, *new) for _, new in expected}


def test_groups_take_what_the_groups_before_left(markov: Markov) -> None:
    """One beam a group is greedy choice, with the penalty for each group that chose the same."""
    model, penalty = markov(), 0.9
    log_probs = model.table.astype("float64")
    rows: list[list[int]] = [[0], [0], [0]]
    scores = [0.0, 0.0, 0.0]
    for _ in range(5):
        taken = np.zeros(5)
        for group, row in enumerate(rows):
            left = log_probs[row[-1]] - penalty * taken
            row.append(int(left.argmax()))
            scores[group] += left[row[-1]]
            taken[row[-1]] += 1
    assert len({tuple(row) for row in rows}) == 3
    ids, found = search(
        model,
        [[2, 0]],
        max_new_tokens=5,
        num_beams=3,
        num_beam_groups=3,
        diversity_penalty=penalty,
        num_return_sequences=3,
        length_penalty=0.0,
    )
    order = np.argsort(scores)[::-1]
    assert ids.tolist() == [[2, *rows[group]] for group in order]
    np.testing.assert_allclose(found, np.sort(scores)[::-1], rtol=1e-5)


def test_groups_that_hardly_mind_each_other_are_searches_of_their_own(markov: Markov) -> None:
    model = markov(np.random.default_rng(0).dirichlet(np.ones(5), size=5))
    common = {"max_new_tokens": 4, "stop_ids": [4], "num_return_sequences": 3}
    alone, scores = search(model, [[0], [1]], num_beams=3, **common)
    common |= {"num_return_sequences": 6, "num_beam_groups": 2, "diversity_penalty": 1e-6}
    both, both_scores = search(model, [[0], [1]], num_beams=6, **common)
    assert both.tolist() == np.repeat(alone, 2, axis=0).tolist()
    np.testing.assert_allclose(both_scores, np.repeat(scores, 2), atol=1e-5)


def test_company_changes_nothing(kinds: dict[str, Any]) -> None:
    model = kinds["decoder"]
    prompts = [[1, 2, 4, 4, 0, 3], [3], [0, 4]]
    arguments = {"max_new_tokens": 6, "num_beams": 3, "num_return_sequences": 2, "stop_ids": [2]}
    together, scores = search(model, prompts, no_repeat_ngram_size=3, **arguments)
    for row, prompt in enumerate(prompts):
        alone, score = search(model, [prompt], no_repeat_ngram_size=3, **arguments)
        mine = together[2 * row : 2 * row + 2]
        assert mine[:, : alone.shape[1]].tolist() == alone.tolist()
        assert not mine[:, alone.shape[1] :].any()
        np.testing.assert_allclose(scores[2 * row : 2 * row + 2], score, atol=1e-5)


def test_other_values_compile_nothing(kinds: dict[str, Any]) -> None:
    model = kinds["decoder"]
    generate_ids(model, [[1, 2]], max_new_tokens=6, num_beams=2)
    with harness.count_traces(model, "step") as step:
        generate_ids(
            model,
            [[4, 4, 1]],
            max_new_tokens=9,
            num_beams=2,
            stop_ids=[3],
            length_penalty=0.3,
            early_stopping="never",
            repetition_penalty=1.2,
            no_repeat_ngram_size=2,
            bad_words_ids=[[4]],
            suppress_tokens=[0],
            min_new_tokens=2,
            forced_bos_token_id=1,
            forced_eos_token_id=3,
        )
    assert step.call_count == 0


def test_one_token_and_none(markov: Markov) -> None:
    model = markov()
    ids, scores = search(model, [[0]], max_new_tokens=1, num_beams=3, num_return_sequences=3)
    assert ids.tolist() == [[0, 1], [0, 2], [0, 3]]
    np.testing.assert_allclose(scores, np.log([0.6, 0.3, 0.1]), rtol=1e-5)
    ids, scores = search(model, [[0, 3]], max_new_tokens=0, num_beams=3, num_return_sequences=2)
    assert ids.tolist() == [[0, 3]] * 2
    assert scores.tolist() == [0.0, 0.0]
