"""The example store: tokenized examples with their labels, read by number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_lm.data.examples.sequences import Sequences

# What Keras takes: x, y and sample_weight, each an array or a dict of arrays.
Batch = tuple[dict[str, Any], Any, Any]

_MASKS = ("padding_mask", "decoder_padding_mask")


@dataclass(frozen=True, eq=False)
class ExampleStore:
    """Examples of one or two sequences of tokens each, and of values such as a label.

    The builders (`classification`, `sequence_pairs`, …) make it; `bucket_plan(store.lengths, …)`
    says which examples share a batch, and `example_batches` reads them.

    Args:
        sequences: one, or two where source and target differ in length; a row an example.
        values: name to array, [examples] or [examples, C].
        inputs: the columns and values that a model reads, which make up x. The mask of each
            sequence joins them: `padding_mask`, and `decoder_padding_mask` of the second.
        targets: those that it predicts: one makes up y, several a dict.
        weights: the column that says which targets count. None: every token that is not padding
            where the target is a column, every example where it is a value.
        label_names: the name of each label, if the targets have names.

    Raises:
        ValueError: the parts differ in their number of examples, or a name is in none of them.

    Example:

    >>> store = ExampleStore(
    ...     (Sequences({"token_ids": np.array([7, 8, 9], "int32")}, np.array([0, 2, 3])),),
    ...     values={"label": np.array([1, 0], "int32")},
    ...     inputs=("token_ids",), targets=("label",))
    >>> len(store), store.lengths.tolist()
    (2, [[2], [1]])
    >>> x, y, weight = store.rows(np.array([1, -1]), widths=[2])
    >>> x["token_ids"].tolist(), x["padding_mask"].tolist(), y.tolist(), weight.tolist()
    ([[9, 0], [0, 0]], [[1, 0], [1, 0]], [0, 0], [1.0, 0.0])
    """

    sequences: tuple[Sequences, ...]
    values: Mapping[str, np.ndarray]
    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    weights: str | None = None
    label_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        known = set(self.values).union(*(sequence.columns for sequence in self.sequences))
        for name in self._read:
            if name not in known:
                raise ValueError(f"{name!r} is no column and no value; there are {sorted(known)}")
        sizes = {len(sequence) for sequence in self.sequences}
        sizes |= {len(values) for values in self.values.values()}
        if len(sizes) > 1:
            raise ValueError(f"the parts have {sorted(sizes)} examples; they must have one number")

    def __len__(self) -> int:
        return len(self.sequences[0])

    @property
    def _read(self) -> tuple[str, ...]:
        """What a batch is made of; other columns and values are for decoding."""
        return (*self.inputs, *self.targets, *([self.weights] if self.weights else []))

    @property
    def lengths(self) -> np.ndarray:
        """int64 [examples, sequences], the tokens of each."""
        return np.stack([sequence.lengths for sequence in self.sequences], axis=1)

    def rows(
        self, numbers: np.ndarray, widths: Sequence[int], rng: np.random.Generator | None = None
    ) -> Batch:
        """Reads examples as a batch, padded with 0.

        Args:
            numbers: int64 [B]; -1 is a row of padding and of weight 0. Its mask keeps the first
                position, so that no model divides by the length 0.
            widths: what each sequence is padded to.
            rng: not used; examples that are drawn afresh take their randomness from it.

        Returns:
            `(x, y, sample_weight)` in NumPy: ids, masks and labels int32; weights float32, [B] for
            a value and [B, T] for a column.

        Raises:
            ValueError: an example is longer than the width.
        """
        arrays: dict[str, np.ndarray] = {}
        masks: dict[str, np.ndarray] = {}
        counts: dict[str, np.ndarray] = {}
        present = numbers >= 0
        for sequence, width, mask in zip(self.sequences, widths, _MASKS, strict=False):
            names = [name for name in sequence.columns if name in self._read]
            arrays |= sequence.dense(numbers, width, names)
            masks[mask] = sequence.mask(numbers, width)
            real = (masks[mask] * present[:, np.newaxis]).astype(np.float32)
            counts |= dict.fromkeys(sequence.columns, real)
        for name in [name for name in self.values if name in self._read]:
            chosen = self.values[name][numbers]
            chosen[~present] = 0
            arrays[name] = chosen
            counts[name] = present.astype(np.float32)
        if self.weights is not None:
            counts = dict.fromkeys(self.targets, arrays[self.weights])
        x = {name: arrays[name] for name in self.inputs} | masks
        return x, self._of_targets(arrays), self._of_targets(counts)

    def _of_targets(self, arrays: Mapping[str, np.ndarray]) -> Any:
        if len(self.targets) == 1:
            return arrays[self.targets[0]]
        return {name: arrays[name] for name in self.targets}
