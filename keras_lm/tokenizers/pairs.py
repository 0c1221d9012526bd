"""What a tokenizer says of special tokens: before a text, and between two."""

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
    for step in _post_processors(definition):
        if step.get("type") == "RobertaProcessing":
            return 2
        if step.get("type") == "TemplateProcessing":
            return _specials_between(step.get("pair") or [])
    return 1


def begins_with_special(definition: str | bytes, settings: Mapping[str, Any]) -> bool:
    """Whether an encoded text begins with a special token, as BART's do and T5's do not.

    Args:
        definition: the tokenizer's own file.
        settings: its `tokenizer_config.json`; what `add_bos_token` says there stands.
    """
    said, named = settings.get("add_bos_token"), str(settings.get("tokenizer_class", ""))
    if isinstance(said, bool):
        return said
    if named.startswith(("Roberta", "Bart", "XLMRoberta")):
        return True
    if isinstance(definition, bytes):  # a SentencePiece model, which does not say it
        return named.startswith(("Llama", "CodeLlama", "Gemma"))
    return any(
        step.get("type") in ("RobertaProcessing", "BertProcessing")
        or (
            step.get("type") == "TemplateProcessing"
            and "SpecialToken" in (step.get("single") or [{}])[0]
        )
        for step in _post_processors(definition)
    )


def _post_processors(definition: str | bytes) -> list[Mapping[str, Any]]:
    processor = json.loads(definition).get("post_processor") if isinstance(definition, str) else {}
    return (processor or {}).get("processors", [processor or {}])


def _specials_between(pair: list[Mapping[str, Any]]) -> int:
    """The special tokens between the sequences A and B of a template, at least one."""
    places = [number for number, piece in enumerate(pair) if "Sequence" in piece]
    return max(places[1] - places[0] - 1, 1) if len(places) == 2 else 1
