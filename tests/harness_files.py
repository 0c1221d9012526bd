"""Contract checks across processes and libraries: recorded models, and exported ones.

What `harness.py` is for models in memory, this is for what others wrote and what others read.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from harness import logits_of
from keras import ops

from keras_lm.checkpoints import load_model
from keras_lm.generation import generate_ids
from keras_lm.tasks import CausalLM

ROOT = Path(__file__).parents[1]
DECODERS = {
    "gpt2": "gpt2",
    "llama": "llama",
    "llama_tied": "llama",
    "mistral": "mistral",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "phi3": "phi3",
    "gpt_neox": "gpt_neox",
    "opt": "opt",
    "falcon": "falcon",
    "falcon_groups": "falcon",
    "falcon_old": "falcon",
    "gemma3": "gemma3_text",
    "gemma": "gemma",
    "starcoder2": "starcoder2",
}
"""The recorded decoders and their families."""


def load_golden(name: str) -> dict[str, Any]:
    """A recorded model by its name."""
    return dict(np.load(ROOT / "tests" / "golden" / f"{name}.npz"))


def check_golden_parity(
    golden: Mapping[str, Any], directory: Path, tolerance: float = 2e-5
) -> None:
    """A recorded model of another library, read from its own files, computes what it did."""
    write_golden(golden, directory)
    model = load_model(directory)
    mask, token_ids = golden["attention_mask"], golden["token_ids"]
    inputs = {"token_ids": token_ids, "padding_mask": mask}
    real = mask.astype(bool)
    difference = np.abs(logits_of(model, inputs) - golden["logits"])[real]
    assert difference.max() < tolerance
    log_probs = ops.convert_to_numpy(model.log_probs(inputs, np.roll(token_ids, -1, axis=1)))
    sums = log_probs * np.roll(mask, -1, axis=1) * (np.arange(mask.shape[1]) < mask.shape[1] - 1)
    np.testing.assert_allclose(sums.sum(axis=1), golden["log_probs"], rtol=0, atol=1e-4)
    prompts = [row[:length].tolist() for row, length in zip(token_ids, mask.sum(axis=1))]
    count = golden["continuations"].shape[1]
    generated = generate_ids(model, prompts, max_new_tokens=count, jit_compile=False)
    for row, prompt, continuation in zip(generated, prompts, golden["continuations"], strict=True):
        assert row[: len(prompt) + count].tolist() == [*prompt, *continuation.tolist()]


def write_golden(golden: Mapping[str, Any], directory: Path, config: str = "config_json") -> None:
    """Lays a recorded model out as the pretrained directory that it came from."""
    from safetensors.numpy import save_file

    (directory / "config.json").write_text(str(golden[config]), encoding="utf-8")
    tensors = {
        name.removeprefix("weights/"): np.ascontiguousarray(golden[name])
        for name in golden
        if name.startswith("weights/")
    }
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})


_SERVER = """
import json, sys
import tensorflow as tf
import tensorflow_text
from tensorflow.python.saved_model import loader_impl
directory, request = sys.argv[1], json.loads(sys.argv[2])
served = tf.saved_model.load(directory)
texts = tf.constant(request["texts"])
def constant(name, value):
    return tf.constant(value, tf.string, [len(value)]) if name == "stop" else tf.constant(value)
signature = served.signatures["generate"]
stored = loader_impl.parse_saved_model(directory).meta_graphs[0].signature_def["generate"].defaults
defaults = {n: tf.constant(tf.make_ndarray(v), v.dtype) for n, v in stored.items()}
answers = [
    signature(text=texts, **defaults | {n: constant(n, v) for n, v in sampling.items()})["text"]
    for sampling in request["sampling"]
]
default = served.signatures["serving_default"]
inputs = sorted(default.structured_input_signature[1])
method = served.generate(texts, max_new_tokens=tf.constant(4))["text"]
def strings(tensor):
    return [v.decode() for v in tensor.numpy().ravel()]
print(json.dumps({
    "default": strings(default(text=texts)["text"]),
    "default_inputs": inputs,
    "generate": [strings(answer) for answer in answers],
    "method": strings(method),
    "score": served.signatures["score"](text=texts)["score"].numpy().tolist(),
    "has_keras_lm": "keras_lm" in sys.modules,
}))
"""


def check_export_equals_python(
    task: CausalLM, texts: list[str], sampling: list[dict[str, Any]], directory: Path
) -> None:
    """The SavedModel, in a fresh process with TensorFlow alone, answers as Python does.

    Args:
        sampling: parameters of `generate`, as the signature names and types them; the others
                have the defaults that are stored with it.
    """
    task.export(directory)
    request = json.dumps({"texts": texts, "sampling": sampling})
    answers = json.loads(run_python(_SERVER, str(directory), request, cwd=directory))
    assert not answers["has_keras_lm"]
    assert answers["default_inputs"] == ["text"]
    assert answers["default"] == task.generate(texts)
    assert answers["method"] == task.generate(texts, max_new_tokens=4)
    for arguments, served in zip(sampling, answers["generate"], strict=True):
        local = task.generate(texts, **arguments)
        assert served == np.ravel(local).tolist()
    np.testing.assert_allclose(answers["score"], task.score(texts), rtol=1e-6)


def run_python(code: str, *arguments: str, cwd: Path, **environment: str) -> str:
    """The last line that a program prints in a fresh process, which must end well."""
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
        timeout=400,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stdout.strip().splitlines()[-1]
