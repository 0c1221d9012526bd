"""10,000 random byte strings into every source: a clean error, or a correct result."""

from __future__ import annotations

import gzip
import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from keras_lm.data.sources import conll, conllu, csv, jsonl, squad, text_files, tsv

VALID = [
    b"a\tb\nx\ty\r\n\nz\t\n",
    b'text,label\n"a, ""b""\nc",1\n',
    b'{"text": "a", "n": 1}\n{"text": "\\ud83d\\ude00", "n": [1.5e3, null]}\n',
    b"# c\n1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_\n1\tDo\t_\t_\t_\t_\t2\t_\t_\t_\n"
    b"2\tn't\t_\t_\t_\t_\t0\t_\t_\t_\n\n",
    b'{"data": [{"title": "t", "paragraphs": [{"context": "abc", "qas": [{"id": "1",'
    b' "question": "q", "answers": [{"text": "b", "answer_start": 1}]}]}]}]}',
    "Ein Satz.\r\n\r\nMöbius 圆 😀\n".encode(),
]
PIECES = [
    b"\t",
    b"\n",
    b"\r",
    b'"',
    b",",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"\\",
    b"#",
    b"-",
    b".",
    b"_",
]
PIECES += [b"0", b"1", b"9" * 30, b"1e999", b"null", b'"text"', b"\\ud83d", b"\0", b"\xef\xbb\xbf"]
PIECES += [b"\xff", b"\xc3", "é圆😀\u2028\x85".encode(), b"\x1f\x8b", b" ", b"\xed\xa0\x80", b"NaN"]


def random_bytes(count: int) -> Iterator[bytes]:
    """Noise, bits of syntax, and valid files with a few bytes cut, doubled or replaced."""
    rng = random.Random(0)
    for number in range(count):
        kind = number % 4
        if kind == 0:
            data = rng.randbytes(rng.randrange(40))
        elif kind == 1:
            data = b"".join(rng.choices(PIECES, k=rng.randrange(30)))
        else:
            data = rng.choice(VALID)
            for _ in range(rng.randrange(4)):
                start = rng.randrange(len(data) + 1)
                end = min(len(data), start + rng.randrange(8))
                data = data[:start] + rng.choice([b"", data[start:end] * 2, *PIECES]) + data[end:]
            if kind == 3:
                data = bytearray(gzip.compress(data, mtime=0))
                if rng.random() < 0.5:
                    data[rng.randrange(len(data))] = rng.randrange(256)
        yield bytes(data)


def content_of(data: bytes) -> bytes | None:
    """What a file with these bytes holds; None where it is a broken gzip file."""
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except Exception:
        return None


def is_valid(value: Any) -> bool:
    """Whether every string in a nest of Python values is valid Unicode, and all are JSON's."""
    if isinstance(value, list):
        return all(map(is_valid, value))
    if isinstance(value, dict):
        return all(map(is_valid, value)) and all(map(is_valid, value.values()))
    if isinstance(value, str):
        value.encode("utf-8")
    return isinstance(value, str | int | float | None)


SOURCES: list[Callable[..., Any]] = [text_files, tsv, csv, jsonl, conll, conllu, squad]


def attempt(read: Callable[..., Any], path: Path, errors: str) -> Any:
    """What the source gives, or the message of its ValueError; anything else fails the test."""
    try:
        return read(path, errors=errors)
    except ValueError as error:
        return str(error)


def test_random_bytes_give_a_clean_error_or_a_correct_result(tmp_path, monkeypatch):
    path = tmp_path / "noise"
    path.touch()
    # In memory: to open a file 70,000 times takes far longer than to read what is in it.
    monkeypatch.setattr(Path, "open", lambda self, mode: io.BufferedReader(io.BytesIO(data)))
    num_results = dict.fromkeys(SOURCES, 0)
    for data in random_bytes(10_000):
        content = content_of(data)
        for source in SOURCES:
            result = attempt(source, path, "replace" if data[-1:] < b"a" else "strict")
            if isinstance(result, str):
                assert result.startswith(f"files: {path}"), (source, data)
                continue
            num_results[source] += 1
            assert content is not None, (source, data)
            assert is_valid(result), (source, data)
            text = content.decode("utf-8", "replace").removeprefix("\ufeff")
            if source is text_files:
                assert result == [text]
            else:
                assert len({len(column) for column in result.values()}) == 1, (source, data)
            if source is tsv:
                rows = [line.removesuffix("\r") for line in text.split("\n")]
                expected = [row.split("\t") for row in rows if row]
                assert [list(result), *map(list, zip(*result.values()))] == expected
    # The test sees results of every source, not errors alone.
    assert min(num_results.values()) > 150, num_results
