"""One training step of an encoder–decoder Transformer (4 + 4 layers of width 128, Adam).

By default every row has 40 tokens. With `--data` the rows are real: sentences of multi30k as token
ids (a byte-level BPE that keras_lm trains), keras_lm in length buckets of at most `--batch` ×
`--length` × 2 positions, the others in batches of `--batch` rows padded to the longest of the set;
a step then is an epoch of `--sentences` sentences. Weights are random; all contenders take the same
steps, so about the same loss must come out.
"""

import argparse
import gzip
from pathlib import Path

import numpy as np
from driver import Workload, contender, main

LEARNING_RATE = 1e-4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--vocab", type=int, default=8000, help="size of the vocabulary")
    parser.add_argument("--dtype", default="float32", choices=["float32", "mixed_bfloat16"])
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--feed-forward", type=int, default=512)
    parser.add_argument("--length", type=int, default=40, help="tokens in a row")
    parser.add_argument("--batch", type=int, default=64, help="rows in a batch")
    parser.add_argument("--data", help="folder that holds multi30k: real sentences")
    parser.add_argument("--sentences", type=int, default=2048)


def batches(args: argparse.Namespace) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Source ids [B, S], target inputs and targets [B, T]; 0 is padding."""
    if args.data is None:
        random = np.random.default_rng(0)
        source = random.integers(1, args.vocab, (args.batch, args.length)).astype("int32")
        target = random.integers(1, args.vocab, (args.batch, args.length + 1)).astype("int32")
        return [(source, target[:, :-1].copy(), target[:, 1:].copy())]
    rows = sentence_ids(args)
    widths = [max(len(row) for row in column) for column in rows]
    padded = [
        np.array([row + [0] * (width - len(row)) for row in column], "int32")
        for column, width in zip(rows, widths, strict=True)
    ]
    source, target = padded
    cuts = range(0, len(source) - args.batch + 1, args.batch)
    rows_of = [slice(cut, cut + args.batch) for cut in cuts]
    return [(source[s], target[s, :-1].copy(), target[s, 1:].copy()) for s in rows_of]


def sentence_ids(args: argparse.Namespace) -> list[list[list[int]]]:
    """Sources, and targets with a start and an end, as lists of ids; 0, 1 and 2 are special."""
    from tokenizers import ByteLevelBPETokenizer

    texts = []
    for code in ("en", "de"):
        with gzip.open(Path(args.data) / "multi30k" / f"train.{code}.gz", "rt") as file:
            texts.append([line.strip() for line in file][: args.sentences])
    learner = ByteLevelBPETokenizer()
    learner.train_from_iterator(
        [*texts[0], *texts[1]],
        vocab_size=args.vocab,
        special_tokens=["<pad>", "<s>", "</s>"],
        show_progress=False,
    )
    source, target = ([e.ids for e in learner.encode_batch(column)] for column in texts)
    return [[[*ids, 2] for ids in source], [[1, *ids, 2] for ids in target]]


def number_of_tokens(args: argparse.Namespace) -> int:
    if args.data is None:
        return 2 * args.batch * args.length
    return sum(int((part > 0).sum()) for batch in batches(args) for part in batch[:2])


def keras_lm(args: argparse.Namespace, jit_compile: bool | str) -> Workload:
    import keras

    import keras_lm as klm

    keras.utils.set_random_seed(0)
    config = klm.EncoderDecoderConfig(
        vocab_size=args.vocab,
        num_layers=args.layers,
        hidden_dim=args.width,
        num_heads=args.heads,
        feed_forward_dim=args.feed_forward,
        max_length=128,
        norm_position="post",
        activation="relu",
        tie_embeddings=False,
        share_embeddings=False,
        decoder_start_id=1,
        eos_id=2,
        pad_id=0 if args.data else None,
    )
    task = klm.tasks.Seq2SeqLM(klm.models.Transformer(config, dtype=args.dtype))
    task.compile(
        keras.optimizers.Adam(LEARNING_RATE), klm.training.NextTokenLoss(), jit_compile=jit_compile
    )
    whole = [in_keras_lm(batch) for batch in batches(args)]
    ready = bucketed(args) if args.data else whole

    def step() -> float:
        losses = [float(np.ravel(task.train_on_batch(*batch))[0]) for batch in ready]
        return float(np.mean(losses))

    return Workload(step, number_of_tokens(args), "loss")


def in_keras_lm(batch: tuple[np.ndarray, ...]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    source, before, targets = batch
    return {"token_ids": source, "decoder_token_ids": before}, targets


def bucketed(args: argparse.Namespace) -> list[tuple[object, ...]]:
    """The same sentences in length buckets with a token budget, as `fit(token_budget=…)` does."""
    from keras_lm import data

    source, target = sentence_ids(args)
    count = len(source) // args.batch * args.batch
    source, target = source[:count], target[:count]
    lengths = np.array([[len(s), len(t) - 1] for s, t in zip(source, target, strict=True)])
    plan = data.bucket_plan(lengths, token_budget=2 * args.batch * args.length, num_buckets=8)
    ready: list[tuple[object, ...]] = []
    for number in range(plan.num_batches):
        chosen = [example for example in plan.examples_of(number) if example >= 0]
        widths = lengths[chosen].max(axis=0)
        x = np.array([source[e] + [0] * (widths[0] - len(source[e])) for e in chosen], "int32")
        rows = [target[e] + [0] * (widths[1] + 1 - len(target[e])) for e in chosen]
        y = np.array(rows, "int32")
        inputs, targets = in_keras_lm((x, y[:, :-1], y[:, 1:]))
        ready.append((inputs, targets, (targets > 0).astype("float32")))
    return ready


@contender("keras_lm", backend="tensorflow")
def keras_lm_default(args: argparse.Namespace) -> Workload:
    return keras_lm(args, "auto")


@contender("keras_lm, XLA", backend="tensorflow")
def keras_lm_xla(args: argparse.Namespace) -> Workload:
    return keras_lm(args, True)


def keras_hub(args: argparse.Namespace, jit_compile: bool) -> Workload:
    import keras
    import keras_hub

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(args.dtype)
    layers, width = keras_hub.layers, args.width
    ready = batches(args)
    source = keras.Input(ready[0][0].shape[1:], dtype="int32")
    target = keras.Input(ready[0][1].shape[1:], dtype="int32")
    mask = keras.ops.not_equal(source, 0) if args.data else None

    def embedded(ids):
        layer = layers.TokenAndPositionEmbedding(args.vocab, ids.shape[1], width)
        return layer(ids)

    hidden = embedded(source)
    for _ in range(args.layers):
        layer = layers.TransformerEncoder(args.feed_forward, args.heads)
        hidden = layer(hidden, padding_mask=mask)
    memory, hidden = hidden, embedded(target)
    for _ in range(args.layers):
        layer = layers.TransformerDecoder(args.feed_forward, args.heads)
        hidden = layer(hidden, memory, encoder_padding_mask=mask)
    model = keras.Model([source, target], keras.layers.Dense(args.vocab, dtype="float32")(hidden))
    model.compile(
        keras.optimizers.Adam(LEARNING_RATE),
        keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, ignore_class=0 if args.data else None
        ),
        jit_compile=jit_compile,
    )

    def step() -> float:
        losses = [
            float(np.ravel(model.train_on_batch([source, before], targets))[0])
            for source, before, targets in ready
        ]
        return float(np.mean(losses))

    return Workload(step, number_of_tokens(args), "loss")


@contender("keras-hub, XLA", python="BENCH_PY_PEERS", backend="tensorflow")
def keras_hub_xla(args: argparse.Namespace) -> Workload:
    return keras_hub(args, True)


@contender("keras-hub, graph", python="BENCH_PY_PEERS", backend="tensorflow")
def keras_hub_graph(args: argparse.Namespace) -> Workload:
    return keras_hub(args, False)


def torch_transformer(args: argparse.Namespace, compiled: bool) -> Workload:
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    ready = [[torch.from_numpy(part).long() for part in batch] for batch in batches(args)]

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.source = nn.Embedding(args.vocab, args.width)
            self.target = nn.Embedding(args.vocab, args.width)
            self.positions = nn.Embedding(128, args.width)
            self.transformer = nn.Transformer(
                args.width,
                args.heads,
                args.layers,
                args.layers,
                args.feed_forward,
                dropout=0.0,
                batch_first=True,
            )
            self.output = nn.Linear(args.width, args.vocab, bias=False)

        def forward(self, source, before):
            mask = nn.Transformer.generate_square_subsequent_mask(before.shape[1])
            padding = source == 0 if args.data else None
            hidden = self.transformer(
                self.source(source) + self.positions.weight[: source.shape[1]],
                self.target(before) + self.positions.weight[: before.shape[1]],
                tgt_mask=mask,
                tgt_is_causal=True,
                src_key_padding_mask=padding,
                memory_key_padding_mask=padding,
            )
            return self.output(hidden)

    model = Model().train()
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE, fused=True)

    def loss_of(source, before, targets):
        with torch.autocast("cpu", torch.bfloat16, enabled=args.dtype == "mixed_bfloat16"):
            logits = model(source, before)
        logits = logits.flatten(0, 1).float()
        ignored = 0 if args.data else -100
        return nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=ignored)

    forward = torch.compile(loss_of) if compiled else loss_of

    def step() -> float:
        losses = []
        for batch in ready:
            optimizer.zero_grad(set_to_none=True)
            loss = forward(*batch)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return float(np.mean(losses))

    return Workload(step, number_of_tokens(args), "loss")


@contender("torch nn.Transformer, eager", python="BENCH_PY_PEERS")
def torch_eager(args: argparse.Namespace) -> Workload:
    return torch_transformer(args, False)


@contender("torch nn.Transformer, compiled", python="BENCH_PY_PEERS")
def torch_compiled(args: argparse.Namespace) -> Workload:
    return torch_transformer(args, True)


if __name__ == "__main__":
    main("Training step of an encoder–decoder Transformer, 4 + 4 × 128", add_arguments)
