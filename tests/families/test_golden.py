"""Parity with recorded models of Transformers, and the way back to their files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import harness
import harness_files
import numpy as np
import pytest
from safetensors.numpy import load_file

from keras_lm.checkpoints import load_model, save_model
from keras_lm.families import family_named

Golden = Mapping[str, Any]


def test_logits_log_probs_and_greedy_continuation(golden: Golden, tmp_path: Path) -> None:
    harness_files.check_golden_parity(golden, tmp_path)


@pytest.fixture(scope="module")
def saved(golden: Golden, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of theirs, and in `again` what we make of it."""
    directory = tmp_path_factory.mktemp("golden")
    harness_files.write_golden(golden, directory)
    save_model(load_model(directory), directory / "again")
    return directory


def test_saved_files_are_the_same_again(saved: Path) -> None:
    theirs = load_file(saved / "model.safetensors")
    ours = load_file(saved / "again" / "model.safetensors")
    assert sorted(ours) == sorted(theirs)
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype
        assert ours[name].tobytes() == tensor.tobytes(), name


def test_every_field_we_write_is_theirs(saved: Path) -> None:
    """What both files say, they say alike; and all that shapes the model is said."""
    theirs, ours = (
        json.loads((path / "config.json").read_text()) for path in (saved, saved / "again")
    )
    # n_inner is null there, the default, four times; padding is the tokenizer's.
    for name in set(ours) & set(theirs) - {"n_inner", "pad_token_id"}:
        if name == "rope_parameters":  # ours says what theirs leaves to a default
            ours[name] = {key: ours[name][key] for key in theirs[name]}
        assert ours[name] == theirs[name], name
    assert {"architectures", "model_type", "dtype", "vocab_size"} < set(ours) & set(theirs)
    assert family_named(ours).read_config(ours) == family_named(theirs).read_config(theirs)


def test_both_spellings_of_a_config(llama: Golden) -> None:
    new, old = (json.loads(str(llama[name])) for name in ("config_json", "config_v4_json"))
    assert "rope_parameters" in new
    assert "rope_theta" in old
    assert "rope_parameters" not in old
    family = family_named(old)
    assert family.read_config(old) == family.read_config(new)
    assert family.read_config(new).positions.rotary_base == 5000.0


def test_version_4_directory_computes_the_same(llama: Golden, tmp_path: Path) -> None:
    harness_files.write_golden(llama, tmp_path, config="config_v4_json")
    inputs = {"token_ids": llama["token_ids"], "padding_mask": llama["attention_mask"]}
    logits = harness.logits_of(load_model(tmp_path), inputs)
    real = llama["attention_mask"].astype(bool)
    assert np.abs(logits - llama["logits"])[real].max() < 2e-5
