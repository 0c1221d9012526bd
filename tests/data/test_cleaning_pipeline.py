"""Cleaning of many texts: order, counts, duplicates, time."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from functools import partial

import pytest

from keras_lm.data import progress
from keras_lm.data.cleaning import (
    Cleaned,
    DropDuplicates,
    DropNearDuplicates,
    Redactor,
    clean,
    has_length,
    remove_stop_words,
    squeeze_white_space,
    strip_html,
    strip_punctuation,
)


def test_steps_run_in_order_and_are_counted():
    redactor = Redactor()
    steps = (strip_html, redactor, str.strip, partial(has_length, minimum=3), DropDuplicates())
    texts = ["<p>a@b.cc", "x", "same", " same", "<b></b>", "other"]
    cleaned = clean(iter(texts), *steps)
    assert cleaned.texts == ["<EMAIL>", "same", "other"]
    assert cleaned.kept == [0, 2, 5]
    counts = [(step.name, step.seen, step.changed, step.dropped) for step in cleaned.steps]
    assert counts == [
        ("strip_html", 6, 2, 0),
        ("Redactor", 6, 1, 0),
        ("strip", 6, 2, 0),
        ("has_length", 6, 0, 2),
        ("DropDuplicates", 4, 0, 1),
    ]
    assert str(cleaned).splitlines()[4].split() == ["has_length", "6", "0", "2"]
    assert str(cleaned).endswith("3 texts are left")


def test_nothing_to_do():
    assert clean([], str.strip).texts == []
    assert clean(["a"]) == Cleaned(texts=["a"], kept=[0])


@pytest.mark.parametrize(
    ("texts", "step", "message"),
    [
        ("text", str.strip, "texts is one str; give a list"),
        (["a", 3], str.strip, r"texts\[1\] is of type int; every item must be a str"),
        (["a"], len, "the step len returned int; it must return a str"),
        (["a"], lambda text: None, "the step <lambda> returned NoneType"),
    ],
)
def test_bad_arguments_are_named(texts, step, message):
    with pytest.raises(ValueError, match=message):
        clean(texts, step)


def test_a_bar_appears_when_it_takes_long(monkeypatch, capsys):
    clean(["a"] * 9, str.strip)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "SECONDS_BEFORE_BAR", -1.0)
    clean(["a"] * 9, str.strip)
    assert "cleaning" in (shown := capsys.readouterr().err)
    assert "100%" in shown


def changed(words: list[str], every: int) -> str:
    """The words as a text, with one in `every` replaced."""
    return " ".join("zzz" if i % every == every - 1 else word for i, word in enumerate(words))


def test_near_duplicates_go():
    rng = random.Random(1)
    is_new = DropNearDuplicates(threshold=0.7)
    articles = [[f"w{rng.randrange(5000)}" for _ in range(200)] for _ in range(60)]
    assert all(is_new(" ".join(article)) for article in articles)
    # One word in 60 touches 3 shingles of 60: of 198 some 9 differ, which is a likeness of 0.91.
    assert not any(is_new(changed(article, 60)) for article in articles)
    # One word in 5: of five shingles three differ, which is a likeness of 0.25.
    assert all(is_new(changed(article, 5)) for article in articles)


def test_near_duplicates_of_chinese_and_of_short_texts():
    is_new = DropNearDuplicates(threshold=0.6)
    assert is_new("深度学习是机器学习的一个分支，它使用多层神经网络。")
    assert not is_new("深度学习是机器学习的一个分支,它使用多层神经网络！")
    assert is_new("今天天气很好，我们去公园散步吧。")
    assert [is_new(text) for text in ("Yes", "yes!", "No", "", "", "?!", "...")] == [
        1,
        0,
        1,
        1,
        0,
        1,
        1,
    ]


def test_near_duplicates_are_the_same_in_every_run():
    texts = [f"a b c d e f g {i // 3} h i j k {i}" for i in range(60)]
    first, second = (
        [is_new(text) for text in texts] for is_new in (DropNearDuplicates(), DropNearDuplicates())
    )
    assert first == second
    assert 0 < sum(first) < 60


def test_near_duplicates_name_what_is_missing_or_wrong(monkeypatch):
    for arguments, message in [
        ({"threshold": 0}, "threshold is 0; it must be above 0"),
        ({"threshold": 1.1}, r"threshold is 1\.1"),
        ({"shingle_size": 0}, "shingle_size is 0"),
        ({"num_permutations": 4}, "num_permutations is 4"),
    ]:
        with pytest.raises(ValueError, match=message):
            DropNearDuplicates(**arguments)
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(ImportError, match=r"pip install keras-lm\[cleaning\]"):
        DropNearDuplicates()


HOSTILE = [
    *("a@", "1-", "1234-", "<", "<a ", "<!", "<!--", "<a b='", "<a '<b' ", "</", "&", "&#9", "a"),
    *("1", "+1", "+1 (", "(0", "1.", "f:", "::", "a.", " ", " \n", "a-", "的", "<script>", "the "),
]


@pytest.mark.parametrize(
    "step",
    [
        *(strip_html, Redactor(), squeeze_white_space, strip_punctuation, remove_stop_words),
        partial(remove_stop_words, language="zh"),
    ],
)
def test_time_is_linear_for_hostile_texts(step: Callable[[str], str]):
    # A quadratic step would take minutes for one of these; all of them take about two seconds.
    begin = time.monotonic()
    for unit in HOSTILE:
        step(unit * (400_000 // len(unit)))
        if step is strip_html:
            step("<a '" + unit * (400_000 // len(unit)))
    assert time.monotonic() - begin < 60
