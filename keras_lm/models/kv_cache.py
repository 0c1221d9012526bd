"""The cache of keys and values that Transformers keep between steps."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_lm.config import TransformerConfig

Cached = dict[str, Any]


def empty_cache(config: TransformerConfig, batch_size: Any, max_length: Any, dtype: Any) -> Cached:
    """A KV cache before the first token.

    Returns:
        A dict: `keys` and `values`, each a tuple of L tensors [B, K, S, H]; `positions` int [B, S],
        where the token in each slot stands, -1 if it is empty; `next_position` and `next_slot`,
        int [B]. A slot is the same for the whole batch, a position is not, where prompts are
        ragged: so a step writes one slice, and no scatter.
    """
    shape = (batch_size, config.num_kv_heads, max_length, config.attention.head_dim)

    def empty() -> tuple[Any, ...]:
        return tuple(ops.zeros(shape, dtype) for _ in range(config.num_layers))

    return {
        "keys": empty(),
        "values": empty(),
        "positions": ops.full((batch_size, max_length), -1, "int32"),
        "next_position": ops.zeros((batch_size,), "int32"),
        "next_slot": ops.zeros((batch_size,), "int32"),
    }


def reserve(cache: Cached, token_ids: Any, lengths: Any = None) -> tuple[Any, Any, Any, Cached]:
    """Makes room for the next tokens.

    Args:
        cache: a KV cache.
        token_ids: int [B, T].
        lengths: int [B], how many of the T tokens are real (the first ones); default: all.

    Returns:
        Where each token stands, int [B, T]; the slot from which on they are to be written; their
        `lengths`; and the cache in which all this is noted, still without their keys and values.
    """
    batch, length = ops.shape(token_ids)
    offsets = ops.arange(length, dtype="int32")[None]
    if lengths is None:
        lengths = ops.zeros((batch,), "int32") + length
    real = offsets < lengths[:, None]
    # A padded prompt may be longer than the model, where no position could be looked up.
    positions = ops.where(real, cache["next_position"][:, None] + offsets, 0)
    slot = cache["next_slot"][0]
    noted = ops.slice_update(cache["positions"], (0, slot), ops.where(real, positions, -1))
    return (
        positions,
        slot,
        lengths,
        {
            **cache,
            "positions": noted,
            "next_position": cache["next_position"] + lengths,
            "next_slot": cache["next_slot"] + length,
        },
    )


def last_real(hidden: Any, lengths: Any) -> Any:
    """The state of the last real token, [B, 1, D], of states [B, T, D]."""
    return ops.take_along_axis(hidden, ops.maximum(lengths - 1, 0)[:, None, None], axis=1)
