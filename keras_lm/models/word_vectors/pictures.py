"""Word vectors to look at: TensorBoard's projector, and a flat map."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

_PROJECTOR = """\
embeddings {
  tensor_name: "word_vectors"
  tensor_path: "vectors.tsv"
  metadata_path: "metadata.tsv"
}
"""


def save_projector(
    words: Sequence[str], vectors: np.ndarray, directory: str | os.PathLike[str]
) -> None:
    """Writes the three files that TensorBoard's projector reads.

    Raises:
        ValueError: a word has a tab or a line break in it, or `directory` is a file.
    """
    for word in words:
        if any(mark in word for mark in "\t\r\n"):
            raise ValueError(f"words: {word!r} has a tab or a line break; a .tsv cannot hold it")
    target = Path(directory)
    if target.exists() and not target.is_dir():
        raise ValueError(f"directory={str(target)!r} is a file; give the path of a directory")
    target.mkdir(parents=True, exist_ok=True)
    rows = ("\t".join(vector.astype(str)) for vector in vectors)
    (target / "vectors.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    # With one column, the projector takes the first line for a word as well: no heading.
    (target / "metadata.tsv").write_text("\n".join(words) + "\n", encoding="utf-8")
    (target / "projector_config.pbtxt").write_text(_PROJECTOR, encoding="utf-8")


def draw_map(words: Sequence[str], points: np.ndarray, path: str | os.PathLike[str]) -> None:
    """Draws words where their first two principal components put them.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: there are fewer than three words.
    """
    if len(words) < 3:
        raise ValueError(f"words: {len(words)} of them; a map takes at least three")
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ImportError("plot needs matplotlib: pip install keras-lm[plots]") from error
    places = principal_places(points)
    size = float(np.clip(1.2 * np.sqrt(len(words)), 5, 20))
    figure = Figure(figsize=(size, 0.8 * size), layout="constrained")
    axes = figure.subplots()
    axes.scatter(places[:, 0], places[:, 1], s=12, color="C3")
    axes.margins(0.12)
    axes.set(xticks=[], yticks=[], title="Word vectors: two principal components")
    figure.draw_without_rendering()  # now a place has its pixel
    _label(axes, places, words)
    figure.savefig(path, dpi=120)


def principal_places(points: np.ndarray) -> np.ndarray:
    """Points [n, D] in the two directions in which they differ most, [n, 2].

    The larger side of each direction is positive, so that the same points give the same map.
    """
    centred = points - points.mean(axis=0)
    left, spread, _ = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(points), 2))
    width = min(2, len(spread))
    places[:, :width] = left[:, :width] * spread[:width]
    largest = np.abs(places).argmax(axis=0)
    return places * np.where(places[largest, [0, 1]] < 0, -1, 1)


def _label(axes: Any, places: np.ndarray, words: Sequence[str]) -> None:
    """Writes each word beside its dot, where no word yet stands, farther off if need be."""
    pixels = axes.transData.transform(places)
    dots_per_point = axes.figure.dpi / 72
    taken = np.zeros((0, 4))
    for place, pixel, word in zip(places, pixels, words):
        width, height = (0.62 * 8 * len(word) + 2) * dots_per_point, 10 * dots_per_point
        offset, box = _free_box(pixel, width, height, taken, pixels)
        taken = np.vstack([taken, box])
        far = bool(np.any(np.abs(offset) > np.array([width, height]) / 2 + height))
        axes.annotate(
            word,
            place,
            xytext=offset / dots_per_point,
            textcoords="offset points",
            fontsize=8,
            ha="center",
            va="center",
            arrowprops={"arrowstyle": "-", "color": "0.7", "lw": 0.5} if far else None,
        )


def _free_box(
    pixel: np.ndarray, width: float, height: float, taken: np.ndarray, dots: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest free place of a label: its centre from the dot, and its box (l, b, r, t)."""
    half = np.array([width, height]) / 2
    best: tuple[int, np.ndarray, np.ndarray] | None = None
    for ring in range(8):
        for angle in np.arange(8) * np.pi / 4:
            reach = half + 3 + ring * height
            offset = reach * np.round([np.cos(angle), np.sin(angle)], 6)
            low, high = pixel + offset - half, pixel + offset + half
            over = np.all((taken[:, :2] < high) & (taken[:, 2:] > low), axis=1).sum()
            over += np.all((dots > low) & (dots < high), axis=1).sum()
            if best is None or over < best[0]:
                best = int(over), offset, np.concatenate([low, high])
            if not over:
                return offset, best[2]
    assert best is not None
    return best[1], best[2]
