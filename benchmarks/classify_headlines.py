"""Teaches a convolutional encoder the topics of Chinese headlines, from nothing but the headlines.

    python benchmarks/classify_headlines.py --data DIRECTORY/tnews

The directory holds `train.tsv.gz` and `dev.tsv.gz` with the columns `text` and `label` (15 topics).
The vocabulary, SentencePiece unigrams, and the weights are learned from the train split alone. The
settings below were chosen on a part held out of it (`--hold-out`), never on dev.
"""

from __future__ import annotations

import argparse
import datetime
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

import keras_lm as klm

VOCABULARY, LENGTH = 20_000, 48
WIDTHS, FILTERS, EMBEDDING = (1, 2, 3), 200, 128
EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 4, 64, 1e-3, 0.01
EMBEDDING_DROPOUT, HEAD_DROPOUT = 0.2, 0.5


def read(path: Path) -> tuple[list[str], list[str]]:
    """The headlines of a file and their topics."""
    table = klm.data.tsv(path)
    return list(table["text"]), list(table["label"])


def hold_out(
    texts: list[str], labels: list[str]
) -> tuple[tuple[list[str], list[str]], tuple[list[str], list[str]]]:
    """Fifteen sixteenths to learn from; of the others those that are not among them."""
    rest = [row for row in range(len(texts)) if row % 16]
    known = {texts[row] for row in rest}
    held = [row for row in range(0, len(texts), 16) if texts[row] not in known]
    return tuple(([texts[i] for i in rows], [labels[i] for i in rows]) for rows in (rest, held))


def train(arguments: argparse.Namespace, texts: list[str], labels: list[str]):
    """A classifier that has learned the headlines."""
    keras.utils.set_random_seed(arguments.seed)
    tokenizer = klm.tokenizers.SentencePieceTokenizer.train(
        texts=texts, vocab_size=VOCABULARY, normalization="nmt_nfkc_cf"
    )
    config = klm.ConvolutionalConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_dim=FILTERS * len(WIDTHS),
        widths=WIDTHS,
        embedding_dim=EMBEDDING,
        max_length=LENGTH,
        dropout=EMBEDDING_DROPOUT,
    )
    task = klm.tasks.TextClassifier(
        klm.models.ConvolutionalEncoder(config, dtype=arguments.dtype),
        tokenizer,
        labels=sorted(set(labels)),
        pooling="max",
        dropout=HEAD_DROPOUT,
    )
    steps = EPOCHS * -(-len(texts) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 20, warmup_target=LEARNING_RATE, warmup_steps=steps // 20
    )
    task.compile(keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY))
    task.fit(
        texts,
        labels,
        batch_size=BATCH,
        epochs=EPOCHS,
        seed=arguments.seed,
        verbose=arguments.verbose,
    )
    return task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--hold-out", action="store_true", help="report on a part of train")
    parser.add_argument("--verbose", type=int, default=2)
    arguments = parser.parse_args()
    texts, labels = read(arguments.data / "train.tsv.gz")
    if arguments.hold_out:
        (texts, labels), known = hold_out(texts, labels)
    else:
        known = read(arguments.data / "dev.tsv.gz")
    began, cpu = time.perf_counter(), time.process_time()
    task = train(arguments, texts, labels)
    minutes = (time.perf_counter() - began) / 60
    cpu = (time.process_time() - cpu) / 60
    results = task.evaluate(*known, verbose=0, return_dict=True)
    split = "held out of train" if arguments.hold_out else "dev"
    print(
        f"tnews, {split}, {len(known[0])} headlines, "
        f"seed {arguments.seed}: accuracy {100 * results['accuracy']:.2f} %, loss "
        f"{results['loss']:.4f}, {task.count_params():,} weights, trained in {minutes:.1f} min "
        f"({cpu:.1f} of processor time), {arguments.dtype}; TensorFlow {tf.__version__}, "
        f"Keras {keras.__version__}, {datetime.date.today()}"
    )


if __name__ == "__main__":
    main()
