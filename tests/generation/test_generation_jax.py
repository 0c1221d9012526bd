"""Beams, groups and constraints on the JAX backend, in a process of its own, beside TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import harness_files
import numpy as np
import pytest

from keras_lm.checkpoints import load_model
from keras_lm.generation import generate_ids

_PROGRAM = """
import json, sys
import keras
from keras_lm.checkpoints import load_model
from keras_lm.generation import generate_ids
assert keras.backend.backend() == "jax"
model, (prompts, searches) = load_model(sys.argv[1]), json.loads(sys.argv[2])
found = [generate_ids(model, prompts, return_scores=True, **search) for search in searches]
print(json.dumps([[ids.tolist(), scores.tolist()] for ids, scores in found]))
"""

RULES: dict[str, Any] = {
    "repetition_penalty": 1.3,
    "no_repeat_ngram_size": 2,
    "bad_words_ids": [[9, 3], [5]],
    "min_new_tokens": 3,
    "forced_eos_token_id": 9,
    "renormalize_logits": True,
}
COMMON: dict[str, Any] = {"max_new_tokens": 8, "stop_ids": [9]}
BEAMS: dict[str, Any] = {
    "num_beams": 4,
    "num_return_sequences": 3,
    "early_stopping": "never",
    "num_beam_groups": 2,
    "diversity_penalty": 0.7,
}
SEARCHES: list[dict[str, Any]] = [{**COMMON, **RULES}, {**COMMON, **RULES, **BEAMS}]


def test_jax_backend(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    harness_files.write_golden(harness_files.load_golden("gpt2"), tmp_path)
    model, prompts = load_model(tmp_path), [[1, 2, 3, 4], [7]]
    request = json.dumps([prompts, SEARCHES])
    answers = json.loads(
        harness_files.run_python(
            _PROGRAM, str(tmp_path), request, cwd=tmp_path, KERAS_BACKEND="jax"
        )
    )
    for search, (ids, scores) in zip(SEARCHES, answers, strict=True):
        own, own_scores = generate_ids(
            model, prompts, jit_compile=False, return_scores=True, **search
        )
        assert ids == own.tolist()
        np.testing.assert_allclose(scores, own_scores, atol=1e-4)
