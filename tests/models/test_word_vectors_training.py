"""Word2Vec and GloVe: each update against the formulas, and structure that was planted is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lm as klm
from keras_lm.data.word_vectors.cooccurrences import PairBatches, count_cooccurrences
from keras_lm.data.word_vectors.corpus import read_corpus
from keras_lm.data.word_vectors.neighbours import NeighbourBlocks
from keras_lm.models import GloVe, Word2Vec
from keras_lm.models.word_vectors.base import WordVectorModel
from keras_lm.models.word_vectors.huffman import huffman_paths

KINDS: dict[str, tuple[type[WordVectorModel], dict[str, Any]]] = {
    "skip-gram": (Word2Vec, {"architecture": "skipgram"}),
    "CBOW": (Word2Vec, {"architecture": "cbow"}),
    "skip-gram, tree": (Word2Vec, {"architecture": "skipgram", "hierarchical_softmax": True}),
    "CBOW, tree": (Word2Vec, {"architecture": "cbow", "hierarchical_softmax": True}),
    "GloVe": (GloVe, {}),
}
WORD2VEC = [kind for kind in KINDS if kind != "GloVe"]
TEXTS = [list("abacadbe"), list("edcab"), list("aab")]


def planted_texts(num_texts: int, seed: int = 0, strays: float = 0.0) -> list[list[str]]:
    """Words of four topics; `x0` and `y0` are synonyms of topic 0, `x1` and `y1` of topic 1 …

    The share `strays` of the other words is of any topic.
    """
    random = np.random.default_rng(seed)
    texts = []
    for _ in range(num_texts):
        topic = random.integers(4)
        topics = np.where(random.random(9) < strays, random.integers(0, 4, 9), topic)
        text = [f"t{t}_{i}" for t, i in zip(topics, random.integers(0, 6, 9))]
        text[4] = f"{'xy'[random.integers(2)]}{topic}"
        texts.append(text)
    return texts


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("kind", list(KINDS))
def test_synonyms_get_near(kind: str) -> None:
    """Synonyms are alike, and like the words of their topic; other topics are far.

    For GloVe, words of different topics meet now and then. Its sum has no term for words that never
    do: were the topics quite apart, the vectors of each could be turned, words by any matrix M and
    contexts by its inverse transposed, and the sum would stay the same, so that cosines across
    topics would be chance. Word2Vec has random words to tell them apart.
    """
    model_class, arguments = KINDS[kind]
    model = model_class(dim=12, window=4, min_count=1, seed=1, **arguments)
    texts = planted_texts(500, strays=0.2 if kind == "GloVe" else 0.0)
    history = model.fit(texts, epochs=15, verbose=0).history["loss"]
    assert len(history) == 15
    assert history[-1] < 0.9 * history[0]
    for topic in range(4):
        nearest = {word for word, _ in model.most_similar(f"x{topic}", k=7)}
        assert nearest == {f"y{topic}", *(f"t{topic}_{i}" for i in range(6))}
    vectors = model.vectors
    others = [vectors.similarity("x0", f"y{topic}") for topic in (1, 2, 3)]
    assert vectors.similarity("x0", "y0") > max(others) + 0.1


# ---- one step, by hand


def expected_gradients(
    model: Word2Vec, batch: dict[str, np.ndarray]
) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray], float, int]:
    """Input and output gradients, nats and predictions, one word after the other, in float64.

    As in the authors' program: CBOW's neighbours each get the gradient of their mean whole.
    """
    inputs = model.input_vectors.numpy().astype(float)
    outputs = model.output_vectors.numpy().astype(float)
    d_in, d_out = np.zeros_like(inputs), np.zeros_like(outputs)
    nats, predictions, window = 0.0, 0, model.config.window
    paths = huffman_paths(np.array(model.get_config()["counts"]))

    def predict(hidden: np.ndarray, word: int, noise: np.ndarray) -> np.ndarray:
        nonlocal nats
        if model.config.hierarchical_softmax:
            terms = [(n, s, 1.0) for n, s in zip(paths.nodes[word], paths.signs[word]) if s]
        else:
            share = model.config.negative / len(noise)
            terms = [(word, 1, 1.0)] + [(n, -1, share) for n in noise if n != word]
        d_hidden = np.zeros_like(hidden)
        for row, sign, weight in terms:
            error = -weight * sign * sigmoid(-sign * hidden @ outputs[row])
            nats -= weight * np.log(sigmoid(sign * hidden @ outputs[row]))
            d_hidden += error * outputs[row]
            d_out[row] += error * hidden
        return d_hidden

    for words, texts, reach, noise in zip(
        *(batch[k] for k in ("words", "texts", "reach", "noise"))
    ):
        for place, far in enumerate(reach, start=window):
            around = [
                words[other]
                for other in range(place - far, place + far + 1)
                if other != place and texts[other] == texts[place]
            ]
            if model.config.architecture == "cbow" and around:
                gradient = predict(inputs[around].mean(axis=0), words[place], noise)
                for word in around:
                    d_in[word] += gradient
                predictions += 1
            elif model.config.architecture == "skipgram":
                for word in around:
                    d_in[word] += predict(inputs[word], words[place], noise)
                    predictions += 1
    return d_in, d_out, nats, predictions


@pytest.mark.parametrize("kind", WORD2VEC)
def test_one_step_of_gradient_descent(kind: str) -> None:
    model = Word2Vec(dim=4, window=2, negative=3, min_count=1, **KINDS[kind][1])
    corpus = read_corpus(TEXTS)
    model._start_with(corpus)
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(random.normal(size=weight.shape))
    plan = NeighbourBlocks(corpus, 2, 0.0, seed=4, block_words=4, num_noise=6, most_repeats=99)
    batch = plan.batch(0)
    assert len(batch["words"]) > 1
    before = [weight.numpy() for weight in model.weights]
    d_in, d_out, nats, predictions = expected_gradients(model, batch)
    model.compile(keras.optimizers.SGD(0.1))
    history = keras.Model.fit(model, tf.data.Dataset.from_tensors(batch), verbose=0, shuffle=False)
    assert history.history["loss"] == pytest.approx([nats / predictions], rel=1e-4)
    for weight, old, gradient in zip(model.weights, before, (d_in, d_out)):
        np.testing.assert_allclose(weight.numpy(), old - 0.1 * gradient, atol=2e-5)


@pytest.mark.parametrize("num_rows", [6, 2])
def test_an_epoch_of_glove(num_rows: int) -> None:
    """AdaGrad, which squares the sum of a batch's gradients, a word's many pairs together."""
    model = GloVe(dim=3, window=2, x_max=1.5, alpha=0.5, min_count=1)
    corpus = read_corpus(TEXTS)
    model._start_with(corpus)
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(random.normal(size=weight.shape))
    tables = [weight.numpy().astype(float) for weight in model.weights]
    w, a, c, b = tables
    assert [table.shape for table in tables] == [(5, 3), (5, 1), (5, 3), (5, 1)]
    plan = PairBatches(count_cooccurrences(corpus, window=2), seed=4, num_rows=num_rows)
    squares = [np.full_like(table, 0.1) for table in tables]
    losses = []
    for step in range(plan.num_steps):
        words, *pairs = plan.batch(step, plan.num_steps)
        in_order = [(words[i], words[j], x) for i, j, x in zip(*pairs) if x > 0]
        turned = [(j, i, x) for i, j, x in in_order if i != j]
        gradients = [np.zeros_like(table) for table in tables]
        loss = 0.0
        for i, j, x in in_order + turned:
            weight = min(1, (x / 1.5) ** 0.5)
            error = w[i] @ c[j] + a[i, 0] + b[j, 0] - np.log(x)
            loss += weight * error**2 / 2
            for place, row, gradient in ((0, i, c[j]), (1, i, 1), (2, j, w[i]), (3, j, 1)):
                gradients[place][row] += weight * error * gradient
        losses.append(loss / len(in_order))
        for table, square, gradient in zip(tables, squares, gradients):
            square += gradient**2
            table -= 0.2 * gradient / np.sqrt(square)
    assert plan.num_steps == len(losses) == -(-len(plan.found.keys) // num_rows) > 1
    model.compile(model.default_optimizer(1))
    dataset = plan.batches(0, plan.num_steps)
    history = keras.Model.fit(
        model, dataset, steps_per_epoch=plan.num_steps, verbose=0, shuffle=False
    ).history
    assert history["loss"] == pytest.approx([np.mean(losses)], rel=1e-5)
    for variable, expected in zip(model.weights, tables):
        np.testing.assert_allclose(variable.numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(model.vectors["a"], (w + c)[0], atol=1e-5)


def test_first_weights_of_glove() -> None:
    """Uniform from −1 / 2D to 1 / 2D, and the tables differ."""
    model = GloVe(dim=50, min_count=1)
    model._start_with(read_corpus([[f"w{i}" for i in range(400)]]))
    w, a, c, b = (weight.numpy() for weight in model.weights)
    for table in (w, a, c, b):
        assert 0.0095 < table.max() <= 0.01
        assert -0.01 <= table.min() < -0.0095
        assert abs(table.mean()) < 0.001
    assert (
        np.abs(np.corrcoef([w[:, 0], w[:, 1], c[:, 0], a[:, 0], b[:, 0]]) - np.eye(5)).max() < 0.2
    )


# ---- Keras


@pytest.mark.parametrize("kind", ["skip-gram", "CBOW, tree", "GloVe"])
def test_saved_with_its_vocabulary_and_trained_on(kind: str, tmp_path: Path) -> None:
    model_class, arguments = KINDS[kind]
    model = model_class(dim=4, window=2, min_count=1, **arguments)
    model.fit(TEXTS, epochs=2, verbose=0)
    values = json.loads(json.dumps(model.get_config()))
    assert model_class.from_config(values).config == model.config
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is model_class
    assert loaded.config == model.config
    assert loaded.vectors.words == model.vectors.words
    np.testing.assert_array_equal(loaded.vectors.vectors, model.vectors.vectors)
    assert loaded.optimizer.iterations.numpy() == model.optimizer.iterations.numpy() > 0
    histories = [m.fit([["b", "new", "a"]], epochs=1, verbose=0).history for m in (model, loaded)]
    assert histories[0] == histories[1]
    assert loaded.vectors.words == model.vectors.words
    np.testing.assert_array_equal(loaded.vectors.vectors, model.vectors.vectors)
    smaller = model_class(model.config)
    smaller.fit([["a", "b"]], epochs=1, verbose=0)
    model.save_weights(tmp_path / "large.weights.h5")
    before = smaller.vectors.vectors
    with pytest.raises(ValueError, match="shape"):
        smaller.load_weights(tmp_path / "large.weights.h5")
    np.testing.assert_array_equal(smaller.vectors.vectors, before)


@pytest.mark.parametrize("kind", ["skip-gram", "CBOW, tree", "GloVe"])
def test_same_seed_same_vectors_in_one_run_or_two(kind: str) -> None:
    model_class, arguments = KINDS[kind]

    def table(seed: int, epochs: int = 2) -> np.ndarray:
        model = model_class(dim=4, window=2, min_count=1, seed=seed, **arguments)
        model.compile(keras.optimizers.SGD(0.01))
        for epoch in range(0, 2, epochs):
            model.fit(TEXTS, epochs=epoch + epochs, initial_epoch=epoch, verbose=0)
        return model.vectors.vectors

    once = table(1)
    np.testing.assert_array_equal(once, table(1, epochs=1))
    assert np.abs(once - table(2)).max() > 1e-3


def test_own_optimizer_callbacks_and_history(capsys: pytest.CaptureFixture[str]) -> None:
    model = Word2Vec(dim=4, min_count=1)
    model.compile(keras.optimizers.Adam(1e-3), steps_per_execution=2)

    class Count(keras.callbacks.Callback):
        batches = 0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.batches += 1

    count = Count()
    history = model.fit(planted_texts(50), epochs=3, callbacks=[count], verbose=2)
    assert isinstance(model.optimizer, keras.optimizers.Adam)
    assert list(history.history) == ["loss"]
    assert count.batches >= 3
    assert "Epoch 3/3" in capsys.readouterr().out


def test_a_killed_run_goes_on_exactly(tmp_path: Path) -> None:
    class Kill(keras.callbacks.Callback):
        def __init__(self, after: int) -> None:
            super().__init__()
            self._after = after

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if self.model.optimizer.iterations.numpy() >= self._after:
                raise KeyboardInterrupt

    def run(directory: Path, kill_after: int = 10**9) -> WordVectorModel:
        model = Word2Vec(dim=4, window=2, min_count=1, subsample=0.0)
        model.compile(keras.optimizers.Adagrad(0.05))
        resume = klm.training.Resume(directory, every=2, verbose=0)
        model.fit(planted_texts(120), epochs=3, callbacks=[resume, Kill(kill_after)], verbose=0)
        return model

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", kill_after=7)
    resumed = run(tmp_path / "killed")
    assert int(resumed.optimizer.iterations.numpy()) == int(whole.optimizer.iterations.numpy()) > 7
    np.testing.assert_array_equal(resumed.vectors.vectors, whole.vectors.vectors)


def test_learning_rate_falls_in_a_line() -> None:
    model = Word2Vec(dim=4, min_count=1)
    model.fit(planted_texts(100), epochs=2, verbose=0)
    steps = int(model.optimizer.iterations.numpy())
    schedule = model.optimizer._learning_rate
    assert float(schedule(0)) == pytest.approx(0.025)
    assert float(schedule(steps / 2)) == pytest.approx((0.025 + 1e-4) / 2, rel=1e-3)
    assert float(schedule(steps)) == pytest.approx(1e-4, rel=1e-3)


def test_strings_are_cut_into_words() -> None:
    model = Word2Vec(dim=4, min_count=2)
    model.fit(
        tf.data.Dataset.from_tensor_slices(["The cat, the CAT!", "A dog's a dog."]), verbose=0
    )
    assert set(model.vectors.words) == {"the", "cat", "a", "dog"}


CHANGES = {
    "dim": 3,
    "window": 1,
    "architecture": "cbow",
    "negative": 2,
    "hierarchical_softmax": True,
    "subsample": 0.05,
    "min_count": 3,
    "x_max": 2.0,
    "alpha": 0.5,
    "seed": 5,
}


@pytest.mark.parametrize("model_class", [Word2Vec, GloVe])
def test_every_field_survives_and_changes_what_is_learned(model_class: type) -> None:
    base = model_class.config_class(dim=4, window=3, min_count=1)
    if model_class is Word2Vec:
        base = base.replace(subsample=0.0)
    tables = {}
    for name in ["", *base.get_config()]:
        config = base.replace(**{name: CHANGES[name]}) if name else base
        assert type(config).from_config(json.loads(json.dumps(config.get_config()))) == config
        model = model_class(config)
        model.compile(keras.optimizers.SGD(0.5))
        model.fit(TEXTS, epochs=2, verbose=0)
        tables[name] = model.vectors.vectors
    for name, table in tables.items():
        if name:
            assert table.shape != tables[""].shape or np.abs(table - tables[""]).max() > 1e-6, name


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: Word2Vec(dim=0), "dim must be positive; got 0"),
        (lambda: Word2Vec(negative=0), "negative must be positive"),
        (lambda: Word2Vec(architecture="glove"), "architecture must be one of 'skipgram', 'cbow'"),
        (lambda: Word2Vec(subsample=-1.0), "subsample must be 0 or more"),
        (lambda: Word2Vec(windw=3), "no field 'windw'; did you mean 'window'"),
        (lambda: Word2Vec(klm.Word2VecConfig(), dim=3), r"config is given, and \['dim'\] as well"),
        (lambda: GloVe(x_max=0), "x_max must be positive"),
        (lambda: GloVe(alpha=-1.0), "alpha must be positive"),
        (lambda: GloVe(seed=-1), "seed must be 0 or more"),
        (lambda: Word2Vec().vectors, "the model has no words yet"),
        (lambda: Word2Vec().most_similar("a"), "the model has no words yet"),
        (lambda: Word2Vec().fit("a text"), "texts is 'a text'"),
        (lambda: Word2Vec().fit(["a b c"]), "min_count=5 times; the most frequent, 1 times"),
        (lambda: Word2Vec(min_count=1).fit([["a", "a"]]), "texts has one word alone, 'a'"),
        (lambda: GloVe(min_count=1).fit([["a"], ["b"]]), "no two words beside each other"),
    ],
)
def test_bad_input(act, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        act()
