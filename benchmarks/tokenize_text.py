"""Tokenizing in the TensorFlow graph beside the reference libraries and keras-hub.

    python benchmarks/tokenize_text.py --kind wordpiece [--text FILE] [--unit paragraph]

The vocabulary is learned from the text, which is read in batches of lines or paragraphs; without
`--text` it is Python's language reference. A step counts the ids, which must be as many for ours
and the reference. Everything runs on one core.
"""

import argparse
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics

from driver import Workload, contender, main

END = "<|endoftext|>"
KINDS = ("bytepair", "wordpiece", "unigram", "sentencepiece-bpe")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kind", default="bytepair", choices=KINDS)
    parser.add_argument("--text", type=Path, help="a UTF-8 text file")
    parser.add_argument("--batch", type=int, default=512, help="texts in a batch")
    parser.add_argument("--batches", type=int, default=10, help="batches in a step")
    parser.add_argument("--vocab", type=int, default=8000)
    parser.add_argument("--unit", default="line", choices=["line", "paragraph"])


def whole_text(args: argparse.Namespace) -> str:
    return args.text.read_text(encoding="utf-8") if args.text else "\n\n".join(topics.values())


def batches(args: argparse.Namespace) -> list[list[str]]:
    pieces = re.split("\n" if args.unit == "line" else "\n\\s*\n", whole_text(args))
    texts = [piece for piece in pieces if piece.strip()]
    count = args.batch * args.batches
    texts = (texts * (count // len(texts) + 1))[:count]
    return [texts[i : i + args.batch] for i in range(0, count, args.batch)]


def trained(args: argparse.Namespace):
    from keras_lm import tokenizers

    texts = whole_text(args).split("\n\n")
    if args.kind == "bytepair":
        return tokenizers.BytePairTokenizer.train(
            texts=texts, vocab_size=args.vocab, special_tokens=[END]
        )
    if args.kind == "wordpiece":
        return tokenizers.WordPieceTokenizer.train(texts=texts, vocab_size=args.vocab)
    return tokenizers.SentencePieceTokenizer.train(
        texts=texts,
        vocab_size=args.vocab,
        model_type="unigram" if args.kind == "unigram" else "bpe",
        byte_fallback=True,
    )


def workload(args: argparse.Namespace, count_ids: Callable, prepare: Callable = list) -> Workload:
    prepared = [prepare(batch) for batch in batches(args)]
    num_ids = sum(map(count_ids, prepared))
    return Workload(lambda: float(sum(map(count_ids, prepared))), num_ids, "ids")


@contender("keras_lm")
def keras_lm(args: argparse.Namespace) -> Workload:
    import tensorflow as tf

    tokenizer = trained(args)
    return workload(args, lambda texts: int(tokenizer(texts).values.shape[0]), tf.constant)


@contender("the reference library")
def library(args: argparse.Namespace) -> Workload:
    """`tokenizers` or `sentencepiece`, with its fastest call."""
    encode = trained(args).library_encoder()
    return workload(args, lambda texts: sum(map(len, encode(texts))))


@contender("keras-hub", python="BENCH_PY_PEERS", backend="tensorflow")
def keras_hub(args: argparse.Namespace) -> Workload:
    import keras_hub as hub
    import tensorflow as tf
    import tokenizers

    if args.kind != "bytepair":
        raise ValueError("its vocabularies are made here for --kind bytepair alone")
    learner = tokenizers.Tokenizer(tokenizers.models.BPE())
    learner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=args.vocab,
        special_tokens=[END],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learner.train_from_iterator(whole_text(args).split("\n\n"), trainer)
    with tempfile.TemporaryDirectory() as directory:
        learner.model.save(directory)
        tokenizer = hub.tokenizers.BytePairTokenizer(
            vocabulary=os.path.join(directory, "vocab.json"),
            merges=os.path.join(directory, "merges.txt"),
        )
    # Eagerly it gives Python lists, which is slower still.
    count = tf.function(lambda texts: tf.size(tokenizer(texts).values))
    return workload(args, lambda texts: int(count(texts)), tf.constant)


if __name__ == "__main__":
    main("Tokenizing", add_arguments)
