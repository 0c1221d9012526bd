import csv as stdlib_csv
import gzip
import time
from pathlib import Path

import pytest

from keras_lm.data import progress
from keras_lm.data.sources import conll, conllu, csv, jsonl, squad, text_files, tsv


@pytest.fixture
def poem(tmp_path: Path) -> Path:
    path = tmp_path / "poem.txt"
    path.write_bytes("\ufeffOne\r\ntwo é\r\n\r\n \t\r\nthree\n\n\n\nfour\n".encode())
    return path


def test_a_document_is_the_file_byte_for_byte_but_for_the_mark(poem):
    assert text_files([poem]) == ["One\r\ntwo é\r\n\r\n \t\r\nthree\n\n\n\nfour\n"]


def test_paragraphs_and_lines(poem):
    assert text_files(poem, split="paragraph") == ["One\r\ntwo é", "three", "four"]
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


def test_gzip_is_told_by_content(tmp_path):
    plain, packed = tmp_path / "plain.gz", tmp_path / "packed.txt"
    plain.write_text("one\ntwo", encoding="utf-8")
    packed.write_bytes(gzip.compress("\ufeffdrei\nvier é".encode()))
    assert text_files([plain, packed], "line") == ["one", "two", "drei", "vier é"]


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b[:20] + b"x" + b[21:]])
def test_a_broken_gzip_file_is_named(tmp_path, damage):
    path = tmp_path / "broken.gz"
    path.write_bytes(damage(gzip.compress(b"words and words " * 99)))
    with pytest.raises(ValueError, match=r"broken\.gz is a broken gzip file"):
        text_files(path)
    with pytest.raises(ValueError, match=r"broken\.gz is a broken gzip file"):
        tsv(path)


def test_what_is_not_utf8_is_refused_with_its_line_or_replaced(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes(b"one\ntwo \xe9\nthree\xff\n")
    for read in (text_files, tsv, csv):
        with pytest.raises(ValueError, match=r"latin\.txt is not UTF-8 at byte 8, line 2 \(inv"):
            read(path)
    assert text_files(path, "line", errors="replace") == ["one", "two \ufffd", "three\ufffd"]
    assert tsv(path, errors="replace") == {"one": ["two \ufffd", "three\ufffd"]}
    for read in (text_files, jsonl, tsv, csv, conll, conllu, squad):
        with pytest.raises(
            ValueError, match="errors is 'ignore'; it must be 'strict' or 'replace'"
        ):
            read(path, errors="ignore")


def test_nul_is_a_character(tmp_path):
    path = tmp_path / "nul.txt"
    path.write_bytes(b"a\0b\tc\n\0\td\n")
    assert text_files(path, "line") == ["a\0b\tc", "\0\td"]
    assert tsv(path) == {"a\0b": ["\0"], "c": ["d"]}
    path.write_bytes(b'a,b\n"\0,",c\n')
    assert csv(path) == {"a": ["\0,"], "b": ["c"]}


def test_a_bar_appears_when_reading_takes_long(tmp_path, monkeypatch, capsys):
    path = tmp_path / "rows.tsv"
    path.write_text("a\tb\n" + "1\t2\n" * 10)
    tsv(path)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "SECONDS_BEFORE_BAR", -1.0)
    assert len(tsv(path)["a"]) == 10
    assert "reading" in (shown := capsys.readouterr().err)
    assert "100%" in shown


@pytest.mark.parametrize("megabytes", [50])
def test_lines_of_50_megabytes(tmp_path, megabytes):
    path, long = tmp_path / "long", "x y" * (megabytes * 1_000_000 // 3)
    begin = time.monotonic()
    path.write_text(long)
    assert list(map(len, text_files(path, "line"))) == [len(long)]
    path.write_text(f"text\tlabel\n{long}\t1\n")
    assert list(map(len, tsv(path)["text"])) == [len(long)]
    path.write_text(f'text,label\n"{long}",1\n')
    assert list(map(len, csv(path)["text"])) == [len(long)]
    assert stdlib_csv.field_size_limit() == 131072
    path.write_text(f'{{"text": "{long}"}}\n')
    assert list(map(len, jsonl(path)["text"])) == [len(long)]
    path.write_text(f"{long}\tO\n")
    assert len(conll(path)["token"][0][0]) == len(long)
    assert time.monotonic() - begin < 60
