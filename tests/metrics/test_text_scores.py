"""BLEU, chrF and ROUGE: equal to sacrebleu and rouge-score, recorded and live."""

from __future__ import annotations

import json
import math
import sys
from itertools import zip_longest
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lm.metrics import BLEU, ROUGE, ChrF

sacrebleu = pytest.importorskip("sacrebleu", reason="the extra `metrics` is not installed")
rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer", reason="as above")

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "text_scores.json").read_text(encoding="utf-8")
)["cases"]
METRICS = {"bleu": BLEU, "chrf": ChrF}

words = st.sampled_from(
    ["cat", "Cat", "the", "naïve", "3.5", "%", ",", "…", "猫", "很", "\n", "it's"]
)
texts = st.lists(words, max_size=8).map(" ".join)
data_sets = st.lists(st.tuples(st.lists(texts, min_size=1, max_size=3), texts), min_size=1)


def scored(metric: Any, references: Any, hypotheses: Any, batch: int | None = None) -> Any:
    """The result, fed in batches."""
    size = batch or max(len(hypotheses), 1)
    for start in range(0, len(hypotheses), size):
        rows = slice(start, start + size)
        metric.update_state(references[rows], hypotheses[rows])
    result = metric.result()
    if isinstance(result, dict):
        return {name: float(value) for name, value in result.items()}
    return float(result)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
@pytest.mark.parametrize("kind", METRICS)
def test_bleu_and_chrf_as_recorded(kind: str, case: dict[str, Any]) -> None:
    for arguments, expected in case[kind]:
        for batch in (None, 1, 2):
            metric = METRICS[kind](**arguments)
            found = scored(metric, case["references"], case["hypotheses"], batch)
            assert found == pytest.approx(expected, rel=1e-6), arguments


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_rouge_as_recorded(case: dict[str, Any]) -> None:
    for arguments, expected in case["rouge"]:
        for batch in (None, 2):
            metric = ROUGE(list(expected), **arguments)
            found = scored(metric, case["references"], case["hypotheses"], batch)
            assert found == pytest.approx(expected, rel=1e-6), arguments


def test_the_recorded_cases_tell_things_apart() -> None:
    english, *_, chinese = GOLDEN
    assert len({round(score, 3) for _, score in english["bleu"]}) >= 5
    assert len({round(score, 3) for _, score in chinese["bleu"]}) >= 4


@settings(max_examples=50, deadline=None)
@given(data_sets, st.integers(1, 3))
def test_live_data_sets(rows: list[tuple[list[str], str]], batch: int) -> None:
    references, hypotheses = [known for known, _ in rows], [text for _, text in rows]
    columns = list(zip_longest(*references))
    for ours, theirs in (
        (BLEU(), sacrebleu.BLEU()),
        (BLEU("zh", lowercase=True), sacrebleu.BLEU(tokenize="zh", lowercase=True)),
        (ChrF(), sacrebleu.CHRF()),
        (ChrF(word_order=2), sacrebleu.CHRF(word_order=2)),
    ):
        expected = theirs.corpus_score(hypotheses, columns).score
        assert scored(ours, references, hypotheses, batch) == pytest.approx(expected, rel=1e-6)
    scorer = rouge_scorer.RougeScorer(["rouge1", "rougeLsum"])
    scores = [scorer.score_multi(known, text) for known, text in rows]
    found = scored(ROUGE(["rouge1", "rougeLsum"]), references, hypotheses, batch)
    for kind, value in found.items():
        mean = 100 * math.fsum(score[kind].fmeasure for score in scores) / len(rows)
        assert value == pytest.approx(mean, rel=1e-6)


def test_bleu_by_hand() -> None:
    """The classic of the paper: clipped counts, and the penalty for brevity."""
    metric = BLEU(max_order=1)
    metric.update_state(["the cat is on the mat"], ["the the the the the the the"])
    assert float(metric.result()) == pytest.approx(100 * 2 / 7)
    metric.reset_state()
    metric.update_state(["a b c d"], ["a b"])
    assert float(metric.result()) == pytest.approx(100 * math.exp(1 - 4 / 2))


def test_rouge_by_hand() -> None:
    metric = ROUGE()
    metric.update_state([["police killed the gunman"]], ["the gunman kill police"])  # Lin 2004
    found = {name: float(value) for name, value in metric.result().items()}
    assert found == pytest.approx({"rouge1": 75, "rouge2": 100 / 3, "rougeL": 50})


def test_chinese_rouge_is_of_characters() -> None:
    arguments = (["今天天气很好。", "iPhone 6s"], ["今天天气好", "IPHONE 7"])
    assert scored(ROUGE(["rouge1"]), *arguments) == pytest.approx({"rouge1": 100 * 0.5 / 2})
    found = scored(ROUGE(["rouge1", "rouge2", "rougeL"], language="zh"), *arguments)
    assert found == pytest.approx(
        {
            "rouge1": 100 * (2 * 5 / (6 + 5) + 0.5) / 2,
            "rouge2": 100 * (2 * 3 / (5 + 4) + 0) / 2,
            "rougeL": 100 * (2 * 5 / (6 + 5) + 0.5) / 2,
        }
    )


def test_sums_beyond_float32_are_exact() -> None:
    """A count past 2^24, where a float32 counter stops; sacrebleu counts one text of it."""
    metric = BLEU(max_order=1)
    metric._counts.add([[2**25 + 1, 2**25 + 3, 2**25 + 1, 2**25 + 1]])
    for _ in range(3):
        metric._counts.add([[1, 1, 1, 1]])
    assert metric._counts.numbers() == [2**25 + 4, 2**25 + 6, 2**25 + 4, 2**25 + 4]


@pytest.mark.parametrize(
    "metric",
    [
        BLEU("zh", lowercase=True, max_order=3, name="x"),
        ChrF(4, 2, 3, name="y"),
        ROUGE(["rougeL"], use_stemmer=True, name="z"),
        ROUGE(language="zh"),
    ],
    ids=lambda metric: metric.name,
)
def test_reset_and_serialization(metric: Any) -> None:
    metric.update_state(["上海 cat"], ["上海 cat"])
    metric.reset_state()
    result = metric.result()
    for value in result.values() if isinstance(result, dict) else [result]:
        assert float(value) == 0
        assert keras.backend.standardize_dtype(value.dtype) == "float32"
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(metric)))
    restored = keras.saving.deserialize_keras_object(config)
    assert type(restored) is type(metric)
    assert restored.get_config() == metric.get_config()


def test_arrays_of_strings_are_lists() -> None:
    metric = ChrF()
    metric.update_state(np.array(["a cat"], object), np.array(["a cat"]))
    assert float(metric.result()) == 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ab", ["a", "b"]), "references is 'ab'; it must be a list"),
        ((["a"], "b"), "hypotheses is 'b'; it must be a list"),
        ((["a"], []), "hypotheses has 0 items; references has 1"),
        ((["a", "b"], ["a", None]), r"hypotheses\[1\] is None; it must be a string"),
        ((["a", []], ["a", "b"]), r"references\[1\] is \[\]; it must be a string, or a list"),
        (([["a", None]], ["a"]), r"references\[0\] is \['a', None\]"),
        (([b"a"], ["a"]), r"references\[0\] is b'a'"),
    ],
)
def test_bad_input(arguments: Any, message: str) -> None:
    for metric in (BLEU(), ChrF(), ROUGE()):
        with pytest.raises(ValueError, match=message):
            metric.update_state(*arguments)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BLEU("14a"), "tokenize is '14a'; it must be one of"),
        (lambda: BLEU(max_order=0), "max_order is 0; it must be an int, at least 1"),
        (lambda: ChrF(char_order=0), "char_order is 0"),
        (lambda: ChrF(word_order=-1), "word_order is -1"),
        (lambda: ChrF(beta=1.5), r"beta is 1\.5"),
        (lambda: ROUGE("rouge1"), "kinds is 'rouge1'; it must be a list"),
        (lambda: ROUGE([]), r"kinds is \[\]"),
        (lambda: ROUGE(["rouge0"]), "'rouge1' … 'rouge9'"),
        (lambda: ROUGE(language="de"), "language is 'de'; it must be 'en' or 'zh'"),
        (lambda: ROUGE(use_stemmer=True, language="zh"), "use_stemmer is True"),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "module"),
    [(BLEU, "sacrebleu.metrics"), (ChrF, "sacrebleu.metrics"), (ROUGE, "rouge_score.rouge_scorer")],
)
def test_a_missing_library_is_named(
    make: Any, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r'pip install "keras-lm\[metrics\]"'):
        make()
