"""The output layer of Transformers: the token embeddings, or a matrix beside them."""

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
