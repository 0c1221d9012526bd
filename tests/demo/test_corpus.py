"""The demo's texts: documents, and none held out that is trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from keras_lm.demo.corpus import Corpus, own_files, sections, split, standard_library


@pytest.fixture(scope="module")
def library() -> Corpus:
    return standard_library()


def test_standard_library_is_real_text(library: Corpus) -> None:
    train_bytes, held_out_bytes = library.num_bytes
    assert train_bytes > 1_000_000
    assert 0.02 < held_out_bytes / train_bytes < 0.15
    for known in ('"with" statement', "Return a shallow copy"):
        assert any(known in text for text in library.train)


def test_standard_library_holds_out_nothing_that_is_trained_on(library: Corpus) -> None:
    trained = {" ".join(part.split()) for text in library.train for part in text.split("\n\n")}
    for text in library.held_out:
        parts = [" ".join(part.split()) for part in text.split("\n\n")]
        assert not [part for part in parts if len(part) >= 50 and part in trained]


def test_standard_library_is_the_same_every_time(library: Corpus) -> None:
    assert standard_library() == library


def test_split_keeps_no_held_out_text_for_training() -> None:
    train, held_out = split([f"text {number % 45}" for number in range(200)])
    assert held_out == ["text 19", "text 39"]
    assert len(train) == 43
    assert not set(train) & set(held_out)


@pytest.mark.parametrize("text", ["a" * 95, "word " * 20, "line\nline\n\n" * 9, "语言" * 50, ""])
def test_sections_make_the_text(text: str) -> None:
    parts = list(sections(text, length=10))
    assert "".join(parts) == text
    assert all(10 <= len(part) <= 22 for part in parts[:-1])


def test_sections_end_with_paragraphs_before_lines_before_words() -> None:
    text = "one two\nthree four\n\nfive six"
    assert list(sections(text, length=15)) == ["one two\nthree four\n\n", "five six"]
    assert next(sections(text, length=5)) == "one two\n"


def test_own_files_of_any_language(tmp_path: Path) -> None:
    file = tmp_path / "中文.txt"
    file.write_text("".join(f"第{number}行：语言模型。\n" for number in range(2000)), "utf-8")
    corpus = own_files([file])
    assert sum(corpus.num_bytes) == file.stat().st_size
    assert len(corpus.held_out) >= 2


@pytest.mark.parametrize("text", ["much too short", "the same again\n" * 5000])
def test_own_files_too_short(tmp_path: Path, text: str) -> None:
    file = tmp_path / "short.txt"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"short\.txt is too short to train on: [\d,]+ bytes"):
        own_files([file])
