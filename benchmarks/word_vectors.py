"""Word2Vec beside gensim's, whose inner loop is C: words a second, and how good the vectors are.

    python benchmarks/word_vectors.py --data ../shared/data --repeats 3 [--architecture cbow]

The text is all English training text in the folder `--data`, or `--text`, a file of one text a
line. A step is an epoch; the driver's two warm-up steps and `--repeats` more are one training run,
over which the learning rate falls. "tokens" are words of the text as it is, before rare and
frequent words are left out. The result is Spearman's correlation with the scores of WordSim-353
after the last epoch, for all contenders by the same lines of code. Counting the words is not timed.
"""

import argparse
import gzip
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from driver import Workload, contender, main

WARM_UP = 2  # the driver's
SETTINGS = {"window": 5, "negative": 5, "min_count": 5, "dim": 100, "subsample": 1e-3}
LEARNING_RATES = 0.025, 1e-4
COLUMNS = {
    "ag-news": ["title", "description"],
    "cola": ["sentence"],
    "rte": ["premise", "hypothesis"],
    "semeval2010-task8": ["sentence"],
    "sst2": ["sentence"],
    "stsb-en": ["sentence1", "sentence2"],
    "tatoeba-en-es": ["en"],
    "tatoeba-en-zh": ["en"],
    "trec": ["question"],
}


def english_texts(data: Path) -> Iterator[str]:
    """All English training text of the folder."""

    def read(name: str) -> str:
        content = (data / name).read_bytes()
        return (gzip.decompress(content) if name.endswith(".gz") else content).decode()

    def jsonl(name: str) -> Iterator[dict]:
        return map(json.loads, read(name).splitlines())

    for name in ("war-and-peace/train.txt.gz", "tinyshakespeare/train.txt"):
        yield from re.split(r"\n\s*\n", read(name))
    for name, columns in COLUMNS.items():
        header, *rows = (line.split("\t") for line in read(f"{name}/train.tsv.gz").splitlines())
        for row in rows:
            yield from (re.sub("</?e[12]>", " ", row[header.index(column)]) for column in columns)
    yield from read("multi30k/train.en.gz").splitlines()
    for row in jsonl("dailydialog/train.jsonl.gz"):
        yield " ".join(row["turns"])
    for row in jsonl("dialogsum/train.jsonl.gz"):
        yield from (row["dialogue"], row["summary"])
    for row in jsonl("scifact/corpus.jsonl.gz"):
        yield " ".join([row["title"], *row["abstract"]])
    for row in jsonl("scitldr/train.jsonl.gz"):
        yield from (" ".join(row["source"]), *row["target"])
    for article in json.loads(read("squad-en/train.json.gz"))["data"]:
        for passage in article["paragraphs"]:
            yield from (passage["context"], *(qa["question"] for qa in passage["qas"]))
    for name, column in (("ud-english-ewt/train.conllu.gz", 1), ("wnut17/train.conll.gz", 0)):
        for sentence in read(name).split("\n\n"):
            lines = [line for line in sentence.splitlines() if line and line[0] != "#"]
            yield " ".join(line.split("\t")[column] for line in lines)


def read_words(args: argparse.Namespace) -> list[list[str]]:
    texts = args.text.open(encoding="utf-8") if args.text else english_texts(args.data)
    words = [re.findall(r"[^\W_]+", text.lower()) for text in texts]
    return [text for text in words if text][: args.texts]


def spearman(args: argparse.Namespace, rows: dict[str, int], vectors: np.ndarray) -> float | None:
    """Agreement with WordSim-353, lower-cased; pairs with a word that is unknown are left out."""
    path = args.data / "word-similarity" / "wordsim353.tsv"
    if not path.exists():
        return None
    pairs = [line.lower().split("\t") for line in path.read_text().splitlines()[1:]]
    known = [(rows[a], rows[b], float(x)) for a, b, x in pairs if a in rows and b in rows]
    one, other, scores = map(np.array, zip(*known))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def ranks(values: np.ndarray) -> np.ndarray:
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        return (np.cumsum(counts) - (counts - 1) / 2)[place]

    return np.corrcoef(ranks((unit[one] * unit[other]).sum(axis=1)), ranks(scores))[0, 1]


@contender("keras_lm")
def keras_lm(args: argparse.Namespace) -> Workload:
    import keras

    import keras_lm as klm
    from keras_lm.data.word_vectors import corpus

    model = klm.models.Word2Vec(
        **SETTINGS,
        architecture=args.architecture,
        hierarchical_softmax=args.hierarchical_softmax,
        seed=args.seed,
    )
    counted = corpus.read_corpus(read_words(args), SETTINGS["min_count"])
    corpus.read_corpus = lambda *_: counted  # `fit` counts at each call
    _, num_steps = model.batches(counted)
    at_once = 64
    epochs = WARM_UP + args.repeats
    rate = keras.optimizers.schedules.PolynomialDecay(
        LEARNING_RATES[0], -(-num_steps // at_once) * at_once * epochs, LEARNING_RATES[1]
    )
    model.compile(keras.optimizers.SGD(rate), steps_per_execution=at_once, jit_compile=False)
    done = 0

    def step() -> float | None:
        nonlocal done
        done += 1
        model.fit([], epochs=done, initial_epoch=done - 1, verbose=0)
        rows = {word: row for row, word in enumerate(counted.words)}
        return spearman(args, rows, model.vectors.vectors)

    return Workload(step, counted.num_raw, "Spearman")


@contender("gensim", python="BENCH_PY_PEERS")
def gensim(args: argparse.Namespace) -> Workload:
    from gensim.models import Word2Vec

    words = read_words(args)
    model = Word2Vec(
        vector_size=SETTINGS["dim"],
        window=SETTINGS["window"],
        negative=0 if args.hierarchical_softmax else SETTINGS["negative"],
        hs=int(args.hierarchical_softmax),
        sg=int(args.architecture == "skipgram"),
        min_count=SETTINGS["min_count"],
        sample=SETTINGS["subsample"],
        seed=args.seed + 1,
        workers=1,
    )
    model.build_vocab(words)
    rates = np.linspace(*LEARNING_RATES, WARM_UP + args.repeats + 1)
    done = 0

    def step() -> float | None:
        nonlocal done
        begin, end = rates[done : done + 2]
        model.train(words, total_examples=len(words), epochs=1, start_alpha=begin, end_alpha=end)
        done += 1
        return spearman(args, model.wv.key_to_index, model.wv.vectors)

    return Workload(step, sum(map(len, words)), "Spearman")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    data = os.environ.get("KERAS_LM_SHARED", Path(__file__).parents[2] / "shared")
    parser.add_argument(
        "--data", type=Path, default=Path(data) / "data", help="folder of data sets"
    )
    parser.add_argument("--text", type=Path, help="a text a line, instead")
    parser.add_argument("--texts", type=int, help="take the first so many texts only")
    parser.add_argument("--architecture", choices=["skipgram", "cbow"], default="skipgram")
    parser.add_argument("--hierarchical-softmax", action="store_true")
    parser.add_argument("--seed", type=int, default=0)


if __name__ == "__main__":
    main("Word2Vec, an epoch", add_arguments)
