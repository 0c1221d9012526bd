"""Link predictors on disk: pretrained directories, `.keras` files, SavedModels."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import keras_lm as klm
from keras_lm.tasks import LinkPredictor

TRIPLES = [
    ("aspirin", "treats", "head_ache"),
    ("aspirin", "treats", "fever"),
    ("ibuprofen", "treats", "fever"),
    ("fièvre 🤒", "same as", "fever"),
    ("flu", "causes", "fever"),
]
VALID = [("flu", "causes", "head_ache")]


def embedding() -> LinkPredictor:
    keras.utils.set_random_seed(0)
    return LinkPredictor("complex", dim=4, regularization=0.0, negatives=3)


def text() -> LinkPredictor:
    keras.utils.set_random_seed(0)
    with warnings.catch_warnings(action="ignore"):  # of texts that are few
        tok = klm.tokenizers.WordPieceTokenizer.train(
            texts=[" ".join(triple) for triple in TRIPLES], vocab_size=90
        )
    config = klm.EncoderConfig(
        vocab_size=tok.vocab_size, num_layers=1, hidden_dim=16, num_heads=2, max_length=64
    )
    model = klm.models.Encoder(config)
    return LinkPredictor("text", model=model, tokenizer=tok, texts={"flu": "influenza, a disease"})


@pytest.fixture(scope="module", params=[embedding, text])
def trained(request: Any) -> LinkPredictor:
    task = request.param()
    task.fit(TRIPLES, VALID, epochs=3, batch_size=4, verbose=0)
    return task


def assert_alike(one: LinkPredictor, other: LinkPredictor) -> None:
    """Everything that can be asked gives the same."""
    assert one.names.entities == other.names.entities
    assert one.names.relations == other.names.relations
    assert one.texts == other.texts
    np.testing.assert_array_equal(one.known, other.known)
    np.testing.assert_allclose(one.score(TRIPLES), other.score(TRIPLES), rtol=0, atol=1e-5)
    for known in (True, False):
        answers = [task.predict_tail("flu", "causes", k=6, known=known) for task in (one, other)]
        names = [[answer["entity"] for answer in answer] for answer in answers]
        assert names[0] == names[1]
    assert one.evaluate(VALID, verbose=0) == other.evaluate(VALID, verbose=0)


def test_a_pretrained_directory(trained: LinkPredictor, tmp_path: Path) -> None:
    trained.save_pretrained(tmp_path / "model")
    again = LinkPredictor.from_pretrained(tmp_path / "model")
    assert_alike(trained, again)
    assert again.training_seconds == trained.training_seconds
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["keras_lm"]["task"] == "LinkPredictor"
    if not trained.reads_texts:
        assert config["model_type"] == "keras_lm_knowledge_graph"
    graph = json.loads((tmp_path / "model" / "graph.json").read_text(encoding="utf-8"))
    assert graph["entities"] == list(trained.names.entities)
    again.save_pretrained(tmp_path / "model")  # in place of the first


def test_a_keras_file(trained: LinkPredictor, tmp_path: Path) -> None:
    trained.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert_alike(trained, again)
    rate = again.optimizer.learning_rate
    assert float(rate) == pytest.approx(float(trained.optimizer.learning_rate))
    assert again.optimizer.iterations == trained.optimizer.iterations


def test_weights_alone(trained: LinkPredictor, tmp_path: Path) -> None:
    trained.save_weights(tmp_path / "model.weights.h5")
    again = LinkPredictor.from_config(trained.get_config())
    again.load_weights(tmp_path / "model.weights.h5")
    assert_alike(trained, again)


@pytest.fixture(scope="module")
def served(trained: LinkPredictor, tmp_path_factory: Any) -> Path:
    directory = tmp_path_factory.mktemp("served") / "model"
    trained.export(directory)
    return directory


_SERVE = """
import json, sys
import tensorflow as tf
import tensorflow_text
served = tf.saved_model.load(sys.argv[1])
assert not any(name.split(".")[0] == "keras_lm" for name in sys.modules)
request = {"head": tf.constant(["flu", "nobody", "flu"])}
request["relation"] = tf.constant(["causes", "causes", "hates"])
signature = served.signatures["serving_default"]
answers = {"default": signature(**request, k=tf.constant(3), known=tf.constant(False))}
answers["tail"] = served.predict_tail(request["head"], request["relation"], 3, False)
answers["usual"] = served.predict_tail(request["head"], request["relation"])
answers["head"] = served.predict_head(tf.constant(["causes"]), tf.constant(["fever"]), 99)
flat = {}
for verb, fields in answers.items():
    flat[verb] = {name: tensor.numpy().tolist() for name, tensor in fields.items()}
    flat[verb]["entity"] = [[e.decode() for e in row] for row in flat[verb]["entity"]]
print(json.dumps(flat))
"""


def test_served_answers_are_those_of_python(trained: LinkPredictor, served: Path) -> None:
    """In a process of its own where there is a tokenizer to be taken along."""
    if not trained.reads_texts:
        question = tf.constant(["flu"]), tf.constant(["causes"])
        loaded = tf.saved_model.load(served)
        answers = loaded.predict_tail(*question, 3, False)
        expected = trained.predict_tail("flu", "causes", 3, known=False)
        entities = [entity.decode() for entity in answers["entity"][0].numpy()]
        assert entities == [answer["entity"] for answer in expected]
        return
    done = subprocess.run(
        [sys.executable, "-c", _SERVE, str(served)],
        capture_output=True,
        text=True,
        check=False,
        cwd=served,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads(done.stdout)
    assert answers["default"] == answers["tail"]
    assert answers["tail"]["count"] == [3, 0, 0]
    assert answers["tail"]["entity"][1:] == [["", "", ""]] * 2
    num_entities = len(trained.names.entities)
    for verb, expected in (
        ("tail", trained.predict_tail("flu", "causes", 3, known=False)),
        ("usual", trained.predict_tail("flu", "causes", num_entities)),
        ("head", trained.predict_head("causes", "fever", num_entities)),
    ):
        found = zip(answers[verb]["entity"][0], answers[verb]["score"][0], strict=True)
        for (entity, score), answer in zip(found, expected, strict=True):
            assert entity == answer["entity"]
            assert score == pytest.approx(answer["score"], rel=1e-4)


def test_the_servers_defaults_are_stored(trained: LinkPredictor, served: Path) -> None:
    message = saved_model_pb2.SavedModel()
    message.ParseFromString((served / "saved_model.pb").read_bytes())
    signature = message.meta_graphs[0].signature_def["serving_default"]
    assert set(signature.inputs) == {"head", "relation", "k", "known"}
    assert set(signature.defaults) == {"k", "known"}
    with pytest.raises(ValueError, match="export takes a directory alone; got format"):
        trained.export(served, format="onnx")


def test_an_encoders_directory_begins_a_text_model(tmp_path: Path) -> None:
    first = text()
    klm.tasks.TextClassifier(first.model, first.tokenizer, 2).save_pretrained(tmp_path / "encoder")
    task = LinkPredictor.from_pretrained(tmp_path / "encoder", method="text", texts=first.texts)
    assert task.reads_texts
    task.fit(TRIPLES, epochs=1, verbose=0)
    assert len(task.predict_tail("flu", "causes", k=2)) == 2
    with pytest.raises(ValueError, match="method='distmult' needs no model"):
        LinkPredictor.from_pretrained(tmp_path / "encoder", method="distmult", tokenizer=None)


def test_an_embedding_model_without_names(tmp_path: Path) -> None:
    task = embedding()
    task.fit(TRIPLES, epochs=1, verbose=0)
    klm.checkpoints.save_model(task.model, tmp_path / "model")
    again = LinkPredictor.from_pretrained(
        tmp_path / "model", entities=task.entities, relations=task.relations
    )
    assert (again.method, again.dim) == ("complex", 4)
    np.testing.assert_array_equal(task.score(TRIPLES), again.score(TRIPLES))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _edit(name: str, **changes: Any) -> Callable[[Path], None]:
    def edit(directory: Path) -> None:
        values = json.loads((directory / name).read_text())
        for key, value in changes.items():
            target = values["keras_lm"] if name == "config.json" else values
            target[key] = value
        (directory / name).write_text(json.dumps(values))

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: _cut(d / "model.safetensors"), "model.safetensors.* is not a whole safetensors"),
        (lambda d: _cut(d / "graph.json"), "graph.json.* is not valid JSON"),
        (lambda d: _cut(d / "config.json"), "config.json.* is not valid JSON"),
        (lambda d: (d / "graph.json").unlink(), "no file .*graph.json"),
        (_edit("graph.json", entities=["a", "b"]), "the model has 6 entities and 3 rel.*names 2"),
        (_edit("graph.json", relations=None), "graph.json.* has no list of relations"),
        (_edit("graph.json", texts=[]), "graph.json.* has texts that are no object"),
        (_edit("config.json", num_known=4), r"known_triples: shape \(6, 3\), .* \(4, 3\)"),
        (_edit("config.json", num_known="6"), "has num_known='6'; it must be an int"),
    ],
)
def test_a_damaged_directory(damage: Any, message: str, tmp_path: Path) -> None:
    task = embedding()
    task.fit(TRIPLES, VALID, epochs=1, verbose=0)
    task.save_pretrained(tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        LinkPredictor.from_pretrained(tmp_path / "model")


def test_names_and_triples_of_different_predictors(tmp_path: Path) -> None:
    """The weights have as many rows, but the triples count further."""
    task = embedding()
    task.fit(TRIPLES, epochs=1, verbose=0)
    task.save_pretrained(tmp_path / "one")
    task.known = task.known + 3
    task.save_pretrained(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", tmp_path / "one")
    with pytest.raises(ValueError, match="known triples of numbers beyond its 6 entities"):
        LinkPredictor.from_pretrained(tmp_path / "one")
