"""One training step of a small GPT-2 (6 layers of width 384, AdamW) in each library's own way.

keras_lm and keras-hub run `train_on_batch`, which is the train function of `fit`; Transformers runs
the usual torch step. Weights are random, the batch is the same every time, and all contenders take
the same number of steps: about the same loss must come out, or else something was not computed.
"""

import argparse

import numpy as np
from driver import Workload, contender, main

LEARNING_RATE, WEIGHT_DECAY, BETA_2 = 3e-4, 0.1, 0.95


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--vocab", type=int, default=65, help="size of the vocabulary")
    parser.add_argument("--dtype", default="float32", choices=["float32", "mixed_bfloat16"])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--length", type=int, default=256, help="tokens in a row")
    parser.add_argument("--batch", type=int, default=8, help="rows in a batch")


def batch(args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(0).integers(0, args.vocab, (args.batch, args.length + 1))
    ids = ids.astype("int32")
    return ids[:, :-1].copy(), ids[:, 1:].copy()


def keras_workload(args: argparse.Namespace, model, inputs) -> Workload:
    _, targets = batch(args)

    def step() -> float:
        return float(np.ravel(model.train_on_batch(inputs, targets))[0])

    return Workload(step, targets.size, "loss")


def keras_optimizer():
    import keras

    return keras.optimizers.AdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY, beta_2=BETA_2)


def keras_lm(args: argparse.Namespace, jit_compile: bool | str) -> Workload:
    import keras

    import keras_lm as klm

    keras.utils.set_random_seed(0)
    config = klm.TransformerConfig(
        vocab_size=args.vocab,
        num_layers=args.layers,
        hidden_dim=args.width,
        num_heads=args.heads,
        feed_forward_dim=4 * args.width,
        max_length=args.length,
        dropout=0.0,
    )
    task = klm.tasks.CausalLM(klm.models.Decoder(config, dtype=args.dtype), tokenizer=None)
    task.compile(optimizer=keras_optimizer(), jit_compile=jit_compile)
    return keras_workload(args, task, batch(args)[0])


@contender("keras_lm", backend="tensorflow")
def keras_lm_default(args: argparse.Namespace) -> Workload:
    return keras_lm(args, "auto")


@contender("keras_lm, XLA", backend="tensorflow")
def keras_lm_xla(args: argparse.Namespace) -> Workload:
    return keras_lm(args, True)


@contender("keras_lm, graph", backend="tensorflow")
def keras_lm_graph(args: argparse.Namespace) -> Workload:
    return keras_lm(args, False)


def keras_hub(args: argparse.Namespace, jit_compile: bool) -> Workload:
    import keras
    import keras_hub

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(args.dtype)
    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=args.vocab,
        num_layers=args.layers,
        num_heads=args.heads,
        hidden_dim=args.width,
        intermediate_dim=4 * args.width,
        dropout=0.0,
        max_sequence_length=args.length,
    )
    task = keras_hub.models.GPT2CausalLM(backbone, preprocessor=None)
    task.compile(
        optimizer=keras_optimizer(),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=None,
        jit_compile=jit_compile,
    )
    ids, _ = batch(args)
    return keras_workload(args, task, {"token_ids": ids, "padding_mask": np.ones_like(ids)})


@contender("keras-hub, XLA", python="BENCH_PY_PEERS", backend="tensorflow")
def keras_hub_xla(args: argparse.Namespace) -> Workload:
    return keras_hub(args, True)


@contender("keras-hub, graph", python="BENCH_PY_PEERS", backend="tensorflow")
def keras_hub_graph(args: argparse.Namespace) -> Workload:
    return keras_hub(args, False)


def transformers(args: argparse.Namespace, compiled: bool) -> Workload:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=args.vocab,
        n_positions=args.length,
        n_embd=args.width,
        n_layer=args.layers,
        n_head=args.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
    )
    model = GPT2LMHeadModel(config).train()
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=LEARNING_RATE,
        betas=(0.9, BETA_2),
        weight_decay=WEIGHT_DECAY,
        fused=True,
    )
    ids, targets = (torch.from_numpy(array).long() for array in batch(args))

    def loss_of_batch():
        with torch.autocast("cpu", torch.bfloat16, enabled=args.dtype == "mixed_bfloat16"):
            logits = model(input_ids=ids).logits
            return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    forward = torch.compile(loss_of_batch) if compiled else loss_of_batch

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = forward()
        loss.backward()
        optimizer.step()
        return loss.item()

    return Workload(step, targets.numel(), "loss")


@contender("Transformers, eager", python="BENCH_PY_PEERS")
def transformers_eager(args: argparse.Namespace) -> Workload:
    return transformers(args, False)


@contender("Transformers, compiled", python="BENCH_PY_PEERS")
def transformers_compiled(args: argparse.Namespace) -> Workload:
    return transformers(args, True)


if __name__ == "__main__":
    main("Training step of a GPT-2, 6 × 384", add_arguments)
