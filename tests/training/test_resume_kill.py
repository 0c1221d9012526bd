"""Processes that are killed by `kill -9`, and started again by the same command."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from training import resume_runs
from training.resume_runs import EPOCHS, STEPS

ROOT = Path(__file__).parents[2]


def run_python(*arguments: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
        | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


# Each attempt is a process of its own. TensorFlow is imported once, which takes its time, and first
# used in the children.
_ATTEMPTS = """
import os, sys, keras
for place in sys.argv[3:]:
    if (child := os.fork()) == 0:
        from training.resume_runs import attempt
        attempt(*sys.argv[1:3], place)
        sys.stdout.flush()
        os._exit(0)
    print(-os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_process_killed_three_times(tmp_path: Path) -> None:
    """In the middle of an epoch, at the end of one, and while a checkpoint is being written."""
    draw = random.Random(3)
    in_first_epoch = draw.randrange(3, STEPS)  # there is a checkpoint, of step 2
    at_end = draw.choice(["validation:1", "epoch-end:1"])
    of_what_is_left = draw.randrange(1, 4)
    places = [f"step:{in_first_epoch}", at_end, f"write:{of_what_is_left}", "none"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    lines = run_python("-c", _ATTEMPTS, str(killed), f"{killed}.npz", *places)
    ended = [int(line) for line in lines if not line.startswith("Resume: ")]
    assert ended == [signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, 0]
    # What a killed process has printed may be lost; the last one was not killed.
    assert lines[-2].startswith("Resume: continuing after step ")
    resume_runs.attempt(str(whole), f"{whole}.npz", "none")

    expected, result = (dict(np.load(f"{path}.npz")) for path in (whole, killed))
    assert resume_runs.differences(expected, result) == []
    assert np.unique(expected["history val_loss"]).size == EPOCHS
    assert sorted(os.listdir(killed)) == sorted(os.listdir(whole))


_JAX = """
import pathlib, sys, threading, keras
from training.resume_runs import *
from keras_lm.training.checkpoint_file import CheckpointFiles
assert keras.backend.backend() == "jax"
threads, write = set(), CheckpointFiles.write
def write_and_tell(*arguments):
    threads.add(threading.current_thread() is threading.main_thread())
    write(*arguments)
CheckpointFiles.write = write_and_tell
def interrupt(): raise Interrupted
def attempt(name, *others):
    keras.utils.set_random_seed(0)
    model = compiled(net(), keras.optimizers.AdamW(0.02, use_ema=True))
    callbacks = [Resume(pathlib.Path(sys.argv[1]) / name, every=2), *others]
    return outcome(model, fit(model, callbacks))
whole = attempt("whole")
print(threads)
try:
    attempt("killed", Interrupter("epoch-end:1", interrupt))
except Interrupted:
    print("Interrupted")
print(differences(whole, attempt("killed", Interrupter("none", interrupt))))
"""


def test_the_jax_backend(tmp_path: Path) -> None:
    """There Keras calls callbacks in a thread of their own if none wants to know of batches."""
    pytest.importorskip("jax")
    lines = run_python("-c", _JAX, str(tmp_path), KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")
    assert lines == [
        "{True}",
        "Interrupted",
        "Resume: continuing after step 8, epoch 2 of 3",
        "[]",
    ]
