import gzip
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from harness_ngrams import assert_same

from keras_lm.data.ngrams import TextFile, estimate, read_arpa, table_of_text, text

GOLDEN = Path(__file__).parents[1] / "golden"
LMPLZ_FILES = [
    ("ngrams", 1),
    ("ngrams", 2),
    ("ngrams", 3),
    ("ngrams_small", 2),
    ("ngrams_small", 5),
]


def ids_of(path):
    pieces = list(TextFile(path).pieces())
    for tokens, is_begin in pieces:
        assert tokens.dtype == np.int32
        np.testing.assert_array_equal(is_begin, tokens == 1)
    return np.concatenate([tokens for tokens, _ in pieces]).tolist()


@pytest.mark.parametrize(("name", "order"), LMPLZ_FILES)
def test_every_number_is_that_of_lmplz(name, order):
    ours = table_of_text(GOLDEN / f"{name}.txt", order)
    theirs = read_arpa(GOLDEN / f"{name}_{order}.arpa")
    assert ours.vocabulary == theirs.vocabulary
    assert ours.num_ngrams == theirs.num_ngrams
    assert (ours.begin_id, ours.end_id, ours.unk_id) == (1, 2, 0)
    for name in ("tokens", "first_child"):
        for left, right in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            np.testing.assert_array_equal(left, right)
    for name in ("log_probs", "backoffs"):
        for left, right in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            np.testing.assert_allclose(left / np.log(10), right / np.log(10), atol=1e-6)


def test_words_stand_between_the_white_space_of_lmplz(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("a\0b\tc\r\n \n\nd\x0be f\x0cg\x85h\u2028i".encode())
    file = TextFile(path)
    tokens = np.concatenate([tokens for tokens, _ in file.pieces()])
    assert tokens.tolist() == [1, 3, 4, 5, 2, 1, 2, 1, 2, 1, 6, 7, 2]
    assert file.vocabulary == (
        "<unk>",
        "<s>",
        "</s>",
        "a",
        "b",
        "c",
        "d\x0be",
        "f\x0cg\x85h\u2028i",
    )


@pytest.mark.parametrize("content", ["a b\n\nb c\n", "a b\n\nb c", "a", "\n", "\n\n a"])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_blocks_of_any_size_read_the_same(tmp_path, content, size):
    path = tmp_path / "text.txt"
    path.write_text(content)
    numbers = {"a": 3, "b": 4, "c": 5}
    expected = [
        number
        for line in content.removesuffix("\n").split("\n")
        for number in (1, *(numbers[word] for word in line.split()), 2)
    ]
    with mock.patch.object(text, "_BYTES_AT_ONCE", size):
        assert ids_of(path) == expected


def test_gzip_and_pieces_make_the_same_table(tmp_path):
    packed = tmp_path / "text.txt.gz"
    packed.write_bytes(gzip.compress((GOLDEN / "ngrams.txt").read_bytes()))
    table = table_of_text(packed, 3, smoothing="add_k", k=0.1, memory_limit=1)
    assert_same(table, table_of_text(GOLDEN / "ngrams.txt", 3, smoothing="add_k", k=0.1))
    file = TextFile(packed)
    pieces = list(file.pieces())
    vocabulary = file.vocabulary
    same = estimate(
        pieces, 3, len(vocabulary), 1, 2, smoothing="add_k", k=0.1, vocabulary=vocabulary
    )
    assert_same(table, same)


@pytest.mark.parametrize("word", ["<s>", "</s>", "<unk>"])
@pytest.mark.parametrize("size", [4, 100])
def test_special_words_in_the_text_are_refused(tmp_path, word, size):
    path = tmp_path / "text.txt"
    path.write_text(f"a{word} b\nc\n\nd {word}\n")
    message = rf"text\.txt, line 4: the word '{word}' has a meaning of its own"
    with (
        mock.patch.object(text, "_BYTES_AT_ONCE", size),
        pytest.raises(ValueError, match=message),
    ):
        ids_of(path)


def test_bad_files_are_named(tmp_path):
    for name, content in {
        "latin": "a\nb\ncafé d\n".encode("latin-1"),
        "mark": b"a\nb\n\xff \xfe\n",
        "inner": b"a\nb\n\xfc\n",
    }.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}, line 3: this is not UTF-8"):
            ids_of(path)
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ValueError, match="empty is empty; it must hold at least one line"):
        ids_of(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="absent does not exist"):
        table_of_text(tmp_path / "absent", 2)
    with pytest.raises(ValueError, match="is a directory"):
        table_of_text(tmp_path, 2)
    packed = tmp_path / "broken.gz"
    packed.write_bytes(gzip.compress(b"a b c\n" * 1000)[:-12])
    with pytest.raises(ValueError, match=r"broken\.gz is a broken gzip file"):
        table_of_text(packed, 2)
    path = tmp_path / "short"
    path.write_text("a b\nc\n")
    with pytest.raises(ValueError, match="order is 5, but the longest document has 4 tokens"):
        table_of_text(path, 5)
