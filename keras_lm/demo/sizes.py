"""The demo's models."""

from __future__ import annotations

from typing import NamedTuple


class Size(NamedTuple):
    """A GPT and its training."""

    vocab_size: int
    num_layers: int
    hidden_dim: int
    num_heads: int
    max_length: int
    batch_size: int
    steps: int
    learning_rate: float


# "small" is sized so that the whole demo takes under three minutes on two cores.
SIZES = {
    "tiny": Size(512, 2, 64, 2, 128, 8, 100, 3e-3),
    "small": Size(2048, 4, 128, 4, 256, 4, 1400, 4e-3),
    "base": Size(4096, 8, 512, 8, 512, 16, 3000, 1e-3),
}
