"""One scale for all language models: the same text, bits per byte, and what they cost."""

from __future__ import annotations

import csv
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from keras_lm.storage import replace_file
from keras_lm.tasks import CausalLM

Row = dict[str, Any]

_COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "name": ("model", str),
    "bits_per_byte": ("bits/byte", "{:.4f}".format),
    "perplexity": ("ppl/token", "{:.3f}".format),
    "tokens": ("tokens", "{:,}".format),
    "parameters": ("weights", "{:,}".format),
    "training_seconds": ("fit, s", "{:,.1f}".format),
    "tokens_per_second": ("tokens/s", "{:,.0f}".format),
    "bytes_on_disk": ("on disk", decimal),
}
"""What a row holds, how the table calls it, and how it shows it: 80 columns wide in all."""


def compare(
    tasks: Mapping[str, CausalLM] | Sequence[CausalLM],
    texts: Any,
    batch_size: int = 32,
    plot: str | os.PathLike[str] | None = None,
) -> list[Row]:
    """Measures language models of any kind on the same texts, and prints a table.

    Perplexities compare only models of one tokenizer; bits per byte compare all.

    Args:
        tasks: the models by name; or a list, named after their classes.
        texts: a list of strings; each is a document.
        batch_size: windows in a batch.
        plot: where to draw them, a `.png`; the table goes into a `.csv` beside it.

    Returns:
        A dict for each model, the best first: `name`, `bits_per_byte`, `perplexity` (per token),
        `tokens` (predicted), `parameters` (float weights), `training_seconds` (in `fit`; None if
        the model was not trained here), `tokens_per_second` (in `evaluate`, compiled before) and
        `bytes_on_disk` (of its pretrained directory).

    Raises:
        ValueError: there is no model, or a task has no tokenizer; `plot` is no `.png`.

    Example:

    >>> import keras_lm as klm
    >>> texts, tok = ["one two three four"] * 9, klm.tokenizers.ByteTokenizer.create()
    >>> models = {f"{n}-gram": klm.tasks.CausalLM(klm.models.NGramLM(order=n), tok) for n in (1, 2)}
    >>> for lm in models.values():
    ...     _ = lm.fit(texts, verbose=0)
    >>> [row["name"] for row in compare(models, ["one two four"])]    # doctest: +ELLIPSIS
    <BLANKLINE>
    ...
    ['2-gram', '1-gram']
    """
    named = _named(tasks)
    path = None if plot is None else Path(plot)
    if path is not None and path.suffix != ".png":
        raise ValueError(f"plot must end in .png; got {str(plot)!r}")
    rows = [_measured(name, task, texts, batch_size) for name, task in named.items()]
    rows.sort(key=lambda row: row["bits_per_byte"])
    Console().print(_table(rows))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_csv(rows, path.with_suffix(".csv"))
        _draw(rows, path)
    return rows


def _named(tasks: Any) -> dict[str, CausalLM]:
    if not isinstance(tasks, Mapping):
        names = [type(getattr(task, "model", task)).__name__ for task in tasks]
        repeated = [names[: i + 1].count(name) for i, name in enumerate(names)]
        tasks = {
            name if names.count(name) == 1 else f"{name} {number}": task
            for name, number, task in zip(names, repeated, tasks, strict=True)
        }
    if not tasks:
        raise ValueError("tasks is empty; give at least one CausalLM")
    for name, task in tasks.items():
        if not isinstance(task, CausalLM):
            raise ValueError(f"tasks[{name!r}] must be a CausalLM; got {type(task).__name__}")
        task.require_tokenizer("comparing models on texts")
    return dict(tasks)


class _Clock(keras.callbacks.Callback):
    """Tokens and seconds after the first batch, in which everything is compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.marks: list[tuple[float, float]] = []

    def on_test_begin(self, logs: Any = None) -> None:
        self.marks = []

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 0:
            self._mark()

    def on_test_end(self, logs: Any = None) -> None:
        self._mark()

    def _mark(self) -> None:
        _, tokens = self.model.exact_totals  # reading it waits for the batch
        self.marks.append((tokens, time.perf_counter()))

    def tokens_per_second(self) -> float:
        """Of the last evaluation; 0 where it had but one batch."""
        (before, began), (tokens, ended) = self.marks
        return (tokens - before) / (ended - began)


def _measured(name: str, task: CausalLM, texts: Any, batch_size: int) -> Row:
    # A task of its own, so that what the user's was compiled with stays as it is.
    judge = CausalLM(task.model, task.tokenizer, task.sequence_length)
    clock = _Clock()
    results = judge.evaluate(
        texts, batch_size=batch_size, verbose=0, return_dict=True, callbacks=[clock]
    )
    _, tokens = judge.exact_totals
    speed = clock.tokens_per_second()
    if not speed:
        began = time.perf_counter()
        judge.evaluate(texts, batch_size=batch_size, verbose=0)
        speed = tokens / (time.perf_counter() - began)
    weights = (w for w in task.model.weights if keras.backend.is_float_dtype(w.dtype))
    return {
        "name": name,
        "bits_per_byte": float(results["bits_per_byte"]),
        "perplexity": float(results["perplexity"]),
        "tokens": round(tokens),
        "parameters": sum(math.prod(weight.shape) for weight in weights),
        "training_seconds": task.training_seconds,
        "tokens_per_second": speed,
        "bytes_on_disk": _bytes_on_disk(task),
    }


def _bytes_on_disk(task: CausalLM) -> int:
    with tempfile.TemporaryDirectory() as directory:
        task.save_pretrained(directory)
        return sum(path.stat().st_size for path in Path(directory).rglob("*") if path.is_file())


def _shown(row: Row, column: str) -> str:
    value = row[column]
    return "–" if value is None else _COLUMNS[column][1](value)


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column, (title, _) in _COLUMNS.items():
        table.add_column(title, justify="left" if column == "name" else "right")
    for row in rows:
        table.add_row(*(_shown(row, column) for column in _COLUMNS))
    return table


def _write_csv(rows: Sequence[Row], path: Path) -> None:
    with replace_file(path) as fresh, fresh.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(_COLUMNS))
        writer.writeheader()
        writer.writerows(rows)


def _draw(rows: Sequence[Row], path: Path) -> None:
    """Bits per byte as bars; where training was timed, against its seconds as well."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

    timed = [row for row in rows if row["training_seconds"]]
    height = 1.6 + 0.45 * len(rows)
    figure = Figure(figsize=(11 if timed else 6.5, max(height, 3.4)), layout="constrained")
    panels = figure.subplots(1, 2 if timed else 1, squeeze=False)[0]
    names, bits = [row["name"] for row in rows], [row["bits_per_byte"] for row in rows]
    bars = panels[0].barh(names, bits, color="C0", height=0.6)
    panels[0].bar_label(bars, fmt="%.3f", padding=4)
    panels[0].set(xlabel="bits per byte (less is better)", xlim=(0, 1.18 * max(bits)))
    panels[0].invert_yaxis()
    if timed:
        seconds = [row["training_seconds"] for row in timed]
        panels[1].scatter(seconds, [row["bits_per_byte"] for row in timed], color="C0")
        for row in timed:
            point = (row["training_seconds"], row["bits_per_byte"])
            panels[1].annotate(row["name"], point, (6, 4), textcoords="offset points")
        panels[1].set(xlabel="seconds of training", ylabel="bits per byte", xscale="log")
        for formatter in (panels[1].xaxis.set_major_formatter, panels[1].xaxis.set_minor_formatter):
            formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
        panels[1].margins(x=0.25, y=0.15)
        panels[1].grid(alpha=0.3)
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
