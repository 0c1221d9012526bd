"""Learning rates against the formulas, worked by hand."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_lm.training import InverseSquareRoot, Noam, default_optimizer


def test_inverse_square_root_by_hand() -> None:
    rate = InverseSquareRoot(peak=0.8, warmup_steps=4)
    rates = [float(rate(step)) for step in range(16)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])  # a straight line to the peak
    assert rates[8] == pytest.approx(0.8 * 2 / 3)  # the ninth step: √(4/9)
    assert rates[15] == pytest.approx(0.4)  # four times the warm-up: half the peak
    assert max(rates) == rates[3]
    assert rates[3:] == sorted(rates[3:], reverse=True)


@given(st.integers(1, 2048), st.integers(1, 20_000), st.integers(0, 1_000_000))
def test_noam_is_equation_3(hidden_dim: int, warmup_steps: int, step: int) -> None:
    t = step + 1
    expected = 2.0 * hidden_dim**-0.5 * min(t**-0.5, t * warmup_steps**-1.5)
    found = Noam(hidden_dim, warmup_steps, factor=2.0)(step)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_noam_defaults() -> None:
    """Step 4,000 of the base model of the paper: 512^−½ · 4000^−½."""
    assert float(Noam(512)(3999)) == pytest.approx(6.98771e-4, rel=1e-5)


@pytest.mark.parametrize("schedule", [InverseSquareRoot(0.5, 3), Noam(64, 7, 0.3)])
def test_an_optimizer_takes_and_keeps_it(schedule: Any) -> None:
    optimizer = default_optimizer(schedule)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    variable = keras.Variable(np.ones(2, "float32"))
    again.build([variable])
    for step in range(9):
        assert float(again.learning_rate) == pytest.approx(float(schedule(step)), rel=1e-6)
        again.apply([keras.ops.ones(2)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InverseSquareRoot(0.0, 10), r"peak is 0\.0; it must be a positive number"),
        (lambda: InverseSquareRoot("1e-3", 10), "peak is '1e-3'"),
        (lambda: InverseSquareRoot(float("inf"), 10), "peak is inf"),
        (lambda: InverseSquareRoot(1e-3, 0), "warmup_steps is 0; it must be an int, at least 1"),
        (lambda: InverseSquareRoot(1e-3, 10.0), r"warmup_steps is 10\.0"),
        (lambda: Noam(-512), "hidden_dim is -512"),
        (lambda: Noam(512, True), "warmup_steps is True"),
        (lambda: Noam(512, factor=-1), "factor is -1"),
    ],
)
def test_bad_arguments_are_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
