"""The layout of Sentence-Transformers: what a directory says besides the encoder.

modules.json                        the modules, in their order, each with its folder
sentence_bert_config.json           max_seq_length
1_Pooling/config.json               how the states of tokens are pooled
config_sentence_transformers.json   prompts, and the similarity
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from keras_lm.checkpoints import pretrained_directory
from keras_lm.storage import read_json, write_json

MODULES = "modules.json"
_LENGTH = "sentence_bert_config.json"
_SETTINGS = "config_sentence_transformers.json"
_POOLINGS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "last": "pooling_mode_lasttoken",
}
_LONGEST = 1_000_000
"""A tokenizer's `model_max_length` above it means that nobody has set one."""


def read_settings(root: Path) -> tuple[Path, dict[str, Any]]:
    """Where the encoder stands, and the arguments of a `Retriever` that are said beside it.

    Args:
        root: what `checkpoints.find_pretrained` has found.

    Returns:
        The encoder's directory, and the arguments; `root` and none if it has no `modules.json`.

    Raises:
        FileNotFoundError: the encoder's directory or a file in it is missing.
        ValueError: a file is damaged, or there is a module that is not supported.
    """
    if not (root / MODULES).is_file():
        return root, {}
    modules = _modules(root / MODULES)
    encoder = pretrained_directory(root / modules["Transformer"])
    settings = {
        "pooling": _pooling(root / modules["Pooling"] / "config.json"),
        "normalize": "Normalize" in modules,
    }
    length = read_json(encoder / _LENGTH) if (encoder / _LENGTH).is_file() else {}
    longest = length.get("max_seq_length")
    if longest is None and (encoder / "tokenizer_config.json").is_file():
        longest = read_json(encoder / "tokenizer_config.json").get("model_max_length")
    if isinstance(longest, int) and longest < _LONGEST:
        settings["sequence_length"] = longest
    if (root / _SETTINGS).is_file():
        settings |= _search_settings(root / _SETTINGS)
    return encoder, settings


def _modules(path: Path) -> dict[str, str]:
    """The folder of each kind of module."""
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        modules = {entry["type"].rsplit(".", 1)[-1]: entry["path"] for entry in listed}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{str(path)!r} is not a list of modules: {error!r}") from error
    kinds = list(modules)
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ValueError(
            f"{str(path)!r} has the modules {kinds}; supported are Transformer and Pooling, and "
            "Normalize after them"
        )
    if any(Path(folder).is_absolute() or ".." in Path(folder).parts for folder in modules.values()):
        raise ValueError(f"{str(path)!r} names a folder outside its directory")
    return modules


def _pooling(path: Path) -> str:
    settings = read_json(path)
    if not settings.get("include_prompt", True):
        raise ValueError(f"{str(path)!r} has include_prompt=false, which is not supported")
    named = settings.get("pooling_mode")
    if named is None:
        chosen = [
            key for key, value in settings.items() if key.startswith("pooling_mode_") and value
        ]
        names = {key: name for name, key in _POOLINGS.items()}
        found = [names.get(key, key) for key in chosen]
    else:
        found = [{"lasttoken": "last"}.get(named, named)] if isinstance(named, str) else [named]
    if len(found) != 1 or found[0] not in _POOLINGS:
        raise ValueError(
            f"{str(path)!r} pools by {found}; supported is one of {', '.join(_POOLINGS)}"
        )
    return str(found[0])


def _search_settings(path: Path) -> dict[str, Any]:
    given = read_json(path)
    if given.get("default_prompt_name") is not None:
        raise ValueError(
            f"{str(path)!r} has default_prompt_name={given['default_prompt_name']!r}, a prompt for "
            "every text, which is not supported"
        )
    similarity = given.get("similarity_fn_name") or "cosine"
    if similarity not in ("cosine", "dot"):
        raise ValueError(
            f"{str(path)!r} has similarity_fn_name={similarity!r}; supported are cosine and dot"
        )
    prompts = given.get("prompts") or {}
    return {
        "similarity": similarity,
        "query_prompt": prompts.get("query", ""),
        "document_prompt": prompts.get("document", prompts.get("passage", "")),
    }


def write_settings(task: Any, directory: Path) -> None:
    """Writes what Sentence-Transformers reads besides the encoder, of a `Retriever`."""
    kinds = ["Transformer", "Pooling", *(["Normalize"] if task.normalize else [])]
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": f"{number}_{kind}" if number else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for number, kind in enumerate(kinds)
    ]
    text = json.dumps(modules, indent=2) + "\n"
    (directory / MODULES).write_text(text, encoding="utf-8")
    write_json(
        directory / _LENGTH, {"max_seq_length": task.sequence_length, "do_lower_case": False}
    )
    for module in modules[1:]:
        (directory / str(module["path"])).mkdir()
    pooling = {key: name == task.pooling for name, key in _POOLINGS.items()}
    width = {"word_embedding_dimension": task.model.config.hidden_dim}
    write_json(directory / "1_Pooling" / "config.json", {**width, **pooling})
    prompts = {"query": task.query_prompt, "document": task.document_prompt}
    settings = {"prompts": prompts, "default_prompt_name": None}
    write_json(directory / _SETTINGS, {**settings, "similarity_fn_name": task.similarity})
