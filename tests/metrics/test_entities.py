"""Entity F1 against seqeval, in the graph and on lists."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from keras_lm.metrics import EntityF1, entity_scores
from keras_lm.metrics.entities import tag_entities

BIO = ["O", "B-x", "I-x", "B-y", "I-y"]


def padded(names, sentences, fill, random):
    """Tag ids [B, T], spread out with positions of weight 0 among them, and the weights."""
    length = 2 * max(map(len, sentences)) + 3
    ids = np.full([len(sentences), length], fill, "int32")
    weights = np.zeros([len(sentences), length], "float32")
    for row, tags in enumerate(sentences):
        places = np.sort(random.permutation(length)[: len(tags)])
        ids[row, places] = [names.index(tag) for tag in tags]
        weights[row, places] = 1
    return ids, weights


def test_as_in_seqeval(golden):
    assert len(golden["entities"]) == 2
    for case in golden["entities"]:
        names, true, found = case["label_names"], case["true"], case["found"]
        assert 0.1 < case["f1"] < 0.9
        assert entity_scores(true, found) == {
            kind: pytest.approx(row) for kind, row in case["report"].items()
        }
        metric = EntityF1(names)
        for fill in (0, 1):  # whatever stands where nothing counts
            metric.reset_state()
            ids, weights = padded(names, true, fill, np.random.default_rng(1))
            other, _ = padded(names, found, 2, np.random.default_rng(1))
            metric.update_state(ids[:1], other[:1], weights[:1])
            metric.update_state(ids[1:], other[1:], weights[1:])
            assert float(metric.result()) == pytest.approx(case["f1"], abs=1e-6)


def test_by_hand():
    tags = ["I-x", "I-x", "B-x", "O", "I-y", "I-x", "B-y"]
    spans = [("x", 0, 2), ("x", 2, 3), ("y", 4, 5), ("x", 5, 6), ("y", 6, 7)]
    assert tag_entities(tags) == spans
    assert tag_entities(["B-x", "E-x", "I-x", "S-x", "E-x"]) == [
        ("x", 0, 2),
        ("x", 2, 3),
        ("x", 3, 4),
        ("x", 4, 5),
    ]
    assert tag_entities([]) == tag_entities(["O", "O"]) == []
    #       x x | y of one word | y missed            x x | x (other type) | x too many
    scores = entity_scores([["B-x", "I-x", "B-y", "O", "B-y"]], [["B-x", "I-x", "B-x", "I-x", "O"]])
    assert scores["x"] == {
        "precision": 0.5,
        "recall": 1.0,
        "f1": pytest.approx(2 / 3),
        "support": 1,
    }
    assert scores["y"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 2}
    assert scores["micro avg"]["f1"] == pytest.approx(2 * 1 / (2 + 3))
    assert scores["weighted avg"]["f1"] == pytest.approx(2 / 9)
    assert scores["macro avg"]["f1"] == pytest.approx(1 / 3)


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(BIO), st.sampled_from(BIO)), min_size=1, max_size=9),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 2**32 - 1),
)
def test_the_graph_equals_the_lists(sentences, seed):
    true = [[a for a, _ in sentence] for sentence in sentences]
    found = [[b for _, b in sentence] for sentence in sentences]
    ids, weights = padded(BIO, true, 0, np.random.default_rng(seed))
    other, _ = padded(BIO, found, 0, np.random.default_rng(seed))
    metric = EntityF1(BIO)
    metric.update_state(ids, np.eye(5)[other], weights)  # as logits
    expected = entity_scores(true, found)["micro avg"]["f1"]
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_a_graph_of_unknown_shape(jit_compile):
    metric = EntityF1(BIO)
    update = tf.function(
        metric.update_state,
        input_signature=[
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([None, None, 5], tf.float32),
            tf.TensorSpec([None, None], tf.float32),
        ],
        jit_compile=jit_compile,
    )
    true, found = tf.constant([[1, 2, 0, 3]]), tf.constant([[1, 2, 0, 1]])
    update(true, tf.one_hot(found, 5), tf.ones([1, 4]))
    update(true[:, :2], tf.one_hot(found[:, :2], 5), tf.ones([1, 2]))
    assert float(metric.result()) == pytest.approx(4 / 6)


def test_no_entities_and_no_words():
    metric = EntityF1(BIO)
    assert float(metric.result()) == 0.0
    metric.update_state(np.zeros([2, 3], "int32"), np.zeros([2, 3], "int32"))
    metric.update_state(np.ones([1, 3], "int32"), np.ones([1, 3], "int32"), np.array([0.0]))
    assert float(metric.result()) == 0.0
    assert entity_scores([], [])["micro avg"]["f1"] == 0.0


def test_serialization():
    metric = EntityF1(("O", "B-x"), name="ner")
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert restored.get_config() == metric.get_config()
    assert restored.label_names == ("O", "B-x")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EntityF1(["NOUN", "O"]), r"label_names is \['NOUN', 'O'\]; entities need"),
        (lambda: entity_scores([["O"]], []), "predicted has 0 sentences; true has 1"),
        (lambda: entity_scores([["O"]], [["O", "O"]]), r"predicted\[0\] has 2 tags; true has 1"),
        (lambda: entity_scores([["O", "B-"]], [["O", "O"]]), r"true\[0\]\[1\] is 'B-'"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
