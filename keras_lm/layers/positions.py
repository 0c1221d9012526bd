"""Where tokens stand: sinusoids, relative positions, and what a model makes of its config."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lm.config import Configured, TransformerConfig
from keras_lm.layers.rotary import rotary_angles, rotary_frequencies


def sinusoidal_positions(positions: Any, hidden_dim: int) -> Any:
    """Fixed position vectors of "Attention Is All You Need": int [B, T] → float32 [B, T, D].

    Frequency i is `10000^(-2i / D)`. The sines of all frequencies stand before the cosines, as in
    Marian; the paper interleaves them, which is the same up to an order of the components.
    """
    exponents = ops.arange(0, hidden_dim, 2, dtype="float32") / hidden_dim
    frequencies = ops.power(ops.cast(10000.0, "float32"), -exponents)
    angles = ops.cast(positions, "float32")[..., None] * frequencies
    return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)[..., :hidden_dim]


@keras.saving.register_keras_serializable("keras_lm")
class RelativePositions(Configured, keras.layers.Layer):
    """What the distance from a query to a key adds to every head's score, as in T5.

    Distances are sorted into kinds, `relative_buckets` of them: the near ones each by itself, the
    others by their logarithm, up to `relative_distance` (https://arxiv.org/abs/1910.10683). Where a
    query sees both sides, half of the kinds are for keys after it.

    Args:
        config: its `positions`, `num_heads` and `initializer_range` are read.
        bidirectional: a query sees the keys after it too.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.TransformerConfig(vocab_size=9, num_layers=1, hidden_dim=8, num_heads=2,
    ...                                positions="relative")
    >>> order = ops.arange(3)[None]
    >>> RelativePositions(config)(order, order).shape
    TensorShape([1, 2, 3, 3])
    """

    def __init__(
        self, config: TransformerConfig, bidirectional: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.bidirectional = bidirectional
        self.table = keras.layers.Embedding(
            config.positions.relative_buckets,
            config.num_heads,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=config.initializer_range),
            dtype=self.dtype_policy,
            name="table",
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bidirectional": self.bidirectional}

    def build(self, *shapes: Any) -> None:
        self.table.build((None, None))
        self.built = True

    def call(self, query_order: Any, key_order: Any) -> Any:
        """float32 [B or 1, N, T, S].

        Args:
            query_order: int [B or 1, T], where each query stands.
            key_order: int [B or 1, S], where each key stands.
        """
        kinds = self.kinds(key_order[:, None, :] - query_order[:, :, None])
        return ops.cast(ops.transpose(self.table(kinds), (0, 3, 1, 2)), "float32")

    def kinds(self, distances: Any) -> Any:
        """The kind, int32, of each distance int32: the key's place less the query's."""
        count = self.config.positions.relative_buckets
        farthest = self.config.positions.relative_distance
        first: Any = 0
        if self.bidirectional:
            count //= 2
            first = ops.where(distances > 0, count, 0)
            distances = ops.abs(distances)
        else:
            distances = ops.maximum(-distances, 0)
        # A table, not logarithms: those of XLA and of a graph differ in the last bit, and at the
        # border of two kinds that is a different kind.
        known = ops.convert_to_tensor(_kinds_of(count, farthest))
        return first + ops.take(known, ops.minimum(distances, farthest))


def _kinds_of(count: int, farthest: int) -> np.ndarray:
    """The kind of the distances 0 to `farthest`, int32, where there are `count` kinds."""
    near = count // 2
    distances = np.arange(farthest + 1)
    share = np.log((np.maximum(distances, 1) / near).astype(np.float32)) / math.log(farthest / near)
    far = near + (share * (count - near)).astype(np.int32)
    return np.where(distances < near, distances, np.minimum(far, count - 1)).astype(np.int32)


def require_places(
    token_ids: Any, name: str, config: TransformerConfig, longest: Any, padding_mask: Any = None
) -> None:
    """A `ValueError` where there are more tokens than a table of learned positions has rows, or
    than the factors of `"longrope"` are for.

    Args:
        token_ids: int [B, T]; a T that is not known yet is not checked.
        name: what they are called.
        config: of the model.
        longest: the most tokens.
        padding_mask: [B, T], 1 = real: rows that are filled up may be longer than the table. One
            whose values are not known yet is not checked.
    """
    length = token_ids.shape[1]
    scaling = config.positions.rotary_scaling if config.positions.kind == "rotary" else None
    is_limited = scaling is not None and scaling.kind == "longrope"
    if not (is_limited or config.positions.kind == "learned"):
        return
    if not isinstance(length, int) or length <= longest:
        return
    if padding_mask is not None:
        try:
            mask = np.asarray(padding_mask)
        # Of what is symbolic, as in a compiled function: TensorFlow, JAX and Keras, in this order.
        except (NotImplementedError, TypeError, ValueError):
            return
        length = np.sum(mask > 0, axis=1).max(initial=0)
    if length > longest:
        raise ValueError(f"{name} has rows of {length} tokens; the model has {longest} positions")


def embed_places(config: TransformerConfig, vectors: Any, positions: Any, table: Any) -> Any:
    """Token vectors [B, T, D], scaled and with those of their places added, as the config says.

    Args:
        config: of the model.
        vectors: [B, T, D].
        positions: int [B or 1, T].
        table: its embedding of positions; read only where `positions.kind` is `"learned"`.
    """
    if config.scale_embeddings:
        vectors = vectors * ops.cast(vectors.shape[-1] ** 0.5, vectors.dtype)
    if config.positions.kind == "learned":
        return vectors + table(positions + config.position_offset)
    if config.positions.kind == "sinusoidal":
        return vectors + ops.cast(sinusoidal_positions(positions, vectors.shape[-1]), vectors.dtype)
    return vectors


def position_arguments(
    config: TransformerConfig,
    relative: Any,
    query_positions: Any,
    key_positions: Any,
    is_local: bool = False,
) -> dict[str, Any]:
    """What blocks are told of positions, by the names of their arguments: angles, a bias, nothing.

    Args:
        config: of the model.
        relative: its `RelativePositions`; read only where `positions.kind` is `"relative"`.
        query_positions: int [B or 1, T].
        key_positions: int [B or 1, S].
        is_local: the block has a sliding window.
    """
    if config.positions.kind == "rotary":
        how = config.positions.of_layer(is_local)
        frequencies = rotary_frequencies(how, config.attention.head_dim, config.max_length)
        magnitude = 1.0 if how.rotary_scaling is None else how.rotary_scaling.magnitude
        return {"rotary": rotary_angles(query_positions, frequencies, magnitude)}
    if config.positions.kind == "relative":
        return {"position_bias": relative(query_positions, key_positions)}
    return {}
