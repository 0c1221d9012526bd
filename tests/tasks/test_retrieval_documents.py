"""What every search shares: documents and their ids, queries and k, the directory of an index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from keras_lm.tasks import BM25Retriever
from keras_lm.tasks.retrieval.documents import Documents
from keras_lm.tasks.retrieval.index_files import OWNED, read_index, write_index

DOCUMENTS = ["red apple", "green apple", "fast car"]


@pytest.fixture(scope="module")
def retriever() -> BM25Retriever:
    """One with documents. Tests leave it as it is."""
    made = BM25Retriever()
    made.index(DOCUMENTS)
    return made


@pytest.fixture
def other() -> BM25Retriever:
    """One with other documents, for a test to change."""
    made = BM25Retriever()
    made.index(["old words"], ids=["old"])
    return made


def still_old(retriever: BM25Retriever) -> bool:
    hits = retriever.search_documents("old words")
    return retriever.ids == ["old"] and [hit["id"] for hit in hits] == ["old"]


# ---- documents and ids


@pytest.mark.parametrize(
    ("documents", "ids", "message"),
    [
        ([], None, "documents is an empty list"),
        ("one text", None, "documents must be a list of strings; got the string 'one text'"),
        (None, None, "documents must be a string or a list of strings; got None"),
        (["a", ""], None, r"documents\[1\] is an empty text"),
        (["a", " \n"], None, r"documents\[1\] is an empty text"),
        (["a", 3], None, r"documents\[1\] must be a string; got int"),
        (["a", b"b"], None, r"documents\[1\] must be a string; got bytes"),
        (["a", "b"], ["x"], "ids has 1 items; documents has 2"),
        (["a", "b"], [], "ids has 0 items; documents has 2"),
        (["a", "b"], ["x", "x"], "ids: 'x' stands for the documents . and "),
        (["a", "b"], ["1", 1], "ids must be of one kind, strings or ints; got '.*' and 1"),
        (["a", "b"], "xy", "ids must be a list of strings or ints; got 'xy'"),
        (["a", "b"], {1, 2}, "ids must be a list of strings or ints"),
        (["a", "b"], ["x", None], r"ids\[1\] must be a string or an int; got None"),
        (["a", "b"], [0.0, 1.0], r"ids\[0\] must be a string or an int; got 0.0"),
        (["a", "b"], [True, False], r"ids\[0\] must be a string or an int; got True"),
        (["a", "b"], np.array([0.5, 1]), r"ids\[0\] must be a string or an int; got 0.5"),
        (["a", "b"], [0, 2**63], r"ids\[1\] is 9223372036854775808; .* into 64 bits"),
    ],
)
def test_bad_documents(other: BM25Retriever, documents: Any, ids: Any, message: str) -> None:
    for change in (other.index, other.add):
        with pytest.raises(ValueError, match=message):
            change(documents, ids)
        assert still_old(other)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["new", "old"], "ids: 'old' stands for the documents 0 and 2"),
        ([1, 2], "ids must be of one kind, strings or ints; got 'old' and 1"),
        (None, "ids must be of one kind, strings or ints; got 'old' and 1"),
    ],
)
def test_added_ids_must_fit_those_before(other: BM25Retriever, ids: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        other.add(["a", "b"], ids)
    assert still_old(other)


def test_ids() -> None:
    retriever = BM25Retriever()
    retriever.add(["a", "b"])  # to nothing
    retriever.add(("c",))
    assert retriever.ids == [0, 1, 2]
    retriever.index(np.array(["a", "b"], object), ids=np.array([7, -7]))
    assert retriever.ids == [7, -7]
    assert type(retriever.ids[0]) is int
    assert retriever.search_documents("b")[0]["id"] == -7
    retriever.index(["a", "b"], ids=("x", "y"))
    assert retriever.search_documents("b") == [
        {"id": "y", "document": "b", "score": retriever.search_documents("b")[0]["score"]}
    ]


def test_ids_are_served(tmp_path: Path) -> None:
    retriever = BM25Retriever()
    for ids, none in (([5, 2**40, -3], -1), (["five", "日本", "c"], b"")):
        retriever.index(DOCUMENTS, ids)
        retriever.export_search(tmp_path / "served")
        served = tf.saved_model.load(str(tmp_path / "served"))
        found = served.search_documents(tf.constant(["apple green", "car"]))  # k is 10, or all
        expected = [[ids[1], ids[0], none], [ids[2], none, none]]
        encoded = [[e.encode() if isinstance(e, str) else e for e in row] for row in expected]
        assert found["id"].numpy().tolist() == encoded
        assert found["document"].numpy()[1].tolist() == [b"fast car", b"", b""]
        with pytest.raises(tf.errors.InvalidArgumentError, match="k must be 1 or more"):
            served.search_documents(tf.constant(["car"]), tf.constant(0))


# ---- queries and k


@pytest.mark.parametrize("k", [0, -1, 4, 1.0, "2", True])
def test_bad_k(retriever: BM25Retriever, k: Any) -> None:
    with pytest.raises(ValueError, match="k must be from 1 to the number of documents, 3; got"):
        retriever.search_documents("apple", k)


@pytest.mark.parametrize("query", ["", "  ", [], ["a", ""], None, 3, b"apple", ["a", None]])
def test_bad_query(retriever: BM25Retriever, query: Any) -> None:
    with pytest.raises(ValueError, match="query"):
        retriever.search_documents(query)


def test_k_and_lists(retriever: BM25Retriever) -> None:
    assert len(retriever.search_documents("apple")) == 2
    one, two = retriever.search_documents(["apple", "fast car"], k=1)
    assert [hit["document"] for hit in one + two] == ["red apple", "fast car"]
    many = [f"word {number}" for number in range(30)]
    other = BM25Retriever()
    other.index(many)
    assert len(other.search_documents("word")) == 10
    queries = [f"{number} {'x ' * (number % 4)}" for number in range(30)] * 3
    found = other.search_documents(queries, k=30)  # several batches, in their order
    assert [hits[0]["id"] for hits in found] == list(range(30)) * 3


def test_nothing_is_indexed(tmp_path: Path) -> None:
    retriever = BM25Retriever()
    for use in (
        lambda: retriever.search_documents("a"),
        lambda: retriever.save_index(tmp_path / "index"),
        lambda: retriever.export_search(tmp_path / "served"),
    ):
        with pytest.raises(ValueError, match=r"the index is empty; call index\(documents\) before"):
            use()
    assert not any(tmp_path.iterdir())


# ---- the directory


@pytest.mark.parametrize("ids", [["a", "日本", 'q"\n\u2028'], [3, 1, -2], None])
def test_documents_as_they_were(tmp_path: Path, ids: Any) -> None:
    texts = ["two\nlines\r\n\u2028", "naïve 🙂 日本", "\ud7ff\U0010ffff\x00 end"]
    retriever = BM25Retriever()
    retriever.index(texts, ids)
    retriever.save_index(tmp_path / "index")
    loaded = BM25Retriever().load_index(tmp_path / "index")
    assert (loaded.documents, loaded.ids) == (texts, retriever.ids)


@pytest.mark.parametrize("name", OWNED)
@pytest.mark.parametrize("share", [0, 0.3, 0.7, 0.99])
def test_a_file_cut_short(
    retriever: BM25Retriever, other: BM25Retriever, tmp_path: Path, name: str, share: float
) -> None:
    retriever.save_index(tmp_path / "index")
    path = tmp_path / "index" / name
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=name):
        other.load_index(tmp_path / "index")
    assert still_old(other)
    path.write_bytes(whole)
    assert other.load_index(tmp_path / "index").documents == DOCUMENTS


@pytest.mark.parametrize("name", OWNED)
def test_a_file_missing_or_changed(
    retriever: BM25Retriever, other: BM25Retriever, tmp_path: Path, name: str
) -> None:
    retriever.save_index(tmp_path / "index")
    path = tmp_path / "index" / name
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"a", b"b", 1))
    with pytest.raises(ValueError, match="index"):
        other.load_index(tmp_path / "index")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=name):
        other.load_index(tmp_path / "index")
    assert still_old(other)


@pytest.mark.parametrize(
    "about",
    [
        {},
        {"settings": 1, "files": {}},
        {"settings": {}, "files": []},
        {"settings": {"kind": "vectors"}, "files": {}},
        {"settings": {}, "files": {}},
    ],
)
def test_an_index_of_another_kind(
    retriever: BM25Retriever, other: BM25Retriever, tmp_path: Path, about: Any
) -> None:
    retriever.save_index(tmp_path / "index")
    (tmp_path / "index" / "index.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"is not that of an index|is of another model: .* kind="):
        other.load_index(tmp_path / "index")
    assert still_old(other)


def test_settings_of_another_retriever(tmp_path: Path) -> None:
    arrays = {"x": np.arange(3)}
    settings = {"kind": "vectors", "pooling": "mean"}
    write_index(tmp_path / "index", Documents(["a"], [0]), arrays, settings)
    documents, found = read_index(tmp_path / "index", {"pooling": "mean"})
    assert documents == Documents(["a"], [0])
    np.testing.assert_array_equal(found["x"], arrays["x"])
    with pytest.raises(ValueError, match=r"has pooling='mean', here it is 'cls'; index .* anew"):
        read_index(tmp_path / "index", {"kind": "vectors", "pooling": "cls"})


def test_a_later_index_takes_the_place(
    retriever: BM25Retriever, other: BM25Retriever, tmp_path: Path
) -> None:
    other.save_index(tmp_path / "deep" / "index")
    (tmp_path / "deep" / "index" / "README").write_text("mine")
    retriever.save_index(tmp_path / "deep" / "index")
    assert other.load_index(tmp_path / "deep" / "index").documents == DOCUMENTS
    names = sorted(path.name for path in (tmp_path / "deep" / "index").iterdir())
    assert names == sorted([*OWNED, "README"])


def test_only_into_a_directory_of_its_own(retriever: BM25Retriever, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is a file; give the path of a directory"):
        retriever.save_index(tmp_path / "file")
    with pytest.raises(ValueError, match=r"is not empty and holds none of index\.json"):
        retriever.save_index(tmp_path)
    with pytest.raises(FileNotFoundError, match="no directory"):
        retriever.load_index(tmp_path / "nowhere")


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "documents.jsonl"
    for line in ("not json", '{"id": 2}', "[1, 2]", "3"):
        path.write_text(f'{{"id": 1, "document": "a"}}\n{line}\n')
        with pytest.raises(ValueError, match=r"documents\.jsonl', line 2 is damaged: "):
            Documents.load(path)
