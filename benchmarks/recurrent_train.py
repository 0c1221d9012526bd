"""One training step of a recurrent language model (2 layers of width 512, Adam).

keras_lm runs `train_on_batch`, which is the train function of `fit`; so do Keras's own layers as
they are shipped, and torch runs the usual step. The batch is the same every time, all contenders
take the same number of steps, and the loss must have gone down from ln V in all of them; by how
much depends on the initial weights, which are each library's own.
"""

import argparse

import numpy as np
from driver import Workload, contender, main

LEARNING_RATE = 1e-3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cell", default="lstm", choices=["rnn", "lstm", "gru"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "mixed_bfloat16"])
    parser.add_argument("--vocab", type=int, default=10_000, help="size of the vocabulary")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--length", type=int, default=64, help="tokens in a row")
    parser.add_argument("--batch", type=int, default=32, help="rows in a batch")


def batch(args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(0).integers(0, args.vocab, (args.batch, args.length + 1))
    ids = ids.astype("int32")
    return ids[:, :-1].copy(), ids[:, 1:].copy()


def keras_workload(args: argparse.Namespace, model) -> Workload:
    ids, targets = batch(args)

    def step() -> float:
        return float(np.ravel(model.train_on_batch(ids, targets))[0])

    return Workload(step, targets.size, "loss")


def keras_lm(args: argparse.Namespace, jit_compile: bool | str) -> Workload:
    import keras

    import keras_lm as klm

    keras.utils.set_random_seed(0)
    config = klm.RecurrentConfig(
        cell=args.cell,
        vocab_size=args.vocab,
        num_layers=args.layers,
        hidden_dim=args.width,
    )
    model = klm.models.RecurrentLM(config, dtype=args.dtype)
    task = klm.tasks.CausalLM(model, tokenizer=None, sequence_length=args.length)
    task.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATE, epsilon=1e-8), jit_compile=jit_compile
    )
    return keras_workload(args, task)


@contender("keras_lm", backend="tensorflow")
def keras_lm_default(args: argparse.Namespace) -> Workload:
    return keras_lm(args, "auto")


@contender("keras_lm, XLA", backend="tensorflow")
def keras_lm_xla(args: argparse.Namespace) -> Workload:
    return keras_lm(args, True)


def keras_layers(args: argparse.Namespace, jit_compile: bool) -> Workload:
    import keras

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(args.dtype)
    layers = keras.layers
    layer = {"rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}[args.cell]
    model = keras.Sequential([keras.Input((args.length,), dtype="int32", batch_size=args.batch)])
    model.add(layers.Embedding(args.vocab, args.width))
    for _ in range(args.layers):
        model.add(layer(args.width, return_sequences=True))
    model.add(layers.Dense(args.vocab))
    model.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATE, epsilon=1e-8),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit_compile,
    )
    return keras_workload(args, model)


@contender("Keras, graph", backend="tensorflow")
def keras_graph(args: argparse.Namespace) -> Workload:
    return keras_layers(args, False)


@contender("Keras, XLA", backend="tensorflow")
def keras_xla(args: argparse.Namespace) -> Workload:
    return keras_layers(args, True)


def torch_layers(args: argparse.Namespace, compiled: bool) -> Workload:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    nn = torch.nn
    layer = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[args.cell]
    embedding = nn.Embedding(args.vocab, args.width)
    recurrent = layer(args.width, args.width, args.layers, batch_first=True)
    output = nn.Linear(args.width, args.vocab)
    parameters = nn.ModuleList([embedding, recurrent, output]).parameters()
    optimizer = torch.optim.Adam(parameters, LEARNING_RATE, fused=True)
    ids, targets = (torch.from_numpy(array).long() for array in batch(args))

    def loss_of_batch():
        with torch.autocast("cpu", torch.bfloat16, enabled=args.dtype == "mixed_bfloat16"):
            logits = output(recurrent(embedding(ids))[0])
            return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    forward = torch.compile(loss_of_batch) if compiled else loss_of_batch

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = forward()
        loss.backward()
        optimizer.step()
        return loss.item()

    return Workload(step, targets.numel(), "loss")


@contender("torch, eager", python="BENCH_PY_PEERS")
def torch_eager(args: argparse.Namespace) -> Workload:
    return torch_layers(args, False)


@contender("torch, compiled", python="BENCH_PY_PEERS")
def torch_compiled(args: argparse.Namespace) -> Workload:
    return torch_layers(args, True)


if __name__ == "__main__":
    main("Training step of a recurrent language model, 2 × 512", add_arguments)
