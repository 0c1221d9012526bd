"""Which key a query may look at. Masks are boolean, True = may attend."""

from __future__ import annotations

from typing import Any

from keras import ops


def causal_mask(query_order: Any, key_order: Any, sliding_window: int | None = None) -> Any:
    """A query sees the keys that stand at or before it.

    Args:
        query_order: int [B or 1, T], where each query stands in its sequence.
        key_order: int [B or 1, S], where each key stands; -1 marks an empty or padded slot.
        sliding_window: a query sees at most this many keys, its own included; default: all.

    Returns:
        bool [B or 1, 1, T, S].

    Example:

    >>> import numpy as np
    >>> order = np.arange(3)[None]
    >>> ops.convert_to_numpy(causal_mask(order, order))[0, 0].astype(int)
    array([[1, 0, 0],
           [1, 1, 0],
           [1, 1, 1]])
    """
    query, key = query_order[:, None, :, None], key_order[:, None, None, :]
    mask = ops.logical_and(key <= query, key >= 0)
    if sliding_window is not None:
        mask = ops.logical_and(mask, query - key < sliding_window)
    return mask


def bidirectional_mask(
    order: Any, padding_mask: Any, sliding_window: int | None = None
) -> Any | None:
    """A query sees every key that is no padding, before it and after it.

    Args:
        order: int [1, T], where each token stands.
        padding_mask: int or bool [B, T], 1 = token; None: there is no padding.
        sliding_window: a query sees the keys less than this far from it; default: all.

    Returns:
        bool, broadcastable to [B, 1, T, T]; None where everything is seen.
    """
    mask = None
    if padding_mask is not None:
        mask = ops.cast(padding_mask, "bool")[:, None, None, :]
    if sliding_window is not None:
        distance = ops.abs(order[:, None, :, None] - order[:, None, None, :])
        near = distance < sliding_window
        mask = near if mask is None else ops.logical_and(mask, near)
    return mask


def same_segment_mask(segment_ids: Any) -> Any:
    """Tokens of one document see each other: int [B, T] → bool [B, 1, T, T]."""
    return ops.equal(segment_ids[:, None, :, None], segment_ids[:, None, None, :])
