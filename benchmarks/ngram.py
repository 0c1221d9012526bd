"""Counting n-grams beside KenLM and nltk.

    python benchmarks/ngram.py --lmplz PROGRAM [--text FILE] [--order 5]

From a text of a sentence a line to an ARPA file, with modified Kneser–Ney smoothing.
KenLM's `lmplz` is a program of its own, whose processor time counts as its worker's; nltk fits from
words that are there already and writes no file. Without `--text` the text is Python's language
reference. Everything runs on one core.
"""

import argparse
import subprocess
from pathlib import Path

from driver import Workload, contender, main
from plain_text import plain_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--text", type=Path, help="a UTF-8 text file, gzip or not")
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--lmplz", default="lmplz", help="the program of KenLM")
    parser.add_argument("--lmplz-memory", default="1G", help="as its -S wants it; more is slower")


def num_ngrams(arpa: Path) -> float:
    """What the header of an ARPA file says, for n-grams of every length together."""
    with arpa.open(encoding="utf-8") as lines:
        next(lines)
        header = iter(lambda: next(lines).strip(), "")
        return float(sum(int(line.partition("=")[2]) for line in header))


@contender("keras_lm")
def keras_lm(args: argparse.Namespace) -> Workload:
    from keras_lm.data.ngrams import table_of_text, write_arpa

    text, num_words = plain_text(args)
    arpa = text.with_name("text.arpa")

    def step() -> float:
        write_arpa(table_of_text(text, args.order), arpa)
        return num_ngrams(arpa)

    return Workload(step, num_words, "n-grams")


@contender("lmplz")
def lmplz(args: argparse.Namespace) -> Workload:
    text, num_words = plain_text(args)
    arpa = text.with_name("text.arpa")
    files = ["--text", str(text), "--arpa", str(arpa)]
    settings = ["-o", str(args.order), "-S", args.lmplz_memory, "--discount_fallback"]

    def step() -> float:
        subprocess.run([args.lmplz, *files, *settings], check=True, stderr=subprocess.DEVNULL)
        return num_ngrams(arpa)

    return Workload(step, num_words, "n-grams")


@contender("nltk", python="BENCH_PY_PEERS")
def nltk(args: argparse.Namespace) -> Workload:
    from nltk.lm import KneserNeyInterpolated
    from nltk.lm.preprocessing import padded_everygram_pipeline

    text, num_words = plain_text(args)
    sentences = [line.split() for line in text.read_text(encoding="utf-8").splitlines()]

    def step() -> None:
        ngrams, words = padded_everygram_pipeline(args.order, sentences)
        KneserNeyInterpolated(args.order).fit(ngrams, words)

    return Workload(step, num_words, "n-grams")


if __name__ == "__main__":
    main("Counting n-grams", add_arguments)
