"""Where a pretrained model stands: a directory, a GGUF file, or the Hugging Face hub."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from keras_lm.checkpoints.writing import OWNED
from keras_lm.storage import recover_directory, refuse_links_out

HUB_ID = r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?"
FETCHED = (
    *("config.json", "generation_config.json", "tokenizer*.json", "vocab.json", "vocab.txt"),
    *("model.safetensors", "model-*.safetensors", "model.safetensors.index.json"),
    *("merges.txt", "*.model", "*.spm", "target_vocab.json", "chat_template.jinja"),
    *("special_tokens_map.json", "added_tokens.json", "modules.json"),
    *("sentence_bert_config.json", "config_sentence_transformers.json", "graph.json"),
    *("0_Transformer/*", "1_Pooling/*", "2_Normalize/*", "target_tokenizer/*", "tagger/*"),
    "index/*",
)
"""What is fetched from the hub: all that is read here, and nothing else."""

NEVER_FETCHED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.h5", "*.msgpack")
"""Not even from the folders above: pickles, and weights of others."""


def find_pretrained(
    directory: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> Path:
    """The path of a pretrained directory or a GGUF file, fetched from the hub if need be.

    A string that is no path here and looks like `owner/name` or `name` is an id of the Hugging
    Face hub; only what is read here is fetched, never a pickle.

    Args:
        directory: a path, or an id such as `"openai-community/gpt2"`.
        revision: a branch, a tag or a commit of the hub's repository; default: its main branch.
        token: of the hub, for what is private or gated; default: the one that `hf auth login`
            has kept.
        cache_dir: where fetched files are kept; default: the hub's own cache.
        local_files_only: take what is in the cache, and ask nobody.

    Raises:
        FileNotFoundError: there is no such directory, and the hub has none or cannot be asked.
        ImportError: `huggingface_hub` is not installed.
        ValueError: an argument for the hub beside a path that exists, or a link in the directory
            leads out of it.
    """
    path = recover_directory(directory)
    asked = {
        "revision": revision,
        "token": token,
        "cache_dir": cache_dir,
        "local_files_only": local_files_only or None,
    }
    given = [name for name, value in asked.items() if value is not None]
    is_id = isinstance(directory, str) and re.fullmatch(HUB_ID, directory) is not None
    if not path.exists() and is_id:
        settings = {name: value for name, value in asked.items() if value is not None}
        path = _fetched(str(directory), settings)
    elif path.exists() and given:
        raise ValueError(
            f"{given[0]}={asked[given[0]]!r} is for the Hugging Face hub, and "
            f"{str(directory)!r} is a path here"
        )
    if path.is_file() and path.suffix == ".gguf":
        return path
    return pretrained_directory(path)


def pretrained_directory(directory: str | os.PathLike[str]) -> Path:
    """The path of an existing pretrained directory, or of one of Sentence-Transformers.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a link in it leads out of it.
    """
    path = recover_directory(directory)
    if not path.is_dir():
        raise FileNotFoundError(f"no directory {str(directory)!r}")
    if not any((path / name).is_file() for name in ("config.json", "modules.json")):
        raise FileNotFoundError(
            f"{str(directory)!r} is not a pretrained directory: it has no config.json"
        )
    refuse_links_out(path, OWNED)
    return path


def _fetched(name: str, settings: dict[str, Any]) -> Path:
    """The folder of the hub's cache that holds a repository's files."""
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError as error:
        raise ImportError(
            f"no directory {name!r} here; to fetch it from the Hugging Face hub: "
            "pip install keras-lm[hub]"
        ) from error

    reasons = (
        (
            errors.GatedRepoError,
            "it is gated: accept its terms on its page, and log in with "
            "'hf auth login' or give token=…",
        ),
        (
            errors.RepositoryNotFoundError,
            "there is no such repository, or it is private: check "
            "the name, or log in with 'hf auth login' or give token=…",
        ),
        (errors.RevisionNotFoundError, f"it has no revision={settings.get('revision')!r}"),
        (
            errors.LocalEntryNotFoundError,
            "it is not in the cache, and the hub was not asked or "
            "cannot be reached: try again online, or give the path of a directory",
        ),
    )
    try:
        return Path(
            snapshot_download(
                name,
                allow_patterns=list(FETCHED),
                ignore_patterns=list(NEVER_FETCHED),
                **settings,
            )
        )
    except (OSError, ValueError) as error:  # what the hub's library raises is one or the other
        why = next((why for kind, why in reasons if isinstance(error, kind)), str(error))
        raise FileNotFoundError(
            f"no directory {name!r} here, and the Hugging Face hub did not give it: {why}"
        ) from error
