"""Pretrains a small masked language model from scratch for some minutes, and draws its curve.

    python benchmarks/mlm_pretrain.py --text war-and-peace/train.txt.gz --held-out …/valid.txt.gz

The text is cut at empty lines into documents. The rival is the commonest token of the training
text. The learning rate follows the clock: it falls to 0 as the time runs out.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import math
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

import keras_lm as klm


class ByTheClock(keras.callbacks.Callback):
    """Warms up over a twentieth of the time, falls as a cosine to 0, stops; keeps the curve."""

    def __init__(self, peak: float, minutes: float) -> None:
        super().__init__()
        self.peak, self.seconds = peak, 60 * minutes
        self.rows: list[dict[str, float]] = []
        self.trained = 0.0  # seconds; the clock stands while the held-out text is looked at

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.began = time.perf_counter()
        share = min(self.trained / self.seconds, 1)
        rate = self.peak * min(20 * share, 0.5 + 0.5 * math.cos(math.pi * share))
        self.model.optimizer.learning_rate = max(rate, 1e-7)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.trained += time.perf_counter() - self.began

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        row = {
            "steps": int(self.model.optimizer.iterations),
            "minutes": round(self.trained / 60, 2),
            "training_loss": round(logs["loss"], 4),
            "held_out_loss": round(logs["val_loss"], 4),
            "held_out_masked_accuracy": round(logs["val_masked_accuracy"], 4),
        }
        self.rows.append(row)
        print(*(f"{name} {value}" for name, value in row.items()), sep=", ", flush=True)
        self.model.stop_training = self.trained >= self.seconds


def read(path: Path) -> list[str]:
    return [text for text in klm.data.text_files(path, split="paragraph") if text.strip()]


def draw(rows: list[dict[str, float]], baseline: float, path: Path) -> None:
    import matplotlib.pyplot as plt

    minutes = [row["minutes"] for row in rows]
    figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
    axis.plot(minutes, [100 * row["held_out_masked_accuracy"] for row in rows], marker="o")
    axis.axhline(100 * baseline, color="gray", linestyle=":", label="the commonest token")
    axis.set(xlabel="minutes of training", ylabel="masked tokens told, %", ylim=(0, None))
    axis.legend(loc="lower right")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--vocab-size", type=int, default=4000)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--dtype", default="mixed_bfloat16")
    parser.add_argument("--every", type=int, default=200, help="steps between two points")
    parser.add_argument("--curve", type=Path, help="writes this .csv, and a .png beside it")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    texts, held_out = read(arguments.text), read(arguments.held_out)
    tok = klm.tokenizers.WordPieceTokenizer.train(texts=texts, vocab_size=arguments.vocab_size)
    counts = Counter(i for ids in tok(texts).to_list() for i in ids)
    commonest = counts.most_common(1)[0][0]
    held_ids = [i for ids in tok(held_out).to_list() for i in ids]
    baseline = sum(i == commonest for i in held_ids) / len(held_ids)
    config = klm.EncoderConfig(
        vocab_size=tok.vocab_size,
        num_layers=4,
        hidden_dim=256,
        num_heads=4,
        max_length=128,
        dropout=0.0,
        norm_position="pre",
        positions="rotary",
        pooler=None,
    )
    task = klm.tasks.MaskedLM(klm.models.Encoder(config, dtype=arguments.dtype), tok)
    task.compile(klm.training.default_optimizer(1e-3))
    clock = ByTheClock(arguments.learning_rate, arguments.minutes)
    task.fit(
        texts,
        batch_size=16,
        epochs=10**6,
        steps_per_epoch=arguments.every,
        verbose=0,
        validation_data=held_out[::4],
        callbacks=[clock],
    )
    results = task.evaluate(held_out, verbose=0, return_dict=True)
    name, accuracy = tok.id_to_token(commonest), 100 * results["masked_accuracy"]
    print(
        f"{sum(counts.values()):,} tokens, vocabulary {tok.vocab_size}; after "
        f"{arguments.minutes:g} min and {clock.rows[-1]['steps']} steps, on the held-out text: "
        f"masked accuracy {accuracy:.2f} % (always {name!r}: {100 * baseline:.2f} %), "
        f"loss {results['loss']:.4f} nats; {arguments.dtype}; "
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}, {datetime.date.today()}"
    )
    if arguments.curve:
        with arguments.curve.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(clock.rows[0]))
            writer.writeheader()
            writer.writerows(clock.rows)
        draw(clock.rows, baseline, arguments.curve.with_suffix(".png"))


if __name__ == "__main__":
    main()
