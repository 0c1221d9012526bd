"""What `Resume` refuses, and what it does when the disk does not do as it should."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from training.resume_runs import (
    LENGTH,
    VOCAB,
    compiled,
    differences,
    fit,
    net,
    outcome,
    windows,
)

from keras_lm.training import checkpoint_file
from keras_lm.training.checkpoint_file import Checkpoint, CheckpointFiles
from keras_lm.training.resume import Resume


def train(directory: Path, *callbacks: Any, model: Any = None, **kwargs: Any) -> Any:
    keras.utils.set_random_seed(0)
    model = compiled(net()) if model is None else model
    resume = Resume(directory, every=2, verbose=0)
    return outcome(model, fit(model, [resume, *callbacks], **kwargs))


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of which one epoch is done."""
    directory = tmp_path_factory.mktemp("begun")
    train(directory, epochs=1)
    return directory


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """The outcome of the same run with one epoch more."""
    return train(tmp_path_factory.mktemp("two"), epochs=2)


@pytest.fixture
def directory(begun: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(begun, tmp_path / "copy"))


def test_arguments(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for wrong in ("", None, 3):
        with pytest.raises(ValueError, match="directory=.* must be the path of a directory"):
            Resume(wrong, every=1)
    with pytest.raises(ValueError, match="file' is a file"):
        Resume(tmp_path / "file", every=1)
    for wrong in (0, -1, 2.0, True, "epoch", None):
        with pytest.raises(ValueError, match="every=.* must be an int, at least 1"):
            Resume(tmp_path, every=wrong)
        with pytest.raises(ValueError, match="keep=.* must be an int, at least 1"):
            Resume(tmp_path, every=1, keep=wrong)


def arrays() -> tuple[np.ndarray, np.ndarray]:
    ids = np.ones((12, LENGTH), "int32")
    return ids, ids


def in_any_order() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = False
    return options


NO_ADDRESS: dict[str, tuple[Callable[[], Any], str]] = {
    "a finite set": (lambda: windows().take(5), "lost its address in a TakeDataset"),
    "batches of batches": (lambda: windows().unbatch().batch(3), "in a BatchDataset"),
    "a shuffled buffer": (lambda: windows().shuffle(4), "in a ShuffleDataset"),
    "a filter": (lambda: windows().filter(lambda *_: True), "in a FilterDataset"),
    "pairs": (
        lambda: tf.data.Dataset.zip((windows(), windows())).map(lambda x, _: x),
        "ZipDataset",
    ),
    "any order": (
        lambda: windows().map(lambda *x: x, num_parallel_calls=2, deterministic=False),
        "in a ParallelMapDataset",
    ),
    "no order": (
        lambda: windows().with_options(in_any_order()),
        "has the option deterministic=False",
    ),
    "a stream": (lambda: tf.data.Dataset.from_tensors(arrays()).repeat(), "has no address"),
    "a generator": (lambda: (arrays() for _ in range(9)), "has no address"),
}


@pytest.mark.parametrize("kind", NO_ADDRESS)
def test_data_without_an_address(kind: str, tmp_path: Path) -> None:
    """Said before the first step of a fresh run, not when it is too late."""
    make, message = NO_ADDRESS[kind]
    with pytest.raises(ValueError, match=message):
        train(tmp_path / "new", x=make())
    assert not (tmp_path / "new").exists()


def test_arrays_and_endless_epochs(tmp_path: Path) -> None:
    x, y = arrays()
    with pytest.raises(ValueError, match=r"has no address.*klm\.data\.batches"):
        train(tmp_path, x=x, y=y, steps_per_epoch=None)
    with pytest.raises(ValueError, match="steps_per_epoch is None"):
        train(tmp_path, steps_per_epoch=None)
    with pytest.raises(ValueError, match="more than one Resume"):
        train(tmp_path, Resume(tmp_path, every=1))


def test_only_in_fit(tmp_path: Path) -> None:
    callbacks = keras.callbacks.CallbackList([Resume(tmp_path, every=1)], model=net())
    with pytest.raises(ValueError, match="fit of a Keras model"):
        callbacks.on_train_begin()


def test_ways_of_training_that_are_not_known(tmp_path: Path) -> None:
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = compiled(net())
    with pytest.raises(ValueError, match="under a distribution strategy"):
        train(tmp_path, model=model)

    class ReadsNothing(keras.Sequential):
        def make_train_function(self, force: bool = False) -> None:
            self.train_function = lambda iterator: {"loss": 0.0}

    with pytest.raises(ValueError, match="not read in the first step"):
        train(tmp_path, model=compiled(ReadsNothing(net().layers)))


def wider() -> keras.Model:
    model = net()
    return compiled(keras.Sequential([*model.layers[:-1], keras.layers.Dense(VOCAB + 1)]))


ANOTHER_RUN: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "shapes": (
        lambda: {"model": wider()},
        r"only in the checkpoint: model sequential/dense/kernel float32\[8, 24\], .*"
        r"only in the model: model sequential/dense/kernel float32\[8, 25\], ",
    ),
    "optimizer": (
        lambda: {"model": compiled(net(), "sgd")},
        r"in the checkpoint: optimizer adam/iteration int64\[\], .* and 4 more; only in the mo",
    ),
    "metric": (
        lambda: {"model": compiled(net(), metric="sparse_top_k_categorical_accuracy")},
        r"in the checkpoint: metrics accuracy/total float32\[\], metrics accuracy/count",
    ),
    "seed of the data": (lambda: {"x": windows(seed=5)}, "another run: data are others"),
    "batch size": (lambda: {"x": windows(batch_size=3)}, "another run: data are others"),
    "steps": (lambda: {"steps_per_epoch": 4}, "steps_per_epoch was 5 and is 4"),
    "initial epoch": (lambda: {"initial_epoch": 1}, "initial_epoch was 0 and is 1"),
    "fewer epochs": (lambda: {"epochs": 0}, "epochs=0, and 0 steps of epoch 2 are done"),
}


@pytest.mark.parametrize("kind", ANOTHER_RUN)
def test_another_run(kind: str, directory: Path) -> None:
    make, message = ANOTHER_RUN[kind]
    with pytest.raises(ValueError, match=message) as error:
        train(directory, **make())
    assert str(directory) in str(error.value)
    assert "delete the directory to begin anew" in str(error.value)


def test_other_callbacks(directory: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"callbacks was \['History'\] and is \['TerminateOnNaN', 'History'\]",
    ):
        train(directory, keras.callbacks.TerminateOnNaN())


def test_settings_of_a_callback_may_change(tmp_path: Path) -> None:
    """What a callback was made with is not overwritten by what it was made with before."""
    train(tmp_path, keras.callbacks.EarlyStopping("loss", patience=7), epochs=1)
    early = keras.callbacks.EarlyStopping("loss", patience=8, min_delta=0.5)
    train(tmp_path, early, epochs=1)
    assert (early.patience, early.min_delta) == (8, 0.5)
    assert early.best == pytest.approx(3.18, abs=0.05)


def test_damaged_files(directory: Path, two_epochs: dict[str, np.ndarray]) -> None:
    newest = directory / "step-000000005.safetensors"
    content = newest.read_bytes()
    changed = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
    for damaged in (content[: len(content) // 2], content[:5], b"", changed):
        newest.write_bytes(damaged)
        with pytest.warns(UserWarning, match=r"step-000000005\.safetensors' is damaged"):
            assert CheckpointFiles(directory, 2).newest().state["steps_done"] == 4
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* is damaged")
        result = train(directory, epochs=2)
    assert differences(two_epochs, result) == []
    for path in directory.iterdir():
        path.write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="is damaged"),
        pytest.raises(ValueError, match="no checkpoint that is whole; delete it to begin anew"),
    ):
        train(directory)


def test_a_damaged_file_does_not_crowd_out_a_whole_one(tmp_path: Path) -> None:
    files = CheckpointFiles(tmp_path, keep=1)
    files.write(20, Checkpoint({}, {}))
    files.paths()[0].write_bytes(b"")
    files.write(10, Checkpoint({}, {}))
    files.write(15, Checkpoint({}, {"epoch": 1}))
    with pytest.warns(UserWarning, match="step-000000020"):
        assert files.newest().state == {"epoch": 1}
    files.write(20, Checkpoint({}, {"epoch": 2}))
    assert [path.name for path in files.paths()] == ["step-000000020.safetensors"]


def test_a_file_of_another_version(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_file, "_FORMAT", "2")
    with pytest.raises(ValueError, match="was not written by this version of keras_lm"):
        CheckpointFiles(directory, 2).newest()


def test_what_dead_writers_left_is_cleared_and_the_rest_is_not(directory: Path) -> None:
    for name in (".writing-1234", "logs"):
        (directory / name).mkdir()
        (directory / name / "file").touch()
    (directory / "notes.txt").touch()
    CheckpointFiles(directory, 2).prepare()
    names = sorted(path.name for path in directory.iterdir())
    assert names == [
        "logs",
        "notes.txt",
        "step-000000004.safetensors",
        "step-000000005.safetensors",
    ]


def test_a_full_disk(
    directory: Path, two_epochs: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training stops with a message, the last checkpoint is whole, and with room it goes on."""

    def full(source: Any, target: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space left on device") as error:
            train(directory, epochs=2)
    assert error.value.errno == errno.ENOSPC
    assert "step-000000006.safetensors' could not be written" in str(error.value)
    assert "step-000000005.safetensors' is whole" in str(error.value)
    assert len(list(directory.iterdir())) == 2
    assert differences(two_epochs, train(directory, epochs=2)) == []


def test_a_write_that_the_system_cuts_short(tmp_path: Path) -> None:
    """Not a mocked one: the system lets no file grow beyond a limit."""
    files = CheckpointFiles(tmp_path, keep=1)
    files.write(1, Checkpoint({"a": np.zeros(9)}, {}))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            files.write(2, Checkpoint({"a": np.zeros(100_000)}, {}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.errno == errno.EFBIG
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001.safetensors"]
    assert files.newest().arrays["a"].shape == (9,)


def test_others_may_read_a_checkpoint_as_any_file(tmp_path: Path) -> None:
    (tmp_path / "any").touch()
    files = CheckpointFiles(tmp_path, keep=1)
    files.write(1, Checkpoint({}, {}))
    assert files.paths()[0].stat().st_mode == (tmp_path / "any").stat().st_mode
