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
from keras_lm.families.falcon import FALCON
from keras_lm.families.gemma import GEMMA
from keras_lm.families.gemma3 import GEMMA3
from keras_lm.families.gpt2 import GPT2
from keras_lm.families.gpt_neox import GPT_NEOX
from keras_lm.families.llama import LLAMA
from keras_lm.families.marian import MARIAN
from keras_lm.families.mistral import MISTRAL
from keras_lm.families.native import NATIVE
from keras_lm.families.opt import OPT
from keras_lm.families.phi3 import PHI3
from keras_lm.families.qwen2 import QWEN2
from keras_lm.families.qwen3 import QWEN3
from keras_lm.families.roberta import ROBERTA
from keras_lm.families.starcoder2 import STARCODER2
from keras_lm.families.t5 import T5

# Where several can express a config, the first is written.
FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        GPT2,
        LLAMA,
        MISTRAL,
        QWEN2,
        QWEN3,
        PHI3,
        GEMMA,
        GEMMA3,
        GPT_NEOX,
        OPT,
        FALCON,
        STARCODER2,
        BERT,
        DISTILBERT,
        ROBERTA,
        ELECTRA,
        T5,
        BART,
        MARIAN,
        *NATIVE,
    )
}

__all__ = ["FAMILIES", "Family", "Head", "Weight", "family_for", "family_named", "table"]


def family_named(hf_config: Mapping[str, Any]) -> Family:
    """The family that a `config.json` belongs to, or a `ValueError` that lists those known."""
    model_type = hf_config.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ValueError(
            f"model_type={model_type!r} is not a family of keras_lm; known: {', '.join(FAMILIES)}"
        )
    return FAMILIES[model_type]


def family_for(config: Config, preferred: str | None = None) -> Family:
    """The first family that can express a config without loss; those of our own always can.

    Args:
        config: of a model.
        preferred: the `model_type` that goes before all others, if it can.
    """
    first = [FAMILIES[preferred]] if preferred in FAMILIES else []
    return next(family for family in (*first, *FAMILIES.values()) if family.expresses(config))


def table() -> str:
    """What can be read and written, one family a row, in Markdown; README shows it.

    Families of our own, whose names are ours, are not in it.

    Example:

    >>> print(table().splitlines()[2])
    | `gpt2` | GPT-2, DistilGPT-2 | `GPT2LMHeadModel` | |
    """
    rows = ["| family | models | classes of Transformers | but not |", "| --- | --- | --- | --- |"]
    for family in FAMILIES.values():
        if family.weights is not None:
            names = [
                family.architecture,
                *(head.architectures[0] for head in family.heads.values()),
            ]
            cells = [f"`{family.model_type}`", family.title, ", ".join(f"`{n}`" for n in names)]
            rows.append(" ".join(["|", " | ".join([*cells, family.refused]).rstrip(), "|"]))
    return "\n".join(rows) + "\n"
