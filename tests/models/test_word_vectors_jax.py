"""Word2Vec and GloVe on the JAX backend, in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import harness_files
import numpy as np
import pytest

from keras_lm.models import GloVe, Word2Vec

_JAX = """
import json, sys
import keras
import keras_lm as klm
assert keras.backend.backend() == "jax"
texts = json.loads(sys.argv[1])
answer = {}
for name, model in {
    "skip-gram": klm.models.Word2Vec(dim=6, window=3, min_count=1),
    "GloVe": klm.models.GloVe(dim=6, window=3, min_count=1),
}.items():
    history = model.fit(texts, epochs=2, verbose=0)
    answer[name] = history.history["loss"]
print(json.dumps(answer))
"""


def test_jax(tmp_path: Path) -> None:
    """From the same first weights, or all but: the same losses to what the backends differ in."""
    pytest.importorskip("jax")
    random = np.random.default_rng(0)
    texts = [[f"w{i}" for i in random.zipf(1.5, 9) % 30] for _ in range(60)]
    theirs = json.loads(
        harness_files.run_python(
            _JAX,
            json.dumps(texts),
            cwd=tmp_path,
            KERAS_BACKEND="jax",
            JAX_PLATFORMS="cpu",
            PYTHONPATH=str(harness_files.ROOT),
        )
    )
    for name, model in {
        "skip-gram": Word2Vec(dim=6, window=3, min_count=1),
        "GloVe": GloVe(dim=6, window=3, min_count=1),
    }.items():
        losses = model.fit(texts, epochs=2, verbose=0).history["loss"]
        assert theirs[name] == pytest.approx(losses, rel=0.1)
