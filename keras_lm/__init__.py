"""keras_lm: the language-model zoo for Keras and TensorFlow.

Everything public is reached from here and loaded where it is first used, so that
`import keras_lm` itself is quick.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0.dev0"

_MODULES = (
    "checkpoints",
    "data",
    "explain",
    "export",
    "families",
    "generation",
    "layers",
    "metrics",
    "models",
    "tasks",
    "tokenizers",
    "training",
)
_NAMES = {
    "AttentionConfig": "config",
    "ConvolutionalConfig": "config",
    "EncoderConfig": "config",
    "EncoderDecoderConfig": "config",
    "GloVeConfig": "config",
    "KnowledgeGraphConfig": "config",
    "NGramConfig": "config",
    "PositionConfig": "config",
    "RecurrentConfig": "config",
    "RecurrentEncoderConfig": "config",
    "RecurrentSeq2SeqConfig": "config",
    "RotaryScaling": "config",
    "TransformerConfig": "config",
    "Word2VecConfig": "config",
    "compare": "comparison",
}

__all__ = ["__version__", *_MODULES, *_NAMES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"keras_lm.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"keras_lm.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'keras_lm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
