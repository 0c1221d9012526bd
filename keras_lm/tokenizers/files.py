"""The tokenizer files of a Hugging Face directory: what defines a tokenizer, and its settings."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_lm.storage import read_json, refuse_links_out
from keras_lm.tokenizers.gguf import read_gguf

SPECIAL_PARTS = (
    "bos_token",
    "eos_token",
    "pad_token",
    "unk_token",
    "cls_token",
    "sep_token",
    "mask_token",
)
MARIAN_FILES = ("source.spm", "target.spm", "vocab.json")
SENTENCEPIECE_FILES = ("spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
CHAT_TEMPLATE = "chat_template.jinja"

# Where no file says which token plays which part, these names do, where the vocabulary has them.
_USUAL_NAMES = (
    {
        "bos_token": "<|endoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    },
    {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    },
    {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    },
)


def read_files(path: Path) -> tuple[Mapping[str, str | bytes], dict[str, Any]]:
    """`read_definitions` and `read_settings` of a path; a GGUF file holds both in one."""
    if path.suffix == ".gguf":
        definition, settings = read_gguf(path)
        return {path.name: definition}, settings
    return read_definitions(path), read_settings(path)


def read_definitions(path: Path) -> dict[str, str | bytes]:
    """What defines the tokenizer at a path, by file name, the most complete one first.

    Text is the content of a `tokenizer.json`, or what it would be for `vocab.json` and
    `merges.txt`, for `vocab.txt`, or for Marian's files; bytes are a SentencePiece model.

    Raises:
        FileNotFoundError: there is no such file or directory, or no tokenizer in it.
        ValueError: a file is not UTF-8.
    """
    if path.is_file():
        return {path.name: _definition(path)}
    if not path.is_dir():
        raise FileNotFoundError(f"no file or directory {str(path)!r}")
    refuse_links_out(path, ("*.json", "*.model", "*.spm", "*.txt", "*.jinja"))
    names = ("tokenizer.json", *SENTENCEPIECE_FILES)
    found = {name: _definition(path / name) for name in names if (path / name).is_file()}
    if all((path / name).is_file() for name in MARIAN_FILES):
        found[", ".join(MARIAN_FILES)] = _from_marian_files(path)
    if (path / "vocab.json").is_file() and (path / "merges.txt").is_file():
        found["vocab.json and merges.txt"] = _from_gpt2_files(path)
    if (path / "vocab.txt").is_file():
        found["vocab.txt"] = _definition(path / "vocab.txt")
    if not found:
        raise FileNotFoundError(
            f"{str(path)!r} holds no tokenizer: no tokenizer.json, {', '.join(SENTENCEPIECE_FILES)}"
            ", vocab.txt, vocab.json and merges.txt, nor source.spm, target.spm and vocab.json"
        )
    return found


def _definition(path: Path) -> str | bytes:
    if path.suffix == ".model":
        return path.read_bytes()
    return _from_bert_file(path) if path.suffix == ".txt" else read_text(path)


def read_text(path: Path) -> str:
    """The text of a file; ValueError where it is not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} is not UTF-8 at byte {error.start}") from error


def _from_marian_files(directory: Path) -> str:
    """Two SentencePiece models and the ids of their pieces, as a `tokenizer.json` might be."""
    source, target, vocabulary = MARIAN_FILES
    of_targets = directory / f"target_{vocabulary}"
    model = {
        "type": "Marian",
        "source": base64.b64encode((directory / source).read_bytes()).decode(),
        "target": base64.b64encode((directory / target).read_bytes()).decode(),
        "vocab": read_json(directory / vocabulary),
        "target_vocab": read_json(of_targets) if of_targets.is_file() else None,
    }
    return json.dumps({"model": model}, ensure_ascii=False)


def _from_gpt2_files(directory: Path) -> str:
    """GPT-2's original layout as a `tokenizer.json`; `<|endoftext|>` is its special token."""
    vocabulary = read_json(directory / "vocab.json")
    lines = read_text(directory / "merges.txt").split("\n")
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": vocabulary,
        "merges": [line.split(" ") for line in lines if line and not line.startswith("#version")],
    }
    return _tokenizer_json(
        model,
        ["<|endoftext|>"],
        pre_tokenizer={**byte_level, "use_regex": True},
        decoder={**byte_level, "use_regex": True},
    )


def _from_bert_file(file: Path) -> str:
    """BERT's `vocab.txt`, a token a line, as a `tokenizer.json`.

    Whether it lower-cases stands in the `tokenizer_config.json` beside it; BERT's default is yes.
    """
    tokens = [line.removesuffix("\r") for line in read_text(file).split("\n")]
    while tokens and not tokens[-1]:
        tokens.pop()
    settings = file.with_name("tokenizer_config.json")
    given = read_json(settings) if settings.is_file() else {}
    normalizer = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": given.get("tokenize_chinese_chars", True),
        "strip_accents": given.get("strip_accents"),
        "lowercase": given.get("do_lower_case", True),
    }
    model = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {token: i for i, token in enumerate(tokens)},
    }
    return _tokenizer_json(
        model,
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        normalizer=normalizer,
        pre_tokenizer={"type": "BertPreTokenizer"},
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
    )


def _tokenizer_json(model: dict[str, Any], special: list[str], **parts: Any) -> str:
    """A `tokenizer.json` in which those of the `special` tokens that it has are special."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [
        {"id": model["vocab"][token], "content": token, "special": True, **flags}
        for token in special
        if token in model["vocab"]
    ]
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": None,
            "post_processor": None,
            **parts,
            "model": model,
        },
        ensure_ascii=False,
    )


def read_settings(path: Path) -> dict[str, Any]:
    """What stands beside a tokenizer: `tokenizer_config.json`, special tokens, chat template.

    Special tokens are given as strings under the names in `SPECIAL_PARTS`.
    """
    directory = path if path.is_dir() else path.parent
    settings: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (directory / name).is_file():
            settings |= read_json(directory / name)
    for part in SPECIAL_PARTS:
        token = settings.pop(part, None)
        # A token is a string, or an object that holds it beside its flags.
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str):
            settings[part] = token
    if (directory / "added_tokens.json").is_file():
        found = read_json(directory / "added_tokens.json").items()
        named = {str(i): {"content": token, "special": False} for token, i in found}
        settings.setdefault("added_tokens_decoder", named)
    if (directory / CHAT_TEMPLATE).is_file():
        settings["chat_template"] = read_text(directory / CHAT_TEMPLATE)
    return settings


def usual_special_tokens(vocabulary: set[str]) -> dict[str, str]:
    """Part to token by GPT-2's, BERT's or RoBERTa's convention, whichever the vocabulary has."""
    for names in _USUAL_NAMES:
        found = {part: token for part, token in names.items() if token in vocabulary}
        if len(found) > 1:
            return found
    return {}
