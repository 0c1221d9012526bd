"""Beam search and constraints against what Transformers answers (`golden/make_beams.py`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import harness_files
import numpy as np
import pytest

from keras_lm.checkpoints import load_model
from keras_lm.generation import generate_ids

RECORDED = json.loads((Path(__file__).parents[1] / "golden" / "beams.json").read_text())
CASES = RECORDED["cases"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The recorded models by name."""
    loaded = {}
    for name in RECORDED["prompts"]:
        directory = tmp_path_factory.mktemp(name)
        harness_files.write_golden(harness_files.load_golden(name), directory)
        loaded[name] = load_model(directory)
    return loaded


def check(model: Any, prompts: Any, case: dict[str, Any], jit_compile: bool) -> None:
    ids, scores = generate_ids(
        model, prompts, **case["arguments"], return_scores=True, jit_compile=jit_compile
    )
    each = case["arguments"].get("num_return_sequences", 1)
    rows = [(prompt, new) for prompt, found in zip(prompts, case["new"]) for new in found]
    assert len(ids) == len(rows) == each * len(prompts)
    for row, (prompt, new) in zip(ids.tolist(), rows, strict=True):
        assert row[: len(prompt) + len(new)] == [*prompt, *new]
        assert not any(row[len(prompt) + len(new) :])
    if case["scores"] is not None:
        np.testing.assert_allclose(scores, np.ravel(case["scores"]), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", sorted(RECORDED["prompts"]))
def test_sequences_and_scores_are_theirs(models: dict[str, Any], name: str) -> None:
    """Prompts of several lengths together; there they were padded on the left, or alone."""
    cases = [case for case in CASES if case["model"] == name]
    assert len(cases) >= 30
    for case in cases:  # one test: a new seed, which each test has, costs more than a search
        check(models[name], RECORDED["prompts"][name], case, jit_compile=False)


def test_xla_finds_the_same(models: dict[str, Any]) -> None:
    case = next(case for case in CASES if "bad_words_ids" in case["arguments"])
    check(models["gpt2"], RECORDED["prompts"]["gpt2"], case, jit_compile=True)


def test_each_prompt_alone(models: dict[str, Any]) -> None:
    case = next(
        c for c in CASES if c["model"] == "llama" and "repetition_penalty" in c["arguments"]
    )
    for row, prompt in enumerate(RECORDED["prompts"]["llama"]):
        part = {**case, "new": case["new"][row : row + 1], "scores": case["scores"][row : row + 1]}
        check(models["llama"], [prompt], part, jit_compile=False)
