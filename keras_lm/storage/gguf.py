"""GGUF, the format of llama.cpp (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).

    "GGUF" │ version │ counts │ metadata: key, type, value … │ tensors: name, sizes, type, place …
    │ padding │ the tensors' bytes, each aligned

Read with checks of our own: nothing is allocated for what the file is too short to hold. What the
quantized blocks mean is left to the package `gguf`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

_SCALARS = dict(enumerate(("u1", "i1", "u2", "i2", "u4", "i4", "f4", "?")))
_SCALARS |= {10: "u8", 11: "i8", 12: "f8"}
_STRING, _ARRAY = 8, 9
_CHUNK = 2**22  # elements that are dequantized at once
_MOST_SIZES = 4


class GGUFTensor(NamedTuple):
    """What the file says of a tensor: `shape`, the slowest axis first; `kind`, GGML's number."""

    shape: tuple[int, ...]
    kind: int
    place: int


class GGUFFile:
    """A GGUF file, opened: its metadata, and what it says of its tensors.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged or truncated, or of a version that is not supported.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"no file {str(path)!r}")
        self.path = path
        self.metadata: dict[str, Any] = {}
        """Strings, numbers, lists of strings, and arrays of numbers, by their keys."""
        self.tensors: dict[str, GGUFTensor] = {}
        with path.open("rb") as opened:
            reader = _Reader(opened, path)
            self._read(reader)
            alignment = self.metadata.get("general.alignment", 32)
            if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
                raise reader.damaged(f"general.alignment={alignment!r} is no power of two")
        self.alignment = alignment
        self.start = reader.place + -reader.place % alignment
        self.size = reader.size

    def _read(self, reader: _Reader) -> None:
        if reader.take(4) != b"GGUF":
            raise reader.damaged("it does not begin with 'GGUF'")
        version = reader.number("u4")
        if version not in (2, 3):
            raise reader.damaged(f"it has version {version}; versions 2 and 3 are supported")
        num_tensors, num_keys = reader.number("u8"), reader.number("u8")
        for _ in range(num_keys):
            key = reader.text()
            if key in self.metadata:
                raise reader.damaged(f"the key {key!r} stands in it twice")
            self.metadata[key] = reader.value(reader.number("u4"), key)
        for _ in range(num_tensors):
            name, count = reader.text(), reader.number("u4")
            if name in self.tensors or count > _MOST_SIZES:
                raise reader.damaged(f"the tensor {name!r} stands in it twice, or has {count} axes")
            sizes = [reader.number("u8") for _ in range(count)]
            kind, place = reader.number("u4"), reader.number("u8")
            self.tensors[name] = GGUFTensor(tuple(reversed(sizes)), kind, place)


class _Reader:
    """Takes values off a file, never more than it has."""

    def __init__(self, opened: BinaryIO, path: Path) -> None:
        self._opened, self._path = opened, path
        self.size = path.stat().st_size
        self.place = 0

    def damaged(self, what: str) -> ValueError:
        return ValueError(f"{str(self._path)!r} is not a whole GGUF file: {what}")

    def take(self, count: int) -> bytes:
        if count > self.size - self.place:
            raise self.damaged(f"it ends at byte {self.size}, before {count} more at {self.place}")
        self.place += count
        taken = self._opened.read(count)
        if len(taken) < count:
            raise self.damaged("it became shorter while it was read")
        return taken

    def number(self, kind: str) -> Any:
        dtype = np.dtype(kind).newbyteorder("<")
        value = np.frombuffer(self.take(dtype.itemsize), dtype)[0]
        # 1e-5 was written, and 9.999999747e-06 is what float32 makes of it.
        return float(str(value)) if kind == "f4" else value.item()

    def text(self) -> str:
        (length,) = struct.unpack("<Q", self.take(8))
        place = self.place
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.damaged(f"the string at byte {place} is not UTF-8") from error

    def value(self, kind: int, key: str) -> Any:
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return self.number(self._scalar(kind, key))
        kind, count = self.number("u4"), self.number("u8")
        if kind == _STRING:
            if count > (self.size - self.place) // 8:
                raise self.damaged(f"{key!r} is said to have {count} strings")
            return [self.text() for _ in range(count)]
        dtype = np.dtype(self._scalar(kind, key)).newbyteorder("<")
        return np.frombuffer(self.take(count * dtype.itemsize), dtype)

    def _scalar(self, kind: int, key: str) -> str:
        if kind not in _SCALARS:
            raise self.damaged(f"{key!r} has a value of the kind {kind}, which is not supported")
        return _SCALARS[kind]


class GGUFTensors:
    """The tensors of a GGUF file under their names there, dequantized as they are read.

    Args:
        file: the opened file.

    Raises:
        ImportError: the package `gguf` is not installed.
        ValueError: a tensor is of an unknown kind, or not where the file has room for it.
    """

    def __init__(self, file: GGUFFile) -> None:
        try:
            from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
        except ImportError as error:
            raise ImportError("GGUF files need gguf: pip install keras-lm[gguf]") from error

        self._file = file
        self._kinds: dict[str, Any] = {}
        self._block: dict[str, tuple[int, int]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, str] = {}
        reached = 0
        for name, tensor in file.tensors.items():
            where = f"{str(file.path)!r}: the tensor {name!r}"
            if tensor.kind not in set(GGMLQuantizationType):
                raise ValueError(f"{where} is of the kind {tensor.kind}, which is not supported")
            kind = GGMLQuantizationType(tensor.kind)
            block, block_bytes = GGML_QUANT_SIZES[kind]
            if not tensor.shape or 0 in tensor.shape or tensor.shape[-1] % block:
                raise ValueError(f"{where} of {kind.name} has the shape {tensor.shape}")
            size = math.prod(tensor.shape) // block * block_bytes
            if tensor.place != reached or file.start + reached + size > file.size:
                raise ValueError(
                    f"{where} is said to have {size} bytes at byte {file.start + tensor.place}; "
                    f"the file has {file.size}, and tensors follow each other"
                )
            reached += size + -size % file.alignment
            self._kinds[name], self._block[name] = kind, (block, block_bytes)
            self.shapes[name], self.dtypes[name] = tensor.shape, "float32"

    def read(self, name: str) -> np.ndarray:
        """The tensor of that name, float32."""
        shape = self.shapes[name]
        rows = np.empty((math.prod(shape[:-1]), shape[-1]), "float32")
        done = 0
        for chunk in self._chunks(name):
            rows[done : done + len(chunk)] = chunk
            done += len(chunk)
        return rows.reshape(shape)

    def _chunks(self, name: str) -> Iterator[np.ndarray]:
        """The rows [n, size of the last axis] of a tensor, some at a time."""
        from gguf import dequantize

        shape, (block, block_bytes) = self.shapes[name], self._block[name]
        row_bytes = shape[-1] // block * block_bytes
        rows, at_once = math.prod(shape[:-1]), max(1, _CHUNK // shape[-1])
        with self._file.path.open("rb") as opened:
            opened.seek(self._file.start + self._file.tensors[name].place)
            for begin in range(0, rows, at_once):
                count = min(at_once, rows - begin)
                raw = np.fromfile(opened, np.uint8, count * row_bytes)
                where = f"{str(self._file.path)!r}: the tensor {name!r}"
                if raw.size < count * row_bytes:
                    raise ValueError(f"{where} is not whole: the file became shorter")
                try:
                    # Quantized blocks may hold an infinite scale; that is the file's affair.
                    with np.errstate(all="ignore"):
                        yield dequantize(raw.reshape(count, row_bytes), self._kinds[name])
                except NotImplementedError as error:
                    raise ValueError(
                        f"{where} is of {self._kinds[name].name}, which the package "
                        "gguf cannot dequantize"
                    ) from error
