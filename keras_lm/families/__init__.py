"""The model families that Hugging Face directories name, one file each.

A family is a mapping of configs and one map of weight names, both written once and used in
both directions. To add one, write its file and its line in `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_lm.config import Config
from keras_lm.families.bart import BART
from keras_lm.families.base import Family, Head, Weight
from keras_lm.families.bert import BERT
from keras_lm.families.distilbert import DISTILBERT
from keras_lm.families.electra import ELECTRA
from keras_lm.families.gpt2 import GPT2
from keras_lm.families.llama import LLAMA
from keras_lm.families.marian import MARIAN
from keras_lm.families.native import NATIVE
from keras_lm.families.roberta import ROBERTA
from keras_lm.families.t5 import T5

FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (GPT2, LLAMA, BERT, DISTILBERT, ROBERTA, ELECTRA, T5, BART, MARIAN, *NATIVE)
}

__all__ = ["FAMILIES", "Family", "Head", "Weight", "family_for", "family_named"]


def family_named(hf_config: Mapping[str, Any]) -> Family:
    """The family that a `config.json` belongs to, or a `ValueError` that lists those known."""
    model_type = hf_config.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ValueError(
            f"model_type={model_type!r} is not a family of keras_lm; known: {', '.join(FAMILIES)}"
        )
    return FAMILIES[model_type]


def family_for(config: Config) -> Family:
    """The first family that can express a config without loss; those of our own always can."""
    return next(family for family in FAMILIES.values() if family.expresses(config))
