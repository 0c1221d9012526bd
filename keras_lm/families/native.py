"""Decoders that no other family can express: our own config and our own weight names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_lm.config import TransformerConfig
from keras_lm.families.base import Family


def _read_config(hf: Mapping[str, Any]) -> TransformerConfig:
    if not isinstance(hf.get("config"), Mapping):
        raise ValueError("config.json lacks 'config', the fields of a TransformerConfig")
    return TransformerConfig.from_config(hf["config"])


NATIVE = Family(
    model_type="keras_lm_decoder",
    architecture="Decoder",
    read_config=_read_config,
    write_config=lambda config: {"config": config.get_config()},
    weights=None,
)
