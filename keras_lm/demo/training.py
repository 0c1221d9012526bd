"""The demo's model and its training."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import keras

from keras_lm.config import TransformerConfig
from keras_lm.demo.sizes import Size
from keras_lm.models import Decoder
from keras_lm.tasks import CausalLM
from keras_lm.tokenizers import BytePairTokenizer
from keras_lm.training import default_optimizer

# A point of the loss curve, and of TensorBoard's, is the mean of this many steps.
STEPS_PER_POINT = 10


class LossCurve(keras.callbacks.Callback):
    """Keeps the loss along the way; Keras hands over its mean since the epoch's start."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = [0]
        self._sums = [0.0]

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes a point at every tenth step."""
        step = batch + 1
        if step % STEPS_PER_POINT == 0 and logs:
            self.steps.append(step)
            self._sums.append(step * float(logs["loss"]))

    def points(self) -> tuple[list[int], list[float]]:
        """The steps, and the mean loss of the steps that end there, in nats per token."""
        sums = itertools.pairwise(self._sums)
        return self.steps[1:], [(after - before) / STEPS_PER_POINT for before, after in sums]


def build(tokenizer: BytePairTokenizer, size: Size) -> CausalLM:
    """A GPT of this size with new weights, compiled for this many steps."""
    config = TransformerConfig(
        vocab_size=tokenizer.vocab_size,
        num_layers=size.num_layers,
        hidden_dim=size.hidden_dim,
        num_heads=size.num_heads,
        max_length=size.max_length,
    )
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        warmup_target=size.learning_rate,
        warmup_steps=max(size.steps // 10, 1),
        decay_steps=size.steps,
        alpha=0.05,
    )
    lm = CausalLM(Decoder(config), tokenizer)
    lm.compile(optimizer=default_optimizer(schedule))
    return lm


def train(
    lm: CausalLM, texts: list[str], size: Size, seed: int, logs: Path, verbose: int
) -> tuple[list[int], list[float]]:
    """Trains with `fit`, one long epoch, so that Keras's bar counts down the whole training.

    Returns:
        steps, and the loss there in nats per token.
    """
    for old in logs.rglob("events.out.tfevents.*"):
        old.unlink()  # TensorBoard would draw the last run into this one
    curve = LossCurve()
    tensorboard = keras.callbacks.TensorBoard(
        str(logs), update_freq=STEPS_PER_POINT, write_graph=False
    )
    lm.fit(
        texts,
        batch_size=size.batch_size,
        steps_per_epoch=size.steps,
        seed=seed,
        callbacks=[curve, tensorboard],
        verbose=verbose,
    )
    return curve.points()
