"""Byte-level BPE of English lines: ours in the TensorFlow graph beside `tokenizers` and keras-hub.

All have the same vocabulary, learned from Python's language reference, and read that text in
batches of lines or paragraphs. A step counts the ids, which must be as many for all.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from pydoc_data.topics import topics

from driver import Workload, contender, main

END = "<|endoftext|>"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=512, help="lines in a batch")
    parser.add_argument("--batches", type=int, default=10, help="batches in a step")
    parser.add_argument("--vocab", type=int, default=8000)
    parser.add_argument("--unit", default="line", choices=["line", "paragraph"])


def batches(args: argparse.Namespace) -> list[list[str]]:
    text = "\n\n".join(topics.values())
    pieces = text.split("\n" if args.unit == "line" else "\n\n")
    texts = [piece for piece in pieces if piece.strip()]
    count = args.batch * args.batches
    texts = (texts * (count // len(texts) + 1))[:count]
    return [texts[i : i + args.batch] for i in range(0, count, args.batch)]


def reference(args: argparse.Namespace):
    import tokenizers

    learner = tokenizers.Tokenizer(tokenizers.models.BPE())
    learner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    learner.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=args.vocab,
        special_tokens=[END],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learner.train_from_iterator(list(topics.values()), trainer)
    return learner


def workload(args: argparse.Namespace, count_ids: Callable, prepare: Callable = list) -> Workload:
    encode = reference(args).encode_batch
    tokens = sum(len(e.ids) for batch in batches(args) for e in encode(batch))
    prepared = [prepare(batch) for batch in batches(args)]
    return Workload(lambda: float(sum(map(count_ids, prepared))), tokens, "ids")


@contender("keras_lm")
def keras_lm(args: argparse.Namespace) -> Workload:
    import tensorflow as tf

    from keras_lm.tokenizers import BytePairTokenizer

    tokenizer = BytePairTokenizer(reference(args).to_str(), {"eos_token": END})
    return workload(args, lambda texts: int(tokenizer(texts).values.shape[0]), tf.constant)


@contender("tokenizers, encode_batch", python="BENCH_PY_PEERS")
def tokenizers_batch(args: argparse.Namespace) -> Workload:
    encode = reference(args).encode_batch
    return workload(args, lambda texts: sum(len(e.ids) for e in encode(texts)))


@contender("tokenizers, encode_batch_fast", python="BENCH_PY_PEERS")
def tokenizers_batch_fast(args: argparse.Namespace) -> Workload:
    encode = reference(args).encode_batch_fast
    return workload(args, lambda texts: sum(len(e.ids) for e in encode(texts)))


@contender("keras-hub", python="BENCH_PY_PEERS", backend="tensorflow")
def keras_hub(args: argparse.Namespace) -> Workload:
    import keras_hub as hub
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as directory:
        reference(args).model.save(directory)
        tokenizer = hub.tokenizers.BytePairTokenizer(
            vocabulary=os.path.join(directory, "vocab.json"),
            merges=os.path.join(directory, "merges.txt"),
        )
    # Eagerly it gives Python lists, which is slower still.
    count = tf.function(lambda texts: tf.size(tokenizer(texts).values))
    return workload(args, lambda texts: int(count(texts)), tf.constant)


if __name__ == "__main__":
    main("Byte-level BPE", add_arguments)
