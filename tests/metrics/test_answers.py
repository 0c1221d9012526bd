"""Exact match and F1 of answers: English against torchmetrics, Chinese by hand."""

import keras
import numpy as np
import pytest

from keras_lm.metrics import AnswerScore


def score(answer, references, language="en"):
    metric = AnswerScore(language)
    metric.update_state([answer], [references])
    return [float(value) for value in metric.result().values()]


def test_english_as_in_squad(golden):
    cases = golden["answers"]
    assert len(cases) == 8
    for case in cases:
        expected = [case["exact_match"], case["f1"]]
        assert score(case["answer"], case["references"]) == pytest.approx(expected), case["answer"]
    whole = AnswerScore()
    whole.update_state(*zip(*((case["answer"], case["references"]) for case in cases), strict=True))
    for name, value in whole.result().items():
        mean = np.mean([case[name] for case in cases])
        assert float(value) == pytest.approx(mean, rel=1e-6)


@pytest.mark.parametrize(
    ("answer", "references", "expected"),
    [
        ("", [], 100),
        ("something", [], 0),
        ("", ["something"], 0),
        ("The", [], 100),  # nothing but an article
        ("", ["the", "cat"], 0),  # a reference of which nothing is left is none
        ("cat", ["the", "cat"], 100),
    ],
)
def test_no_answer_as_in_squad_2(answer, references, expected):
    assert score(answer, references) == [expected, expected]


@pytest.mark.parametrize(
    ("answer", "references", "exact", "f1"),
    [
        ("《光荣和ω-force》", ["光荣和ω-force"], 1, 1),  # marks do not count
        ("北京大学", ["北京的大学", "大学"], 0, 2 * 2 / (4 + 2)),
        ("北京大学", ["大北学京"], 0, 2 * 1 / (4 + 4)),  # one stretch, not a bag
        ("1,963 年", ["1,963年"], 0, 1),  # white space counts for the exact match alone
        ("iPhone 6s手机", ["IPHONE 6S"], 0, 2 * 2 / (4 + 2)),
        ("上海", ["广州"], 0, 0),
        ("", [], 1, 1),
        ("上海", [], 0, 0),
        ("…", ["。"], 0, 0),  # CMRC's script leaves this mark in
    ],
)
def test_chinese_as_in_cmrc(answer, references, exact, f1):
    assert score(answer, references, "zh") == pytest.approx([100 * exact, 100 * f1])


def test_reset_and_serialization():
    metric = AnswerScore("zh", name="cmrc")
    metric.update_state(["上海"], [["上海"]])
    metric.reset_state()
    assert [float(value) for value in metric.result().values()] == [0, 0]
    config = keras.saving.serialize_keras_object(metric)
    restored = keras.saving.deserialize_keras_object(config)
    assert restored.get_config() == metric.get_config()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ab", [["a"], ["b"]]), "answers is 'ab'; it must be a list of strings"),
        ((["a"], []), "references has 0 items; answers has 1"),
        ((["a", None], [["a"], ["b"]]), r"answers\[1\] is None; it must be a string"),
        ((["a"], ["a"]), r"references\[0\] is 'a'; it must be a list of strings"),
        ((["a"], [[1]]), r"references\[0\] is \[1\]; it must be a list of strings"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        AnswerScore().update_state(*arguments)
    with pytest.raises(ValueError, match="language is 'de'; it must be one of"):
        AnswerScore("de")
