"""Moving what is kept of each row to the row's left edge."""

from __future__ import annotations

import numpy as np


def left_slots(kept: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column and new column of all that is kept of bool [B, T], in reading order.

    Example:

    >>> row, column, slot = left_slots(np.array([[False, True, True], [True, False, True]]))
    >>> row.tolist(), column.tolist(), slot.tolist()
    ([0, 0, 1, 1], [1, 2, 0, 2], [0, 1, 0, 1])
    """
    row, column = np.nonzero(kept)
    return row, column, (np.cumsum(kept, axis=1) - 1)[row, column]
