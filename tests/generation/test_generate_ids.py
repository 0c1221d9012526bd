"""Generation on ids with a model whose every probability is known."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import harness
import numpy as np
import pytest
import tensorflow as tf

import keras_lm as klm
from keras_lm.generation import Sampler, decode
from keras_lm.generation.programs import bucket
from keras_lm.models import Decoder

# XLA costs seconds a shape; one test below proves that it computes the same.
generate_ids = functools.partial(klm.generation.generate_ids, jit_compile=False)
Markov = Callable[..., Any]


@pytest.fixture(scope="module")
def chain(markov: Markov) -> Any:
    return markov()


def test_greedy_follows_the_most_likely_path(chain: Any) -> None:
    assert generate_ids(chain, [[0]], max_new_tokens=7).tolist() == [[0, 1, 2, 3, 4, 0, 1, 2]]
    ids = np.array([[4, 2], [3, 0]])
    expected = [[4, 2, 3, 4, 0], [3, 0, 1, 2, 3]]
    result = generate_ids(chain, ids, max_new_tokens=3)
    assert result.tolist() == expected
    assert result.dtype == np.int32
    assert generate_ids(chain, tf.constant(ids), max_new_tokens=3).tolist() == expected


def test_prompts_of_several_lengths_end_where_they_end(chain: Any) -> None:
    result = generate_ids(chain, [[0], [4, 4, 2], [1, 3]], max_new_tokens=2, pad_id=4)
    assert result.tolist() == [[0, 1, 2, 4, 4], [4, 4, 2, 3, 4], [1, 3, 4, 0, 4]]


def test_stop_ids_end_a_row_and_stay_in_it(chain: Any) -> None:
    result = generate_ids(chain, [[0], [3], [2]], max_new_tokens=5, stop_ids=[3, 4], pad_id=2)
    assert result.tolist() == [[0, 1, 2, 3], [3, 4, 2, 2], [2, 3, 2, 2]]
    array = generate_ids(chain, [[0]], max_new_tokens=5, stop_ids=np.array([2]))
    assert array.tolist() == [[0, 1, 2]]


def test_a_stop_id_in_the_prompt_stops_nothing(chain: Any) -> None:
    result = generate_ids(chain, [[3, 0]], max_new_tokens=3, stop_ids=[3])
    assert result.tolist() == [[3, 0, 1, 2, 3]]


def test_number_of_new_tokens(chain: Any) -> None:
    for count in (0, 1, 16, 17):
        assert generate_ids(chain, [[0, 1]], max_new_tokens=count).shape == (1, 2 + count)


def test_as_many_as_the_model_has_room_for(markov: Markov) -> None:
    model = markov(max_length=10)
    assert generate_ids(model, [[0] * 7], max_new_tokens=3).shape == (1, 10)
    with pytest.raises(ValueError, match=r"7 tokens and max_new_tokens=4 .*max_length=10.*most 3"):
        generate_ids(model, [[0] * 7], max_new_tokens=4)


def test_return_sequences_stand_together(chain: Any) -> None:
    result = generate_ids(chain, [[0], [2, 2]], max_new_tokens=2, num_return_sequences=3)
    assert result[:, 0].tolist() == [0, 0, 0, 2, 2, 2]
    sampled = generate_ids(chain, [[0]], max_new_tokens=12, num_return_sequences=4, temperature=1.0)
    assert len({tuple(row) for row in sampled.tolist()}) == 4
    assert generate_ids(chain, [[0]], max_new_tokens=0, num_return_sequences=3).shape == (3, 1)


def frequencies(model: Any, token: int, rows: int = 4096, **sampling: Any) -> np.ndarray:
    """How often each token follows one, in `rows` rows of a batch."""
    result = generate_ids(model, [[token]] * rows, max_new_tokens=1, **sampling)
    return np.bincount(result[:, 1], minlength=model.config.vocab_size)


def chi_square(counts: np.ndarray, probabilities: np.ndarray) -> float:
    assert not counts[probabilities == 0].any()
    real = probabilities > 0
    expected = counts.sum() * probabilities[real] / probabilities.sum()
    return float(((counts[real] - expected) ** 2 / expected).sum())


# χ² of up to 4 degrees of freedom is above 18.5 once in a thousand draws; the seeds are fixed.
LIMIT = 18.5


@pytest.mark.parametrize("token", [0, 1, 3])
def test_rows_are_drawn_from_the_distribution(chain: Any, token: int) -> None:
    table = np.exp(chain.table.astype("float64"))
    counts = frequencies(chain, token, temperature=1.0, seed=3)
    assert chi_square(counts, np.where(table[token] < 1e-9, 0, table[token])) < LIMIT


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_sharpens_and_flattens(chain: Any, temperature: float) -> None:
    odds = np.exp(chain.table[3].astype("float64") / temperature)
    counts = frequencies(chain, 3, temperature=temperature, seed=1)
    assert chi_square(counts, odds) < LIMIT
    assert chi_square(counts, np.exp(chain.table[3])) > LIMIT


def test_steps_of_a_row_are_drawn_independently(markov: Markov) -> None:
    """Pairs of neighbours in one long row of independent draws."""
    model = markov(np.tile([0.5, 0.3, 0.2], (3, 1)), max_length=5000)
    row = generate_ids(model, [[0]], max_new_tokens=4000, temperature=1.0, seed=5)[0, 1:]
    pairs = np.bincount(3 * row[:-1] + row[1:], minlength=9)
    probabilities = np.outer([0.5, 0.3, 0.2], [0.5, 0.3, 0.2]).ravel()
    assert chi_square(pairs, probabilities) < 26.1  # 8 degrees of freedom, once in a thousand


def test_seeds_are_independent(chain: Any) -> None:
    draws = [
        generate_ids(chain, [[1]] * 500, max_new_tokens=1, temperature=1.0, seed=seed)[:, 1]
        for seed in (0, 1, -1, 2**31 - 1)
    ]
    probability_of_equals = (np.exp(chain.table[1]) ** 2).sum()
    for i in range(4):
        for j in range(i):
            agreement = (draws[i] == draws[j]).mean()
            assert abs(agreement - probability_of_equals) < 0.08


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        ({"top_k": 1}, [4]),
        ({"top_k": 2}, [3, 4]),
        ({"top_k": 3}, [0, 3, 4]),
        ({"top_k": 99}, [0, 1, 2, 3, 4]),
        ({"top_k": 0}, [0, 1, 2, 3, 4]),
        ({"top_k": None}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.01}, [4]),
        ({"top_p": 0.39}, [4]),
        ({"top_p": 0.41}, [3, 4]),
        ({"top_p": 0.71}, [0, 3, 4]),
        ({"top_p": 0.91}, [0, 1, 2, 3, 4]),  # 1 and 2 are equally likely
        ({"top_p": 1.0}, [0, 1, 2, 3, 4]),
        ({"top_k": 3, "top_p": 0.7}, [3, 4]),  # of 0.9: 0.4 + 0.3 is 0.78
        ({"top_k": 2, "top_p": 0.99}, [3, 4]),
    ],
)
def test_filters_keep_just_the_right_tokens(chain: Any, sampling: Any, kept: list[int]) -> None:
    counts = frequencies(chain, 3, rows=1024, temperature=1.0, **sampling)
    assert np.flatnonzero(counts).tolist() == kept
    probabilities = np.where(np.isin(np.arange(5), kept), np.exp(chain.table[3]), 0.0)
    assert chi_square(counts, probabilities) < LIMIT


def test_temperature_is_applied_before_top_p(chain: Any) -> None:
    # At 0.5 the odds .04 .0025 .0025 .09 .16 make 4 alone 54 %.
    counts = frequencies(chain, 3, rows=512, temperature=0.5, top_p=0.5)
    assert np.flatnonzero(counts).tolist() == [4]
    assert np.flatnonzero(frequencies(chain, 3, 512, temperature=1.0, top_p=0.5)).tolist() == [3, 4]


def test_a_seed_gives_the_same_tokens_and_another_gives_others(chain: Any) -> None:
    def draw(seed: int) -> list[list[int]]:
        return generate_ids(
            chain, [[0], [1]], max_new_tokens=16, temperature=1.0, seed=seed
        ).tolist()

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)


def test_company_does_not_change_a_greedy_row() -> None:
    config = klm.TransformerConfig(
        vocab_size=13, num_layers=2, hidden_dim=8, num_heads=2, max_length=40
    )
    model = harness.random_model(Decoder, config)
    prompts = [[7], [3, 3, 3, 2, 9, 1, 4] * 3]
    together = generate_ids(model, prompts, max_new_tokens=9)
    for row, prompt in zip(together, prompts, strict=True):
        alone = generate_ids(model, [prompt], max_new_tokens=9)[0]
        assert row[: len(alone)].tolist() == alone.tolist()
        assert not row[len(alone) :].any()


@pytest.mark.parametrize("kind", ["learned", "rotary"])
def test_a_prompt_whose_bucket_is_longer_than_the_model(kind: str) -> None:
    """17 tokens are padded to 32, beyond max_length=20: what stands there must not be read."""
    config = klm.TransformerConfig(
        vocab_size=13, num_layers=1, hidden_dim=8, num_heads=2, max_length=20, positions=kind
    )
    model = harness.random_model(Decoder, config)
    prompt = harness.random_ids(model, 1, 17)
    result = generate_ids(model, prompt, max_new_tokens=3)
    for end in range(17, 20):
        logits = harness.logits_of(model, result[:, :end])
        assert result[0, end] == logits[0, -1].argmax()


def test_eager_graph_and_xla_choose_the_same() -> None:
    config = klm.TransformerConfig(
        vocab_size=13, num_layers=1, hidden_dim=8, num_heads=2, max_length=40
    )
    model = harness.random_model(Decoder, config)
    prompts, sampling = [[1, 2, 3], [4]], {"temperature": 1.3, "top_k": 9, "top_p": 0.9, "seed": 11}
    graph = generate_ids(model, prompts, max_new_tokens=8, **sampling)
    xla = klm.generation.generate_ids(
        model, prompts, max_new_tokens=8, jit_compile=True, **sampling
    )
    assert graph.tolist() == xla.tolist()
    tokens, count = decode(
        model,
        tf.constant([[1, 2, 3], [4, 0, 0]]),
        tf.constant([3, 1]),
        tf.zeros([8], tf.int32),
        tf.constant(8),
        tf.constant([-1]),
        Sampler(1.3, 9, 0.9, 11),
    )
    assert count.numpy().tolist() == [8, 8]
    assert tokens[0].numpy().tolist() == graph[0, 3:].tolist()
    assert tokens[1].numpy().tolist() == graph[1, 1:9].tolist()


def test_other_weights_are_used_and_other_variables_compiled_anew() -> None:
    config = klm.TransformerConfig(vocab_size=13, num_layers=1, hidden_dim=8, num_heads=2)
    model = harness.random_model(Decoder, config)
    with harness.count_traces(model, "step") as step:
        first = generate_ids(model, [[1]], max_new_tokens=9).tolist()
        traces = step.call_count
        harness.randomize(model, seed=1)
        assert generate_ids(model, [[1]], max_new_tokens=9).tolist() != first
        assert step.call_count == traces
        model.blocks[0].feed_forward.expand.enable_lora(2)
        generate_ids(model, [[1]], max_new_tokens=9)
        assert step.call_count > traces


def test_buckets() -> None:
    assert [bucket(n) for n in (1, 2, 3, 4, 5, 8, 9)] == [1, 2, 4, 4, 8, 8, 16]
    assert [bucket(n, 16) for n in (1, 16, 17, 33)] == [16, 16, 32, 64]


BAD = [
    ({"max_new_tokens": -1}, r"max_new_tokens must be an int, 0 or more; got -1"),
    ({"max_new_tokens": 2.0}, r"max_new_tokens must be an int.*got 2.0"),
    ({"max_new_tokens": True}, r"max_new_tokens must be an int.*got True"),
    ({"temperature": -0.1}, r"temperature must be a number, 0 or more; got -0.1"),
    ({"temperature": "hot"}, r"temperature must be a number.*'hot'"),
    ({"temperature": float("nan")}, r"temperature must be a number.*nan"),
    ({"temperature": float("inf")}, r"temperature must be a number.*inf"),
    ({"top_k": -1}, r"top_k must be an int.*-1"),
    ({"top_k": 1.5}, r"top_k must be an int.*1.5"),
    ({"top_p": 0.0}, r"top_p must be a number in \(0, 1\].*0.0"),
    ({"top_p": 1.01}, r"top_p must be a number in \(0, 1\].*1.01"),
    ({"num_return_sequences": 0}, r"num_return_sequences must be an int, 1 or more; got 0"),
    ({"seed": 2**31}, r"seed must be an int of 32 bits; got 2147483648"),
    ({"seed": "x"}, r"seed must be an int of 32 bits; got 'x'"),
    ({"stop_ids": [5]}, r"stop_ids holds 5; token ids are ints from 0 to 4"),
    ({"stop_ids": 3}, r"stop_ids must be .*got 3"),
    ({"pad_id": -1}, r"pad_id holds -1"),
    ({"num_beams": 0}, r"num_beams must be an int, 1 or more; got 0"),
    ({"num_beams": True}, r"num_beams must be an int, 1 or more; got True"),
    ({"num_beams": 2, "temperature": 0.5}, r"temperature must be 0 with num_beams=2.*got 0.5"),
    ({"num_beams": 2, "num_return_sequences": 3}, r"num_return_sequences must be at most num_b"),
    ({"num_beams": 4, "num_beam_groups": 3}, r"num_beam_groups must be a divisor of num_beams=4"),
    ({"num_beams": 4, "num_beam_groups": 0}, r"num_beam_groups must be a divisor.*got 0"),
    ({"num_beams": 4, "num_beam_groups": 2}, r"diversity_penalty must be above 0.*got 0.0"),
    ({"num_beams": 4, "diversity_penalty": 1.0}, r"diversity_penalty must be .* 0 where.*got 1.0"),
    ({"num_beams": 4, "diversity_penalty": -1.0}, r"diversity_penalty must be a number, 0 or"),
    ({"num_beams": 2, "early_stopping": "ever"}, r"early_stopping must be True, False or 'never'"),
    ({"num_beams": 2, "early_stopping": 1}, r"early_stopping must be True.*got 1"),
    ({"num_beams": 2, "length_penalty": float("nan")}, r"length_penalty must be a number.*nan"),
    ({"num_beams": 2, "coverage_penalty": 0.1}, r"coverage_penalty must be 0 for a MarkovModel"),
    ({"coverage_penalty": 0.1}, r"coverage_penalty must be 0 without a beam search"),
    ({"coverage_penalty": -1}, r"coverage_penalty must be a number, 0 or more; got -1"),
    ({"repetition_penalty": 0.0}, r"repetition_penalty must be a number above 0; got 0.0"),
    ({"no_repeat_ngram_size": -1}, r"no_repeat_ngram_size must be an int, 0 or more; got -1"),
    ({"bad_words_ids": [1]}, r"bad_words_ids must be a list of lists.*got \[1\]"),
    ({"bad_words_ids": [[1], []]}, r"bad_words_ids must be .* none of them empty"),
    ({"bad_words_ids": [[1], [2, 5]]}, r"bad_words_ids\[1\] holds 5"),
    ({"suppress_tokens": [1, 5]}, r"suppress_tokens holds 5"),
    ({"suppress_tokens": "ab"}, r"suppress_tokens must be a list of token ids; got 'ab'"),
    ({"min_new_tokens": -1}, r"min_new_tokens must be an int from 0 to 2, max_new_tokens; got -1"),
    ({"min_new_tokens": 3}, r"min_new_tokens must be an int from 0 to 2, max_new_tokens; got 3"),
    ({"forced_bos_token_id": 5}, r"forced_bos_token_id holds 5"),
    ({"forced_eos_token_id": -1}, r"forced_eos_token_id holds -1"),
    ({"decoder_input_ids": [0]}, r"decoder_input_ids must be None for a MarkovModel"),
    ({"return_scores": 1}, r"return_scores must be a bool; got 1"),
    ({"renormalize_logits": 1}, r"renormalize_logits must be a bool; got 1"),
    ({"ids": []}, r"ids is empty"),
    ({"ids": [[1], []]}, r"ids\[1\] is an empty prompt"),
    ({"ids": np.zeros((2, 0), "int32")}, r"ids\[0\] is an empty prompt"),
    ({"ids": [[0, 5]]}, r"ids\[0\] holds 5; token ids are ints from 0 to 4"),
    ({"ids": [[0], [-1]]}, r"ids\[1\] holds -1"),
    ({"ids": np.array([[0.0, 1.0]])}, r"ids\[0\] holds 0.0"),
    ({"ids": [["a"]]}, r"ids\[0\] holds 'a'"),
    ({"ids": [1, 2]}, r"ids must be \[B, T\] or a list of lists"),
    ({"ids": 5}, r"ids must be \[B, T\] or a list of lists"),
    ({"ids": "text"}, r"ids must be \[B, T\] or a list of lists"),
    ({"ids": None}, r"ids must be \[B, T\] or a list of lists"),
    ({"ids": [[[1]]]}, r"ids must be \[B, T\] or a list of lists"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_input_is_named(chain: Any, arguments: dict[str, Any], message: str) -> None:
    given = {"ids": [[0]], "max_new_tokens": 2, **arguments}
    with pytest.raises(ValueError, match=message):
        generate_ids(chain, given.pop("ids"), **given)
