"""Where tensors come from: names and shapes are known before any is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np


class TensorSource(Protocol):
    """Tensors in files. Opening one reads and checks what the files say of them, no tensor."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each tensor, by its name."""
        ...

    @property
    def dtypes(self) -> Mapping[str, str]:
        """What `read` gives for each tensor, as NumPy names it."""
        ...

    def read(self, name: str) -> np.ndarray:
        """The tensor of that name.

        Raises:
            ValueError: the file has changed, or the tensor's kind cannot be read; names both.
        """
        ...
