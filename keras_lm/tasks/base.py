"""What every task shares: its parts, and the directory that holds them."""

from __future__ import annotations

import os
from typing import Any, Self

import keras

from keras_lm.checkpoints import OWNED, load_model, pretrained_directory, write_model
from keras_lm.models.base import LanguageModel
from keras_lm.storage import read_json, replace_directory, write_json
from keras_lm.tokenizers import Tokenizer

DEFAULT_LENGTH = 256
"""Tokens of a window where neither the user nor the model sets a limit."""

_OWN_SETTINGS = ("sequence_length", "training_seconds")


class Task(keras.Model):
    """A model and the tokenizer that it was trained with, under one roof.

    Args:
        model: token ids in, logits out.
        tokenizer: strings to ids and back; None for work on ids alone.
        sequence_length: T, the tokens of a window in training and evaluation; default: the
            model's `max_length`, or `DEFAULT_LENGTH` where it has none.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer | None = None,
        sequence_length: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(model, LanguageModel):
            raise ValueError(f"model must be a keras_lm.models.LanguageModel; got {model!r}")
        if tokenizer is not None and not isinstance(tokenizer, Tokenizer):
            raise ValueError(f"tokenizer must be a keras_lm Tokenizer or None; got {tokenizer!r}")
        if tokenizer is not None:
            model.adopt(tokenizer)
        longest, vocab_size = model.config.max_length, model.config.vocab_size
        if tokenizer is not None and tokenizer.vocab_size > vocab_size:
            raise ValueError(
                f"the tokenizer has {tokenizer.vocab_size} tokens, more than the model's "
                f"vocab_size={vocab_size}; make the model with at least that many"
            )
        if sequence_length is None:
            sequence_length = DEFAULT_LENGTH if longest is None else longest
        wanted = "1 or more" if longest is None else f"from 1 to the model's max_length={longest}"
        is_positive = isinstance(sequence_length, int) and sequence_length > 0
        if not is_positive or (longest is not None and sequence_length > longest):
            raise ValueError(f"sequence_length must be {wanted}; got {sequence_length!r}")
        self.model = model
        self.tokenizer = tokenizer
        self.sequence_length = sequence_length
        self.training_seconds: float | None = None
        """Seconds that `fit` has taken in all; None if it was never called."""
        self.built = True  # the model has its weights, and the task has none of its own

    def build(self, input_shape: Any = None) -> None:
        self.built = True

    def require_tokenizer(self, purpose: str) -> Tokenizer:
        """The tokenizer, or a `ValueError` that says what it is wanted for."""
        if self.tokenizer is None:
            raise ValueError(f"{purpose} needs a tokenizer, and this task was made without one")
        return self.tokenizer

    def get_config(self) -> dict[str, Any]:
        """Everything but the weights, as JSON values."""
        return {
            **super().get_config(),
            "model": keras.saving.serialize_keras_object(self.model),
            "tokenizer": keras.saving.serialize_keras_object(self.tokenizer),
            "sequence_length": self.sequence_length,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The task that `get_config` describes."""
        arguments = dict(config)
        for part in ("model", "tokenizer"):
            arguments[part] = keras.saving.deserialize_keras_object(arguments[part])
        return cls(**arguments)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as a saved task was compiled, with its optimizer's state restored after."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Writes a directory in the Hugging Face layout, replacing an older one as a whole.

        Args:
            directory: where; made if need be. Files of other kinds in it are kept.

        Raises:
            ValueError: `directory` is a file, or holds files and is no pretrained directory.
        """
        special = {
            f"{name}_token_id": getattr(self.tokenizer, f"{name}_id")
            for name in ("bos", "eos", "pad")
            if self.tokenizer is not None and getattr(self.tokenizer, f"{name}_id") is not None
        }
        with replace_directory(directory, OWNED) as fresh:
            own = {name: getattr(self, name) for name in _OWN_SETTINGS}
            extra = {**special, "keras_lm": own}
            write_model(self.model, fresh, extra)
            write_json(fresh / "generation_config.json", special)
            if self.tokenizer is not None:
                self.tokenizer.save(fresh)

    @classmethod
    def from_pretrained(cls, directory: str | os.PathLike[str], dtype: Any = None) -> Self:
        """Reads a directory in the Hugging Face layout.

        Args:
            directory: the path of a directory.
            dtype: a Keras dtype policy such as `"bfloat16"`; default: the global one.

        Raises:
            FileNotFoundError: the directory or a file in it is missing.
            ValueError: a file is damaged or of a kind that is not supported.
        """
        path = pretrained_directory(directory)
        own = read_json(path / "config.json").get("keras_lm", {})
        if not isinstance(own, dict):
            raise ValueError(f"{str(path / 'config.json')!r} has keras_lm={own!r}, not an object")
        model = load_model(path, dtype=dtype)
        task = cls(model, Tokenizer.load(path), own.get("sequence_length"))
        task.training_seconds = own.get("training_seconds")
        return task
