"""What stands between two texts that an encoder reads together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def separators_between(definition: str | bytes, settings: Mapping[str, Any]) -> int:
    """How many separators part a pair of texts: 1 as in BERT, 2 as in RoBERTa.

    Args:
        definition: the tokenizer's own file.
        settings: its `tokenizer_config.json`.
    """
    if str(settings.get("tokenizer_class", "")).startswith(("Roberta", "XLMRoberta")):
        return 2
    processor = json.loads(definition).get("post_processor") if isinstance(definition, str) else {}
    steps = (processor or {}).get("processors", [processor or {}])
    for step in steps:
        if step.get("type") == "RobertaProcessing":
            return 2
        if step.get("type") == "TemplateProcessing":
            return _specials_between(step.get("pair") or [])
    return 1


def _specials_between(pair: list[Mapping[str, Any]]) -> int:
    """The special tokens between the sequences A and B of a template, at least one."""
    places = [number for number, piece in enumerate(pair) if "Sequence" in piece]
    return max(places[1] - places[0] - 1, 1) if len(places) == 2 else 1
