"""The same recurrent language model trained by keras_lm and by torch: how far apart are they?

Bytes of a text, one layer; the same initial weights, batches in the same order (truncated
back-propagation, the state carried from batch to batch), AdamW with the same settings. Both models
are then validated on the start of valid.txt, read as one sequence a row with no state given.
The two losses should be within 0.02 nats a byte; what differs is the order of float32 sums.

    BENCH_PY_PEERS=…/python python benchmarks/recurrent_quality.py ../shared/data/tinyshakespeare
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

VOCABULARY, LEARNING_RATE, WEIGHT_DECAY = 256, 2e-3, 0.1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("folder", help="with train.txt and valid.txt")
    parser.add_argument("--cell", default="lstm", choices=["lstm", "gru"])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--torch", help=argparse.SUPPRESS)
    return parser.parse_args()


def pairs(path: Path, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """The start of a text as rows of bytes, and the bytes that follow."""
    text = np.frombuffer(path.read_bytes()[: rows * columns + 1], np.uint8).astype("int32")
    return text[:-1].reshape(rows, columns), text[1:].reshape(rows, columns)


def data(args: argparse.Namespace) -> tuple[list, tuple[np.ndarray, np.ndarray]]:
    """Training batches, in which each row goes on where it ended; and what to validate on."""
    inputs, targets = pairs(Path(args.folder) / "train.txt", args.batch, args.steps * args.length)
    starts = range(0, inputs.shape[1], args.length)
    batches = [(inputs[:, s : s + args.length], targets[:, s : s + args.length]) for s in starts]
    return batches, pairs(Path(args.folder) / "valid.txt", 16, 512)


def train_ours(args: argparse.Namespace, weights_file: Path) -> float:
    import keras

    import keras_lm as klm

    keras.utils.set_random_seed(0)
    config = klm.RecurrentConfig(
        cell=args.cell, vocab_size=VOCABULARY, num_layers=1, hidden_dim=args.width
    )
    model = klm.models.RecurrentLM(config)
    np.savez(weights_file, *model.get_weights())
    model.carry_state(args.batch)
    task = klm.tasks.CausalLM(model, sequence_length=args.length)
    task.compile(
        keras.optimizers.AdamW(
            LEARNING_RATE, weight_decay=WEIGHT_DECAY, epsilon=1e-8, global_clipnorm=1.0
        )
    )
    batches, (inputs, targets) = data(args)
    for number, (x, y) in enumerate(batches):
        continues = np.full(args.batch, min(number, 1), "int32")
        task.train_on_batch({"token_ids": x, "continues": continues}, y)
    return float(-np.mean(model.log_probs(inputs, targets)))


def train_torch(args: argparse.Namespace) -> float:
    import torch

    torch.set_num_threads(1)
    nn = torch.nn
    cell = {"lstm": nn.LSTM, "gru": nn.GRU}[args.cell](args.width, args.width, batch_first=True)
    embedding = nn.Embedding(VOCABULARY, args.width)
    output = nn.Linear(args.width, VOCABULARY, bias=False)
    with np.load(args.torch) as file:
        first, kernel, recurrent, bias, last = (torch.from_numpy(a) for a in file.values())
    order = slice(None) if args.cell == "lstm" else [1, 0, 2]  # torch's r, z, n

    def gates(columns: torch.Tensor) -> torch.Tensor:
        return columns.unflatten(-1, (-1, args.width))[..., order, :].flatten(-2)

    with torch.no_grad():
        embedding.weight.copy_(first)
        output.weight.copy_(last)
        cell.weight_ih_l0.copy_(gates(kernel).T)
        cell.weight_hh_l0.copy_(gates(recurrent).T)
        cell.bias_ih_l0.copy_(gates(bias[0] if args.cell == "gru" else bias))
        cell.bias_hh_l0.copy_(gates(bias[1]) if args.cell == "gru" else cell.bias_hh_l0 * 0)
    if args.cell == "lstm":  # Keras has one bias, and two would learn at twice the rate
        cell.bias_hh_l0.requires_grad_(False)
    modules = nn.ModuleList([embedding, cell, output])
    parameters = [p for p in modules.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    batches, (inputs, targets) = data(args)

    def loss_of(x: np.ndarray, y: np.ndarray, state):
        hidden, state = cell(embedding(torch.from_numpy(x).long()), state)
        wanted = torch.from_numpy(y.copy()).long().flatten()
        return nn.functional.cross_entropy(output(hidden).flatten(0, 1), wanted), state

    state = None
    for x, y in batches:
        optimizer.zero_grad(set_to_none=True)
        loss, state = loss_of(x, y, state)
        state = tuple(part.detach() for part in state) if args.cell == "lstm" else state.detach()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    with torch.no_grad():
        return loss_of(inputs, targets, None)[0].item()


def main() -> None:
    args = arguments()
    if args.torch:
        print(train_torch(args))
        return
    with tempfile.TemporaryDirectory() as folder:
        weights_file = Path(folder) / "initial.npz"
        begun = time.process_time()
        ours = train_ours(args, weights_file)
        print(f"keras_lm: {ours:.4f} nats a byte, {time.process_time() - begun:.0f} s")
        python = os.environ.get("BENCH_PY_PEERS", sys.executable)
        command = [python, *sys.argv, "--torch", str(weights_file)]
        begun = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    theirs = float(done.stdout.split()[-1])
    print(f"torch: {theirs:.4f} nats a byte, {time.perf_counter() - begun:.0f} s by the clock")
    print(f"difference {ours - theirs:+.4f}")


if __name__ == "__main__":
    main()
