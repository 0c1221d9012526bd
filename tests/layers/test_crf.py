"""The chain of tags against all sequences, counted one by one."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lm.layers import LinearChainCRF, allowed_transitions
from keras_lm.layers.crf import IMPOSSIBLE, allowed_only, log_likelihood, marginals, viterbi

C, T = 3, 4
SPECS = [
    tf.TensorSpec([None, None, C], tf.float32),
    tf.TensorSpec([None, None], tf.int32),
    tf.TensorSpec([None, None], tf.int32),
    tf.TensorSpec([C + 1, C + 1], tf.float32),
]


@tf.function(input_signature=SPECS)
def everything(emissions, tags, mask, transitions):
    with tf.GradientTape() as tape:
        tape.watch([emissions, transitions])
        likelihood = log_likelihood(emissions, tags, mask, transitions)
    return {
        "log_likelihood": likelihood,
        "gradients": tape.gradient(likelihood, [emissions, transitions]),
        "viterbi": viterbi(emissions, mask, transitions),
        "marginals": marginals(emissions, mask, transitions),
    }


def problem(seed):
    random = np.random.default_rng(seed)
    return (
        random.normal(0, 2, [6, T, C]).astype("float32"),
        random.integers(0, C, [6, T]).astype("int32"),
        np.array(
            [[1] * 4, [0, 1, 0, 1], [0, 0, 1, 0], [0] * 4, [1, 1, 0, 0], [0, 1, 1, 1]], "int32"
        ),
        random.normal(0, 2, [C + 1, C + 1]).astype("float32"),
    )


def score_of(emissions, transitions, tags):
    steps = zip((C, *tags), (*tags, C), strict=True)
    score = sum(emission[tag] for emission, tag in zip(emissions, tags, strict=True))
    return score + (sum(transitions[step] for step in steps) if tags else 0.0)


@given(st.integers(0, 2**32 - 1))
def test_against_all_sequences(seed):
    emissions, tags, mask, transitions = problem(seed)
    found = everything(emissions, tags, mask, transitions)
    for row in range(6):
        places = np.flatnonzero(mask[row])
        chosen = emissions[row, places].astype("float64")
        sequences = list(itertools.product(range(C), repeat=len(places)))
        scores = np.array([score_of(chosen, transitions, each) for each in sequences])
        partition = np.log(np.exp(scores).sum())
        own = score_of(chosen, transitions, tuple(tags[row, places]))
        assert float(found["log_likelihood"][row]) == pytest.approx(own - partition, abs=1e-4)
        best, score = (tensor[row].numpy() for tensor in found["viterbi"])
        assert tuple(best[places]) == sequences[scores.argmax()]
        assert score == pytest.approx(scores.max(), abs=1e-4)
        expected = np.zeros([T, C])
        for sequence, probability in zip(sequences, np.exp(scores - partition), strict=True):
            expected[places, sequence] += probability
        np.testing.assert_allclose(found["marginals"][row], expected, atol=1e-4)


def test_gradients():
    """Of the emissions: the tag itself less its marginal; of transitions, by differences."""
    emissions, tags, mask, transitions = problem(0)
    found = everything(emissions, tags, mask, transitions)
    of_emissions, of_transitions = found["gradients"]
    expected = np.where(mask[..., None], np.eye(C)[tags], 0) - found["marginals"]
    np.testing.assert_allclose(of_emissions, expected, atol=1e-5)
    for step in itertools.product(range(C + 1), repeat=2):
        total = []
        for change in (0.01, -0.01):
            moved = transitions.copy()
            moved[step] += change
            total.append(everything(emissions, tags, mask, moved)["log_likelihood"].numpy().sum())
        slope = (total[0] - total[1]) / 0.02
        assert float(of_transitions[step]) == pytest.approx(slope, abs=5e-3), step
    assert float(of_transitions[C, C]) == 0.0  # from the beginning to the end is no step


def test_what_is_skipped_does_not_matter():
    emissions, tags, mask, transitions = problem(1)
    before = everything(emissions, tags, mask, transitions)
    emissions[mask == 0], tags[mask == 0] = 1e4, 0
    after = everything(emissions, tags, mask, transitions)
    for name in ("log_likelihood", "marginals"):
        np.testing.assert_array_equal(before[name], after[name])
    np.testing.assert_array_equal(before["viterbi"][0], after["viterbi"][0])
    # [0, 1, 0, 1]: 0 before the first place; between places the tag before.
    best = after["viterbi"][0].numpy()
    assert best[1, 0] == 0
    assert best[1, 2] == best[1, 1]
    assert not best[3].any()


NAMES = ["O", "B-x", "I-x", "B-y", "I-y"]


def follows(allowed, names):
    names = [*names, "|"]
    return {
        (left, right)
        for i, left in enumerate(names)
        for j, right in enumerate(names)
        if not allowed[i, j]
    }


def test_rules_of_bio():
    others = {"I-x": ("O", "B-y", "I-y", "|"), "I-y": ("O", "B-x", "I-x", "|")}
    expected = {(left, tag) for tag, lefts in others.items() for left in lefts}
    assert follows(allowed_transitions(NAMES), NAMES) == expected


def test_rules_of_bioes():
    names = ["O", "B-x", "I-x", "E-x", "S-x"]
    closed, opened = ("O", "E-x", "S-x", "|"), ("B-x", "I-x")
    expected = {(left, right) for left in closed for right in ("I-x", "E-x")}
    expected |= {(left, right) for left in opened for right in ("O", "B-x", "S-x", "|")}
    assert follows(allowed_transitions(names), names) == expected


@pytest.mark.parametrize("names", [["NOUN", "VERB", "X"], ["O", "I-x", "I-y"], ["S-x", "O"]])
def test_other_tags_have_no_rules(names):
    assert allowed_transitions(names).all()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_viterbi_keeps_to_the_rules_and_is_the_best_that_does(seed):
    random = np.random.default_rng(seed)
    emissions = random.normal(0, 3, [1, 5, 5]).astype("float32")
    allowed = allowed_transitions(NAMES)
    transitions = allowed_only(np.zeros([6, 6], "float32"), allowed)
    tags, score = viterbi(emissions, np.ones([1, 5]), transitions)

    def keeps(sequence):
        return all(allowed[step] for step in zip((5, *sequence), (*sequence, 5), strict=True))

    legal = [each for each in itertools.product(range(5), repeat=5) if keeps(each)]
    scores = [emissions[0, range(5), each].sum() for each in legal]
    assert tuple(tags[0].numpy()) == legal[int(np.argmax(scores))]
    assert float(score[0]) == pytest.approx(max(scores), abs=1e-4)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_layer_learns_what_follows_what(jit_compile):
    """Emissions say nothing; that 0 1 2 0 1 2 … is the order, only transitions can tell."""
    crf = LinearChainCRF(C)
    crf.build((None, None, C))
    optimizer = keras.optimizers.Adam(0.3)
    tags = (np.arange(5)[:, None] + np.arange(T)) % C
    nothing, mask = np.zeros([5, T, C], "float32"), np.ones([5, T], "int32")

    @tf.function(jit_compile=jit_compile)
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(crf.log_likelihood(nothing, tags, mask))
        optimizer.apply(tape.gradient(loss, crf.trainable_variables), crf.trainable_variables)
        return loss

    losses = [float(step()) for _ in range(40)]
    assert losses[0] == pytest.approx(T * np.log(C), abs=1e-4)
    assert losses[-1] < 1.2  # what is left is where to begin, 1.05
    hint = nothing.copy()
    hint[np.arange(5), 0, tags[:, 0]] = 9.0
    np.testing.assert_array_equal(crf.viterbi(hint, mask)[0], tags)
    forbidden = np.ones([C + 1, C + 1], bool)
    forbidden[0, 1] = False
    assert not np.array_equal(crf.viterbi(hint, mask, forbidden)[0], tags)


def test_the_impossible_stays_a_number():
    emissions, tags, mask, _ = problem(2)
    never = np.full([C + 1, C + 1], IMPOSSIBLE, "float32")
    found = everything(emissions, tags, mask, never)
    for array in tf.nest.flatten(found):
        assert np.isfinite(array.numpy()).all()


def test_serialization_and_bad_input():
    crf = LinearChainCRF(4, name="crf")
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(crf))
    assert restored.get_config() == crf.get_config()
    crf.build((None, None, 4))
    assert [v.path for v in crf.variables] == ["crf/transitions"]
    with pytest.raises(ValueError, match="num_labels is 0; it must be an int, at least 1"):
        LinearChainCRF(0)


JAX_CHECK = """
import jax, keras, numpy as np
assert keras.backend.backend() == "jax"
from keras_lm.layers import LinearChainCRF
crf = LinearChainCRF(2)
crf.build((None, None, 2))
emissions, mask = np.array([[[0.0, 1.0], [2.0, 0.0], [0.0, 1.0]]], "float32"), np.array([[1, 0, 1]])
tags, score = jax.jit(crf.viterbi)(emissions, mask)
assert np.asarray(tags).tolist() == [[1, 1, 1]], tags
forbidden = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)  # 1 may not follow 1
others, _ = jax.jit(lambda e, m: crf.viterbi(e, m, forbidden))(emissions, mask)
assert np.asarray(others)[0, [0, 2]].tolist() in ([0, 1], [1, 0]), others
total = lambda e: crf.log_likelihood(e, tags, mask).sum()
gradient = jax.jit(jax.grad(total))(emissions)
expected = np.where(mask[..., None], np.eye(2)[[[1, 1, 1]]], 0) - crf.marginals(emissions, mask)
assert np.abs(gradient - expected).max() < 1e-6
"""


def test_the_jax_backend():
    subprocess.run(
        [sys.executable, "-c", JAX_CHECK],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parents[2],
        check=True,
    )
