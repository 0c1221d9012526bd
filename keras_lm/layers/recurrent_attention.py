"""How a recurrent decoder looks at what was encoded: Bahdanau's and Luong's attention."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_lm.config import Configured, RecurrentSeq2SeqConfig


@keras.saving.register_keras_serializable("keras_lm")
class RecurrentAttention(Configured, keras.layers.Layer):
    """Attention of a recurrent decoder's states h [B, T, D] over a memory m [B, S, D].

        score:        v · tanh(h W + m U)  (additive)  or  h · (m U)  (multiplicative)
        context c:    Σ softmax(scores) m
        attentional:  tanh([c; h] W_c), which the output layer reads

    The scores are Bahdanau's (https://arxiv.org/abs/1409.0473) and Luong's "general" ones
    (https://arxiv.org/abs/1508.04025); what is made of them is Luong's (equation 5) with both. The
    products with U are `keys`, computed once for a source. Softmax is float32.

    Args:
        config: a `RecurrentSeq2SeqConfig`, of which it reads `attention` and `hidden_dim`.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.RecurrentSeq2SeqConfig(
    ...     vocab_size=9, num_layers=1, hidden_dim=8, attention="additive")
    >>> attention, memory = RecurrentAttention(config), ops.ones((2, 5, 8))
    >>> attended, looked_at = attention(ops.ones((2, 3, 8)), memory, attention.keys(memory))
    >>> attended.shape, looked_at.shape
    (TensorShape([2, 3, 8]), TensorShape([2, 3, 5]))
    """

    config_class = RecurrentSeq2SeqConfig

    def __init__(self, config: RecurrentSeq2SeqConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config

        def dense(name: str, **options: Any) -> keras.layers.Dense:
            return keras.layers.Dense(
                config.hidden_dim, use_bias=False, dtype=self.dtype_policy, name=name, **options
            )

        self.key = dense("key")
        if config.attention == "additive":
            self.query = dense("query")
        self.combine = dense("combine", activation="tanh")
        self.build()

    def build(self, inputs_shape: Any = None) -> None:
        width = self.config.hidden_dim
        self.key.build((None, None, width))
        if self.config.attention == "additive":
            self.query.build((None, None, width))
            self.score = self.add_weight(
                shape=(width, 1), initializer="glorot_uniform", name="score"
            )
        self.combine.build((None, None, 2 * width))
        self.built = True

    def keys(self, memory: Any) -> Any:
        """What scores are computed from, [B, S, D], of a memory [B, S, D]."""
        return self.key(memory)

    def tensors(self) -> dict[str, Any]:
        """The weights in the compute dtype but for those of `keys`: what `call` is made of.

        `combine` [2 D, D]; and with additive scores `query` [D, D] and `score` [D, 1].
        """
        weights = {"combine": self.combine.kernel}
        if self.config.attention == "additive":
            weights |= {"query": self.query.kernel, "score": self.score}
        # Reshaping reads a variable into a tensor: TensorFlow's custom gradients take no variables.
        return {
            name: ops.cast(ops.reshape(weight, weight.shape), self.compute_dtype)
            for name, weight in weights.items()
        }

    def call(self, hidden: Any, memory: Any, keys: Any, source_mask: Any = None) -> tuple[Any, Any]:
        """Attends.

        Args:
            hidden: [B, T, D].
            memory: [B, S, D].
            keys: of it.
            source_mask: bool [B, S], True = may be looked at.

        Returns:
            The attentional vectors [B, T, D] in the compute dtype; and what was looked at, float32
            [B, T, S], rows sum to 1.
        """
        if self.config.attention == "additive":
            scores = additive_scores(self.query(hidden), keys, self.score)
        else:
            scores = ops.matmul(hidden, ops.transpose(keys, (0, 2, 1)))
        scores = ops.cast(scores, "float32")
        if source_mask is not None:
            scores = scores + ops.where(source_mask, 0.0, -1e9)[:, None, :]
        looked_at = ops.softmax(scores, axis=-1)
        context = ops.matmul(ops.cast(looked_at, memory.dtype), memory)
        return self.combine(ops.concatenate([context, hidden], axis=-1)), looked_at


def additive_scores(queries: Any, keys: Any, score: Any) -> Any:
    """v · tanh(q + k) of every pair: [B, T, D], [B, S, D], v [D, 1] → [B, T, S]."""
    sums = ops.tanh(queries[:, :, None] + keys[:, None])
    return ops.matmul(sums, ops.cast(score, sums.dtype))[..., 0]
