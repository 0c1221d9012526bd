"""SavedModels: what a task computes in Python, for servers without Python."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from keras_lm.storage import replace_directory

OWNED = ("saved_model.pb", "fingerprint.pb", "variables", "assets")
"""What a SavedModel's directory holds; anything else in it is the user's."""


def export_functions(
    directory: str | os.PathLike[str], module: Any, signatures: Mapping[str, Any]
) -> None:
    """Writes a `tf.Module` and the signatures that a server calls, atomically.

    Args:
        directory: where; an earlier SavedModel there is replaced as a whole.
        module: a `tf.Module` off which every variable and table hangs that the signatures use.
        signatures: name to `tf.function` with an input signature. Default arguments that are
            tensors are stored in the signature's `defaults`.

    Raises:
        ValueError: `directory` is a file, or holds files and is no SavedModel.
    """
    import tensorflow as tf

    with replace_directory(directory, OWNED) as fresh:
        tf.saved_model.save(module, str(fresh), signatures=dict(signatures))
