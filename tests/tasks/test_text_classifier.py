"""Text classifiers: from labelled strings to served answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import harness_resume
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lm as klm
from keras_lm.tasks import TextClassifier
from keras_lm.training import fine_tuning_optimizer

NOUNS = ("film", "book", "play", "naïve café song 🙂")
GOOD = [f"a {word} {noun}" for word in ("good", "lovely", "fine") for noun in NOUNS]
BAD = [f"a {word} {noun} that is much too long" for word in ("bad", "dull") for noun in NOUNS]
TEXTS = [text for pair in zip(GOOD, BAD, strict=False) for text in pair]
NAMES = ["positive", "negative"] * len(BAD)
LABELS = ["negative", "positive"]


@pytest.fixture(scope="module")
def tok() -> klm.tokenizers.WordPieceTokenizer:
    with pytest.warns(UserWarning, match="vocabulary"):
        return klm.tokenizers.WordPieceTokenizer.train(texts=TEXTS, vocab_size=200)


@pytest.fixture(scope="module")
def config(tok: Any) -> klm.EncoderConfig:
    return klm.EncoderConfig(
        vocab_size=tok.vocab_size, num_layers=1, hidden_dim=16, num_heads=2, max_length=32
    )


def make(config: Any, tok: Any, labels: Any = LABELS, **settings: Any) -> TextClassifier:
    keras.utils.set_random_seed(0)
    task = TextClassifier(klm.models.Encoder(config), tok, labels, **settings)
    task.compile(fine_tuning_optimizer(1e-2))
    return task


@pytest.fixture(scope="module")
def trained(config: Any, tok: Any) -> TextClassifier:
    """A classifier that knows good from bad. Tests leave it as it is."""
    task = make(config, tok)
    task.fit(TEXTS, NAMES, batch_size=4, epochs=12, verbose=0)
    return task


def test_it_learns_and_says_so(trained: TextClassifier) -> None:
    results = trained.evaluate(TEXTS, NAMES, verbose=0, return_dict=True)
    assert results["accuracy"] == 1.0
    answer = trained.classify("a lovely book")
    assert answer["label"] == "positive"
    assert list(answer["scores"]) == LABELS
    assert answer["score"] == answer["scores"]["positive"] > 0.9
    assert sum(answer["scores"].values()) == pytest.approx(1, abs=1e-6)
    answers = trained.classify(TEXTS, batch_size=3)
    assert [answer["label"] for answer in answers] == NAMES
    alone = trained.classify(TEXTS[5])["scores"]["positive"]
    assert answers[5]["scores"]["positive"] == pytest.approx(alone, abs=1e-5)


def test_evaluation_is_that_of_all_examples_at_once(trained: TextClassifier) -> None:
    """However they are batched: the loss by hand from the logits of `predict`."""
    logits = trained.predict(TEXTS).astype("float64")
    assert logits.shape == (len(TEXTS), 2)
    labels = np.array([LABELS.index(name) for name in NAMES])
    nats = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]
    for batch_size in (1, 3, 32):
        results = trained.evaluate(TEXTS, NAMES, batch_size, verbose=0, return_dict=True)
        assert results["loss"] == pytest.approx(nats.mean(), rel=1e-4)
    listed = trained.evaluate(TEXTS, NAMES, verbose=0)
    assert listed == [results["loss"], results["accuracy"]]


def test_validation(config: Any, tok: Any) -> None:
    task = make(config, tok)
    history = task.fit(
        TEXTS, NAMES, batch_size=4, epochs=2, validation_data=(TEXTS, NAMES), verbose=0
    ).history
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    now = task.evaluate(TEXTS, NAMES, verbose=0, return_dict=True)
    assert history["val_loss"][-1] == pytest.approx(now["loss"], rel=1e-5)
    task = make(config, tok)
    history = task.fit(TEXTS, NAMES, validation_split=0.25, verbose=0).history
    last = task.evaluate(TEXTS[12:], NAMES[12:], verbose=0, return_dict=True)
    assert history["val_loss"][-1] == pytest.approx(last["loss"], rel=1e-5)


def test_labels_as_ints_and_data_sets_train_alike(config: Any, tok: Any) -> None:
    numbers = [LABELS.index(name) for name in NAMES]
    rows = tf.data.Dataset.from_tensor_slices((TEXTS, NAMES))
    losses = []
    for x, y in (
        (TEXTS, NAMES),
        (np.array(TEXTS), np.array(numbers)),
        (rows, None),
        (rows.batch(5), None),
    ):
        task = make(config, tok)
        losses.append(task.fit(x, y, batch_size=4, verbose=0).history["loss"][0])
    assert len(set(losses)) == 1


def test_pairs(config: Any, tok: Any) -> None:
    """Whether both texts are of one kind: neither alone can tell."""
    first = TEXTS * 2
    second = [TEXTS[-1 - i] if i < len(TEXTS) else TEXTS[i - len(TEXTS)] for i in range(len(first))]
    same = [("good" in a) == ("good" in b) for a, b in zip(first, second, strict=True)]
    labels = ["same" if equal else "other" for equal in same]
    task = make(config, tok, ["other", "same"])
    history = task.fit((first, second), labels, batch_size=8, epochs=2, verbose=0).history
    assert history["loss"][1] < history["loss"][0] * 1.2
    pairs = list(zip(first, second, strict=True))
    answers = task.classify(pairs[:3])
    assert task.classify(pairs[1])["scores"]["same"] == pytest.approx(
        answers[1]["scores"]["same"], abs=1e-5
    )
    logits = task.predict((first[:3], second[:3]))
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose([a["scores"]["same"] for a in answers], scores[:, 1], atol=1e-5)
    turned = task.classify((second[1], first[1]))["scores"]["same"]
    assert turned != pytest.approx(answers[1]["scores"]["same"], abs=1e-6)


def test_several_labels(config: Any, tok: Any) -> None:
    labels = [[name, "long"] if "long" in text else [name] for text, name in zip(TEXTS, NAMES)]
    task = make(config, tok, [*LABELS, "long", "never"], multi_label=True)
    task.fit(TEXTS, labels, batch_size=4, epochs=12, verbose=0)
    assert task.evaluate(TEXTS, labels, verbose=0, return_dict=True)["accuracy"] > 0.95
    answer = task.classify("a dull play that is much too long")
    assert set(answer["labels"]) == {"negative", "long"}
    assert answer["scores"]["never"] < 0.5


def test_numbers(config: Any, tok: Any, tmp_path: Path) -> None:
    targets = [5.0 if name == "positive" else 1 for name in NAMES]
    task = make(config, tok, 1)
    task.fit(TEXTS, targets, batch_size=4, epochs=20, verbose=0)
    results = task.evaluate(TEXTS, targets, verbose=0, return_dict=True)
    assert results["mean_absolute_error"] < 1.0
    assert results["pearson_correlation"] > 0.8
    assert abs(task.classify("a lovely film")["score"] - 5) < 1.5
    task.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["problem_type"] == "regression"
    again = TextClassifier.from_pretrained(tmp_path)
    assert again.classify(GOOD) == task.classify(GOOD)


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "last"])
def test_poolings_by_hand(pooling: Any, config: Any, tok: Any) -> None:
    task = make(config.replace(pooler=None), tok, pooling=pooling)
    ids = np.array([[5, 6, 7, 0, 0], [8, 9, 10, 11, 12]], "int32")
    mask = (ids > 0).astype("int32")
    hidden = keras.ops.convert_to_numpy(task.model({"token_ids": ids, "padding_mask": mask}))
    pooled = {
        "cls": hidden[:, 0],
        "mean": np.stack([hidden[0, :3].mean(0), hidden[1].mean(0)]),
        "max": np.stack([hidden[0, :3].max(0), hidden[1].max(0)]),
        "last": np.stack([hidden[0, 2], hidden[1, 4]]),
    }[pooling]
    expected = pooled @ keras.ops.convert_to_numpy(task.head.kernel)
    logits = task({"token_ids": ids, "padding_mask": mask})
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_metrics_of_the_package(config: Any, tok: Any) -> None:
    task = make(config, tok)
    metrics = [klm.metrics.F1(num_classes=2), klm.metrics.MatthewsCorrelation(num_classes=2)]
    task.compile(fine_tuning_optimizer(1e-2), weighted_metrics=metrics)
    history = task.fit(TEXTS, NAMES, batch_size=4, epochs=10, verbose=0).history
    assert history["f1"][-1] == pytest.approx(1)
    assert history["matthews_correlation"][-1] == pytest.approx(1)


def test_class_weights(config: Any, tok: Any) -> None:
    """A class of weight 0 teaches nothing, by name or by number."""
    one_sided = ["negative"] * len(TEXTS)
    for weights in ({"negative": 0.0}, {0: 0.0}):
        task = make(config, tok)
        before = [w.numpy() for w in task.head.weights]
        task.compile(keras.optimizers.SGD(1.0))
        task.fit(TEXTS, one_sided, class_weight=weights, verbose=0)
        after = [w.numpy() for w in task.head.weights]
        assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    task.fit(TEXTS, one_sided, class_weight={"positive": 0.0}, verbose=0)
    assert not np.array_equal(task.head.weights[0].numpy(), before[0])
    for wrong in ({"neutral": 1.0}, {2: 1.0}, {"negative": -1.0}):
        with pytest.raises(ValueError, match="class_weight has"):
            task.fit(TEXTS, NAMES, class_weight=wrong, verbose=0)


def test_any_backbone(tok: Any) -> None:
    sizes = {"vocab_size": tok.vocab_size, "num_layers": 1, "hidden_dim": 16}
    decoder = klm.TransformerConfig(
        **sizes, num_heads=2, max_length=32, tie_embeddings=False, dropout=0.1
    )
    recurrent = klm.RecurrentConfig(**sizes, cell="gru")
    for model in (klm.models.Decoder(decoder), klm.models.RecurrentLM(recurrent)):
        keras.utils.set_random_seed(0)
        task = TextClassifier(model, tok, LABELS)
        assert task.pooling == "last"
        task.compile(fine_tuning_optimizer(1e-2))
        history = task.fit(TEXTS, NAMES, batch_size=4, epochs=8, verbose=0).history
        assert history["accuracy"][-1] > 0.9
        assert task.classify("a lovely song")["label"] == "positive"


def test_saved_and_loaded(trained: TextClassifier, tmp_path: Path) -> None:
    expected = trained.classify(TEXTS)
    trained.save_pretrained(tmp_path / "pretrained")
    trained.save(tmp_path / "task.keras")
    loaded = keras.saving.load_model(tmp_path / "task.keras")
    for again in (TextClassifier.from_pretrained(tmp_path / "pretrained"), loaded):
        assert again.labels == tuple(LABELS)
        assert again.classify(TEXTS) == expected
    assert loaded.evaluate(TEXTS, NAMES, verbose=0) == trained.evaluate(TEXTS, NAMES, verbose=0)
    config = json.loads((tmp_path / "pretrained" / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["label2id"] == {"negative": 0, "positive": 1}


def test_another_pooling_is_no_head_of_theirs(config: Any, tok: Any, tmp_path: Path) -> None:
    """Transformers would compute something else with it, so it gets no name of theirs."""
    task = make(config, tok, pooling="mean")
    task.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["BertModel"]
    again = TextClassifier.from_pretrained(tmp_path)
    assert again.pooling == "mean"
    assert again.classify(TEXTS) == task.classify(TEXTS)
    fresh = TextClassifier.from_pretrained(tmp_path, pooling="cls")
    assert not np.array_equal(fresh.head.kernel.numpy(), task.head.kernel.numpy())


def test_the_saved_model_answers_as_python_does(trained: TextClassifier, tmp_path: Path) -> None:
    trained.export(tmp_path / "served")
    served = tf.saved_model.load(tmp_path / "served")
    default = served.signatures["serving_default"]
    assert list(default.structured_input_signature[1]) == ["text"]
    outputs = {name: tensor.numpy() for name, tensor in default(text=tf.constant(TEXTS)).items()}
    answers = trained.classify(TEXTS)
    assert [label.decode() for label in outputs["label"]] == [a["label"] for a in answers]
    expected = [list(answer["scores"].values()) for answer in answers]
    np.testing.assert_allclose(outputs["scores"], expected, atol=1e-5)
    assert [name.decode() for name in outputs["classes"][3]] == LABELS
    assert not outputs["truncated"].any()
    long = default(text=tf.constant(["good " * 50]))
    assert long["truncated"].numpy().tolist() == [True]
    pair = served.signatures["classify_pair"](
        text=tf.constant(TEXTS[:1]), text_pair=tf.constant(TEXTS[1:2])
    )
    python = trained.classify((TEXTS[0], TEXTS[1]))["scores"]
    np.testing.assert_allclose(pair["scores"][0], list(python.values()), atol=1e-5)


def test_an_interrupted_run_ends_with_the_same_bits(config: Any, tok: Any, tmp_path: Path) -> None:
    settings = {"batch_size": 4, "epochs": 3, "verbose": 0, "seed": 5}
    harness_resume.check_interrupted_run(
        lambda: make(config, tok),
        lambda task, **more: task.fit(TEXTS, NAMES, **settings, **more),
        tmp_path,
        step=7,
    )


def test_long_texts_are_cut_with_a_warning(config: Any, tok: Any) -> None:
    task = make(config, tok)
    with pytest.warns(UserWarning, match="1 of 2 texts have more tokens than max_length=32"):
        task.fit(["good " * 50, "bad"], ["positive", "negative"], verbose=0)


BAD_INPUT = [
    ({"x": []}, "x is empty"),
    ({"x": "one text"}, "x must be a list"),
    ({"x": [*TEXTS[:-1], " "]}, r"x\[15\] is an empty text"),
    ({"x": [*TEXTS[:-1], 3]}, r"x\[15\] must be a string; got int"),
    ({"y": NAMES[:-1]}, "y has 15 items; x has 16"),
    ({"y": None}, "y is None; give the targets"),
    ({"y": ["neutral", *NAMES[1:]]}, r"labels\[0\] is 'neutral'; label_names are 'negative'"),
    ({"y": [2] * 16}, r"labels\[0\] is 2; label_names has 2 names, so it must be 0 to 1"),
    ({"x": (TEXTS, TEXTS[:-1])}, "x is a pair of lists of 16 and 15 items"),
    ({"x": [*TEXTS[:-1], ("a", "b")]}, r"x\[0\] must be a pair of strings"),
    ({"validation_split": 1.5}, "validation_split=1.5 must be in"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_INPUT)
def test_bad_input(changes: Any, message: str, config: Any, tok: Any) -> None:
    task = make(config, tok)
    with pytest.raises(ValueError, match=message):
        task.fit(**{"x": TEXTS, "y": NAMES, "verbose": 0, **changes})


def test_bad_settings(config: Any, tok: Any, trained: TextClassifier) -> None:
    model = klm.models.Encoder(config)
    for settings, message in (
        ({"labels": None}, "labels must be a list of names"),
        ({"labels": ["a", "a"]}, "must hold different names"),
        ({"labels": 0}, "positive number; got 0"),
        ({"labels": 1, "multi_label": True}, "multi_label needs two labels"),
        ({"labels": 2, "pooling": "first"}, "pooling must be 'cls', 'mean', 'max' or 'last'"),
        ({"labels": 2, "tokenizer": None}, "needs a tokenizer"),
        ({"labels": 2, "sequence_length": 64}, "max_length=32; got 64"),
    ):
        with pytest.raises(ValueError, match=message):
            TextClassifier(**{"model": model, "tokenizer": tok, **settings})
    for text in (3, [], [3], "", ["a", ""], b"x"):
        with pytest.raises(ValueError, match="text"):
            trained.classify(text)
    endless = tf.data.Dataset.from_tensor_slices((TEXTS, NAMES)).repeat()
    with pytest.raises(ValueError, match="endless"):
        trained.evaluate(endless, verbose=0)
