"""A stand-in language model whose probabilities are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from keras import ops

import keras_lm as klm
from keras_lm.models import LanguageModel

MARKOV = np.array(
    [
        [0.00, 0.60, 0.30, 0.10, 0.00],
        [0.05, 0.05, 0.70, 0.10, 0.10],
        [0.10, 0.10, 0.10, 0.60, 0.10],
        [0.20, 0.05, 0.05, 0.30, 0.40],
        [0.50, 0.20, 0.15, 0.10, 0.05],
    ]
)
"""Row: the token before; column: the token after. Greedy goes 0 → 1 → 2 → 3 → 4 → 0 …"""


class MarkovModel(LanguageModel):
    """p(next | last) is a table. Its state is how many tokens it has read; it needs none."""

    def __init__(self, config: Any, table: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config
        size = config.vocab_size
        self.log_probs_after = self.add_weight(shape=(size, size), name="log_probs_after")
        self.built = True
        self.set_table(table)

    def set_table(self, table: Any) -> None:
        """Other probabilities, in a variable: nothing is compiled anew."""
        self.table = np.log(np.maximum(table, 1e-30)).astype("float32")
        self.log_probs_after.assign(self.table)

    def hidden_states(self, inputs: Any, training: bool | None = None) -> Any:
        return ops.take(ops.convert_to_tensor(self.log_probs_after), inputs, axis=0)

    def logits(self, hidden: Any) -> Any:
        return hidden

    def initial_state(self, batch_size: Any, max_length: Any) -> Any:
        return {"read": ops.zeros((batch_size,), "int32")}

    def step(
        self, token_ids: Any, state: Any, lengths: Any = None, last_only: bool = False
    ) -> tuple[Any, Any]:
        read = ops.shape(token_ids)[1] if lengths is None else lengths
        state = {"read": state["read"] + read}
        if last_only:
            last = ops.maximum(lengths - 1, 0)[:, None]
            token_ids = ops.take_along_axis(token_ids, last, axis=1)
        return self.hidden_states(token_ids), state


class SourceMarkov(MarkovModel):
    """A `MarkovModel` that looks at a source, and is not moved by it.

    Each step looks at the source's tokens as a row of `attention` [V, S] says, that of the token
    which the step reads.
    """

    reads_source = True

    def __init__(self, config: Any, table: Any, attention: Any, **kwargs: Any) -> None:
        super().__init__(config, table, **kwargs)
        self.attention = np.asarray(attention, "float32")

    def initial_state(self, batch_size: Any, max_length: Any, source: Any = None) -> Any:
        mask = ops.cast(source["padding_mask"], "bool")
        return {
            "read": ops.zeros((batch_size,), "int32"),
            "source_mask": mask,
            "coverage": ops.zeros(ops.shape(mask), "float32"),
        }

    def step(
        self, token_ids: Any, state: Any, lengths: Any = None, last_only: bool = False
    ) -> tuple[Any, Any]:
        logits, moved = super().step(token_ids, state, lengths, last_only)
        width = ops.shape(state["coverage"])[1]
        each = np.pad(self.attention, [(0, 0), (0, 16)])[:, :width]
        real = ops.arange(ops.shape(token_ids)[1])[None] < (moved["read"] - state["read"])[:, None]
        looked = ops.take(ops.convert_to_tensor(each), token_ids, axis=0)
        looked = ops.sum(ops.where(real[:, :, None], looked, 0.0), axis=1)
        return logits, {**state, **moved, "coverage": state["coverage"] + looked}


@pytest.fixture(scope="session")
def markov() -> Callable[..., MarkovModel]:
    """A function: table [V, V] and longest sequence → model."""

    def make(table: Any = MARKOV, max_length: int = 64) -> MarkovModel:
        config = klm.TransformerConfig(
            vocab_size=len(table), num_layers=1, hidden_dim=2, num_heads=1, max_length=max_length
        )
        return MarkovModel(config, np.asarray(table))

    return make


@pytest.fixture(scope="session")
def source_markov() -> SourceMarkov:
    """3 tokens of targets, of which 0 starts and 2 ends; sources of 7, at most 5, padded with 6."""
    config = klm.EncoderDecoderConfig(
        vocab_size=7,
        num_layers=1,
        hidden_dim=2,
        num_heads=1,
        max_length=8,
        max_source_length=5,
        decoder_start_id=0,
        eos_id=2,
        pad_id=6,
    )
    table = np.full((7, 7), 1e-9)
    table[:3, :3] = [[0.1, 0.5, 0.4], [0.35, 0.25, 0.4], [1.0, 0.0, 0.0]]
    attention = [[0.9, 0.1, 0.0], [0.05, 0.7, 0.25], *([1.0, 0.0, 0.0] for _ in range(5))]
    return SourceMarkov(config, table, attention)
