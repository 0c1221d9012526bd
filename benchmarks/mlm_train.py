"""One training step of a small BERT (6 layers of width 384, AdamW) that says masked tokens.

keras_lm and keras-hub run `train_on_batch`, which is the train function of `fit`; Transformers runs
the usual torch step. As shipped, its `BertForMaskedLM` projects every position to the vocabulary;
here it, too, gathers the masked rows first, as its users do who want speed (`--whole` leaves it as
shipped). Weights are random, the batch is the same every time, and all contenders take the same
number of steps: about the same loss must come out, or else something was not computed.
"""

import argparse

import numpy as np
from driver import Workload, contender, main

LEARNING_RATE, WEIGHT_DECAY = 1e-4, 0.01


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--vocab", type=int, default=30522, help="size of the vocabulary")
    parser.add_argument("--dtype", default="float32", choices=["float32", "mixed_bfloat16"])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--length", type=int, default=128, help="tokens in a row")
    parser.add_argument("--batch", type=int, default=16, help="rows in a batch")
    parser.add_argument("--masked", type=int, default=20, help="masked tokens in a row")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument(
        "--whole", action="store_true", help="Transformers projects all positions, as shipped"
    )


def batch(args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids [B, T]; positions of the masked ones [B, M]; what stood there [B, M]."""
    random = np.random.default_rng(0)
    ids = random.integers(0, args.vocab, (args.batch, args.length)).astype("int32")
    positions = random.permuted(np.tile(np.arange(args.length), (args.batch, 1)), axis=1)
    positions = np.sort(positions[:, : args.masked], axis=1).astype("int32")
    return ids, positions, np.take_along_axis(ids, positions, 1)


def keras_workload(model, inputs: dict[str, np.ndarray], targets: np.ndarray) -> Workload:
    def step() -> float:
        return float(np.ravel(model.train_on_batch(inputs, targets))[0])

    return Workload(step, inputs["token_ids"].size, "loss")


def keras_optimizer():
    import keras

    return keras.optimizers.AdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY)


def keras_lm(args: argparse.Namespace, jit_compile: bool | str) -> Workload:
    import keras

    import keras_lm as klm

    keras.utils.set_random_seed(0)
    config = klm.EncoderConfig(
        vocab_size=args.vocab,
        num_layers=args.layers,
        hidden_dim=args.width,
        num_heads=args.heads,
        max_length=args.length,
        dropout=args.dropout,
        activation="gelu_tanh",  # keras-hub's
    )
    task = klm.tasks.MaskedLM(klm.models.Encoder(config, dtype=args.dtype), tokenizer=None)
    task.compile(optimizer=keras_optimizer(), jit_compile=jit_compile)
    ids, positions, targets = batch(args)
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids), "masked_positions": positions}
    return keras_workload(task, inputs, targets)


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
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=args.vocab,
        num_layers=args.layers,
        num_heads=args.heads,
        hidden_dim=args.width,
        intermediate_dim=4 * args.width,
        dropout=args.dropout,
        max_sequence_length=args.length,
    )
    task = keras_hub.models.BertMaskedLM(backbone, preprocessor=None)
    task.compile(
        optimizer=keras_optimizer(),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=None,
        jit_compile=jit_compile,
    )
    ids, positions, targets = batch(args)
    inputs = {
        "token_ids": ids,
        "padding_mask": np.ones_like(ids),
        "segment_ids": np.zeros_like(ids),
        "mask_positions": positions,
    }
    return keras_workload(task, inputs, targets)


@contender("keras-hub, XLA", python="BENCH_PY_PEERS", backend="tensorflow")
def keras_hub_xla(args: argparse.Namespace) -> Workload:
    return keras_hub(args, True)


@contender("keras-hub, graph", python="BENCH_PY_PEERS", backend="tensorflow")
def keras_hub_graph(args: argparse.Namespace) -> Workload:
    return keras_hub(args, False)


def transformers(args: argparse.Namespace, compiled: bool) -> Workload:
    import torch
    from transformers import BertConfig, BertForMaskedLM

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=args.vocab,
        hidden_size=args.width,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        intermediate_size=4 * args.width,
        max_position_embeddings=args.length,
        hidden_dropout_prob=args.dropout,
        attention_probs_dropout_prob=args.dropout,
        hidden_act="gelu_new",
    )
    model = BertForMaskedLM(config).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
    )
    ids, positions, targets = (torch.from_numpy(array).long() for array in batch(args))
    mask = torch.ones_like(ids)

    def loss_of_batch():
        with torch.autocast("cpu", torch.bfloat16, enabled=args.dtype == "mixed_bfloat16"):
            if args.whole:
                logits = model(input_ids=ids, attention_mask=mask).logits
                logits = torch.gather(logits, 1, positions[..., None].expand(-1, -1, args.vocab))
            else:
                hidden = model.bert(input_ids=ids, attention_mask=mask).last_hidden_state
                rows = positions[..., None].expand(-1, -1, args.width)
                logits = model.cls(torch.gather(hidden, 1, rows))
            logits = logits.flatten(0, 1).float()
            return torch.nn.functional.cross_entropy(logits, targets.flatten())

    forward = torch.compile(loss_of_batch) if compiled else loss_of_batch

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = forward()
        loss.backward()
        optimizer.step()
        return loss.item()

    return Workload(step, ids.numel(), "loss")


@contender("Transformers, eager", python="BENCH_PY_PEERS")
def transformers_eager(args: argparse.Namespace) -> Workload:
    return transformers(args, False)


@contender("Transformers, compiled", python="BENCH_PY_PEERS")
def transformers_compiled(args: argparse.Namespace) -> Workload:
    return transformers(args, True)


if __name__ == "__main__":
    main("Training step of a masked language model, 6 × 384", add_arguments)
