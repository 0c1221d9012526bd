"""Relations saved, loaded, served and on other models and backends; and what is given wrongly."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import harness_files
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lm as klm
from keras_lm.storage import read_json
from keras_lm.tasks import RelationExtractor, TokenClassifier
from keras_lm.tokenizers import BytePairTokenizer

LABELS = ["owns(e1,e2)", "owns(e2,e1)", "no_relation", "near"]
TAGGED = ["The <e1>cat</e1> sat on <e2>a dog</e2>.", "My <e2>friend</e2> <e1>naïve</e1> café"]
TEXTS = ["The cat sat on a dog. 🙂", "Everyone", "A dog looked at the mat in a café."]


def random_task(tokenizer: BytePairTokenizer, seed: int = 0, **settings: Any) -> RelationExtractor:
    """An extractor and a tagger with weights that find a lot."""
    keras.utils.set_random_seed(seed)
    config = klm.EncoderConfig(
        vocab_size=tokenizer.vocab_size, num_layers=1, hidden_dim=16, num_heads=2, max_length=48
    )
    tagger = TokenClassifier(klm.models.Encoder(config), tokenizer, ["O", "B-x", "B-y"])
    arguments = {"labels": LABELS, "tagger": tagger, "dropout": 0.0, **settings}
    task = RelationExtractor(klm.models.Encoder(config), tokenizer, **arguments)
    random = np.random.default_rng(seed)
    for weight in (tagger.head.kernel, task.head.kernel):
        weight.assign(random.normal(0, 1.0, weight.shape))
    return task


@pytest.fixture(scope="module")
def task(tokenizer: BytePairTokenizer) -> RelationExtractor:
    """Tests leave it as it is."""
    found = random_task(tokenizer)
    relations = found.extract_relations(TEXTS)
    assert len(relations[0]) > 2
    assert len({one["relation"] for one in [*relations[0], *relations[2]]}) == 2
    return found


def test_saved_and_loaded(task: RelationExtractor, tmp_path: Path) -> None:
    directory = tmp_path / "directory"
    task.save_pretrained(directory)
    loaded = RelationExtractor.from_pretrained(directory)
    assert (loaded.labels, loaded.no_relation) == (tuple(LABELS), "no_relation")
    assert loaded.tagger.labels == task.tagger.labels
    assert loaded.extract_relations(TEXTS) == task.extract_relations(TEXTS)
    config = read_json(directory / "config.json")
    assert config["id2label"]["3"] == "near"
    assert read_json(directory / "tagger" / "config.json")["label2id"]["B-x"] == 1
    # The same place again, without a tagger: none is left there.
    loaded.tagger = None
    loaded.save_pretrained(directory)
    assert RelationExtractor.from_pretrained(directory).tagger is None
    again = RelationExtractor.from_pretrained(directory, tagger=task.tagger)
    assert again.tagger is task.tagger
    np.testing.assert_array_equal(again.head.kernel, task.head.kernel)


def test_saved_without_a_tagger(tokenizer: BytePairTokenizer, tmp_path: Path) -> None:
    bare = random_task(tokenizer, tagger=None)
    bare.save(tmp_path / "task.keras")
    whole = keras.saving.load_model(tmp_path / "task.keras")
    assert whole.tagger is None
    np.testing.assert_array_equal(whole.predict(TAGGED), bare.predict(TAGGED))


def test_a_new_head_where_the_labels_are_others(task: RelationExtractor, tmp_path: Path) -> None:
    task.save_pretrained(tmp_path)
    other = RelationExtractor.from_pretrained(tmp_path, labels=["a", "b"])
    assert (other.head.kernel.shape, other.no_relation) == ((48, 2), None)
    same, fresh = (one.model.token_embedding.embeddings.numpy() for one in (task, other))
    np.testing.assert_array_equal(same, fresh)
    assert other.tagger.labels == task.tagger.labels


def test_served(task: RelationExtractor, tmp_path: Path) -> None:
    task.export(tmp_path)
    served = tf.saved_model.load(tmp_path).signatures
    assert set(served) == {"serving_default", "classify"}
    default = served["serving_default"]
    assert list(default.structured_input_signature[1]) == ["text"]
    answers = {name: value.numpy() for name, value in default(text=tf.constant(TEXTS)).items()}
    expected = task.extract_relations(TEXTS)
    assert answers["count"].tolist() == [len(relations) for relations in expected]
    assert answers["relation"].shape == (3, max(answers["count"]))
    for row, relations in enumerate(expected):
        for place, one in enumerate(relations):
            fields = {"relation": one["relation"], "score": one["score"]}
            for side in ("head", "tail"):
                fields |= {f"{side}_{name}": value for name, value in one[side].items()}
            assert set(fields) == set(answers) - {"count"}
            for name, value in fields.items():
                found = answers[name][row, place]
                assert (found.decode() if isinstance(found, bytes) else found) == value
        for name in ("head_text", "relation"):
            assert set(answers[name][row, len(relations) :].tolist()) <= {b""}
    nothing = default(text=tf.constant(["Everyone", ""]))  # no pair at all
    assert nothing["count"].numpy().tolist() == [0, 0]
    assert nothing["tail_text"].shape == (2, 0)


def test_served_classification(task: RelationExtractor, tmp_path: Path) -> None:
    bare = random_task(task.tokenizer, tagger=None, sequence_length=30)
    bare.export(tmp_path)
    served = tf.saved_model.load(tmp_path).signatures
    far = f"<e1>a</e1> {'x ' * 30} <e2>b</e2>"
    wrong = ["no tags", "<e1>a</e1> <e2> </e2>", "<e1>a</e1> <e1>b</e1> <e2>c</e2>", far]
    answers = {}
    for name in ("serving_default", "classify"):
        answers[name] = served[name](
            text=tf.constant([*TAGGED, *wrong, f"{TAGGED[0]} {far[10:30]}"])
        )
    found = {name: value.numpy() for name, value in answers["classify"].items()}
    for name, value in answers["serving_default"].items():
        np.testing.assert_array_equal(value, found[name])
    expected = bare.classify(TAGGED)
    assert [label.decode() for label in found["label"][:2]] == [one["label"] for one in expected]
    scores = [list(one["scores"].values()) for one in expected]
    np.testing.assert_allclose(found["scores"][:2], scores, atol=1e-5)
    assert found["classes"][1].tolist() == [label.encode() for label in LABELS]
    assert found["label"][2:6].tolist() == [b""] * 4
    assert not found["scores"][2:6].any()
    assert found["truncated"][[0, 1, -1]].tolist() == [False, False, True]
    with pytest.raises(
        ValueError, match=r"sentence\[1\] is .* too far apart for sequence_length=30"
    ):
        bare.classify([TAGGED[0], far])


def test_pairs_that_are_too_far_apart_have_no_relation(task: RelationExtractor) -> None:
    """Where each label is a relation, every pair has one that can be read."""
    text = "A dog sat on a mat. Everyone looked at a cat."
    narrow = RelationExtractor(
        task.model, task.tokenizer, LABELS[:2], tagger=task.tagger, sequence_length=16
    )
    entities = len(task.tagger.tag(text))
    assert 0 < len(narrow.extract_relations(text)) < entities * (entities - 1) / 2


def test_labels_without_directions_ask_both_ways(tokenizer: BytePairTokenizer) -> None:
    two = random_task(
        tokenizer, seed=3, labels=["left_of", "right_of", "apart"], no_relation="apart"
    )
    assert set(map(type, two.usual_metrics())) == {keras.metrics.SparseCategoricalAccuracy}
    text = TEXTS[0]
    pairs = list(itertools.permutations(two.tagger.tag(text), 2))
    answers = two.classify([tagged(text, *pair) for pair in pairs])
    expected = [
        (e1["start"], answer["label"], e2["start"], pytest.approx(answer["score"], abs=1e-4))
        for (e1, e2), answer in zip(pairs, answers, strict=True)
        if answer["label"] != "apart"
    ]
    assert 3 < len(expected) < len(pairs)
    found = two.extract_relations(text)
    assert expected == [
        (one["head"]["start"], one["relation"], one["tail"]["start"], one["score"]) for one in found
    ]


def tagged(text: str, e1: dict[str, Any], e2: dict[str, Any]) -> str:
    """The text with two spans tagged, in whatever order they stand there."""
    parts, end = [], 0
    for span, name in sorted([(e1, "e1"), (e2, "e2")], key=lambda pair: pair[0]["start"]):
        parts += [text[end : span["start"]], f"<{name}>{span['text']}</{name}>"]
        end = span["end"]
    return "".join([*parts, text[end:]])


def test_any_backbone(tokenizer: BytePairTokenizer, config: klm.TransformerConfig) -> None:
    recurrent = klm.RecurrentConfig(vocab_size=tokenizer.vocab_size, num_layers=1, hidden_dim=16)
    labels = ["a", "b"]
    for model in (klm.models.Decoder(config), klm.models.RecurrentLM(recurrent)):
        keras.utils.set_random_seed(0)
        each = RelationExtractor(model, tokenizer, labels)
        each.compile(klm.training.fine_tuning_optimizer(1e-2))
        history = each.fit(TAGGED * 8, labels * 8, batch_size=4, epochs=8, verbose=0).history
        assert history["accuracy"][-1] > 0.9
        assert set(history) == {"loss", "accuracy"}
        assert each.classify(TAGGED[1])["label"] == "b"


def test_mixed_precision(tokenizer: BytePairTokenizer) -> None:
    config = klm.EncoderConfig(
        vocab_size=tokenizer.vocab_size, num_layers=1, hidden_dim=16, num_heads=2, max_length=32
    )
    model = klm.models.Encoder(config, dtype="mixed_bfloat16")
    each = RelationExtractor(model, tokenizer, LABELS)
    assert each.head.compute_dtype == "bfloat16"
    assert each.predict(TAGGED).dtype == np.float32
    each.fit(TAGGED, LABELS[:2], verbose=0)


def test_means_by_hand(task: RelationExtractor) -> None:
    ids = np.array([[5, 6, 7, 8, 0], [8, 9, 10, 11, 12]], "int32")
    mask = (ids > 0).astype("int32")
    places = {"e1": np.array([[1, 3], [4, 5]]), "e2": np.array([[0, 1], [2, 2]])}
    inputs = {"token_ids": ids, "padding_mask": mask}
    hidden = keras.ops.convert_to_numpy(task.model(inputs))
    read = np.stack(
        [
            np.concatenate([hidden[0, :4].mean(0), hidden[0, 1:3].mean(0), hidden[0, 0]]),
            np.concatenate([hidden[1].mean(0), hidden[1, 4], np.zeros(16)]),
        ]
    )
    expected = read @ keras.ops.convert_to_numpy(task.head.kernel)
    logits = task({**inputs, **{name: one.astype("int32") for name, one in places.items()}})
    np.testing.assert_allclose(logits, expected, atol=1e-5)


BAD_CALLS = [
    (lambda t: t.fit([], []), "x is empty"),
    (lambda t: t.fit(TAGGED, ["near"]), "y has 1 items; x has 2"),
    (lambda t: t.fit(TAGGED), "y is None; give the targets"),
    (lambda t: t.fit([TAGGED[0], "x"], LABELS[:2]), r"sentences\[1\] is 'x': <e1> is missing"),
    (lambda t: t.fit(TAGGED, ["near", "far"]), r"relations\[1\] \(of 'My <e2>.*'\) is 'far'"),
    (lambda t: t.classify("x"), "sentence is 'x': <e1> is missing; it must hold two entities"),
    (lambda t: t.classify([TAGGED[0], 3]), r"sentence\[1\] must be a string; got int"),
    (lambda t: t.classify([]), "sentence is an empty list"),
    (lambda t: t.extract_relations(["a", ""]), r"text\[1\] is an empty text"),
    (lambda t: t.extract_relations(3), "text must be a string or a list of strings; got 3"),
    (lambda t: t.to_triples([], "x.tsv"), "texts is an empty list"),
    (lambda t: setattr(t, "tagger", t), "tagger must be a TokenClassifier whose labels are tags"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_input_is_named(task: RelationExtractor, call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(task)


def test_bad_arguments(task: RelationExtractor) -> None:
    words = TokenClassifier(task.model, task.tokenizer, ["NOUN", "VERB"])
    for settings, message in (
        ({"labels": None}, "labels must be a list of names"),
        ({"labels": ["a"]}, "labels must be two or more; got"),
        ({"no_relation": "none"}, "no_relation='none' must be one of"),
        ({"sequence_length": 7}, "sequence_length=7 leaves no room for two entities"),
        ({"tokenizer": None}, "needs a tokenizer"),
        ({"tagger": words}, r"tags of entities .*; got one with labels=\['NOUN', 'VERB'\]"),
    ):
        arguments = {"model": task.model, "tokenizer": task.tokenizer, "labels": LABELS}
        with pytest.raises(ValueError, match=message):
            RelationExtractor(**arguments | settings)


_ON_JAX = """
import json, sys
import keras
import keras_lm as klm
assert keras.backend.backend() == "jax"
task = klm.tasks.RelationExtractor.from_pretrained(sys.argv[1])
tagged, text = json.loads(sys.argv[2])
found = [task.extract_relations(text), task.classify(tagged)]
found.append(task.evaluate(tagged, task.labels[:2], verbose=0, return_dict=True))
print(json.dumps(found))
"""


def test_the_jax_backend(task: RelationExtractor, tmp_path: Path) -> None:
    pytest.importorskip("jax")
    task.save_pretrained(tmp_path)
    output = harness_files.run_python(
        _ON_JAX,
        str(tmp_path),
        json.dumps([TAGGED, TEXTS[0]]),
        cwd=harness_files.ROOT,
        KERAS_BACKEND="jax",
        JAX_PLATFORMS="cpu",
    )
    relations, answers, results = json.loads(output)
    expected = task.extract_relations(TEXTS[0])
    assert [one | {"score": 0} for one in relations] == [one | {"score": 0} for one in expected]
    scores = [one["score"] for one in expected]
    np.testing.assert_allclose([one["score"] for one in relations], scores, atol=1e-4)
    for answer, own in zip(answers, task.classify(TAGGED), strict=True):
        assert answer["label"] == own["label"]
        assert answer["score"] == pytest.approx(own["score"], abs=1e-4)
    ours = task.evaluate(TAGGED, LABELS[:2], verbose=0, return_dict=True)
    assert results == {name: pytest.approx(value, rel=1e-4) for name, value in ours.items()}
