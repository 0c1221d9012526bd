"""Tasks that learn from examples, an input and a target each, given as strings."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_lm import data
from keras_lm.data.examples.batches import example_batches
from keras_lm.tasks.base import Task
from keras_lm.tasks.labelled import are_batches, listed, split

NUM_BUCKETS = 8
"""Shapes of batches: so many lengths that examples are padded to."""


class ExampleTask(Task):
    """Keras's `fit` and `evaluate` on inputs and targets; a subclass gives `examples`."""

    def examples(self, x: list[Any], y: list[Any] | None, progress: bool) -> data.ExampleStore:
        """Inputs and targets, or inputs alone, as tokenized examples."""
        raise NotImplementedError(f"{type(self).__name__} does not define examples")

    def rows(self, x: Any, y: Any) -> tuple[list[Any], list[Any] | None]:
        """What the user gives as lists of inputs and of targets."""
        return listed(x, y)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_batch_size: int | None = None,
        seed: int = 0,
        token_budget: int | None = None,
        change: Any = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Keras's `fit`, on examples of strings.

        The examples are tokenized once and read by address, in batches of examples of about one
        length: the order is a function of (seed, epoch), so `training.Resume` is exact. A task
        that was not compiled is compiled with the defaults.

        Args:
            x: the inputs: a list, a tuple of two lists for pairs, or a tf.data set of (x, y).
            y: the targets, one for each input.
            batch_size: B; default 32.
            validation_split: the share of the examples, taken from the end, to validate on.
            validation_data: `(x, y)`, or a tf.data set of such.
            shuffle: gives every epoch an order of its own.
            seed: of the order.
            token_budget: instead of `batch_size`, the most positions in a batch, padding included:
                of short examples there are more in a batch than of long ones.
            change: a last step in NumPy for every batch, as in `data.example_batches`.
            **kwargs: as in Keras.

        Raises:
            ValueError: inputs or targets are of a wrong kind or number; the message says where.
        """
        if token_budget is not None and batch_size is not None:
            raise ValueError(f"give batch_size={batch_size} or token_budget={token_budget}")
        if not self.compiled:
            self.compile()
        inputs, targets = self.rows(x, y)
        self._require_targets(targets)
        if validation_split and validation_data is None:
            (inputs, targets), validation_data = split(inputs, targets, validation_split)
        if validation_data is not None:
            validation_data = self._evaluation_data(
                validation_data, validation_batch_size or batch_size or 32
            )
        examples = self.examples(inputs, targets, progress=bool(verbose))
        if token_budget is None:
            batch_size = batch_size or 32
        plan = data.bucket_plan(examples.lengths, token_budget, batch_size, NUM_BUCKETS)
        steps = steps_per_epoch or plan.num_batches
        # Endless and indexed by the global step: what Keras resumes exactly.
        batches = example_batches(
            examples,
            plan,
            shuffle=shuffle,
            seed=seed,
            repeat=True,
            start=initial_epoch * steps,
            change=change,
        )
        with self._training():
            return super().fit(
                batches,
                epochs=epochs,
                verbose=verbose,
                callbacks=callbacks,
                validation_data=validation_data,
                shuffle=False,
                initial_epoch=initial_epoch,
                steps_per_epoch=steps,
                **kwargs,
            )

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Keras's `evaluate`, on examples of strings; the figures are those of all at once.

        Args:
            x: as in `fit`.
            y: the targets.
            batch_size: default 32.
            return_dict: a dict of the figures by name; default: a list, the loss first.
            **kwargs: as in Keras.
        """
        if not self.compiled:
            self.compile()
        # Keras's `fit` validates by this method, on the batches that it was given.
        batches = x if are_batches(x) else self._evaluation_data((x, y), batch_size or 32)
        results = super().evaluate(batches, return_dict=True, **kwargs)
        return results if return_dict else [results.pop("loss"), *results.values()]

    def _evaluation_data(self, given: Any, batch_size: int) -> tf.data.Dataset:
        pair = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
        inputs, targets = self.rows(*pair)
        self._require_targets(targets)
        examples = self.examples(inputs, targets, progress=False)
        plan = data.bucket_plan(examples.lengths, batch_size=batch_size, num_buckets=NUM_BUCKETS)
        return example_batches(examples, plan)

    def _require_targets(self, targets: Any) -> None:
        if targets is None:
            raise ValueError("y is None; give the targets, one for each input")
