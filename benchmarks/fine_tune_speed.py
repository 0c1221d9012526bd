"""Fine-tuning a MiniLM (6 layers of width 384) on real sentences: one epoch of `fit`.

    python benchmarks/fine_tune_speed.py --data sst2/train.tsv.gz --checkpoint all-MiniLM-L6-v2

The epoch is a small one that stands for a whole one: of all sentences in the order of their lengths
every n-th 32, shuffled. keras_lm is given strings: its time has the tokenizing in it, and the
batches by length. keras-hub is given ids, tokenized and padded beforehand, all to `--length`: of
sst2's training sentences 52 tokens hold 99 %, the others are cut, and 67 hold all. In the table
tokens/s are sentences/s. The weights are random: of the checkpoint only the tokenizer is read.
About the same loss must come out.
"""

import argparse
import gzip
from pathlib import Path

import numpy as np
from driver import Workload, contender, main

LEARNING_RATE, BATCH = 5e-5, 32
LAYERS, WIDTH, HEADS, MAX_LENGTH, DROPOUT = 6, 384, 12, 512, 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, help=".tsv.gz with a header: sentence, 0 or 1")
    parser.add_argument("--checkpoint", required=True, help="a BERT's directory: its tokenizer")
    parser.add_argument("--dtype", default="float32", choices=["float32", "mixed_bfloat16"])
    parser.add_argument("--batches", type=int, default=20, help="of 32 sentences, in an epoch")
    parser.add_argument("--length", type=int, default=52, help="of keras-hub's rows, in tokens")


def labelled_sentences(args: argparse.Namespace) -> tuple[list[str], list[int]]:
    """Of all sentences in the order of their lengths every n-th 32, in an order of its own."""
    with gzip.open(args.data, "rt", encoding="utf-8") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines][1:]
    ids = bert_tokenizer(args).encode_batch([row[0] for row in rows])
    order = np.argsort([len(row.ids) for row in ids], kind="stable")
    starts = np.linspace(0, len(rows) - BATCH, args.batches).astype(int)
    chosen = order[(starts[:, None] + np.arange(BATCH)).ravel()]
    np.random.default_rng(0).shuffle(chosen)
    return [rows[i][0] for i in chosen], [int(rows[i][1]) for i in chosen]


def bert_tokenizer(args: argparse.Namespace):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(args.checkpoint) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


@contender("keras_lm", backend="tensorflow")
def keras_lm(args: argparse.Namespace) -> Workload:
    import keras

    import keras_lm as klm

    keras.utils.set_random_seed(0)
    tokenizer = klm.tokenizers.Tokenizer.load(args.checkpoint)
    config = klm.EncoderConfig(
        vocab_size=tokenizer.vocab_size,
        num_layers=LAYERS,
        hidden_dim=WIDTH,
        num_heads=HEADS,
        max_length=MAX_LENGTH,
        dropout=DROPOUT,
        activation="gelu_tanh",  # keras-hub's
    )
    encoder = klm.models.Encoder(config, dtype=args.dtype)
    task = klm.tasks.TextClassifier(encoder, tokenizer, labels=["negative", "positive"])
    task.compile(optimizer=keras.optimizers.AdamW(LEARNING_RATE))
    sentences, labels = labelled_sentences(args)

    def epoch() -> float:
        history = task.fit(sentences, labels, batch_size=BATCH, verbose=0)
        return history.history["loss"][0]

    return Workload(epoch, len(sentences), "loss")


def keras_hub(args: argparse.Namespace, jit_compile: bool) -> Workload:
    import keras
    import keras_hub

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(args.dtype)
    sentences, labels = labelled_sentences(args)
    tokenizer = bert_tokenizer(args)
    tokenizer.enable_truncation(args.length)
    tokenizer.enable_padding(length=args.length)
    ids = np.array([row.ids for row in tokenizer.encode_batch(sentences)], "int32")
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=30522,
        num_layers=LAYERS,
        num_heads=HEADS,
        hidden_dim=WIDTH,
        intermediate_dim=4 * WIDTH,
        dropout=DROPOUT,
        max_sequence_length=MAX_LENGTH,
    )
    task = keras_hub.models.BertTextClassifier(
        backbone, num_classes=2, preprocessor=None, dropout=DROPOUT
    )
    task.compile(
        optimizer=keras.optimizers.AdamW(LEARNING_RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=jit_compile,
    )
    inputs = {
        "token_ids": ids,
        "padding_mask": (ids > 0).astype("int32"),
        "segment_ids": np.zeros_like(ids),
    }

    def epoch() -> float:
        history = task.fit(inputs, np.array(labels), batch_size=BATCH, verbose=0)
        return history.history["loss"][0]

    return Workload(epoch, len(sentences), "loss")


@contender("keras-hub, XLA", python="BENCH_PY_PEERS", backend="tensorflow")
def keras_hub_xla(args: argparse.Namespace) -> Workload:
    return keras_hub(args, True)


@contender("keras-hub, graph", python="BENCH_PY_PEERS", backend="tensorflow")
def keras_hub_graph(args: argparse.Namespace) -> Workload:
    return keras_hub(args, False)


if __name__ == "__main__":
    main("One epoch of fine-tuning on sentences", add_arguments)
