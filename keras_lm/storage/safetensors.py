"""Safetensors: a header of JSON, then the tensors' bytes (https://github.com/huggingface/safetensors).

    8 bytes n, little-endian │ n bytes {name: {"dtype", "shape", "data_offsets"}} │ bytes

Read tensor by tensor, after everything that the header says has been held against the file's
size; written tensor by tensor, so that no second copy of a model is ever in memory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from keras_lm.storage.json_files import read_json

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

LONGEST_HEADER = 100_000_000
"""Bytes of a header that the format's own library still reads."""

_CHUNK = 2**20  # numbers that are written at once

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def numpy_dtype(name: str) -> np.dtype:
    """NumPy's dtype of a name; it has none of its own for bfloat16."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


class SafetensorsFiles:
    """The tensors of a pretrained directory: of `model.safetensors`, or of an index's files.

    Args:
        directory: where they stand.

    Raises:
        FileNotFoundError: a file of weights is missing.
        ValueError: one is damaged, or the index names no files of the directory, or tensors
            that are not in them.
    """

    def __init__(self, directory: Path) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, str] = {}
        self._places: dict[str, tuple[Path, int]] = {}
        index = directory / INDEX
        weight_map = _weight_map(index) if index.is_file() else {}
        for file_name in sorted(set(weight_map.values())) or [WEIGHTS]:
            if Path(file_name).name != file_name:
                raise ValueError(
                    f"{str(index)!r} names a file outside its directory: {file_name!r}"
                )
            file = directory / file_name
            if not file.is_file():
                raise FileNotFoundError(
                    f"no weights: {str(file)!r} does not exist; they are read from safetensors "
                    "files alone, never from pickles such as pytorch_model.bin"
                )
            self._open(file)
        for name, file_name in weight_map.items():
            if self._places.get(name, (None,))[0] != directory / file_name:
                raise ValueError(
                    f"{str(index)!r} says that {name!r} is in {file_name!r}; it is not"
                )

    def _open(self, file: Path) -> None:
        start, header = _header(file)
        for name, (dtype, shape, begin) in header.items():
            if name in self._places:
                other = self._places[name][0]
                raise ValueError(f"{name!r} stands in {str(other)!r} and in {str(file)!r}")
            self.dtypes[name], self.shapes[name] = dtype, shape
            self._places[name] = file, start + begin

    def read(self, name: str) -> np.ndarray:
        """The tensor of that name."""
        file, place = self._places[name]
        shape = self.shapes[name]
        with file.open("rb") as opened:
            opened.seek(place)
            tensor = np.fromfile(opened, numpy_dtype(self.dtypes[name]), math.prod(shape))
        if tensor.size != math.prod(shape):
            raise ValueError(f"{str(file)!r} became shorter: {name!r} is not whole")
        return tensor.reshape(shape)


def _weight_map(index: Path) -> dict[str, str]:
    """Which file holds each tensor."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{str(index)!r} has no 'weight_map'")
    for name, file_name in weight_map.items():
        if not isinstance(file_name, str):
            raise ValueError(f"{str(index)!r} names {file_name!r} for {name!r}; it is no file")
    return weight_map


def _header(file: Path) -> tuple[int, dict[str, tuple[str, tuple[int, ...], int]]]:
    """Where the tensors' bytes begin, and each tensor's dtype, shape and place among them."""

    def damaged(what: str) -> ValueError:
        return ValueError(f"{str(file)!r} is not a whole safetensors file: {what}")

    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if size < 8 or length > min(size - 8, LONGEST_HEADER):
            raise damaged(f"its header is said to have {length} bytes, and the file has {size}")
        raw = opened.read(length)
    try:
        listed = json.loads(raw.decode("utf-8"), object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise damaged(f"its header is not valid JSON: {error}") from error
    if not isinstance(listed, dict):
        raise damaged("its header is no JSON object")
    listed.pop("__metadata__", None)
    tensors: dict[str, tuple[str, tuple[int, ...], int]] = {}
    ends: list[tuple[int, int, str]] = []
    for name, entry in listed.items():
        try:
            dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
            begin, end = entry["data_offsets"]
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(f"it says {_short(entry)} of the tensor {name!r}") from error
        if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
            raise damaged(f"it says {_short(entry)} of the tensor {name!r}")
        if end - begin != math.prod(shape) * numpy_dtype(dtype).itemsize:
            raise damaged(
                f"the tensor {name!r} of {dtype} {list(shape)} is said to have {end - begin} bytes"
            )
        tensors[name] = dtype, shape, begin
        ends.append((begin, end, name))
    reached = 0
    for begin, end, name in sorted(ends):
        if begin != reached:
            raise damaged(f"the tensor {name!r} begins at byte {begin}, not at {reached}")
        reached = end
    if reached != size - 8 - length:
        raise damaged(f"its tensors have {reached} bytes, and {size - 8 - length} are there")
    return 8 + length, tensors


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) < 100 else shown[:100] + "…"


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands in it twice")
    return found


def write_safetensors(
    file: Path,
    layout: Mapping[str, tuple[str, Sequence[int]]],
    tensors: Iterable[tuple[str, np.ndarray]],
) -> None:
    """Writes a file of tensors, one after the other.

    Args:
        file: where.
        layout: the dtype and the shape of each tensor by its name, in their order.
        tensors: the names and the arrays, in the same order; each is asked for when its turn
            has come.

    Example:

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> ones = np.ones((2, 3), "float32")
    >>> write_safetensors(folder / WEIGHTS, {"w": ("float32", (2, 3))}, [("w", ones)])
    >>> SafetensorsFiles(folder).read("w").tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # Transformers asks for it
    reached = 0
    for name, (dtype, shape) in layout.items():
        end = reached + math.prod(shape) * numpy_dtype(dtype).itemsize
        header[name] = {
            "dtype": _NAMES[dtype],
            "shape": [int(size) for size in shape],
            "data_offsets": [reached, end],
        }
        reached = end
    raw = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    with file.open("wb") as opened:
        opened.write(len(raw).to_bytes(8, "little") + raw)
        for (name, (dtype, shape)), (given, tensor) in zip(layout.items(), tensors, strict=True):
            if (name, dtype, tuple(shape)) != (given, tensor.dtype.name, tensor.shape):
                raise ValueError(f"tensor {given!r} is not what the layout says of {name!r}")
            _write(opened, tensor)


def _write(opened: BinaryIO, tensor: np.ndarray) -> None:
    """Writes an array row by row: one that is turned is never copied as a whole."""
    rows = tensor.reshape(1, -1) if tensor.ndim < 2 else tensor
    at_once = max(1, _CHUNK * len(rows) // max(rows.size, 1))
    for begin in range(0, len(rows), at_once):
        opened.write(np.ascontiguousarray(rows[begin : begin + at_once]).tobytes())
