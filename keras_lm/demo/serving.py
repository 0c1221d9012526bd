"""What the SavedModel answers where keras_lm cannot be imported."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import subprocess
import sys
from pathlib import Path

# `None` in sys.modules makes every import of keras_lm an error. (TensorFlow imports Keras itself.)
_PROGRAM = """
import json, sys
sys.modules["keras_lm"] = None
import tensorflow as tf
import tensorflow_text
directory, *prompts = json.load(sys.stdin)
served = tf.saved_model.load(directory)
answers = served.signatures["serving_default"](text=tf.constant(prompts))["text"]
json.dump([answer.decode() for answer in answers.numpy()], sys.stdout)
"""


def answers_of_a_fresh_process(saved_model: Path, prompts: list[str]) -> list[str]:
    """What `serving_default` says in a process with TensorFlow and tensorflow-text alone.

    Raises:
        RuntimeError: that process failed; the message ends with what it said.
    """
    _give_back_memory()
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input=json.dumps([str(saved_model), *prompts]),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the SavedModel failed in a fresh process:\n{done.stderr[-2000:]}")
    answers: list[str] = json.loads(done.stdout)
    return answers


def _give_back_memory() -> None:
    """Returns freed memory to the system, so that the two processes stay under 2 GB together."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # not the GNU C library
        ctypes.CDLL(None).malloc_trim(0)
