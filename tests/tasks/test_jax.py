"""The same model trains and generates on the JAX backend, in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import harness
import harness_files
import numpy as np
import pytest

from keras_lm.generation import generate_ids
from keras_lm.tasks import CausalLM

_PROGRAM = """
import json, sys
import keras, numpy as np
import keras_lm as klm
assert keras.backend.backend() == "jax"
request = json.loads(sys.argv[1])
lm = klm.tasks.CausalLM.from_pretrained(request["directory"])
answers = {
    "greedy": lm.generate(request["prompts"], max_new_tokens=9),
    "sampled": lm.generate(request["prompts"], **request["sampling"]),
    "score": lm.score(request["prompts"]).tolist(),
    # Padded to a bucket that is longer than the model.
    "long": klm.generation.generate_ids(lm.model, request["long"], max_new_tokens=3).tolist(),
}
keras.utils.set_random_seed(0)
fresh = klm.tasks.CausalLM(klm.models.Decoder(lm.model.config), lm.tokenizer, 24)
fresh.compile(klm.training.default_optimizer(0.02))
history = fresh.fit(request["texts"], batch_size=8, epochs=3, validation_split=0.25, verbose=0)
answers["history"] = history.history
lm.compile()
answers["evaluate"] = lm.evaluate(request["texts"], verbose=0, return_dict=True)
try:
    lm.export("nowhere")
except ValueError as error:
    answers["export"] = str(error)
print(json.dumps(answers))
"""


def test_jax_backend(trained: CausalLM, texts: list[str], tmp_path: Path) -> None:
    pytest.importorskip("jax")
    trained.save_pretrained(tmp_path / "model")
    prompts = ["The cat", "My naïve friend looked"]
    sampling = {"max_new_tokens": 12, "temperature": 0.9, "top_k": 30, "top_p": 0.95, "seed": 7}
    long = harness.random_ids(trained.model, 1, 40).tolist()
    request = {
        "directory": str(tmp_path / "model"),
        "prompts": prompts,
        "sampling": sampling,
        "texts": texts,
        "long": long,
    }
    answers = json.loads(
        harness_files.run_python(
            _PROGRAM,
            json.dumps(request),
            cwd=tmp_path,
            KERAS_BACKEND="jax",
            JAX_PLATFORMS="cpu",
            PYTHONPATH=str(harness_files.ROOT),
        )
    )
    assert answers["greedy"] == trained.generate(prompts, max_new_tokens=9)
    assert answers["sampled"] == trained.generate(prompts, **sampling)
    np.testing.assert_allclose(answers["score"], trained.score(prompts), rtol=1e-4)
    here = generate_ids(trained.model, long, max_new_tokens=3, jit_compile=False)
    assert answers["long"] == here.tolist()
    expected = trained.evaluate(texts, verbose=0, return_dict=True)
    assert answers["evaluate"] == pytest.approx(expected, rel=1e-4)
    losses = answers["history"]["loss"]
    assert losses[-1] < losses[0] - 0.5
    assert {"val_loss", "val_bits_per_byte", "perplexity"} < set(answers["history"])
    assert "export needs the TensorFlow backend" in answers["export"]
