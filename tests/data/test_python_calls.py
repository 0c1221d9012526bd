"""A process ends although a data set is still being read."""

import subprocess
import sys

import pytest

PROGRAM = """
import numpy as np, tensorflow as tf
from keras_lm.data import TokenStore, batches, token_windows, training_windows
tokens = np.arange(400_000, dtype="int32") % 250
store = TokenStore(tokens, np.arange(0, 400_001, 100), np.full(4000, 98))
endless = batches(store, training_windows(store, 128), 512, shuffle=True, repeat=True)
iterator = iter(endless)
for _ in range(20):
    next(iterator)
print("leaving", flush=True)
"""


@pytest.mark.parametrize("attempt", range(2))
def test_a_process_ends_while_batches_are_made(attempt):
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert process.returncode == 0, process.stderr[-2000:]
    assert "leaving" in process.stdout
