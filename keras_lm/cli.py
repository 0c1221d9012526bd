"""The command `keras-lm`."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import keras_lm
from keras_lm.demo.corpus import own_files, standard_library
from keras_lm.demo.sizes import SIZES

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


class SizeName(StrEnum):
    """The names of `SIZES`."""

    TINY = "tiny"
    SMALL = "small"
    BASE = "base"


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"keras-lm {keras_lm.__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Language models for Keras and TensorFlow, from raw text to a served SavedModel."""


@app.command()
def demo(
    text: Annotated[
        list[Path] | None, typer.Option(metavar="FILE…", help="Your own texts, UTF-8.")
    ] = None,
    more_text: Annotated[list[Path] | None, typer.Argument(hidden=True, metavar="FILE")] = None,
    out: Annotated[Path, typer.Option(help="Directory to write to.")] = Path("keras-lm-demo"),
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps.", show_default="by size")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, help="The same gives the same numbers.")
    ] = 0,
    size: Annotated[SizeName, typer.Option(help="Size of the model.")] = SizeName.SMALL,
) -> None:
    """Train a small GPT, measure it, sample from it, export and serve it.

    Without arguments it learns from Python's documentation, in three minutes on two cores.
    """
    started = time.monotonic()
    console = Console()
    files = [*(text or ()), *(more_text or ())]
    try:
        with console.status("Reading the text"), _quiet_stderr():
            import tensorflow as tf

            tf.config.list_physical_devices()
            corpus = own_files(files) if files else standard_library()
        out.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        print(f"keras-lm demo: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    from keras_lm.demo.run import run

    chosen = SIZES[size]
    run(corpus, out, chosen._replace(steps=steps or chosen.steps), seed, console)
    console.print(f"Done in {time.monotonic() - started:.0f} s.")


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keeps back what TensorFlow's C++ says as it loads, whatever log level is asked for."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with tempfile.TemporaryFile() as unread:
            os.dup2(unread.fileno(), 2)
            yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
