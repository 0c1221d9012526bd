"""The byte n-grams, against numbers worked out by hand."""

from __future__ import annotations

from fractions import Fraction
from math import log2

import pytest

from keras_lm.demo.baselines import bits_per_byte


def test_unigram_by_hand() -> None:
    # "aab" and its end: 4 events, 3 of them different; a twice, b once, the end once.
    a = Fraction(2 + Fraction(3, 257), 4 + 3)
    b = end = Fraction(1 + Fraction(3, 257), 4 + 3)
    expected = -(log2(b) + log2(a) + log2(end)) / 2
    assert bits_per_byte(["aab"], ["ba"], order=1) == pytest.approx(expected, rel=1e-12)


def test_trigram_by_hand() -> None:
    # Trained on "ab": the events are a after (start, start), b after (start, a), end after (a, b).
    uniform = Fraction(1, 257)
    unigram = Fraction(1 + 3 * uniform, 3 + 3)  # a, b and the end once each: all alike
    seen = Fraction(1 + unigram, 2)  # a bigram that occurred once, after a byte seen once
    seen = Fraction(1 + seen, 2)
    # Measured on "ac": a as in training; c is new, and after (start, a) and a alone only b is
    # known; the end after c: neither (a, c) nor c ever occurred, so the unigram is left as it is.
    new = Fraction(3 * uniform, 3 + 3) / 2 / 2
    expected = -(log2(seen) + log2(new) + log2(unigram)) / 2
    assert bits_per_byte(["ab"], ["ac"], order=3) == pytest.approx(expected, rel=1e-12)


def test_documents_do_not_touch() -> None:
    together = bits_per_byte(["ab", "cd"], ["bc"], order=2)
    swapped = bits_per_byte(["cd", "ab"], ["bc"], order=2)
    assert together == pytest.approx(swapped, rel=1e-12)


def test_longer_history_helps_on_regular_text_and_bytes_are_utf8() -> None:
    text = "语言模型。" * 50
    unigram, trigram = (bits_per_byte([text], [text], order) for order in (1, 3))
    assert trigram < 0.2 < 3 < unigram


def test_probabilities_sum_to_one() -> None:
    # A text's probability under a unigram is the product of its bytes' and the end's. With the
    # square of the end's from a text of two bytes, every byte's own can be taken out.
    train = ["abcab", "ba"]
    one = {c: 2 ** -bits_per_byte(train, [chr(c)], order=1) for c in range(128)}
    two = {c: 2 ** -(2 * bits_per_byte(train, [2 * chr(c)], order=1)) for c in range(128)}
    byte = {c: two[c] / one[c] for c in one}
    end = one[0] / byte[0]
    unseen = byte[0] * 128  # the bytes from 128 on: none occurred, all are alike
    assert sum(byte.values()) + unseen + end == pytest.approx(1)
