"""The F1 of relations against the official scorer of SemEval-2010 task 8."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_lm.metrics import RelationF1
from keras_lm.metrics.relations import are_directed, relation_of

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "relation_f1.json").read_text())
LABELS = ["Other", "A(e1,e2)", "A(e2,e1)", "B(e1,e2)", "B(e2,e1)"]


def score(metric, true, predicted, weights=None):
    """The metric after the rows came in batches of 7."""
    metric.reset_state()
    logits = np.eye(len(metric.labels), dtype="float32")[predicted]
    for begin in range(0, len(true), 7):
        part = slice(begin, begin + 7)
        metric.update_state(
            np.array(true[part]), logits[part], None if weights is None else weights[part]
        )
    return float(metric.result())


def test_as_the_official_scorer():
    metric = RelationF1(GOLDEN["labels"])
    assert len(GOLDEN["cases"]) == 3
    for case in GOLDEN["cases"]:
        assert 20 < case["percent"] < 90
        value = 100 * score(metric, case["true"], case["predicted"])
        assert value == pytest.approx(case["percent"], abs=0.0051)  # it prints two digits


def test_by_hand():
    metric = RelationF1(LABELS)
    # A: 2 right, predicted 4 times (once turned, once it is Other), true 3 times: 4 / 7
    # B: 1 right, predicted once, true 2 times: 2 / 3
    true = [1, 2, 1, 0, 3, 4, 0]
    predicted = [1, 2, 2, 1, 3, 0, 0]
    assert score(metric, true, predicted) == pytest.approx((4 / 7 + 2 / 3) / 2)
    # B is never true: it is left out of the mean, though predicted.
    assert score(metric, [1, 1], [1, 4]) == pytest.approx(2 / 3)
    # The direction alone is wrong.
    assert score(metric, [1, 3], [2, 4]) == 0
    # Nothing but Other: there is no relation to be right about.
    assert score(metric, [0, 0], [0, 1]) == 0
    metric.reset_state()
    assert float(metric.result()) == 0


def test_a_perfect_answer_and_weights():
    metric = RelationF1(LABELS)
    assert score(metric, [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]) == 1
    weights = np.array([1, 1, 1, 0, 0], "float32")
    assert score(metric, [0, 1, 3, 1, 3], [0, 1, 3, 3, 1], weights) == 1


def test_labels_without_directions():
    labels = ["born_in", "works_for", "no_relation"]
    assert not are_directed(labels)
    true, predicted = [0, 0, 1, 2, 2], [0, 1, 1, 2, 0]
    metric = RelationF1(labels, no_relation="no_relation")
    assert score(metric, true, predicted) == pytest.approx((2 / 4 + 2 / 3) / 2)
    every = RelationF1(labels, no_relation=None)
    f1 = keras.metrics.F1Score(average="macro")
    f1.update_state(np.eye(3)[true], np.eye(3, dtype="float32")[predicted])
    assert score(every, true, predicted) == pytest.approx(float(f1.result()))


def test_directions_in_labels():
    assert relation_of("per:title(e1,e2)") == ("per:title", False)
    assert relation_of("part(of)(e2,e1)") == ("part(of)", True)
    for label in ("A", "A(e1,e1)", "(e1,e2)", "A(e1,e2) "):
        assert relation_of(label) == (label, None)


def test_it_comes_back_from_its_config():
    metric = RelationF1(LABELS, no_relation=None, name="f")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert (again.labels, again.no_relation, again.name) == (tuple(LABELS), None, "f")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": LABELS[1:]}, "no_relation is 'Other', which is not among labels"),
        ({"labels": ["Other", "Other"]}, "list of different names"),
        ({"labels": "Other"}, "list of different names"),
        ({"labels": ["Other", 3]}, "list of different names"),
        ({"labels": ["Other"]}, "at least 2"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        RelationF1(**arguments)
    with pytest.raises(ValueError, match="y_pred has 3 classes; num_classes is 5"):
        RelationF1(LABELS).update_state(np.array([0]), np.zeros([1, 3]))
