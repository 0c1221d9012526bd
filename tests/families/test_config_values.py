"""Whatever stands in a `config.json`, reading it gives a config or says what is wrong."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

import harness_files
import numpy as np
import pytest

import keras_lm as klm
from keras_lm.config import Config
from keras_lm.families import family_named
from keras_lm.families.native import NATIVE

VALUES: list[Any] = [None, "x", "8", -1, 0, True, 3.5, 1e300, float("inf"), float("nan"), 2**70]
VALUES += [[], [1], ["x"], [[1]], {}, {"a": 1}]
SCALINGS: list[dict[str, Any]] = [
    {"rope_type": "linear", "factor": 2.0},
    {"rope_type": "yarn", "factor": 2.0, "beta_fast": 32, "beta_slow": 1, "attention_factor": 1.0},
    {"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
]  # longrope is in the recorded config of Phi 3
SIZES: dict[str, Any] = {"vocab_size": 9, "num_layers": 1, "hidden_dim": 8}
SCALING = {"kind": "yarn", "factor": 2.0, "original_max_length": 16}
ROTARY = {"kind": "rotary", "rotary_scaling": SCALING}
OWN: list[Config] = [
    klm.TransformerConfig(**SIZES, num_heads=2, positions=ROTARY),
    klm.EncoderConfig(**SIZES, num_heads=2),
    klm.EncoderDecoderConfig(**SIZES, num_heads=2),
    klm.RecurrentConfig(**SIZES),
    klm.RecurrentEncoderConfig(**SIZES),
    klm.RecurrentSeq2SeqConfig(**SIZES),
    klm.ConvolutionalConfig(vocab_size=9, hidden_dim=9),
    klm.NGramConfig(vocab_size=9, order=2),
    klm.KnowledgeGraphConfig(num_entities=4, num_relations=2),
]


def recorded() -> Iterator[Any]:
    for path in sorted((harness_files.ROOT / "tests" / "golden").glob("*.npz")):
        golden = np.load(path)
        if "config_json" in golden:
            yield pytest.param(json.loads(str(golden["config_json"])), id=path.stem)


def paths(config: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in config.items():
        yield (*above, name)
        if isinstance(value, Mapping):
            yield from paths(value, (*above, name))


def check(config: dict[str, Any]) -> None:
    """Puts every value into every place."""
    family_named(config).read_config(config)
    for path in paths(config):
        for value in VALUES:
            # Numbers of layers are held against the files before.
            if "layer" in path[-1] and isinstance(value, int | float) and value > 1e6:
                continue
            changed = copy.deepcopy(config)
            place = changed
            for name in path[:-1]:
                place = place[name]
            place[path[-1]] = value
            with contextlib.suppress(ValueError):
                family_named(changed).read_config(changed)


@pytest.mark.parametrize("config", list(recorded()))
def test_values_of_the_wrong_kind_are_refused_by_name(config: dict[str, Any]) -> None:
    check(config)


@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda scaling: scaling["rope_type"])
def test_so_are_those_of_scaled_positions(scaling: dict[str, Any]) -> None:
    config = json.loads(str(harness_files.load_golden("llama")["config_json"]))
    old = {"original_max_position_embeddings": 16, "rope_theta": 5000.0}
    check({**config, "rope_parameters": {**old, **scaling}})


@pytest.mark.parametrize("config", OWN, ids=lambda config: type(config).__name__)
def test_so_are_those_of_our_own_models(config: Config) -> None:
    family = next(family for family in NATIVE if family.config_class is type(config))
    check({"model_type": family.model_type, **family.write_config(config)})
