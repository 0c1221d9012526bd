"""The demo's model and its training."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import keras
from rich.console import Console

from keras_lm.config import PositionConfig, TransformerConfig
from keras_lm.demo.sizes import Size
from keras_lm.models import Decoder
from keras_lm.tasks import CausalLM
from keras_lm.tokenizers import BytePairTokenizer
from keras_lm.training import LossCurve, default_optimizer

# A point of the loss curve, and of TensorBoard's, is the mean of this many steps.
STEPS_PER_POINT = 10


def build(tokenizer: BytePairTokenizer, size: Size) -> CausalLM:
    """A GPT of this size with new weights, compiled for this many steps.

    It has Llama's parts: in so short a training they learn far more than GPT-2's.
    """
    config = TransformerConfig(
        vocab_size=tokenizer.vocab_size,
        num_layers=size.num_layers,
        hidden_dim=size.hidden_dim,
        num_heads=size.num_heads,
        feed_forward_dim=8 * round(size.hidden_dim / 3),
        max_length=size.max_length,
        norm="rms",
        activation="swiglu",
        use_bias=False,
        positions=PositionConfig(kind="rotary"),
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
    lm: CausalLM, texts: list[str], size: Size, seed: int, logs: Path, console: Console
) -> LossCurve:
    """Trains with `fit`, one long epoch, so that Keras's bar counts down the whole training."""
    for old in logs.rglob("events.out.tfevents.*"):
        old.unlink()  # TensorBoard would draw the last run into this one
    curve = LossCurve(every=STEPS_PER_POINT)
    callbacks = [curve]
    if importlib.util.find_spec("tensorboard"):
        callbacks.append(
            keras.callbacks.TensorBoard(str(logs), update_freq=STEPS_PER_POINT, write_graph=False)
        )
    else:
        console.print("No TensorBoard logs: tensorboard is missing; pip install keras-lm\\[plots]")
    lm.fit(
        texts,
        batch_size=size.batch_size,
        steps_per_epoch=size.steps,
        seed=seed,
        callbacks=callbacks,
        verbose=1 if console.is_terminal else 2,
    )
    return curve
