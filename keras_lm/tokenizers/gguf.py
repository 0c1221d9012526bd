"""The tokenizer in a GGUF file, as the files of a Hugging Face directory would define it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_lm.storage import GGUFFile

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
_KEY = "tokenizer.ggml."

# `tokenizer.ggml.pre` → the split pattern, as `bytepair_rules.splitting_rules` names it.
_PATTERNS = {
    "gpt-2": "gpt2",
    "gpt2": "gpt2",
    "phi-2": "gpt2",
    "llama3": "llama3",
    "llama-v3": "llama3",
    "llama-bpe": "llama3",
    "qwen2": "qwen2",
    "smollm": "smollm",
    "starcoder": "smollm",
}
_FLAGS = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)


def read_gguf(path: Path) -> tuple[str | bytes, dict[str, Any]]:
    """What defines the tokenizer of a GGUF file, and its settings.

    Byte-level BPE becomes the content of a `tokenizer.json`; SentencePiece's BPE the content of a
    `*.model`, its added tokens standing in the settings. Chat template and special tokens are
    settings too.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds a tokenizer of a kind that is not supported.
    """
    metadata = GGUFFile(path).metadata
    try:
        kind, tokens, types = _vocabulary(metadata)
        settings = _settings(metadata, tokens)
        if kind == "gpt2":
            return _byte_pairs(metadata, tokens, types), settings
        return _sentence_pieces(metadata, tokens, types, settings), settings
    except ValueError as error:
        raise ValueError(f"{str(path)!r}: {error}") from error


def _vocabulary(metadata: Mapping[str, Any]) -> tuple[str, list[str], list[int]]:
    kind, tokens = metadata.get(_KEY + "model"), metadata.get(_KEY + "tokens")
    if kind not in ("gpt2", "llama"):
        raise ValueError(f"{_KEY}model={kind!r} is not supported; 'gpt2' and 'llama' are")
    if not isinstance(tokens, list) or not tokens:
        raise ValueError(f"it has no list {_KEY}tokens")
    types = np.asarray(metadata.get(_KEY + "token_type", np.full(len(tokens), _NORMAL)))
    if types.shape != (len(tokens),) or not np.isin(types, range(1, 7)).all():
        raise ValueError(f"{_KEY}token_type must have a kind from 1 to 6 for each of {len(tokens)}")
    return str(kind), tokens, types.tolist()


def _settings(metadata: Mapping[str, Any], tokens: list[str]) -> dict[str, Any]:
    """Special tokens by name, and chat templates."""
    settings: dict[str, Any] = {}
    for part, key in (
        ("bos_token", "bos_token_id"),
        ("eos_token", "eos_token_id"),
        ("unk_token", "unknown_token_id"),
        ("pad_token", "padding_token_id"),
    ):
        i = metadata.get(_KEY + key)
        if i is None:
            continue
        if type(i) is not int or not 0 <= i < len(tokens):
            raise ValueError(f"{_KEY}{key}={i!r} is the id of no token")
        settings[part] = tokens[i]
    template, named = metadata.get("tokenizer.chat_template"), "tokenizer.chat_template."
    others = {key.removeprefix(named): v for key, v in metadata.items() if key.startswith(named)}
    if template is not None:
        settings["chat_template"] = template
    if others:
        every = ({"default": template} if template is not None else {}) | others
        settings["chat_template"] = [{"name": k, "template": v} for k, v in every.items()]
    return settings


def _byte_pairs(metadata: Mapping[str, Any], tokens: list[str], types: list[int]) -> str:
    from keras_lm.tokenizers.bytepair_rules import splitting_rules

    named = metadata.get(_KEY + "pre")
    if not isinstance(named, str) or named not in _PATTERNS:
        raise ValueError(f"{_KEY}pre={named!r} is not supported; {', '.join(_PATTERNS)} are")
    if metadata.get(_KEY + "add_space_prefix", False):
        raise ValueError(f"{_KEY}add_space_prefix is not supported with {_KEY}model='gpt2'")
    pattern = _PATTERNS[named]
    _refuse_repeated(tokens)
    added = [
        {"id": i, "content": token, "special": kind == _CONTROL, **_FLAGS}
        for i, (token, kind) in enumerate(zip(tokens, types))
        if kind in (_CONTROL, _USER_DEFINED)
    ]
    merges = metadata.get(_KEY + "merges")
    if not isinstance(merges, list):
        raise ValueError(f"it has no list {_KEY}merges")
    model = {
        "type": "BPE",
        "vocab": {token: i for i, token in enumerate(tokens)},
        "merges": [merge.split(" ") for merge in merges],
        "ignore_merges": pattern == "llama3",
    }
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            **splitting_rules(pattern),
            "post_processor": _processor(metadata, tokens),
            "decoder": {**byte_level, "use_regex": True},
            "model": model,
        },
        ensure_ascii=False,
    )


def _processor(metadata: Mapping[str, Any], tokens: list[str]) -> dict[str, Any] | None:
    """What puts BOS before texts, where the file says that it stands there."""
    i = metadata.get(_KEY + "bos_token_id")
    if i is None or not metadata.get(_KEY + "add_bos_token", False):
        return None
    bos = {"SpecialToken": {"id": tokens[i], "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    return {
        "type": "TemplateProcessing",
        "single": [bos, first],
        "pair": [bos, first, second],
        "special_tokens": {tokens[i]: {"id": tokens[i], "ids": [i], "tokens": [tokens[i]]}},
    }


def _sentence_pieces(
    metadata: Mapping[str, Any], tokens: list[str], types: list[int], settings: dict[str, Any]
) -> bytes:
    """A `ModelProto`; tokens that follow its pieces become added tokens in the settings."""
    from sentencepiece import sentencepiece_model_pb2

    if metadata.get(_KEY + "precompiled_charsmap") is not None:
        raise ValueError(f"{_KEY}precompiled_charsmap is not supported")
    scores = np.asarray(metadata.get(_KEY + "scores"), dtype=object)
    if scores.shape != (len(tokens),):
        raise ValueError(f"{_KEY}scores must have a number for each of {len(tokens)} tokens")
    _refuse_repeated(tokens)
    adds_space = bool(metadata.get(_KEY + "add_space_prefix", True))
    pieces = [i for i, kind in enumerate(types) if kind in (_NORMAL, _UNKNOWN, _BYTE)]
    count = pieces[-1] + 1 if pieces else 0
    roles = {settings.get(f"{part}_token") for part in ("bos", "eos", "unk", "pad")}
    model: Any = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    for token, kind, score in zip(tokens[:count], types, scores.tolist()):
        if kind == _CONTROL and token not in roles:
            # Found in texts there, as a chat's <start_of_turn> must be.
            if adds_space:
                raise ValueError(f"the control token {token!r} among the pieces is not supported")
            kind = _USER_DEFINED
        model.pieces.add(piece=token, type=kind, score=float(score))
    spec = model.trainer_spec
    spec.model_type, spec.vocab_size = spec.BPE, count
    spec.byte_fallback = _BYTE in types
    for part in ("bos", "eos", "pad", "unk"):
        role = settings.get(f"{part}_token")
        i = -1 if role is None else tokens.index(role)
        if i < count:
            setattr(spec, f"{part}_id", i)
            if role is not None:
                setattr(spec, f"{part}_piece", role)
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = adds_space
    spaces = metadata.get(_KEY + "remove_extra_whitespaces", False)
    model.normalizer_spec.remove_extra_whitespaces = bool(spaces)
    model.normalizer_spec.escape_whitespaces = True
    later = range(count, len(tokens))
    settings["added_tokens_decoder"] = {
        str(i): {"content": tokens[i], "special": types[i] == _CONTROL, **_FLAGS}
        for i in later
        if types[i] != _UNUSED
    }
    settings["add_bos_token"] = bool(metadata.get(_KEY + "add_bos_token", True))
    content: bytes = model.SerializeToString()
    return content


def _refuse_repeated(tokens: list[str]) -> None:
    if len(set(tokens)) < len(tokens):
        twice = next(token for token, count in Counter(tokens).items() if count > 1)
        raise ValueError(f"the token {twice!r} stands twice in {_KEY}tokens")
