"""Output layers that are the token embeddings, or a matrix of their own."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class EmbeddingOutput:
    """A language model's output layer by its `token_embedding`, a `ReversibleEmbedding`."""

    config: Any
    token_embedding: Any

    def logits(self, hidden: Any) -> Any:
        """[..., D] → float32 [..., V]."""
        return ops.cast(self.token_embedding(hidden, reverse=True), "float32")

    def output_kernel(self) -> Any | None:
        """The weights [V, D]; None where they are quantized."""
        if self.token_embedding.quantization_mode is not None:
            return None
        if self.config.tie_embeddings:
            return ops.convert_to_tensor(self.token_embedding.embeddings)
        return ops.transpose(ops.convert_to_tensor(self.token_embedding.reverse_embeddings))

    @property
    def output_variables(self) -> list[keras.Variable]:
        """Variables that the hidden states do not depend on."""
        tied = self.config.tie_embeddings
        return [] if tied else [self.token_embedding.reverse_embeddings]


class OutputEmbedding:
    """A language model's output layer by its `output_embedding`, a `ReversibleEmbedding`.

    Tied, that is the `token_embedding`; else it looks nothing up.
    """

    config: Any
    output_embedding: Any

    def logits(self, hidden: Any) -> Any:
        """[..., D] → float32 [..., V]."""
        return ops.cast(self.output_embedding(hidden, reverse=True), "float32")

    def output_kernel(self) -> Any | None:
        """The weights [V, D]; None where they are quantized."""
        if self.output_embedding.quantization_mode is not None:
            return None
        return ops.convert_to_tensor(self.output_embedding.embeddings)

    @property
    def output_variables(self) -> list[keras.Variable]:
        """Variables that the hidden states do not depend on."""
        return [] if self.config.tie_embeddings else self.output_embedding.weights
