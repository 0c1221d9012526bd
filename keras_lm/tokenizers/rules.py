"""Rules that every kind of `tokenizer.json` shares: its outline, and its added tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

WRONG_VALUES = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError)
"""What reading rules raises where a value is of a wrong kind or far out of range."""


@dataclass(frozen=True)
class AddedToken:
    """A token that is looked for in the text before it is split into words."""

    id: int
    content: str
    special: bool
    lstrip: bool
    rstrip: bool
    normalized: bool


def read_rules(tokenizer_json: str) -> dict[str, Any]:
    """The content of a `tokenizer.json`, with a model and a vocabulary of integers in it.

    Its `truncation` and `padding` are how it was called last before it was saved; a call that
    does not ask for them turns them off in Transformers, and so they mean nothing here.

    Raises:
        ValueError: it is damaged.
    """
    try:
        rules = json.loads(tokenizer_json)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"tokenizer.json is not valid JSON: {error}") from error
    model = rules.get("model") if isinstance(rules, dict) else None
    if not isinstance(model, dict):
        raise ValueError("tokenizer.json has no 'model'; it is not a tokenizer")
    _refuse_far_ids(rules, len(tokenizer_json))
    return rules


def _refuse_far_ids(rules: dict[str, Any], most: int) -> None:
    """Refuses ids beyond what a file of `most` characters can number: tables are made for them."""
    vocabulary, added = rules["model"].get("vocab"), rules.get("added_tokens") or []
    if not isinstance(added, list) or not all(isinstance(entry, dict) for entry in added):
        raise ValueError("added_tokens must be a list of objects")
    ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else []
    for i in [*ids, *(entry.get("id") for entry in added)]:
        if type(i) is not int or not 0 <= i < most:
            raise ValueError(f"the id {i!r} must be a whole number from 0 on, below {most} here")


def model_type(tokenizer_json: str) -> str | None:
    """The kind of model in a `tokenizer.json`; older files of byte-level BPE do not name it."""
    return read_rules(tokenizer_json)["model"].get("type")


def vocabulary_of(rules: dict[str, Any]) -> dict[str, int]:
    """The vocabulary of a model that maps tokens to ids."""
    vocabulary = rules["model"].get("vocab")
    if not isinstance(vocabulary, dict) or not all(isinstance(i, int) for i in vocabulary.values()):
        raise ValueError("model.vocab must map tokens to integers")
    return vocabulary


def refuse(rule: str, value: Any, supported: tuple[Any, ...]) -> None:
    """A rule that the graph does not follow is an error, never a silent difference."""
    if value not in supported:
        shown = value.get("type", value) if isinstance(value, dict) else value
        raise ValueError(
            f"{rule} = {shown!r} of this tokenizer.json is not supported; only "
            f"{' or '.join(repr(s) for s in supported)} is"
        )


def added_tokens(entries: list[dict[str, Any]]) -> list[AddedToken]:
    """The added tokens, where each can be found by one pattern in one pass over the text."""
    tokens = []
    for entry in entries:
        token = AddedToken(
            id=entry["id"],
            content=entry["content"],
            special=bool(entry.get("special")),
            lstrip=bool(entry.get("lstrip")),
            rstrip=bool(entry.get("rstrip")),
            normalized=bool(entry.get("normalized")),
        )
        name = f"added_tokens {token.content!r}"
        refuse(f"{name}: single_word", bool(entry.get("single_word")), (False,))
        refuse(f"{name}: empty content", not token.content, (False,))
        tokens.append(token)
    if any(token.lstrip or token.rstrip for token in tokens):
        for token in tokens:
            if token.content != token.content.strip():
                raise ValueError(
                    f"added_tokens {token.content!r} begins or ends with white space, which is "
                    "not supported beside a token with 'lstrip' or 'rstrip'"
                )
    # The reference looks for the normalized ones in a second pass.
    for token in tokens:
        for other in tokens:
            if token.normalized != other.normalized and _overlap(token.content, other.content):
                raise ValueError(
                    f"added_tokens {token.content!r} and {other.content!r} overlap and differ in "
                    "'normalized', which is not supported"
                )
    return tokens


def _overlap(first: str, second: str) -> bool:
    """Whether a text can hold both so that they share characters, `first` beginning no later."""
    return second in first or any(
        first.endswith(second[:n]) for n in range(1, min(len(first), len(second)))
    )
