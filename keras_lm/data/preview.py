"""A batch as a reader sees it: tokens, targets, masks, segments and weights, under each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from keras_lm.tokenizers.base import Tokenizer

# Where the rest of a line is left out, and what stands for a position of padding.
_MORE, _PADDING = "…", "·"
_VALUES_SHOWN = 6


def preview(
    dataset: Any,
    tokenizer: Tokenizer,
    rows: int = 2,
    label_names: Sequence[str] | None = None,
    width: int = 100,
) -> None:
    """Prints the first rows of a batch, every token above what belongs to it.

    It knows the batches of this package by their shapes and names: next tokens, masked tokens,
    corrupted spans, replaced tokens, neighbours, labels of texts and of tokens, answer spans,
    pairs. Targets that are tokens are spelled out; those of masked positions stand below the
    position. A space within a token is shown as ▁, padding as ·. What it does not know is shown
    by shape, dtype and first values.

    Args:
        dataset: a tf.data set, of which one batch is read, or a batch itself: x, `(x, y)` or
            `(x, y, sample_weight)`.
        tokenizer: the tokenizer of the ids.
        rows: how many rows to show.
        label_names: the name of each label, where targets are labels.
        width: the characters of a line; longer ones end in ….

    Raises:
        ValueError: the data set is empty, or `rows` is below 1.

    Example:

    >>> import keras_lm as klm
    >>> tok = klm.tokenizers.BytePairTokenizer.train(texts=["aa"] * 9, vocab_size=258)
    >>> ids = tok("a bc").numpy()[np.newaxis]
    >>> preview(({"token_ids": ids[:, :-1]}, ids[:, 1:]), tok)
    1 row: token_ids int32 [1, 3] | y int32 [1, 3]
    <BLANKLINE>
    row 0
      token_ids  a  ▁  b
      target     ▁  b  c
    """
    if rows < 1:
        raise ValueError(f"rows is {rows}; it must be at least 1")
    x, y, weight = keras.utils.unpack_x_y_sample_weight(_first_batch(dataset))
    inputs, targets = dict(_named(x, "x")), dict(_named(y, "y"))
    weights = {
        "weight" if name == "weight" else f"weight of {name}": array
        for name, array in _named(weight, "weight")
    }
    if list(inputs) == ["x"] and inputs["x"].dtype.kind in "iu" and inputs["x"].ndim == 2:
        inputs = {"token_ids": inputs["x"]}
    arrays = {**inputs, **{_free(name, inputs): array for name, array in targets.items()}}
    fields = _Fields(inputs, targets, weights, _Speller(tokenizer), label_names)

    num_rows = next((len(array) for array in inputs.values() if array.ndim), 0)
    print(_cut(f"{_counted(num_rows, 'row')}: {_described({**arrays, **weights})}", width))
    for row in range(min(rows, num_rows)):
        print(f"\nrow {row}")
        for line in fields.lines(row, num_rows, width - 2):
            print(f"  {line}")
    for name, array in {**arrays, **weights}.items():
        if not _is_of_rows(array, num_rows):
            values = " ".join(_number(value) for value in array.ravel()[:_VALUES_SHOWN])
            more = f" {_MORE}" if array.size > _VALUES_SHOWN else ""
            print(_cut(f"\n{name} {array.dtype} {list(array.shape)}: {values}{more}", width))


class _Fields:
    """The arrays of a batch, and how the cells of one row of them read."""

    def __init__(
        self,
        inputs: Mapping[str, np.ndarray],
        targets: Mapping[str, np.ndarray],
        weights: Mapping[str, np.ndarray],
        spell: _Speller,
        label_names: Sequence[str] | None,
    ) -> None:
        self._inputs, self._targets, self._weights = inputs, targets, weights
        self._spell, self._label_names = spell, label_names
        self._slots = inputs.get("masked_positions") if "token_ids" in inputs else None
        # Slots that are not needed stand at position 0 as well.
        self._is_used = np.ones(0, bool)
        if self._slots is not None:
            self._is_used = self._slots > 0
            for array in weights.values():
                if array.shape == self._slots.shape:
                    self._is_used = array > 0

    def lines(self, row: int, num_rows: int, width: int) -> Iterator[str]:
        """A line of what the row has one of, and a table of what has the same length."""
        single: list[str] = []
        tables: dict[int, dict[str, list[str]]] = {}
        masks: dict[int, np.ndarray] = {}
        for name, array, cells in self._cells(row, num_rows):
            if array.ndim == 1:
                single.append(f"{name} {cells[0]}")
                continue
            tables.setdefault(len(cells), {})[name] = cells
            if name.endswith(("padding_mask", "segment_ids", "context_mask")):
                masks[len(cells)] = array[row] != 0
        if single:
            yield _cut("   ".join(single), width)
        ends = [self._targets.get(name, np.zeros(())) for name in ("start", "end")]
        if "token_ids" in self._inputs and all(end.ndim == 1 for end in ends):
            first, last = (int(end[row]) for end in ends)
            span = self._inputs["token_ids"][row, first : last + 1]
            yield _cut("answer " + " ".join(self._spell(span)), width)
        for length, table in tables.items():
            yield from _table(table, masks.get(length, np.ones(length, bool)), width)

    def _cells(self, row: int, num_rows: int) -> Iterator[tuple[str, np.ndarray, list[str]]]:
        """Each array of the row with its heading and its cells."""
        first = ("token_ids",) if "token_ids" in self._inputs else ()
        for name in dict.fromkeys((*first, *self._inputs)):
            array = self._inputs[name]
            if array is self._slots or not _is_of_rows(array, num_rows):
                continue
            is_ids = name.endswith("token_ids") or name in ("target", "context")
            yield name, array, self._texts(array, row, is_ids and array.dtype.kind in "iu")
        for name, array in self._targets.items():
            if not _is_of_rows(array, num_rows):
                continue
            is_ids = self._fills_slots(array) or self._follows_tokens(array)
            heading = ("target" if is_ids else "label") if name == "y" else name
            if is_ids:
                cells = self._texts(array, row, True)
            else:
                cells = [self._label(value) for value in np.atleast_1d(array[row]).tolist()]
            yield _free(heading, self._inputs), *self._placed(array, row, cells)
        for name, array in self._weights.items():
            if _is_of_rows(array, num_rows):
                yield name, *self._placed(array, row, self._texts(array, row, False))

    def _texts(self, array: np.ndarray, row: int, is_ids: bool) -> list[str]:
        values = np.atleast_1d(array[row])
        return self._spell(values) if is_ids else [_number(value) for value in values]

    def _label(self, value: Any) -> str:
        names = self._label_names
        if names is not None and isinstance(value, int) and 0 <= value < len(names):
            return str(names[value])
        return _number(value)

    def _fills_slots(self, array: np.ndarray) -> bool:
        return self._slots is not None and array.shape == self._slots.shape

    def _placed(
        self, array: np.ndarray, row: int, cells: list[str]
    ) -> tuple[np.ndarray, list[str]]:
        """What belongs to masked positions, moved below the tokens at those positions."""
        if self._slots is None or not self._fills_slots(array):
            return array, cells
        placed = [""] * self._inputs["token_ids"].shape[1]
        for slot in np.flatnonzero(self._is_used[row]):
            placed[self._slots[row, slot]] = cells[slot]
        return self._inputs["token_ids"], placed

    def _follows_tokens(self, array: np.ndarray) -> bool:
        """Whether targets are the inputs' next tokens: wherever one says so, they must be."""
        for name, ids in self._inputs.items():
            if not name.endswith("token_ids") or ids.shape != array.shape or ids.ndim != 2:
                continue
            masks = ("segment_ids", name.replace("token_ids", "padding_mask"))
            known = (self._inputs[mask] for mask in masks if mask in self._inputs)
            segments = next((mask for mask in known if mask.shape == ids.shape), ids != 0)
            inside = (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] > 0)
            if inside.any() and np.array_equal(ids[:, 1:][inside], array[:, :-1][inside]):
                return True
        return False


class _Speller:
    """Ids as a reader wants to see them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._byte_lengths = tokenizer.byte_lengths
        self._known: dict[int, str] = {}

    def __call__(self, ids: np.ndarray) -> list[str]:
        return [self._token(int(i)) for i in ids]

    def _token(self, i: int) -> str:
        if i not in self._known:
            self._known[i] = _visible(self._text(i))
        return self._known[i]

    def _text(self, i: int) -> str:
        """The text of a token if it is just its bytes; else as the vocabulary spells it."""
        try:
            spelled = self._tokenizer.id_to_token(i)
        except ValueError:  # not of this vocabulary
            return f"#{i}"
        text = self._tokenizer.detokenize([i]).numpy()
        if spelled.startswith("##") or len(text) != self._byte_lengths[i]:
            return spelled
        return text.decode("utf-8")


def _first_batch(dataset: Any) -> Any:
    if isinstance(dataset, tuple | Mapping | np.ndarray | tf.Tensor | tf.RaggedTensor):
        return dataset
    for batch in dataset:
        return batch
    raise ValueError("dataset is empty; there is no batch to show")


def _named(value: Any, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of a nest, each by its key; `name` where there is but one."""
    if value is None:
        return
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _named(part, str(key))
    elif isinstance(value, tuple | list):
        for number, part in enumerate(value):
            yield from _named(part, f"{name}[{number}]")
    else:
        yield name, np.asarray(value.to_tensor() if isinstance(value, tf.RaggedTensor) else value)


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """A heading that no input has."""
    return f"y: {name}" if name in taken else name


def _is_of_rows(array: np.ndarray, num_rows: int) -> bool:
    return array.ndim in (1, 2) and len(array) == num_rows


def _described(arrays: Mapping[str, np.ndarray]) -> str:
    return " | ".join(f"{name} {a.dtype} {list(a.shape)}" for name, a in arrays.items())


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _number(value: Any) -> str:
    if isinstance(value, bytes):
        return _visible(value.decode("utf-8", errors="replace"))
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    return str(value)


def _visible(text: str) -> str:
    """Spaces as ▁, and line breaks and other characters without a picture as Python writes them."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text.replace(" ", "▁"))
    return shown or "''"


def _table(table: Mapping[str, list[str]], is_real: np.ndarray, width: int) -> Iterator[str]:
    """Lines of cells below each other; padding at the end is counted, not shown."""
    length = int(np.flatnonzero(is_real)[-1]) + 1 if is_real.any() else 0
    columns = [
        [cells[i] if is_real[i] else _PADDING for cells in table.values()] for i in range(length)
    ]
    headings = list(table)
    if length < len(is_real):
        columns.append([f"{_PADDING} × {len(is_real) - length}", *[""] * (len(table) - 1)])
    left = max(_cell_width(heading) for heading in headings)
    lines = [_padded(heading, left) for heading in headings]
    used = left
    for number, column in enumerate(columns):
        wide = max(_cell_width(cell) for cell in column)
        room = width - used - 2 - (len(_MORE) + 2 if number + 1 < len(columns) else 0)
        if wide > room:
            lines = [f"{line}  {_MORE}" for line in lines]
            break
        lines = [f"{line}  {_padded(cell, wide)}" for line, cell in zip(lines, column, strict=True)]
        used += wide + 2
    yield from (line.rstrip() for line in lines)


def _cell_width(text: str) -> int:
    """The places that a text takes in a terminal: Chinese characters take two."""
    from rich.cells import cell_len

    return cell_len(text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _cell_width(text))


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1] + _MORE
