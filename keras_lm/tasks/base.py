"""What every task shares: its parts, and the directory that holds them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import keras

from keras_lm.checkpoints import OWNED, Pretrained, find_pretrained, write_model
from keras_lm.export import export_functions
from keras_lm.models.base import Backbone
from keras_lm.storage import replace_directory, write_json
from keras_lm.tokenizers import Tokenizer

DEFAULT_LENGTH = 256
"""Tokens of a window where neither the user nor the model sets a limit."""


class Task(keras.Model):
    """A model and the tokenizer that it was trained with, under one roof.

    Args:
        model: token ids in, hidden states or logits out.
        tokenizer: strings to ids and back; None for work on ids alone.
        sequence_length: T, the tokens of a window in training and evaluation; default: the
            model's `max_length`, or `DEFAULT_LENGTH` where it has none.
    """

    PARTS: ClassVar[tuple[str, ...]] = ("model", "tokenizer")
    """Arguments, and attributes of the same name, that are Keras objects or None."""

    SETTINGS: ClassVar[tuple[str, ...]] = ("sequence_length",)
    """Arguments, and attributes of the same name, that are saved with the task."""

    model_class: ClassVar[type[Backbone]] = Backbone
    """What the task can be made of."""

    own_loss: ClassVar[type[keras.losses.Loss] | None] = None
    """A loss that the task computes without logits, where no metric wants them."""

    def __init__(
        self,
        model: Backbone,
        tokenizer: Tokenizer | None = None,
        sequence_length: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(model, self.model_class):
            wanted = f"keras_lm.models.{self.model_class.__name__}"
            raise ValueError(f"model must be a {wanted}; got {model!r}")
        if tokenizer is not None and not isinstance(tokenizer, Tokenizer):
            raise ValueError(f"tokenizer must be a keras_lm Tokenizer or None; got {tokenizer!r}")
        if tokenizer is not None:
            model.adopt(tokenizer)
        longest, vocab_size = model.config.max_length, self.input_vocab_size(model)
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
        self._stops_before_logits = False
        self._functions: Any = None
        self.built = True  # the model has its weights, and the task has none of its own

    def build(self, input_shape: Any = None) -> None:
        self.built = True

    @classmethod
    def input_vocab_size(cls, model: Any) -> int:
        """How many token ids there are in what `tokenizer` reads."""
        return model.config.vocab_size

    def require_tokenizer(self, purpose: str) -> Tokenizer:
        """The tokenizer, or a `ValueError` that says what it is wanted for."""
        if self.tokenizer is None:
            raise ValueError(f"{purpose} needs a tokenizer, and this task was made without one")
        return self.tokenizer

    @contextlib.contextmanager
    def _training(self) -> Iterator[None]:
        """Adds to `training_seconds` what passes inside; the optimizer is ready before it.

        Variables that are made while a step is traced have TensorFlow trace it twice.
        """
        began = time.perf_counter()
        if keras.backend.backend() == "tensorflow" and not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        try:
            yield
        finally:
            seconds = time.perf_counter() - began
            self.training_seconds = (self.training_seconds or 0.0) + seconds

    @property
    def _has_own_loss(self) -> bool:
        return self.own_loss is not None and isinstance(self.loss, self.own_loss)

    def train_step(self, *args: Any) -> Any:
        with self._without_logits_if_enough():
            return super().train_step(*args)

    def test_step(self, *args: Any) -> Any:
        with self._without_logits_if_enough():
            return super().test_step(*args)

    @contextlib.contextmanager
    def _without_logits_if_enough(self) -> Iterator[None]:
        """Lets `call` stop before the output layer where only our own loss reads it."""
        self._stops_before_logits = self._has_own_loss and self._compile_metrics is None
        try:
            yield
        finally:
            self._stops_before_logits = False

    @property
    def unread_variables(self) -> list[keras.Variable]:
        """Variables of the model that no gradient of the task reaches."""
        return []

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        unread = {id(variable) for variable in self.unread_variables}
        return [v for v in super().trainable_variables if id(v) not in unread]

    @property
    def trainable_weights(self) -> list[keras.Variable]:
        unread = {id(variable) for variable in self.unread_variables}
        return [v for v in super().trainable_weights if id(v) not in unread]

    @property
    def own_variables(self) -> dict[str, keras.Variable]:
        """The weights that are not the model's, by path: those of a head."""
        of_model = {id(variable) for variable in self.model.weights}
        return {v.path: v for v in self.weights if id(v) not in of_model}

    @property
    def head_kind(self) -> str | None:
        """What families call the task's own weights; None: they have no name for them."""
        return None

    def get_config(self) -> dict[str, Any]:
        """Everything but the weights, as JSON values."""
        parts = {
            part: keras.saving.serialize_keras_object(getattr(self, part)) for part in self.PARTS
        }
        return {**super().get_config(), **parts, **self._settings()}

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.SETTINGS}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The task that `get_config` describes."""
        arguments = dict(config)
        for part in cls.PARTS:
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
        own = {**self._settings(), "training_seconds": self.training_seconds}
        variables = self.own_variables
        if variables:
            own |= {"task": type(self).__name__, "head": self.head_kind}
        with replace_directory(directory, OWNED) as fresh:
            extra = {**special, **self.hf_settings(), "keras_lm": own}
            write_model(self.model, fresh, extra, self.head_kind, variables)
            write_json(fresh / "generation_config.json", {**special, **self.hf_generation()})
            if self.tokenizer is not None:
                self.tokenizer.save(fresh)
            self.write_more(fresh)

    def write_more(self, directory: Path) -> None:
        """Writes what a task has besides a model and a tokenizer into its fresh directory."""

    def hf_settings(self) -> dict[str, Any]:
        """What Transformers reads of the task in `config.json`, besides the family's fields."""
        return {}

    def hf_generation(self) -> dict[str, Any]:
        """What Transformers reads of the task in `generation_config.json`."""
        return {}

    @classmethod
    def from_pretrained(
        cls,
        directory: str | os.PathLike[str],
        dtype: Any = None,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        **settings: Any,
    ) -> Self:
        """Reads a pretrained model with its tokenizer: a directory, a GGUF file, or from the hub.

        Args:
            directory: the path of a directory in the Hugging Face layout, of a `.gguf` file, or
                an id of the Hugging Face hub such as `"openai-community/gpt2"`.
            dtype: a Keras dtype policy such as `"bfloat16"`; default: the global one.
            revision: a branch, a tag or a commit of the hub's repository; default: its main one.
            token: of the hub, for what is private or gated; default: the one it has kept.
            cache_dir: where fetched files are kept; default: the hub's own cache.
            local_files_only: take what is in the cache, and ask nobody.
            **settings: arguments of the task, such as `sequence_length`; default: as saved.

        Raises:
            FileNotFoundError: the directory or a file in it is missing, or the hub has none.
            ImportError: the hub's library, or the one for GGUF, is not installed.
            ValueError: a file is damaged or of a kind that is not supported.
        """
        path = find_pretrained(
            directory,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        return cls.from_directory(path, dtype, **settings)

    @classmethod
    def from_directory(cls, path: Path, dtype: Any = None, **settings: Any) -> Self:
        """`from_pretrained` of what `find_pretrained` has found; a task reads what else it has."""
        files = Pretrained(path)
        settings = {**cls.saved_settings(files), **settings}
        model = files.model(dtype, pooler=cls.wants_pooler(settings))
        task = cls(model, Tokenizer.load(files.path), **settings)
        if task.own_variables and task.finds_its_head(files):
            files.load_head(task.head_kind, model.config, task.own_variables)
        task.training_seconds = files.own.get("training_seconds")
        return task

    @classmethod
    def saved_settings(cls, files: Pretrained) -> dict[str, Any]:
        """The task's arguments that a directory holds."""
        return {name: files.own[name] for name in cls.SETTINGS if name in files.own}

    @classmethod
    def wants_pooler(cls, settings: Mapping[str, Any]) -> bool | None:
        """Whether an encoder should have a pooler; None: as in its directory."""
        return None

    def finds_its_head(self, files: Pretrained) -> bool:
        """Whether a directory holds the task's own weights; where not, they start afresh."""
        return files.has_head(self.head_kind, type(self).__name__)

    def make_functions(self) -> Any:
        """A `tf.Module` of the graph functions from strings to answers.

        Its `signatures()` are what a server calls.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define make_functions")

    @property
    def text_functions(self) -> Any:
        """The graph functions from strings to answers, which `export` writes."""
        self.require_tokenizer("working on texts")
        # Assigning to a weight changes nothing; other variables (LoRA) or another dtype do.
        state = (self.model.dtype_policy.name, *(id(v) for v in self.weights))
        if self._functions is None or self._functions[0] != state:
            self._functions = (state, self.make_functions())
        return self._functions[1]

    def export(self, directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Writes a SavedModel that takes strings and gives answers, with TensorFlow alone.

        Its signature `serving_default` has the input `text`; the functions that it has besides,
        as signatures and as methods, are those of the task's verbs.

        Args:
            directory: where; an earlier SavedModel there is replaced as a whole.

        Raises:
            ValueError: the backend is not TensorFlow, or `directory` is something else.
        """
        check_export(kwargs)
        functions = self.text_functions
        export_functions(directory, functions, functions.signatures())


def check_export(unknown: Mapping[str, Any]) -> None:
    """`ValueError` if there are arguments that `export` does not know, or it cannot work."""
    if unknown:
        raise ValueError(f"export takes a directory alone; got {', '.join(unknown)}")
    if keras.backend.backend() != "tensorflow":
        raise ValueError("export needs the TensorFlow backend; set KERAS_BACKEND=tensorflow")
