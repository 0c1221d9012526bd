"""Tasks that put a small head on a model and learn from labelled examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from keras_lm import data
from keras_lm.data.examples.batches import example_batches
from keras_lm.metrics import CrossEntropy
from keras_lm.models.base import Backbone
from keras_lm.tasks.example_task import NUM_BUCKETS, ExampleTask
from keras_lm.tokenizers import Tokenizer
from keras_lm.training import fine_tuning_optimizer
from keras_lm.training.losses import scaled_for_replicas


class HeadTask(ExampleTask):
    """A head on a model's hidden states, learned from labelled examples given as strings.

    A subclass makes its layers in `__init__` (the first is `self.head`), and gives `call`,
    `examples`, `usual_loss`, `usual_metrics` and `make_functions`; `HEAD` is what families call
    its weights.

    Args:
        model: what the head reads: any `Backbone`.
        tokenizer: the model's tokenizer.
        sequence_length: T, the most tokens of an example; default: the model's `max_length`.
    """

    HEAD: ClassVar[str]

    per_token: ClassVar[bool] = False
    """Whether `call` gives something for each token, [B, T, …], and not for a whole text."""

    head: keras.layers.Layer

    def __init__(
        self,
        model: Backbone,
        tokenizer: Tokenizer | None = None,
        sequence_length: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, tokenizer, sequence_length, **kwargs)
        self.require_tokenizer(f"a {type(self).__name__}")
        self._exact_loss = CrossEntropy(name="loss")

    def add_head(self, size: int, width: int, dropout: float | None) -> None:
        """Makes `drop` and `head`: dropout, and a dense layer from `width` numbers to `size`.

        Args:
            size: C, what the head tells.
            width: of what it reads.
            dropout: the share; None: the model's.
        """
        config, policy = self.model.config, self.model.dtype_policy
        self.dropout = getattr(config, "dropout", 0.0) if dropout is None else dropout
        self.drop = keras.layers.Dropout(self.dropout, dtype=policy)
        self.head = keras.layers.Dense(
            size,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
            dtype=policy,
            name="head",
        )
        self.head.build((None, width))

    # ---- what a subclass gives

    def usual_loss(self) -> Any:
        """What `compile` takes where it is given no loss."""
        raise NotImplementedError(f"{type(self).__name__} does not define usual_loss")

    def usual_metrics(self) -> Any:
        """What `compile` takes, as weighted metrics, where it is given none."""
        raise NotImplementedError(f"{type(self).__name__} does not define usual_metrics")

    # ---- what it gets

    @property
    def head_kind(self) -> str | None:
        return self.HEAD

    @classmethod
    def wants_pooler(cls, settings: Mapping[str, Any]) -> bool | None:
        return False

    @property
    def unread_variables(self) -> list[keras.Variable]:
        return self.model.output_variables

    def compile(
        self,
        optimizer: Any = "auto",
        loss: Any = "auto",
        metrics: Any = None,
        weighted_metrics: Any = "auto",
        **kwargs: Any,
    ) -> None:
        """Keras's `compile`.

        Args:
            optimizer: default: `keras_lm.training.fine_tuning_optimizer()`, AdamW.
            loss: default: the task's usual one.
            metrics: as in Keras.
            weighted_metrics: those that heed padding; default: the task's usual ones, unless
                `metrics` are given.
            **kwargs: as in Keras: `jit_compile`, `steps_per_execution`, …
        """
        if weighted_metrics == "auto":
            weighted_metrics = self.usual_metrics() if metrics is None else None
        super().compile(
            optimizer=fine_tuning_optimizer() if optimizer == "auto" else optimizer,
            loss=self.usual_loss() if loss == "auto" else loss,
            metrics=metrics,
            weighted_metrics=weighted_metrics,
            **kwargs,
        )

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        weights = keras.tree.flatten(y if sample_weight is None else sample_weight)[0]
        count = ops.cast(ops.size(weights), "float32")
        if sample_weight is not None:
            count = ops.sum(ops.cast(weights, "float32"))
        mean = ops.cast(loss, "float32") / scaled_for_replicas(ops.ones(()))
        self._exact_loss.update_nats(mean[None], count[None])
        return loss

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        *args: Any,
        class_weight: Mapping[Any, float] | None = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """`ExampleTask.fit`, with weights of classes.

        Args:
            x: the inputs: a list, a tuple of two lists for pairs, or a tf.data set of (x, y).
            y: the targets, one for each input.
            *args: as in `ExampleTask.fit`.
            class_weight: name or number of a label → how much its examples count; default 1.
            **kwargs: as in `ExampleTask.fit`: `epochs`, `validation_data`, …
        """
        if class_weight is not None:
            kwargs["change"] = self._weigher(class_weight)
        return super().fit(x, y, *args, **kwargs)

    def predict(self, x: Any, batch_size: int | None = None, **kwargs: Any) -> Any:
        """Keras's `predict`, on strings: the outputs of `call` for each, in NumPy.

        Args:
            x: inputs as in `fit`, without targets.
            batch_size: default 32.
            **kwargs: none that Keras's `predict` has is of use here but `verbose`.

        Returns:
            An array [n, …]; where outputs are those of tokens, a list of arrays [T, …], one for
            each example, which is a text or a window of a longer one.
        """
        inputs, _ = self.rows(x, None)
        examples = self.examples(inputs, None, progress=False)
        plan = data.bucket_plan(
            examples.lengths, batch_size=batch_size or 32, num_buckets=NUM_BUCKETS
        )
        rows: list[list[Any]] = [[]] * len(examples)
        for number, (batch, *_) in enumerate(example_batches(examples, plan)):
            outputs = self.predict_on_batch(batch)
            flat = [np.asarray(output) for output in keras.tree.flatten(outputs)]
            for row, example in enumerate(plan.examples_of(number)):
                if example >= 0:
                    rows[example] = [array[row] for array in flat]
        columns: list[Any] = [list(column) for column in zip(*rows, strict=True)]
        if self.per_token:
            lengths = examples.lengths[:, 0]
            columns = [[a[:n] for a, n in zip(c, lengths, strict=True)] for c in columns]
        else:
            columns = [np.stack(column) for column in columns]
        return keras.tree.pack_sequence_as(outputs, columns)

    def _weigher(self, class_weight: Mapping[Any, float]) -> Any:
        """A change of batches that gives every target the weight of its class."""
        labels: Sequence[str] = getattr(self, "labels", ())
        table = np.ones(len(labels), np.float32)
        for label, weight in class_weight.items():
            number = labels.index(label) if label in labels else label
            if not isinstance(number, int) or not 0 <= number < len(labels) or weight < 0:
                raise ValueError(
                    f"class_weight has {label!r}: {weight!r}; it must map labels, of "
                    f"{list(labels)}, to weights of at least 0"
                )
            table[number] = weight

        def change(batch: Any, random: np.random.Generator) -> Any:
            x, y, weights = batch
            return x, y, weights * table[y]

        return change
