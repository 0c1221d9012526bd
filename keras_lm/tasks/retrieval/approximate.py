"""Approximate search of vectors, by the library faiss."""

from __future__ import annotations

from typing import Any

import numpy as np

NEIGHBOURS = 32
"""Edges of a vector in the graph."""
SEARCH_WIDTH = 128
"""Vectors that a search keeps in view, or k · 2 if that is more."""


class NeighbourGraph:
    """A graph of near vectors (HNSW), searched by walking from one to the next.

    Args:
        vectors: float32 [n, D], compared by their product.

    Raises:
        ImportError: faiss is not installed.
    """

    def __init__(self, vectors: np.ndarray) -> None:
        try:
            import faiss
        except ImportError as error:
            raise ImportError(
                "approximate search needs faiss: pip install 'keras-lm[search]'"
            ) from error
        self._index: Any = faiss.IndexHNSWFlat(
            vectors.shape[1], NEIGHBOURS, faiss.METRIC_INNER_PRODUCT
        )
        self._index.hnsw.efConstruction = SEARCH_WIDTH
        self._index.add(vectors)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers and scores [B, k] of near vectors, nearest first; -1 where none was found."""
        self._index.hnsw.efSearch = max(SEARCH_WIDTH, 2 * k)
        scores, numbers = self._index.search(queries, k)
        return numbers, scores
