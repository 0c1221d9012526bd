"""Looking n-grams up beside KenLM: log-probabilities of every word of a text.

    python benchmarks/ngram_scoring.py --lmplz PROGRAM [--text FILE]

keras_lm reads batches of 64 rows of 256 word ids, as `evaluate` does, compiled by XLA; the numbers
of the words are looked up before. KenLM's Python module reads sentences, from its tables in
memory. Both have the model of the text itself. Everything runs on one core.
"""

import argparse
import itertools
import math
import subprocess
from pathlib import Path

import numpy as np
from driver import Workload, contender, main
from plain_text import plain_text

ROWS, LENGTH = 64, 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--text", type=Path, help="a UTF-8 text file, gzip or not")
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--lmplz", default="lmplz", help="the program of KenLM")


@contender("keras_lm")
def keras_lm(args: argparse.Namespace) -> Workload:
    import tensorflow as tf

    from keras_lm.generation.compiled import compiled
    from keras_lm.models import NGramLM

    path, _ = plain_text(args)
    model = NGramLM.from_text(path, args.order)
    ids = {word: i for i, word in enumerate(model.vocabulary)}
    sentences = path.read_text(encoding="utf-8").split("\n")
    stream = [[1, *(ids[word] for word in sentence.split()), 2] for sentence in sentences]
    stream = np.array(list(itertools.chain.from_iterable(stream)), "int32")
    count = (len(stream) - 1) // (ROWS * LENGTH)
    starts = np.arange(count * ROWS * LENGTH).reshape(count, ROWS, LENGTH)
    batches = [
        (
            {
                "token_ids": tf.constant(stream[at]),
                "segment_ids": tf.constant(np.cumsum(stream[at] == 1, 1)),
            },
            tf.constant(stream[at + 1]),
        )
        for at in starts
    ]
    score = compiled(model, "log_probs", model.log_probs, jit_compile=True)

    def step() -> float:
        sums = []
        for inputs, targets in batches:
            log_probs = score(inputs, targets)
            sums.append(tf.reduce_sum(tf.where(targets == 1, 0.0, log_probs)))  # <s> follows </s>
        return float(sum(sums)) / math.log(10)

    return Workload(step, count * ROWS * LENGTH, "log10")


@contender("KenLM", python="BENCH_PY_PEERS")
def kenlm(args: argparse.Namespace) -> Workload:
    import kenlm

    path, num_words = plain_text(args)
    arpa = path.with_name("text.arpa")
    command = [args.lmplz, "--text", str(path), "--arpa", str(arpa), "-o", str(args.order)]
    subprocess.run([*command, "-S", "1G"], check=True, stderr=subprocess.DEVNULL)
    model = kenlm.Model(str(arpa))
    sentences = path.read_text(encoding="utf-8").split("\n")

    def step() -> float:
        return sum(model.score(sentence) for sentence in sentences)

    return Workload(step, num_words + len(sentences), "log10")


if __name__ == "__main__":
    main("Scoring with n-grams", add_arguments)
