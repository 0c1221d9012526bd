"""Tensors in files: written as the format's library reads them; checked before they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from keras_lm.storage import GGUFFile, SafetensorsFiles, write_safetensors

FILE = "model.safetensors"
DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int8", "uint16", "bool")


def arrays() -> dict[str, np.ndarray]:
    """One of each dtype, some turned, empty or without any axis."""
    random = np.random.default_rng(0)
    found = {}
    for number, dtype in enumerate(DTYPES):
        kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
        found[dtype] = (100 * random.random((3, 2 + number))).astype(kind)
    return {
        **found,
        "turned": np.arange(6, dtype="float32").reshape(2, 3).T,
        "empty": np.zeros((0, 4), "float32"),
        "number": np.float32(7) * np.ones((), "float32"),
        "größe": np.ones(3, "float32"),
    }


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


def test_the_library_reads_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras_lm.storage.safetensors._CHUNK", 4)
    tensors = arrays()
    layout = {name: (tensor.dtype.name, tensor.shape) for name, tensor in tensors.items()}
    write_safetensors(tmp_path / FILE, layout, iter(tensors.items()))
    found = load_file(tmp_path / FILE)
    assert sorted(found) == sorted(tensors)
    assert all(same(found[name], tensor) for name, tensor in tensors.items())


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in arrays().items()}
    save_file(tensors, tmp_path / FILE, {"format": "pt"})
    source = SafetensorsFiles(tmp_path)
    assert source.shapes == {name: tensor.shape for name, tensor in tensors.items()}
    assert source.dtypes == {name: tensor.dtype.name for name, tensor in tensors.items()}
    assert all(same(source.read(name), tensor) for name, tensor in tensors.items())


def test_what_is_written_must_be_as_laid_out(tmp_path: Path) -> None:
    one = np.ones((2, 3), "float32")
    for name, tensor in (("b", one), ("a", one.T), ("a", one.astype("float16"))):
        with pytest.raises(ValueError, match=f"'{name}' is not what the layout says of 'a'"):
            write_safetensors(tmp_path / FILE, {"a": ("float32", (2, 3))}, [(name, tensor)])


def with_header(path: Path, header: Any, data: bytes = bytes(8), length: int | None = None) -> None:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = len(raw) if length is None else length
    path.write_bytes(length.to_bytes(8, "little") + raw + data)


def tensor(shape: Any = (2,), offsets: Any = (0, 8), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"x": tensor([2**62, 2**62], [0, 8])}, "'x' of float32 .* is said to have 8 bytes"),
        ({"x": tensor([2**40], [0, 2**42])}, "tensors have 4398046511104 bytes, and 8 are there"),
        ({"x": tensor([1], [0, 4])}, "tensors have 4 bytes, and 8 are there"),
        ({"x": tensor([1], [4, 8])}, "'x' begins at byte 4, not at 0"),
        ({"x": tensor(), "y": tensor()}, "'y' begins at byte 0, not at 8"),
        ({"x": tensor([-2], [8, 0])}, r"it says .* of the tensor 'x'"),
        ({"x": tensor([2.0])}, "it says .* of the tensor 'x'"),
        ({"x": tensor([True, 2])}, "it says .* of the tensor 'x'"),
        ({"x": tensor("ab")}, "it says .* of the tensor 'x'"),
        ({"x": tensor(None)}, "it says .* of the tensor 'x'"),
        ({"x": tensor(dtype="F8_E4M3", shape=[8])}, "it says .*F8_E4M3.* of the tensor 'x'"),
        ({"x": tensor(offsets=[0, 8, 9])}, "it says .* of the tensor 'x'"),
        ({"x": 3}, "it says 3 of the tensor 'x'"),
        ([], "its header is no JSON object"),
        (b'{"x": 1, "x": 2}', "a name stands in it twice"),
        (b'{"x": ' + b"9" * 5000 + b"}", "is not valid JSON"),
        (b"[" * 10_000, "is not valid JSON"),
        (b"\xff", "is not valid JSON"),
    ],
)
def test_bad_headers_are_named(header: Any, message: str, tmp_path: Path) -> None:
    with_header(tmp_path / FILE, header)
    with pytest.raises(ValueError, match=rf"{FILE}' is not a whole safetensors file: .*{message}"):
        SafetensorsFiles(tmp_path)


@pytest.mark.parametrize("length", [9, 2**31, 2**63, 2**64 - 1])
def test_headers_beyond_the_file(length: int, tmp_path: Path) -> None:
    with_header(tmp_path / FILE, {}, b"", length)
    with pytest.raises(ValueError, match=f"its header is said to have {length} bytes"):
        SafetensorsFiles(tmp_path)


def test_an_index_must_say_the_truth(tmp_path: Path) -> None:
    for name in "ab":
        save_file({name: np.ones(2, "float32")}, tmp_path / f"{name}.safetensors")

    def index(**weight_map: Any) -> None:
        path = tmp_path / f"{FILE}.index.json"
        path.write_text(json.dumps({"weight_map": weight_map}))

    index(a="a.safetensors", b="b.safetensors")
    assert sorted(SafetensorsFiles(tmp_path).shapes) == ["a", "b"]
    index(a="b.safetensors", b="b.safetensors")
    with pytest.raises(ValueError, match=r"says that 'a' is in 'b.safetensors'; it is not"):
        SafetensorsFiles(tmp_path)
    index(a=["a.safetensors"])
    with pytest.raises(ValueError, match=r"names \['a.safetensors'\] for 'a'"):
        SafetensorsFiles(tmp_path)
    save_file({"a": np.zeros(2, "float32")}, tmp_path / "b.safetensors")
    index(a="a.safetensors", b="b.safetensors")
    with pytest.raises(ValueError, match=r"'a' stands in '.*a.safetensors' and in '.*b.safe"):
        SafetensorsFiles(tmp_path)


def test_a_file_that_becomes_shorter_is_named(tmp_path: Path) -> None:
    save_file({"a": np.ones(2, "float32")}, tmp_path / FILE)
    source = SafetensorsFiles(tmp_path)
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:-1])
    with pytest.raises(ValueError, match="became shorter: 'a' is not whole"):
        source.read("a")


def text(value: str) -> bytes:
    return len(value).to_bytes(8, "little") + value.encode()


def number(value: int, size: int = 8) -> bytes:
    return value.to_bytes(size, "little")


HEAD = b"GGUF" + number(3, 4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GGML" + bytes(20), "does not begin with 'GGUF'"),
        (b"GGUF" + number(1, 4) + bytes(16), "version 1; versions 2 and 3"),
        (HEAD + number(0) + number(2**63), "it ends at byte 24"),
        (HEAD + number(2**63) + number(0), "it ends at byte 24"),
        (HEAD + number(0) + number(1) + number(2**62) + b"x", "it ends at byte"),
        (
            HEAD + number(0) + number(1) + text("k") + number(99, 4),
            "'k' has a value of the kind 99",
        ),
        (
            HEAD + number(0) + number(1) + text("k") + number(9, 4) + number(8, 4) + number(2**40),
            "'k' is said to have 1099511627776 strings",
        ),
        (
            HEAD + number(0) + number(1) + text("k") + number(9, 4) + number(6, 4) + number(2**40),
            "it ends at byte",
        ),
        (
            HEAD + number(0) + number(1) + text("k") + number(9, 4) + number(9, 4) + number(1),
            "'k' has a value of the kind 9",
        ),
        (HEAD + number(0) + number(2) + 2 * (text("k") + number(0, 4) + b"x"), "'k' stands in it"),
        (HEAD + number(1) + number(0) + text("t") + number(5, 4), "'t' stands in it twice, or has"),
        (
            HEAD + number(0) + number(1) + text("general.alignment") + number(4, 4) + number(3, 4),
            "general.alignment=3 is no power of two",
        ),
        (HEAD + number(0) + number(1) + number(1) + b"\xff", "the string at byte 32 is not UTF-8"),
    ],
)
def test_bad_gguf_files_are_named(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(data)
    with pytest.raises(ValueError, match=rf"x.gguf' is not a whole GGUF file: .*{message}"):
        GGUFFile(tmp_path / "x.gguf")
