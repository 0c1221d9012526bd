"""A run that is taken up ends bit for bit as one that was never interrupted.

What a killed process leaves is its files. So most tests train once, copy the checkpoints up to
some step to another directory, and train again from there; `test_resume_kill.py` kills.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from training.resume_runs import (
    EPOCHS,
    STEPS,
    Interrupted,
    Interrupter,
    compiled,
    differences,
    fit,
    net,
    outcome,
    windows,
)

import keras_lm as klm
from keras_lm.training.resume import Resume

Make = Callable[[], keras.Model]


def steps_in(directory: Path) -> list[int]:
    return sorted(int(path.stem.split("-")[1]) for path in directory.iterdir())


def killed_after(step: int, complete: Path, directory: Path) -> Path:
    """A directory as a process leaves it that dies when the checkpoint of this step is there."""
    directory.mkdir()
    for path in complete.iterdir():
        if int(path.stem.split("-")[1]) <= step:
            shutil.copy(path, directory)
    return directory


def train(
    make: Make, directory: Path, callbacks: list[Any] | None = None, **kwargs: Any
) -> dict[str, np.ndarray]:
    """One attempt at a run, as a new process begins it."""
    keras.utils.set_random_seed(0)
    model = make()
    resume = Resume(directory, every=2, keep=99, verbose=0)
    return outcome(model, fit(model, [resume, *(callbacks or [])], **kwargs))


class Memo(keras.callbacks.Callback):
    """A callback of a user's that remembers things of many kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs = 0
        self.mean = np.zeros(2, "float32")
        self.best = np.float64("inf")
        self.seen: dict[Any, Any] = {"steps": [], (1, 2): {None}}
        self.log: Any = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epochs += 1
        self.log = [].append  # from here on no data, and none of Resume's business

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.log(batch)
        self.seen["steps"].append((self.epochs, batch, logs["loss"]))
        self.mean = self.mean * np.float32(0.9) + np.float32(logs["loss"])
        self.best = min(self.best, np.float64(logs["loss"]))


@pytest.fixture
def monitors() -> Callable[[], list[Any]]:
    def make() -> list[Any]:
        return [
            keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
            keras.callbacks.ReduceLROnPlateau("val_loss", patience=1, min_delta=9.0),
            keras.callbacks.EarlyStopping(
                "val_accuracy", mode="max", patience=5, restore_best_weights=True
            ),
            Memo(),
        ]

    return make


def test_callbacks_validation_and_metrics(
    tmp_path: Path, monitors: Callable[[], list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Interrupted in an epoch, in validation, and in the last epoch; and without Resume at all."""

    def attempt(place: str, *first: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        def end() -> None:
            raise Interrupted

        keras.utils.set_random_seed(0)
        model, callbacks = compiled(net()), [*first, *monitors(), Interrupter(place, end)]
        history = fit(model, callbacks, validation_data=windows(seed=1).take(2))
        return outcome(model, history), vars(callbacks[-2])

    expected, memo = attempt("none")
    for place in ("step:3", "validation:0", "step:14"):
        with pytest.raises(Interrupted):
            attempt(place, Resume(tmp_path, every=5 if "val" in place else 2))
    result, memo_of_resumed = attempt("none", Resume(tmp_path, every=2))
    assert differences(expected, result) == []
    assert np.unique(expected["history learning_rate"]).size == EPOCHS
    for name in ("epochs", "mean", "best", "seen"):
        assert repr(memo_of_resumed[name]) == repr(memo[name])
    assert len(memo["seen"]["steps"]) == EPOCHS * STEPS
    assert steps_in(tmp_path) == [14, 15]
    assert capsys.readouterr().out.splitlines() == [
        f"Resume: continuing after step {step}, epoch {epoch} of 3"
        for step, epoch in ((2, 1), (5, 1), (12, 3))
    ]


class OwnStep(keras.Sequential):
    """Trains by a step of its own, reports what no metric holds, and draws without a seed."""

    def train_step(self, data: Any) -> dict[str, Any]:
        noise = keras.random.normal((1, 1))
        logs = super().train_step((data[0], data[1], data[2] + 0.1 * noise))
        return {**logs, "noise": noise[0, 0], "pair": keras.ops.stack([noise[0, 0], logs["loss"]])}


def cosine(steps: int) -> Any:
    return keras.optimizers.schedules.CosineDecay(0.02, steps, warmup_target=0.1, warmup_steps=4)


SCENARIOS: dict[str, Make] = {
    "ema-bfloat16": lambda: compiled(
        net("mixed_bfloat16"),
        keras.optimizers.AdamW(0.02, use_ema=True, ema_overwrite_frequency=4),
    ),
    "accumulation-schedule-xla": lambda: compiled(
        net(),
        keras.optimizers.SGD(cosine(20), momentum=0.9, gradient_accumulation_steps=3),
        jit_compile=True,
    ),
    "float16-loss-scale": lambda: compiled(net("mixed_float16")),
    "own-step": lambda: compiled(OwnStep(net().layers), keras.optimizers.Muon(0.02)),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_kind_of_state(name: str, tmp_path: Path) -> None:
    expected = train(SCENARIOS[name], tmp_path / "whole")
    assert steps_in(tmp_path / "whole") == [2, 4, 5, 6, 8, 10, 12, 14, 15]
    directory = killed_after(8, tmp_path / "whole", tmp_path / "killed")
    assert differences(expected, train(SCENARIOS[name], directory)) == []


def test_several_steps_per_execution(tmp_path: Path) -> None:
    """Keras does six steps an epoch then, because five are no whole number of executions."""

    def make() -> keras.Model:
        return compiled(net(), steps_per_execution=2)

    expected = train(make, tmp_path / "whole")
    assert steps_in(tmp_path / "whole") == [2, 4, 6, 8, 10, 12, 14, 16, 18]
    directory = killed_after(10, tmp_path / "whole", tmp_path / "killed")
    assert differences(expected, train(make, directory)) == []


class StopsAt(keras.callbacks.Callback):
    """Stops training after a batch."""

    def __init__(self, epoch: int, batch: int) -> None:
        super().__init__()
        self.where = (epoch, batch)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.model.stop_training = (self._epoch, batch) == self.where


def interrupt() -> None:
    raise Interrupted


def test_a_stop_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    """Killed after the stop and before the epoch's end, a run does no further step."""

    def attempt(place: str, name: str) -> dict[str, np.ndarray]:
        callbacks = [StopsAt(1, 2), Interrupter(place, interrupt)]
        held_out = windows(seed=1).take(2)
        return train(SCENARIOS["own-step"], tmp_path / name, callbacks, validation_data=held_out)

    expected = attempt("none", "whole")
    with pytest.raises(Interrupted):
        attempt("validation:1", "killed")
    assert steps_in(tmp_path / "killed") == [2, 4, 5, 6, 8]
    result = attempt("none", "killed")
    assert result["epochs"].tolist() == [0, 1]
    assert differences(expected, result) == []


def test_a_run_that_is_over_trains_nothing_and_goes_on_with_more_epochs(tmp_path: Path) -> None:
    """Its last checkpoint is from before the averages of the weights take their place."""
    make = SCENARIOS["ema-bfloat16"]
    expected = train(make, tmp_path / "four", [Memo()], epochs=4)
    two, memo = train(make, tmp_path / "two", [Memo()], epochs=2), Memo()
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "two").iterdir()}
    assert differences(two, train(make, tmp_path / "two", [memo], epochs=2)) == []
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "two").iterdir()} == written
    assert len(memo.seen["steps"]) == 2 * STEPS
    assert differences(expected, train(make, tmp_path / "two", [Memo()], epochs=4)) == []


def test_a_run_that_stopped_early(tmp_path: Path) -> None:
    """It stays stopped, whatever `epochs` is, and has the best weights again."""

    def attempt(epochs: int) -> dict[str, np.ndarray]:
        early = keras.callbacks.EarlyStopping("loss", min_delta=9.0, restore_best_weights=True)
        return train(lambda: compiled(net()), tmp_path, [early], epochs=epochs)

    expected = attempt(EPOCHS)
    assert expected["epochs"].tolist() == [0, 1]
    for epochs in (EPOCHS, EPOCHS + 1):
        assert differences(expected, attempt(epochs)) == []


def test_one_model_and_one_list_of_callbacks_for_several_fits(tmp_path: Path) -> None:
    """As in a notebook, where a cell is interrupted and run again."""
    expected = train(lambda: compiled(net()), tmp_path / "whole")
    keras.utils.set_random_seed(0)
    model = compiled(net())
    interrupter = Interrupter("step:3", interrupt)
    resume = Resume(tmp_path / "parts", every=2, verbose=0)
    callbacks = keras.callbacks.CallbackList(
        [resume, interrupter], add_history=True, model=model, epochs=EPOCHS, steps=STEPS
    )
    for place in (("step", 3), ("epoch-end", 1)):
        interrupter._place = place
        with pytest.raises(Interrupted):
            fit(model, callbacks)
    interrupter._place = ("none", 0)
    assert differences(expected, outcome(model, fit(model, callbacks))) == []
    assert len(callbacks.callbacks) == 3
    assert fit(model, [], epochs=1).epoch == [0]


def test_a_run_that_begins_at_a_later_epoch(tmp_path: Path) -> None:
    def attempt(name: str) -> dict[str, np.ndarray]:
        data = windows(start=2 * STEPS)
        return train(lambda: compiled(net()), tmp_path / name, x=data, initial_epoch=2, epochs=4)

    expected = attempt("whole")
    assert expected["epochs"].tolist() == [2, 3]
    killed_after(8, tmp_path / "whole", tmp_path / "killed")
    assert differences(expected, attempt("killed")) == []


def test_validation_on_the_training_data(tmp_path: Path) -> None:
    """Validation reads a data set from its own beginning, wherever training takes it up."""
    data = windows()

    def attempt(place: str, name: str) -> dict[str, np.ndarray]:
        more = {"x": data, "validation_data": data, "validation_steps": 2}
        interrupter = Interrupter(place, interrupt)
        return train(lambda: compiled(net()), tmp_path / name, [interrupter], **more)

    expected = attempt("none", "whole")
    with pytest.raises(Interrupted):
        attempt("validation:1", "killed")
    assert steps_in(tmp_path / "killed")[-1] == 10
    assert differences(expected, attempt("none", "killed")) == []


def test_texts_given_to_a_task(tmp_path: Path) -> None:
    """Lists of strings have an address; a part of them validates, and a curve is drawn."""
    texts = [f"{who} {what}." for who in ("The cat", "A dog") for what in ("sat", "slept")] * 4
    tokenizer = klm.tokenizers.BytePairTokenizer.train(texts=texts, vocab_size=270)
    config = klm.TransformerConfig(
        vocab_size=270, num_layers=1, hidden_dim=8, num_heads=2, max_length=8, dropout=0.2
    )

    def attempt(name: str) -> tuple[dict[str, np.ndarray], list[float]]:
        keras.utils.set_random_seed(0)
        lm = klm.tasks.CausalLM(klm.models.Decoder(config), tokenizer)
        lm.compile()
        curve = klm.training.LossCurve(every=3)
        callbacks = [Resume(tmp_path / name, every=1, keep=99, verbose=0), curve]
        history = lm.fit(
            texts, None, 2, 2, callbacks=callbacks, validation_split=0.3, seed=4, verbose=0
        )
        return outcome(lm, history), curve.losses

    expected, losses = attempt("whole")
    steps = steps_in(tmp_path / "whole")
    killed_after(steps[-1] - 2, tmp_path / "whole", tmp_path / "killed")
    result, resumed_losses = attempt("killed")
    assert differences(expected, result) == []
    assert resumed_losses == losses
    assert len(losses) == steps[-1] // 3 > 2
