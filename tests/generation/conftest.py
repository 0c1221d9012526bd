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
        self.table = np.log(np.maximum(table, 1e-30)).astype("float32")
        self.built = True

    def hidden_states(self, inputs: Any, training: bool | None = None) -> Any:
        return ops.take(ops.convert_to_tensor(self.table), inputs, axis=0)

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


@pytest.fixture(scope="session")
def markov() -> Callable[..., MarkovModel]:
    """A function: table [V, V] and longest sequence → model."""

    def make(table: Any = MARKOV, max_length: int = 64) -> MarkovModel:
        config = klm.TransformerConfig(
            vocab_size=len(table), num_layers=1, hidden_dim=2, num_heads=1, max_length=max_length
        )
        return MarkovModel(config, np.asarray(table))

    return make
