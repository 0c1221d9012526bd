"""Vector files: what gensim wrote is read and written byte for byte; what is broken is refused."""

from __future__ import annotations

import contextlib
import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_lm.data.word_vectors.vector_files import (
    FORMATS,
    VectorTable,
    read_vectors,
    write_vectors,
)

# Written by gensim 4.4's `KeyedVectors.save_word2vec_format`, of these words and numbers.
WORDS = ("the", "größe", "c++")
VECTORS = np.array([[0.1, -2, 3e-7], [1, 1e20, -0.33333334], [0, 5, 0.25]], np.float32)
TEXT = "3 3\nthe 0.1 -2.0 3e-07\ngröße 1.0 1e+20 -0.33333334\nc++ 0.0 5.0 0.25\n".encode()
BINARY = (
    b"3 3\nthe \xcd\xcc\xcc=\x00\x00\x00\xc0\xb0\x0f\xa14"
    b"gr\xc3\xb6\xc3\x9fe \x00\x00\x80?\xecx\xad`\xab\xaa\xaa\xbe"
    b"c++ \x00\x00\x00\x00\x00\x00\xa0@\x00\x00\x80>"
)
GLOVE = TEXT.split(b"\n", 1)[1]
GOLDEN = {"word2vec": TEXT, "word2vec-binary": BINARY, "glove": GLOVE}


def read(path: Path, content: bytes) -> VectorTable:
    path.write_bytes(content)
    return read_vectors(path)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_what_gensim_wrote(tmp_path: Path, format: str, packed: bool) -> None:
    content = gzip.compress(GOLDEN[format]) if packed else GOLDEN[format]
    table = read(tmp_path / "vectors", content)
    assert table.words == WORDS
    assert table.vectors.dtype == np.float32
    np.testing.assert_array_equal(table.vectors, VECTORS)


@pytest.mark.parametrize("format", FORMATS)
def test_writes_what_gensim_writes(tmp_path: Path, format: str) -> None:
    write_vectors(tmp_path / "vectors", VectorTable(WORDS, VECTORS), format)
    assert (tmp_path / "vectors").read_bytes() == GOLDEN[format]
    assert [path.name for path in tmp_path.iterdir()] == ["vectors"]


def test_the_first_programs_own_forms(tmp_path: Path) -> None:
    """The C program ends a binary vector with a line feed, and a line of text with a space."""
    binary = b"2 1\na \x00\x00\x80?\nb \x00\x00\x00@\n"
    assert read(tmp_path / "binary", binary).vectors.tolist() == [[1], [2]]
    assert read(tmp_path / "text", b"2 1\na 1 \nb 2 \n").vectors.tolist() == [[1], [2]]
    windows = read(tmp_path / "windows", b"a 1 2\r\nb 3 4\r\n")
    assert windows == VectorTable(("a", "b"), windows.vectors)
    assert windows.vectors.tolist() == [[1, 2], [3, 4]]


def test_words_of_glove_may_hold_spaces(tmp_path: Path) -> None:
    table = read(tmp_path / "glove", "a 1 2\n. . . 3 4\n\u00a0 5 6\n".encode())
    assert table.words == ("a", ". . .", "\u00a0")
    assert table.vectors.tolist() == [[1, 2], [3, 4], [5, 6]]


def test_long_binary_file_is_read_in_pieces(tmp_path: Path) -> None:
    """Words and numbers that go over the edge of a piece; numbers that look like marks."""
    random = np.random.default_rng(0)
    vectors = random.choice(np.frombuffer(b"    \n\n\n\n\0\0\x80?", np.float32), (50_000, 13))
    table = VectorTable(tuple(f"w{'x' * (i % 7)}{i}" for i in range(len(vectors))), vectors)
    write_vectors(tmp_path / "long", table, "word2vec-binary")
    again = read_vectors(tmp_path / "long")
    assert again.words == table.words
    np.testing.assert_array_equal(again.vectors, vectors)


@given(
    words=st.lists(
        st.text(
            st.characters(exclude_categories=["Cs"], exclude_characters=" \t\r\n\ufeff"), min_size=1
        ),
        min_size=1,
        max_size=5,
        unique=True,
    ),
    dim=st.integers(1, 4),
    format=st.sampled_from(FORMATS),
    data=st.data(),
)
def test_round_trip(tmp_path_factory, words, dim, format, data) -> None:
    number = st.floats(width=32, allow_nan=False, allow_infinity=False)
    row = st.lists(number, min_size=dim, max_size=dim)
    vectors = np.array([data.draw(row) for _ in words], np.float32)
    looks_like_a_header = words[0].isascii() and words[0].isdigit() and dim == 1
    if format == "glove" and looks_like_a_header and str(vectors[0, 0]).isdigit():
        return
    path = tmp_path_factory.mktemp("round") / "trip"
    write_vectors(path, VectorTable(tuple(words), vectors), format)
    table = read_vectors(path)
    assert table.words == tuple(words)
    assert table.vectors.tobytes() == vectors.tobytes()


@given(content=st.binary(max_size=60) | st.binary(max_size=40).map(lambda b: b"2 2\na 1 2\n" + b))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "bytes"
    with contextlib.suppress(ValueError):
        table = read(path, content)
        assert len(set(table.words)) == len(table.vectors)
        assert np.isfinite(table.vectors).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: is empty"),
        (b"\nking 1 2\n", "line 1: is empty"),
        (b"king\n", "line 1: is neither a header nor a word"),
        (b"0 3\n", "line 1: the header promises 0 words"),
        (b"3 0\nking\n", "line 1: the header promises 3 words of 0"),
        (b"2 3\na 1 2 3\nb 1 2\n", "line 3: 2 numbers; there must be 3"),
        (b"2 3\na 1 2\nb 1 2\n", "line 2: 2 numbers; there must be 3"),
        (b"2 2\na 1 2\nb 1 2 3\n", "line 3: more than 2 numbers"),
        (b"a 1 2\nb 1 2 3\n", "line 2: more than 2 numbers"),
        (b"a 1 2\nb 1\n", "line 2: 1 numbers; there must be 2"),
        (b"a 1 2\n\nb 1 2\n", "line 2: 0 numbers"),
        (b"2 2\na 1 2\n", "holds 1 words; its header, line 1, promises 2"),
        (b"1 2\na 1 2\nb 1 2\n", "holds 2 words; its header, line 1, promises 1"),
        (b"a 1 2\nb 1 nan\n", "line 2: nan is not a finite float32"),
        (b"a 1 2\nb 1 1e39\n", "line 2: 1e39 is not a finite float32"),
        (b"a 1 2\nb 1 two\n", "line 2: 'two' is not a number"),
        (b"2 2\na 1 2\nb 1 two\n", "line 3: 'two' is not a number"),
        (b"a 1 2\nb 1 2\na 3 4\n", "word 3: 'a' is there twice; it is word 1 as well"),
        (b"a 1 2\nb\xff 1 2\n", "not UTF-8 at byte 7, line 2"),
        (b"a 1 2\n 1 2\n", "word 2 is empty"),
        (BINARY[:-1], "word 3: the file ends; its header promises 3 words of 3 numbers"),
        (BINARY[:30], "word 2: the file ends"),
        (BINARY + b"x", "word 4: at least 1 bytes more"),
        (BINARY.replace(b"gr\xc3", b"gr\xff"), "word 2: .* is not UTF-8"),
        (BINARY.replace(b"c++", b"the"), "word 3: 'the' is there twice"),
        (BINARY.replace(b"\xcd\xcc\xcc=", b"\0\0\xc0\x7f"), "word 1: the vector of 'the' has a"),
        (BINARY.replace(b"3 3", b"3 2"), "word 2|word 3"),
        (BINARY.replace(b"3 3", b"999999999999 3"), "word 4: the file ends"),
        (gzip.compress(TEXT, mtime=0)[:-12], "broken gzip file"),
    ],
)
def test_broken_files(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"vectors.*{message}"):
        read(tmp_path / "vectors", content)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        read_vectors(tmp_path / "absent")


@pytest.mark.parametrize("word", ["", "two words", "tab\t", "line\n", "\ufeffmark"])
def test_words_that_no_file_can_hold(tmp_path: Path, word: str) -> None:
    with pytest.raises(ValueError, match="words: "):
        write_vectors(tmp_path / "v", VectorTable((word,), np.ones((1, 2), "float32")), "glove")
    assert not list(tmp_path.iterdir())


def test_unknown_format_and_what_stood_there(tmp_path: Path) -> None:
    table = VectorTable(WORDS, VECTORS)
    with pytest.raises(ValueError, match="format is 'text'; it must be one of 'word2vec'"):
        write_vectors(tmp_path / "v", table, "text")
    (tmp_path / "v").write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_vectors(tmp_path / "v", VectorTable(("a", "\ud800", "c"), VECTORS), "glove")
    assert [path.name for path in tmp_path.iterdir()] == ["v"]
    assert (tmp_path / "v").read_text() == "old"
