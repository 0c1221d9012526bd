"""What a stand-in task writes is scored after its epochs, logged, printed, and taken up."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from training.resume_runs import EPOCHS, STEPS, compiled, differences, fit, net, outcome

from keras_lm.metrics import BLEU, ROUGE, ChrF
from keras_lm.training import GenerationScores, Resume

pytest.importorskip("sacrebleu", reason="the extra `metrics` is not installed")
pytest.importorskip("rouge_score", reason="the extra `metrics` is not installed")

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "slept"]
INPUTS = ["one", "two", "three", "four", "five"]
REFERENCES = ["the cat sat", ["on a mat", "a mat"], "and slept", "the cat", "a cat"]


class Writer(keras.Sequential):
    """Writes words that its weights choose."""

    def generate(self, texts: list[str], *, ending: str = "") -> list[str]:
        self.calls = [*getattr(self, "calls", []), list(texts)]
        number = int(1e4 * np.abs(keras.ops.convert_to_numpy(self.trainable_variables[0])).sum())
        return [
            " ".join(WORDS[(number // 8**place + len(text)) % 8] for place in range(3)) + ending
            for text in texts
        ]


def writer() -> Any:
    model = Writer(net().layers)
    model.build((None, None))
    return compiled(model)


def scores(**arguments: Any) -> GenerationScores:
    given = {"metrics": [BLEU(), ChrF(), ROUGE()], "verbose": 0, **arguments}
    return GenerationScores(INPUTS, REFERENCES, **given)


def test_scores_join_the_logs() -> None:
    """They are those of what the model writes after each epoch, and other callbacks see them."""
    keras.utils.set_random_seed(1)
    written: list[list[str]] = []
    model = writer()
    seen = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: written.append(model.generate(INPUTS))
    )
    best = keras.callbacks.EarlyStopping("val_chrf", mode="max", patience=9)
    history = fit(model, [scores(), seen, best]).history
    names = {"val_bleu", "val_chrf", "val_rouge1", "val_rouge2", "val_rougeL"}
    assert names <= set(history)
    assert len({tuple(texts) for texts in written}) > 1  # the model did change what it writes
    for epoch in range(EPOCHS):
        metric = ChrF()
        metric.update_state(REFERENCES, written[epoch])
        assert history["val_chrf"][epoch] == pytest.approx(float(metric.result()))
    assert best.best == pytest.approx(max(history["val_chrf"]))


def test_every_second_epoch() -> None:
    history = fit(writer(), [scores(every=2)]).history
    assert (len(history["loss"]), len(history["val_bleu"])) == (EPOCHS, 1)


def test_batches_are_of_one_size_and_arguments_passed_on(capsys: Any) -> None:
    model = writer()
    fit(model, [scores(batch_size=2, ending="!", verbose=1)], epochs=1)
    begin, *epoch = model.calls
    assert begin == ["one", "two"]
    assert epoch == [["one", "two"], ["three", "four"], ["five", "five"]]
    assert capsys.readouterr().out.count("!\n") == 3


def test_samples_are_printed_and_silenced(capsys: pytest.CaptureFixture[str]) -> None:
    callback = GenerationScores(
        ["a\n long " + "text " * 80, "b"],
        [["one [bold]", "two"], "three"],
        [ChrF(name="mine")],
        num_samples=1,
    )
    fit(writer(), [callback], epochs=1)
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0].startswith("GenerationScores: epoch 1, val_mine ")
    assert lines[1].startswith("  input:     a long text text")
    assert len(lines[1]) == len("  input:     ") + 200
    assert lines[1].endswith("…")
    assert lines[2] == "  reference: one [bold] | two"
    assert lines[3].startswith("  output:    ")
    assert len(lines) == 4
    fit(writer(), [scores()], epochs=1)
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_a_run_that_is_taken_up_has_the_same_scores(tmp_path: Path) -> None:
    def train(directory: Path) -> dict[str, np.ndarray]:
        keras.utils.set_random_seed(0)
        model = writer()
        resume = Resume(directory, every=2, keep=99, verbose=0)
        return outcome(model, fit(model, [resume, scores()]))

    complete = tmp_path / "complete"
    expected = train(complete)
    assert expected["history val_rouge1"].size == EPOCHS
    for step in (STEPS + 1, 2 * STEPS, EPOCHS * STEPS):
        directory = tmp_path / str(step)
        directory.mkdir()
        for path in complete.iterdir():
            if int(path.stem.split("-")[1]) <= step:
                shutil.copy(path, directory)
        assert differences(expected, train(directory)) == [], step


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": 0}, "every is 0; it must be an int, at least 1"),
        ({"num_samples": -1}, "num_samples is -1; it must be an int, at least 0"),
        ({"batch_size": 2.0}, r"batch_size is 2\.0"),
        ({"metrics": []}, r"metrics is \[\]; it must be a list of Keras metrics"),
        ({"metrics": ["bleu"]}, "metrics holds 'bleu'; every item must be a Keras metric"),
        ({"metrics": [BLEU(), BLEU("zh")]}, r"metrics have the names \['bleu', 'bleu'\]"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scores(**arguments)


@pytest.mark.parametrize(
    ("inputs", "references", "message"),
    [
        ("a", ["a"], "inputs is 'a'; it must be a list"),
        ([], [], r"inputs is \[\]"),
        (["a"], "a", "references is 'a'"),
        (["a"], ["a", "b"], "references has 2 items; inputs has 1"),
    ],
)
def test_bad_texts_are_named(inputs: Any, references: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GenerationScores(inputs, references, [ChrF()])


def test_what_cannot_be_scored_is_found_before_the_first_epoch() -> None:
    with pytest.raises(ValueError, match="the model is a Sequential, which has no generate"):
        fit(compiled(net()), [scores()])
    with pytest.raises(TypeError, match="num_beam"):
        fit(writer(), [scores(num_beam=4)])
    with pytest.raises(ValueError, match=r"references\[0\] is \[\]"):
        fit(writer(), [GenerationScores(["a"], [[]], [ChrF()])])
    model = writer()
    model.generate = lambda texts: [[text, text] for text in texts]
    with pytest.raises(ValueError, match="needs one string for each input"):
        fit(model, [scores()])
