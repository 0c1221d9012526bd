"""Scores of what a model writes, along its training: BLEU, chrF, ROUGE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

_WIDEST = 200  # characters of a text in the log


class GenerationScores(keras.callbacks.Callback):
    """Lets a task write at the end of epochs, and scores what it wrote.

    The loss of a validation set says how well a model goes on from what people wrote; this says
    what it writes by itself. The scores join the epoch's logs, as `val_bleu`, `val_chrf`, and
    `val_rouge1`, `val_rouge2`, `val_rougeL`, where History, `EarlyStopping` and `ModelCheckpoint`
    see them that stand after this callback in the list; give these `mode="max"`.

    The first batch is written and scored when training begins, too, so that a wrong argument is
    found then and not after an epoch.

    Args:
        inputs: strings, what the task's `generate` takes.
        references: for each what should be written: a string, or a list of strings any of which
            is right.
        metrics: such as `[keras_lm.metrics.BLEU(), keras_lm.metrics.ChrF()]`.
        num_samples: how many inputs, the first ones, are printed with their references and what
            was written; default 3.
        every: epochs from one scoring to the next; default 1. As with Keras's `validation_freq`,
            the epochs between have no scores in their logs.
        batch_size: how many inputs are given to `generate` at once; default 32.
        verbose: 0 prints nothing; 1 prints scores and samples, and a bar where writing takes
            more than two seconds.
        **generation: arguments of the task's `generate`, such as `num_beams=4`,
            `max_new_tokens=60`, or for a `CausalLM` `return_prompt=False`.

    Raises:
        ValueError: an argument is out of range, the lists differ in length or are empty; or, when
            training begins, the model has no `generate`, or does not write one string an input.

    Example:

    >>> import keras_lm as klm
    >>> scores = GenerationScores(["Guten Tag"], ["Good day"], [klm.metrics.ChrF()], num_beams=4)
    >>> best = keras.callbacks.EarlyStopping("val_chrf", mode="max", restore_best_weights=True)
    >>> callbacks = [scores, best]              # translator.fit(…, callbacks=callbacks)
    """

    def __init__(
        self,
        inputs: Sequence[str],
        references: Sequence[str | Sequence[str]],
        metrics: Sequence[keras.metrics.Metric],
        num_samples: int = 3,
        every: int = 1,
        batch_size: int = 32,
        verbose: int = 1,
        **generation: Any,
    ) -> None:
        super().__init__()
        for name, texts in (("inputs", inputs), ("references", references)):
            if isinstance(texts, str) or not len(texts):
                raise ValueError(f"{name} is {texts!r}; it must be a list with at least one item")
        if len(inputs) != len(references):
            raise ValueError(f"references has {len(references)} items; inputs has {len(inputs)}")
        if not isinstance(metrics, Sequence) or not metrics:
            raise ValueError(f"metrics is {metrics!r}; it must be a list of Keras metrics")
        for metric in metrics:
            if not isinstance(metric, keras.metrics.Metric):
                raise ValueError(f"metrics holds {metric!r}; every item must be a Keras metric")
        names = [metric.name for metric in metrics]
        if len(set(names)) < len(names):
            raise ValueError(f"metrics have the names {names}; give each its own by name=…")
        for name, number, least in (
            ("num_samples", num_samples, 0),
            ("every", every, 1),
            ("batch_size", batch_size, 1),
        ):
            if not isinstance(number, int) or isinstance(number, bool) or number < least:
                raise ValueError(f"{name} is {number!r}; it must be an int, at least {least}")
        self.inputs, self.references = list(inputs), list(references)
        self.metrics = list(metrics)
        self.num_samples, self.every, self.verbose = num_samples, every, verbose
        self.batch_size = min(batch_size, len(inputs))
        self.generation = generation

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Tries the arguments."""
        if not hasattr(self.model, "generate"):
            raise ValueError(
                f"the model is a {type(self.model).__name__}, which has no generate; "
                "GenerationScores is for tasks such as Seq2SeqLM, Translator or CausalLM"
            )
        outputs = self.model.generate(self.inputs[: self.batch_size], **self.generation)
        if not isinstance(outputs, list) or not all(isinstance(text, str) for text in outputs):
            raise ValueError(
                f"generate gave {outputs!r:.80} with {self.generation}; GenerationScores needs "
                "one string for each input"
            )
        self._scores(self.references[: self.batch_size], outputs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes, scores, and puts the scores into the logs."""
        if (epoch + 1) % self.every:
            return
        outputs = self._generate()
        scores = self._scores(self.references, outputs)
        if logs is not None:
            logs.update(scores)
        if self.verbose:
            self._print(epoch, scores, outputs)

    def _generate(self) -> list[str]:
        # It imports TensorFlow, which the other callbacks do without.
        from keras_lm.data.progress import LateBar

        outputs: list[str] = []
        with LateBar("generating", len(self.inputs)) as bar:
            for start in range(0, len(self.inputs), self.batch_size):
                batch = self.inputs[start : start + self.batch_size]
                # Batches of one size: for another, generate would be compiled once more.
                filling = [batch[-1]] * (self.batch_size - len(batch))
                written = self.model.generate([*batch, *filling], **self.generation)
                outputs += written[: len(batch)]
                if self.verbose:
                    bar.advance_to(len(outputs))
        return outputs

    def _scores(self, references: list[Any], outputs: list[str]) -> dict[str, float]:
        scores: dict[str, float] = {}
        for metric in self.metrics:
            metric.reset_state()
            metric.update_state(references, outputs)
            result = metric.result()
            named = result if isinstance(result, dict) else {metric.name: result}
            scores |= {f"val_{name}": float(value) for name, value in named.items()}
        return scores

    def _print(self, epoch: int, scores: dict[str, float], outputs: list[str]) -> None:
        listed = ", ".join(f"{name} {value:.2f}" for name, value in scores.items())
        lines = [f"GenerationScores: epoch {epoch + 1}, {listed}"]
        samples = zip(self.inputs, self.references, outputs, strict=True)
        for text, known, output in list(samples)[: self.num_samples]:
            reference = known if isinstance(known, str) else " | ".join(known)
            lines += [
                f"  input:     {_on_a_line(text)}",
                f"  reference: {_on_a_line(reference)}",
                f"  output:    {_on_a_line(output)}",
                "",
            ]
        print("\n" + "\n".join(lines))  # Keras's progress bar has not ended its line yet


def _on_a_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDEST else f"{line[: _WIDEST - 1]}…"
