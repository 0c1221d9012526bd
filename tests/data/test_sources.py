from pathlib import Path

import pytest

from keras_lm.data import text_files


@pytest.fixture
def poem(tmp_path: Path) -> Path:
    path = tmp_path / "poem.txt"
    path.write_bytes("\ufeffOne\r\ntwo é\r\n\r\n \t\r\nthree\n\n\n\nfour\n".encode())
    return path


def test_a_document_is_the_file_byte_for_byte_but_for_the_mark(poem):
    assert text_files([poem]) == ["One\r\ntwo é\r\n\r\n \t\r\nthree\n\n\n\nfour\n"]


def test_paragraphs_and_lines(poem):
    assert text_files(poem, split="paragraph") == ["One\r\ntwo é", "three", "four\n"]
    assert text_files(str(poem), split="line") == ["One", "two é", "three", "four"]


def test_a_line_ends_at_a_line_feed_only(tmp_path):
    path = tmp_path / "odd.txt"
    path.write_text("a\u2028b\x0cc\x85d\ne", encoding="utf-8")
    assert text_files(path, split="line") == ["a\u2028b\x0cc\x85d", "e"]


def test_files_keep_their_order(tmp_path):
    for name in "ba":
        (tmp_path / name).write_text(f"{name}1\n{name}2")
    assert text_files([tmp_path / "b", tmp_path / "a"], "line") == ["b1", "b2", "a1", "a2"]


def test_bad_files_are_named(tmp_path):
    blank, broken = tmp_path / "blank.txt", tmp_path / "broken.txt"
    blank.write_text(" \n\n")
    broken.write_bytes("ab é".encode("latin-1"))
    with pytest.raises(FileNotFoundError, match=r"absent\.txt does not exist"):
        text_files([tmp_path / "absent.txt"])
    with pytest.raises(ValueError, match=r"blank\.txt is empty"):
        text_files([blank])
    with pytest.raises(ValueError, match=r"broken\.txt is not UTF-8 at byte 3"):
        text_files([broken])
    with pytest.raises(ValueError, match="is a directory"):
        text_files(tmp_path)
    with pytest.raises(ValueError, match="files is empty"):
        text_files([])
    with pytest.raises(ValueError, match="split is 'word'; it must be one of 'document'"):
        text_files(blank, split="word")
