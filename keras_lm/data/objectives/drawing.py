"""Drawing ids from a distribution, millions a second.

Walker's alias method: K slots of equal width, each shared by at most two ids, so that one uniform
number gives a slot and a side of it (Vose 1991, https://doi.org/10.1109/32.92917).
"""

from __future__ import annotations

import numpy as np


class AliasTable:
    """Draws ids with probabilities proportional to weights; an id of weight 0 is never drawn.

    Args:
        weights: floats or ints [V], finite and at least 0.

    Raises:
        ValueError: a weight is negative or not finite, or all are 0.

    Example:

    >>> table = AliasTable(np.array([0, 1, 3]))
    >>> table.draw(np.random.default_rng(0), 8).tolist()
    [2, 2, 1, 1, 2, 2, 2, 2]
    """

    def __init__(self, weights: np.ndarray) -> None:
        weights = np.asarray(weights, np.float64)
        if not np.all(np.isfinite(weights)) or np.any(weights < 0):
            raise ValueError("weights must be finite and at least 0")
        if not weights.any():
            raise ValueError("weights are 0 for every id that may be drawn; give at least one")
        ids = np.flatnonzero(weights)
        shares = weights[ids] * (len(ids) / weights.sum())
        # A slot of less than its width is filled up by one that has too much.
        own, other = shares.tolist(), list(range(len(ids)))
        lacking = np.flatnonzero(shares < 1).tolist()
        spare = np.flatnonzero(shares >= 1).tolist()
        while lacking and spare:
            slot, giver = lacking.pop(), spare[-1]
            other[slot] = giver
            own[giver] -= 1 - own[slot]
            if own[giver] < 1:
                lacking.append(spare.pop())
        for slot in lacking + spare:  # full, but for rounding
            own[slot] = 1.0
        self._own_share = np.array(own)
        self._own_id = ids.astype(np.int32)
        self._other_id = self._own_id[other]

    def draw(self, random: np.random.Generator, size: int | tuple[int, ...]) -> np.ndarray:
        """Independent ids, int32 of the shape `size`."""
        place = random.random(size) * len(self._own_id)
        slot = place.astype(np.int64)
        is_own = place - slot < self._own_share[slot]
        return np.where(is_own, self._own_id[slot], self._other_id[slot])
