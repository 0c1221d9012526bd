"""Exact resume: a run that was killed goes on as if it had not been."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_lm.training.callback_state import Memory, decode, encode, memory_of, remind, since
from keras_lm.training.checkpoint_file import Checkpoint, CheckpointFiles
from keras_lm.training.keras_fit import RunningFit, report_once, start_at_epoch
from keras_lm.training.model_state import arrays_of, build, restore


class Resume(keras.callbacks.Callback):
    """Saves a training run as it goes, and takes it up where it was when it is started again.

    A run that was killed at any moment, and is started again by the same command, ends with the
    same weights, optimizer state, metrics and History, bit for bit, as one that was never killed.
    A run that had come to its end trains nothing, and gives the same model and History; with
    more `epochs` it goes on.

    Saved are the model's variables (seeds of dropout among them), the optimizer's (moments,
    averages, accumulated gradients, learning rate), the metrics', and what the other callbacks
    remember, so far as it is numbers, strings and arrays: `EarlyStopping`, `ReduceLROnPlateau`,
    `History`, `LossCurve` go on as if never interrupted. Files that other callbacks write are
    their own affair, as is what your own code draws from generators other than `keras.random`.

    The data must have an address: lists of strings given to a task's `fit`, or
    `klm.data.batches(..., repeat=True)` with `steps_per_epoch=n`; what is mapped over the latter
    must depend on the batch alone. The run must be reproducible in itself: on CPUs it is, on the
    same machine with the same number of threads; for GPUs TensorFlow has
    `tf.config.experimental.enable_op_determinism()`.

    Args:
        directory: where the checkpoints stand, `step-000000120.safetensors`; made if need be.
            One directory is for one run, that is one call of `fit`. Delete it to begin anew.
        every: steps between checkpoints; one more is made at the end of every epoch. Training
            waits while one is written: 0.07 s for the 35 MB of a model of 3 million weights
            under AdamW, measured on two shared cores and their disk.
        keep: how many checkpoints to keep. There must be room on the disk for one more.
        verbose: 0 prints nothing; 1 prints a line when a run is taken up.

    Raises:
        ValueError: an argument is of the wrong kind. When training begins: the data have no
            address, or model, data, arguments or callbacks are not those of the run that the
            directory holds; the message says what differs.
        OSError: while training, a checkpoint could not be written, for want of room for
            instance. Those before stand as they were.

    Example:

    >>> import tempfile, keras_lm as klm
    >>> texts = ["one two three four five six seven"] * 20
    >>> tok = klm.tokenizers.BytePairTokenizer.train(texts=texts, vocab_size=270)
    >>> config = klm.TransformerConfig(vocab_size=tok.vocab_size, num_layers=1, hidden_dim=16,
    ...                                num_heads=2, max_length=32)
    >>> directory = tempfile.mkdtemp()
    >>> def train(epochs):
    ...     lm = klm.tasks.CausalLM(klm.models.Decoder(config), tok)
    ...     lm.compile()
    ...     resume = Resume(directory, every=100)
    ...     return lm.fit(texts, batch_size=4, epochs=epochs, callbacks=[resume], verbose=0)
    >>> first = train(epochs=1)
    >>> second = train(epochs=2)
    Resume: continuing after step 5, epoch 2 of 2
    >>> second.epoch, second.history["loss"][0] == first.history["loss"][0]
    ([0, 1], True)
    """

    def __init__(
        self, directory: str | os.PathLike[str], every: int, keep: int = 2, verbose: int = 1
    ) -> None:
        super().__init__()
        if not isinstance(directory, str | os.PathLike) or not os.fspath(directory):
            raise ValueError(f"directory={directory!r} must be the path of a directory")
        path = Path(directory).expanduser()
        if path.exists() and not path.is_dir():
            raise ValueError(f"directory={str(path)!r} is a file; give the path of a directory")
        for name, number in (("every", every), ("keep", keep)):
            is_int = isinstance(number, int | np.integer) and not isinstance(number, bool)
            if not is_int or number < 1:
                raise ValueError(f"{name}={number!r} must be an int, at least 1")
        self._files = CheckpointFiles(path, int(keep))
        self._every, self._verbose = int(every), verbose

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Places a callback of its own behind all others, to see what they have done."""
        if keras.backend.backend() not in ("tensorflow", "jax"):
            raise ValueError(
                "Resume works with the Keras backends tensorflow and jax, not with "
                f"{keras.backend.backend()}"
            )
        if getattr(self._model, "_distribute_strategy", None) is not None:
            raise ValueError("the model was made under a distribution strategy; Resume knows none")
        fit = RunningFit()
        if sum(isinstance(callback, Resume) for callback in fit.callbacks) > 1:
            raise ValueError("callbacks holds more than one Resume; give one")
        for stale in [callback for callback in fit.callbacks if isinstance(callback, _Run)]:
            fit.callbacks.remove(stale)  # a fit with the same keras.callbacks.CallbackList failed
        fit.append(_Run(self._files, self._every, self._verbose, fit))


class _Run(keras.callbacks.Callback):
    """One call of `fit`. Called after all other callbacks, it saves what each of them has done,
    and nothing that they do comes after what it restores.
    """

    def __init__(self, files: CheckpointFiles, every: int, verbose: int, fit: RunningFit) -> None:
        from keras_lm.data.addresses import address_of

        super().__init__()
        self._files, self._every, self._verbose, self._fit = files, every, verbose, fit
        self._address = address_of(fit.dataset)
        self._address.steps_done = None
        self._siblings = [
            callback
            for callback in fit.callbacks
            if not isinstance(callback, Resume | keras.callbacks.ProgbarLogger)
        ]
        self._resumed: Checkpoint | None = None
        self._epoch_before: int | None = None
        self._has_begun = False
        self._epoch = fit.initial_epoch
        self._steps_done = 0  # since the first step of the run

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Takes up a run that the directory holds."""
        from keras_lm.data.addresses import fingerprint

        if not self.params["steps"]:
            raise ValueError("steps_per_epoch is None, and the data are endless; give fit a number")
        self._begin = [memory_of(callback) for callback in self._siblings]
        self._step_size: int = self._model.steps_per_execution
        batch = next(iter(self._fit.dataset))
        self._command = {
            "initial_epoch": self._fit.initial_epoch,
            "steps_per_epoch": self.params["steps"],
            "steps_per_execution": self._step_size,
            "callbacks": [type(callback).__name__ for callback in self._siblings],
            "data": fingerprint(batch),
        }
        self._files.prepare()
        self._resumed = self._files.newest()
        if self._resumed is not None:
            self._take_up(self._resumed, batch)

    def _take_up(self, checkpoint: Checkpoint, batch: Any) -> None:
        state, steps, epochs = checkpoint.state, self.params["steps"], self.params["epochs"]
        self._check(state)
        build(self.model, checkpoint.arrays, batch)
        self._restore(checkpoint)
        self._epoch, self._steps_done = state["epoch"], state["steps_done"]
        step, stop = state["step"], state["stop_training"]
        is_over = step == 0 and (stop or self._epoch == epochs)
        self._epoch_before = start_at_epoch(self._model, epochs if is_over else self._epoch)
        self._model.stop_training = stop
        self._fit.skip(steps if stop else step // self._step_size)
        if step and (stop or step >= steps):
            report_once(self._model, decode(*_memories(checkpoint)[-1]["logs"]))
        if self._verbose:
            where = f"continuing after step {self._steps_done}, epoch {self._epoch + 1} of {epochs}"
            over = f"the run in {str(self._files.directory)!r} is over, nothing is left to train"
            print(f"Resume: {over if is_over else where}")

    def _check(self, state: dict[str, Any]) -> None:
        was, epochs = state["command"], self.params["epochs"]
        differ = [
            "data are others" if name == "data" else f"{name} was {was[name]} and is {value}"
            for name, value in self._command.items()
            if was[name] != value
        ]
        if (state["epoch"], state["step"]) > (epochs, 0):
            differ.append(
                f"epochs={epochs}, and {state['step']} steps of epoch {state['epoch'] + 1} are done"
            )
        if differ:
            raise ValueError(self._another_run(", ".join(differ)))

    def _another_run(self, difference: str) -> str:
        return (
            f"directory={str(self._files.directory)!r} holds another run: {difference}. Give what "
            "that run was given, or another directory; delete the directory to begin anew"
        )

    def _restore(self, checkpoint: Checkpoint) -> None:
        try:
            restore(self.model, checkpoint.arrays)
        except ValueError as error:
            raise ValueError(self._another_run(str(error))) from error
        memories = _memories(checkpoint)[:-1]
        for callback, begin, memory in zip(self._siblings, self._begin, memories, strict=True):
            remind(callback, {**begin, **memory})

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Undoes what the callbacks do at the begin of an epoch that had begun before."""
        self._epoch = epoch
        if self._resumed is None:
            return
        start_at_epoch(self._model, self._epoch_before)
        if self._resumed.state["step"]:
            self._restore(self._resumed)
        self._resumed = None

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Tells the data where to begin."""
        if not self._has_begun:
            self._address.steps_done = self._steps_done

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves every so many steps."""
        if self._address.steps_done is not None:
            raise ValueError(
                "the data are not read in the first step but before; Resume does not know this "
                f"way of training, or this version of Keras ({keras.__version__})"
            )
        self._has_begun = True
        before, self._steps_done = self._steps_done, self._steps_done + self._step_size
        if before // self._every == self._steps_done // self._every:
            return
        is_last = batch + 1 >= self.params["steps"] or self._model.stop_training
        if not (is_last and keras.backend.backend() == "jax"):  # there no epoch can go without step
            self._save(self._epoch, batch + 1, logs if is_last else None)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves, before a last epoch's weights give way to their average or to the best."""
        self._save(epoch + 1, 0, None)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Leaves model and callbacks as they would be without it."""
        if self._resumed is not None:
            start_at_epoch(self._model, self._epoch_before)
        self._fit.callbacks.remove(self)

    def _save(self, epoch: int, step: int, logs: dict[str, Any] | None) -> None:
        """Saves: so many epochs and then so many steps are done; logs, where no step is left."""
        arrays = arrays_of(self.model)
        memories: list[Memory] = [
            since(begin, memory_of(callback))
            for begin, callback in zip(self._begin, self._siblings, strict=True)
        ]
        logs_arrays: list[np.ndarray] = []
        memories.append({"logs": (encode(logs, logs_arrays), logs_arrays)})
        state = {
            "epoch": epoch,
            "step": step,
            "steps_done": self._steps_done,
            "stop_training": self._model.stop_training,
            "command": self._command,
            "memories": [],
        }
        for number, memory in enumerate(memories):
            state["memories"].append({})
            for name, (value, parts) in memory.items():
                keys = [f"callbacks.{number}.{name}.{part}" for part in range(len(parts))]
                arrays.update(zip(keys, parts, strict=True))
                state["memories"][-1][name] = [value, keys]
        self._files.write(self._steps_done, Checkpoint(arrays, state))


def _memories(checkpoint: Checkpoint) -> list[Memory]:
    """What each callback remembers, and in the last place the logs of the step."""
    return [
        {
            name: (value, [checkpoint.arrays[key] for key in keys])
            for name, (value, keys) in memory.items()
        }
        for memory in checkpoint.state["memories"]
    ]
