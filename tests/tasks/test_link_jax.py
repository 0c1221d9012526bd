"""Link prediction on the JAX backend, in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import harness_files
import pytest

from keras_lm.tasks import LinkPredictor

_JAX = """
import json, sys
import keras
import keras_lm as klm
assert keras.backend.backend() == "jax"
request = json.loads(sys.argv[1])
task = klm.tasks.LinkPredictor.from_pretrained(request["directory"])
answers = {
    "tail": task.predict_tail("n3", "next", k=3),
    "evaluate": task.evaluate(request["triples"], verbose=0),
}
losses = task.fit(request["triples"], request["triples"], epochs=2, batch_size=4, verbose=0)
answers["history"] = losses.history
answers["after"] = task.evaluate(request["triples"], verbose=0)[0]
try:
    task.export("nowhere")
except ValueError as error:
    answers["export"] = str(error)
print(json.dumps(answers))
"""


def test_jax(tmp_path: Path) -> None:
    """The same weights answer and learn alike."""
    pytest.importorskip("jax")
    triples = [[f"n{i}", "next", f"n{i + 1}"] for i in range(9)]
    task = LinkPredictor(dim=4, negatives=4)
    task.fit(triples, epochs=3, batch_size=4, verbose=0)
    task.save_pretrained(tmp_path / "model")
    theirs = json.loads(
        harness_files.run_python(
            _JAX,
            json.dumps({"directory": str(tmp_path / "model"), "triples": triples}),
            cwd=tmp_path,
            KERAS_BACKEND="jax",
            JAX_PLATFORMS="cpu",
            PYTHONPATH=str(harness_files.ROOT),
        )
    )
    ours = LinkPredictor.from_pretrained(tmp_path / "model")
    for one, other in zip(theirs["tail"], ours.predict_tail("n3", "next", k=3), strict=True):
        assert one == {"entity": other["entity"], "score": pytest.approx(other["score"], rel=1e-3)}
    assert theirs["evaluate"] == pytest.approx(ours.evaluate(triples, verbose=0), rel=1e-3)
    history = ours.fit(triples, triples, epochs=2, batch_size=4, verbose=0).history
    assert theirs["history"]["loss"] == pytest.approx(history["loss"], rel=1e-3)
    assert theirs["history"]["val_mrr"] == pytest.approx(history["val_mrr"], rel=0.05)
    assert theirs["after"] == pytest.approx(theirs["history"]["val_mrr"][-1], rel=1e-6)
    assert "needs the TensorFlow backend" in theirs["export"]
