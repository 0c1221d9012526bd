"""The directory of an index: read whole or not at all.

index.json          what kind of index it is, of what, and a digest of the other files
index.safetensors   arrays: vectors, or counts of words
documents.jsonl     a document and its id a line
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_lm.storage import read_json, recover_directory, replace_directory, write_json
from keras_lm.tasks.retrieval.documents import Documents

OWNED = ("index.json", "index.safetensors", "documents.jsonl")
"""What the directory of an index holds; anything else in it is the user's."""


def write_index(
    directory: str | os.PathLike[str],
    documents: Documents,
    arrays: Mapping[str, np.ndarray],
    settings: Mapping[str, Any],
) -> None:
    """Writes an index, replacing an older one as a whole.

    Args:
        directory: where; made if need be.
        documents: what is indexed.
        arrays: the index.
        settings: JSON values that a search must share to read it.

    Raises:
        ValueError: `directory` is a file, or holds files and is no index.
    """
    from safetensors.numpy import save_file

    with replace_directory(directory, OWNED) as fresh:
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, fresh / OWNED[1])
        documents.save(fresh / OWNED[2])
        files = {name: _digest(fresh / name) for name in OWNED[1:]}
        about = {"num_documents": len(documents), "settings": dict(settings), "files": files}
        write_json(fresh / OWNED[0], about)


def read_index(
    directory: str | os.PathLike[str], settings: Mapping[str, Any]
) -> tuple[Documents, dict[str, np.ndarray]]:
    """Reads an index that was made with the same settings.

    Raises:
        FileNotFoundError: the directory or a file in it is missing.
        ValueError: a file is not as it was written, or the settings are others.
    """
    from safetensors.numpy import load_file

    path = recover_directory(directory)
    if not path.is_dir():
        raise FileNotFoundError(f"no directory {str(directory)!r}")
    about = read_json(path / OWNED[0])
    stored, files = about.get("settings"), about.get("files")
    if not isinstance(stored, dict) or not isinstance(files, dict):
        raise ValueError(f"{str(path / OWNED[0])!r} is not that of an index")
    for name, wanted in settings.items():
        if stored.get(name) != wanted:
            raise ValueError(
                f"the index in {str(path)!r} is of another model: it has {name}="
                f"{stored.get(name)!r}, here it is {wanted!r}; index the documents anew"
            )
    for name in OWNED[1:]:
        if not (path / name).is_file():
            raise FileNotFoundError(f"no file {str(path / name)!r}")
        if _digest(path / name) != files.get(name):
            raise ValueError(f"{str(path / name)!r} is damaged: it is not what was written")
    return Documents.load(path / OWNED[2]), load_file(path / OWNED[1])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
