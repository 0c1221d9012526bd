"""Records small language models of torch's recurrent layers, one `.npz` each, next to this file.

Tests compare `keras_lm` with these files, so that they need no torch. The files are the same on
every run:

    pip install torch==2.13.0
    python tests/golden/make_recurrent.py

Every file (`rnn.npz`, `lstm.npz`, `gru.npz`) holds a model `nn.Embedding` → 2 layers of `nn.RNN`,
`nn.LSTM` or `nn.GRU` → `nn.Linear` without bias, B = 3 rows of T = 11 ids (float32, ids int32):

- `weights/<name>`: every parameter under its name in torch.
- `token_ids`, `targets` [B, T], drawn at random.
- `logits` [B, T, V]: the model's output.
- `loss`: the mean of the nats of the targets.
- `gradients/<name>`: the gradient of the loss by every parameter.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).parent
ROWS, LENGTH, VOCABULARY, EMBEDDING, WIDTH, LAYERS = 3, 11, 17, 6, 8, 2
MAX_BYTES = 60_000


def record(name: str, recurrent: nn.Module, seed: int) -> None:
    model = nn.ModuleDict(
        {
            "embedding": nn.Embedding(VOCABULARY, EMBEDDING),
            "recurrent": recurrent,
            "output": nn.Linear(WIDTH, VOCABULARY, bias=False),
        }
    )
    random = np.random.default_rng(seed)
    for _, parameter in sorted(model.named_parameters()):
        values = random.normal(0, 0.5, size=tuple(parameter.shape))
        parameter.data = torch.from_numpy(values.astype(np.float32))
    token_ids, targets = random.integers(0, VOCABULARY, (2, ROWS, LENGTH)).astype(np.int32)
    hidden, _ = recurrent(model["embedding"](torch.from_numpy(token_ids).long()))
    logits = model["output"](hidden)
    wanted = torch.from_numpy(targets).long().flatten()
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), wanted)
    loss.backward()
    arrays = {
        "token_ids": token_ids,
        "targets": targets,
        "logits": logits.detach().numpy(),
        "loss": loss.detach().numpy(),
    }
    for key, parameter in sorted(model.named_parameters()):
        arrays[f"weights/{key}"] = parameter.detach().numpy()
        arrays[f"gradients/{key}"] = parameter.grad.numpy()
    path = HERE / f"{name}.npz"
    np.savez_compressed(path, **arrays)
    if path.stat().st_size > MAX_BYTES:
        raise SystemExit(f"{path} has {path.stat().st_size} bytes, more than {MAX_BYTES}")
    print(f"{path.name}: {path.stat().st_size} bytes, loss {loss.item():.4f}")


if __name__ == "__main__":
    sizes = {"num_layers": LAYERS, "batch_first": True}
    record("rnn", nn.RNN(EMBEDDING, WIDTH, **sizes), seed=1)
    record("lstm", nn.LSTM(EMBEDDING, WIDTH, **sizes), seed=2)
    record("gru", nn.GRU(EMBEDDING, WIDTH, **sizes), seed=3)
