"""The tokenizer files of a Hugging Face directory, and the rules of byte-level BPE in them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_lm.storage import read_json

SPECIAL_PARTS = ("bos_token", "eos_token", "pad_token", "unk_token")


def byte_alphabet() -> list[str]:
    """The character that stands for each byte in a byte-level vocabulary (GPT-2's convention).

    Printable bytes of Latin-1 stand for themselves, the others for U+0100 onwards, in order.

    Example:

    >>> byte_alphabet()[ord("A")], byte_alphabet()[ord(" ")]
    ('A', 'Ġ')
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    stand_ins = iter(range(256, 512))
    return [chr(byte if byte in printable else next(stand_ins)) for byte in range(256)]


@dataclass(frozen=True)
class AddedToken:
    """A token that is looked for in the text before it is split into words."""

    id: int
    content: str
    special: bool
    lstrip: bool
    rstrip: bool
    normalized: bool


@dataclass(frozen=True)
class BytePairRules:
    """All that decides the ids of byte-level BPE; tokens are spelled in the byte alphabet."""

    vocabulary: dict[str, int]
    merges: list[tuple[str, str]]
    added: list[AddedToken]
    add_prefix_space: bool
    ignore_merges: bool


def byte_pair_rules(tokenizer_json: str) -> BytePairRules:
    """Reads the rules of a `tokenizer.json`.

    Raises:
        ValueError: it is damaged, or has a rule that cannot be followed exactly; names it.
    """
    try:
        data = json.loads(tokenizer_json)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"tokenizer.json is not valid JSON: {error}") from error
    model = data.get("model") if isinstance(data, dict) else None
    if not isinstance(model, dict):
        raise ValueError("tokenizer.json has no 'model'; it is not a tokenizer")
    _refuse("model.type", model.get("type", "BPE"), ("BPE",))
    for rule in ("normalizer", "truncation", "padding"):
        _refuse(rule, data.get(rule), (None,))
    for rule in ("continuing_subword_prefix", "end_of_word_suffix"):
        _refuse(f"model.{rule}", model.get(rule), (None, ""))
    _refuse("model.dropout", model.get("dropout"), (None, 0))
    _refuse("model.byte_fallback", model.get("byte_fallback", False), (False,))
    splitter = data.get("pre_tokenizer") or {}
    _refuse("pre_tokenizer.type", splitter.get("type"), ("ByteLevel",))
    _refuse("pre_tokenizer.use_regex", splitter.get("use_regex", True), (True,))
    _refuse("decoder.type", (data.get("decoder") or {}).get("type"), ("ByteLevel",))
    vocabulary = model.get("vocab")
    if not isinstance(vocabulary, dict) or not all(isinstance(i, int) for i in vocabulary.values()):
        raise ValueError("model.vocab must map tokens to integers")
    missing = [character for character in byte_alphabet() if character not in vocabulary]
    if missing:
        raise ValueError(
            f"model.vocab lacks {len(missing)} of the 256 bytes, {missing[0]!r} for one; "
            "the reference drops them from texts without a word"
        )
    return BytePairRules(
        vocabulary=vocabulary,
        merges=_merges(model.get("merges"), vocabulary),
        added=_added_tokens(data.get("added_tokens") or []),
        add_prefix_space=bool(splitter.get("add_prefix_space", True)),
        ignore_merges=bool(model.get("ignore_merges", False)),
    )


def _refuse(rule: str, value: Any, supported: tuple[Any, ...]) -> None:
    """A rule that the graph does not follow is an error, never a silent difference."""
    if value not in supported:
        shown = value.get("type", value) if isinstance(value, dict) else value
        raise ValueError(
            f"{rule} = {shown!r} of this tokenizer.json is not supported; only "
            f"{' or '.join(repr(s) for s in supported)} is"
        )


def _merges(merges: Any, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Merges in order of rank, from either spelling: "a b" (older) or ["a", "b"]."""
    if not isinstance(merges, list):
        raise ValueError("model.merges must be a list")
    pairs = []
    for rank, merge in enumerate(merges):
        pair = tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge)
        if len(pair) != 2:
            raise ValueError(f"model.merges[{rank}] = {merge!r} is not a pair of tokens")
        for token in (*pair, "".join(pair)):
            if token not in vocabulary:
                raise ValueError(f"model.merges[{rank}] = {merge!r}: {token!r} is not in the vocab")
        pairs.append(pair)
    return pairs


def _added_tokens(entries: list[dict[str, Any]]) -> list[AddedToken]:
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
        _refuse(f"{name}: single_word", bool(entry.get("single_word")), (False,))
        _refuse(f"{name}: empty content", not token.content, (False,))
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


def read_tokenizer_json(path: Path) -> str:
    """The `tokenizer.json` at a path: a file, a directory, or made from `vocab.json` and merges."""
    if path.is_dir():
        if (path / "tokenizer.json").is_file():
            return _read_text(path / "tokenizer.json")
        if (path / "vocab.json").is_file() and (path / "merges.txt").is_file():
            return _from_gpt2_files(path)
        raise FileNotFoundError(
            f"{str(path)!r} holds no tokenizer.json, nor vocab.json and merges.txt"
        )
    if not path.is_file():
        raise FileNotFoundError(f"no file or directory {str(path)!r}")
    return _read_text(path)


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} is not UTF-8 at byte {error.start}") from error


def _from_gpt2_files(directory: Path) -> str:
    """GPT-2's original layout as a `tokenizer.json`; `<|endoftext|>` is its special token."""
    vocabulary = read_json(directory / "vocab.json")
    lines = _read_text(directory / "merges.txt").split("\n")
    merges = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    end = "<|endoftext|>"
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = {"id": vocabulary.get(end), "content": end, "special": True, **flags}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [added] if end in vocabulary else [],
            "normalizer": None,
            "pre_tokenizer": {**byte_level, "use_regex": True},
            "post_processor": None,
            "decoder": {**byte_level, "use_regex": True},
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": vocabulary,
                "merges": merges,
            },
        },
        ensure_ascii=False,
    )


def read_special_tokens(path: Path, tokenizer_json: str) -> dict[str, str]:
    """Part to token, from the settings beside a `tokenizer.json`.

    Without such a file GPT-2's own convention holds: where `<|endoftext|>` is an added token, it
    starts, ends and pads.
    """
    directory = path if path.is_dir() else path.parent
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (directory / name).is_file():
            settings = read_json(directory / name)
            # A token is a string, or an object that holds it beside its flags.
            found = {part: settings.get(part) for part in SPECIAL_PARTS}
            names = {p: t.get("content") if isinstance(t, dict) else t for p, t in found.items()}
            special = {part: token for part, token in names.items() if isinstance(token, str)}
            if special:
                return special
    added = [token.content for token in byte_pair_rules(tokenizer_json).added]
    return dict.fromkeys(SPECIAL_PARTS[:3], "<|endoftext|>") if "<|endoftext|>" in added else {}
