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


class SplitName(StrEnum):
    """What a document of a text file is."""

    DOCUMENT = "document"
    PARAGRAPH = "paragraph"
    LINE = "line"


@app.command()
def prepare(
    files: Annotated[list[Path], typer.Argument(help="Texts or .jsonl, UTF-8; .gz as well.")],
    tokenizer: Annotated[Path, typer.Option(help="Directory or file of the tokenizer.")],
    out: Annotated[Path, typer.Option(help="Directory to write to.")],
    split: Annotated[
        SplitName, typer.Option(help="What a document of a text file is.")
    ] = SplitName.DOCUMENT,
    field: Annotated[str, typer.Option(help="Key of the text in .jsonl files.")] = "text",
) -> None:
    """Tokenize texts of any size into shards on disk, on all cores.

    Started again with the same arguments it goes on where it was killed.
    """
    try:
        with _quiet_stderr():
            from keras_lm.data import prepare as write_shards
            from keras_lm.tokenizers import Tokenizer

            loaded = Tokenizer.load(tokenizer)
        store = write_shards(files, loaded, out, split=split.value, field=field)
    except (OSError, ValueError) as error:
        print(f"keras-lm prepare: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    print(f"{store.num_tokens:,} tokens of {store.num_documents:,} documents in {out}")


@app.command()
def compare(
    models: Annotated[list[Path], typer.Argument(help="Directories of save_pretrained.")],
    text: Annotated[
        list[Path], typer.Option(metavar="FILE", help="Texts, UTF-8; each file is a document.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where to draw: a .png; the table goes into a .csv beside.")
    ] = None,
) -> None:
    """Measure language models of any kind on the same texts: bits per byte, and what they cost."""
    try:
        with _quiet_stderr():
            from keras_lm.comparison import compare as measure
            from keras_lm.tasks import CausalLM

            distinct = len({path.name for path in models}) == len(models)
            tasks = {
                path.name if distinct else str(path): CausalLM.from_pretrained(path)
                for path in models
            }
            texts = [path.read_text(encoding="utf-8") for path in text]
        measure(tasks, texts, plot=out)
    except (OSError, ValueError) as error:
        print(f"keras-lm compare: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


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
