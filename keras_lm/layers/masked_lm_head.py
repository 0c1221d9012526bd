"""The output layer of masked language models."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_lm.config import Configured, EncoderConfig
from keras_lm.layers.feed_forward import activate
from keras_lm.layers.initialization import initial_weights
from keras_lm.layers.normalization import make_norm


@keras.saving.register_keras_serializable("keras_lm")
class MaskedLMHead(Configured, keras.layers.Layer):
    """Hidden states [B, M, D] → what is compared with the token vectors, [B, M, E].

    A dense layer, the activation and a norm (Devlin et al. 2018). Logits are the product of the
    result with the token embeddings, or with a matrix of the head's own, plus a bias.

    Args:
        config: an `EncoderConfig`.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.EncoderConfig(vocab_size=9, num_layers=1, hidden_dim=8, num_heads=2)
    >>> MaskedLMHead(config)(ops.ones((1, 3, 8))).shape
    TensorShape([1, 3, 8])
    """

    config_class = EncoderConfig

    def __init__(self, config: EncoderConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.transform = keras.layers.Dense(
            config.embedding_dim,
            kernel_initializer=initial_weights(config),
            dtype=self.dtype_policy,
            name="transform",
        )
        self.norm = make_norm(config, "norm", self.dtype_policy)

    def build(self, inputs_shape: Any) -> None:
        config = self.config
        self.transform.build((None, None, config.hidden_dim))
        self.norm.build((None, None, config.embedding_dim))
        self.bias = self.add_weight(shape=(config.vocab_size,), initializer="zeros", name="bias")
        if not config.tie_embeddings:
            self.kernel = self.add_weight(
                shape=(config.vocab_size, config.embedding_dim),
                initializer=initial_weights(config),
                name="kernel",
            )
        self.built = True

    def call(self, hidden: Any) -> Any:
        activation = "gelu" if self.config.activation == "swiglu" else self.config.activation
        return self.norm(activate(self.transform(hidden), activation))

    def output_kernel(self, embeddings: Any) -> Any:
        """The matrix [V, E] of the logits, where the token embeddings are `embeddings`."""
        return ops.convert_to_tensor(embeddings if self.config.tie_embeddings else self.kernel)

    def logits(self, transformed: Any, embeddings: Any) -> Any:
        """float32 [..., V] of what `call` gives."""
        kernel = ops.cast(self.output_kernel(embeddings), transformed.dtype)
        logits = ops.cast(ops.matmul(transformed, ops.transpose(kernel)), "float32")
        return logits + ops.cast(self.bias, "float32")
