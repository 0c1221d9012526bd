"""What the demo prints and draws."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table


class Stages:
    """Announces each stage, its number among all, and in the end the time it took."""

    def __init__(self, console: Console, count: int) -> None:
        self.console = console
        self.count = count
        self.number = 0

    @contextmanager
    def __call__(self, title: str, usual_seconds: int | None = None) -> Iterator[None]:
        """A stage; `usual_seconds` for one that has no progress bar of its own."""
        self.number += 1
        self.console.rule(f"[bold]{self.number}/{self.count} {title}", align="left")
        started = time.monotonic()
        if usual_seconds is None or not self.console.is_terminal:
            yield
        else:
            usual = TextColumn(f"of usually {usual_seconds} s")
            columns = SpinnerColumn(), TimeElapsedColumn(), usual
            with Progress(*columns, console=self.console, transient=True) as progress:
                progress.add_task(title, total=None)
                yield
        self.console.print(f"[dim]{time.monotonic() - started:.1f} s")


def table(rows: Mapping[str, object], title: str | None = None) -> Table:
    """Names at the left, values at the right; whole numbers with their thousands marked."""
    result = Table(title=title, show_header=False, title_justify="left")
    result.add_column()
    numbers = all(isinstance(value, int) for value in rows.values())
    result.add_column(justify="right" if numbers else "left")
    for name, value in rows.items():
        result.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    return result


def scores(bits: Mapping[str, float]) -> Table:
    """Bits per byte of each model, with a bar as long as the number."""
    result = Table(title="Held-out text, lower is better", title_justify="left")
    result.add_column("model")
    result.add_column("bits per byte", justify="right")
    result.add_column()
    for name, value in bits.items():
        result.add_row(name, f"{value:.4f}", "█" * round(4 * value))
    return result


def sample(prompt: str, text: str) -> Panel:
    """A generated text, the prompt in bold."""
    continuation = text.removeprefix(prompt)
    return Panel(f"[bold]{escape(prompt)}[/bold]{escape(continuation)}", expand=True)


def comparison(here: Sequence[str], there: Sequence[str]) -> Table:
    """The answers of this process and of the fresh one, and whether they are the same."""
    result = Table("lm.generate(…) here", "SavedModel in a fresh process", "same", show_lines=True)
    for mine, theirs in zip(here, there, strict=True):
        same = "yes" if mine == theirs else "[red]NO"
        result.add_row(_on_one_line(mine), _on_one_line(theirs), same)
    return result


def _on_one_line(text: str) -> str:
    return escape(text.replace("\n", "↵ "))


def draw_curve(
    path: Path,
    steps: Sequence[int],
    bits: Sequence[float],
    held_out: Mapping[str, float],
    console: Console,
) -> None:
    """Draws the training curve in bits per byte, and the held-out results as level lines."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        console.print("No loss curve: matplotlib is missing; pip install keras-lm\\[plots]")
        return
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, bits, color="C0", label="training text, as it learns")
    for (name, value), color in zip(held_out.items(), ("0.8", "0.6", "0.3", "C3"), strict=True):
        axes.axhline(
            value, color=color, linestyle="--", label=f"held-out text, {name}: {value:.2f}"
        )
    axes.set(title="A small GPT learns to predict text", xlabel="step", ylabel="bits per byte")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
