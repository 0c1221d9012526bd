"""Several searches as one: reciprocal ranks, one index for all or for none, what is served."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lm.tasks import BM25Retriever, HybridRetriever
from keras_lm.tasks.reading import TEXT
from keras_lm.tasks.retrieval import DocumentSearch
from keras_lm.tasks.retrieval.search import NONE

DOCUMENTS = ["red red apple", "a green apple", "a fast car with a red light", "trains"]
IDS = ["red", "green", "car", "train"]


class Fixed(tf.Module):
    """Finds the same documents for every query."""

    def __init__(self, ranking: list[int]) -> None:
        super().__init__()
        self._ranking = tf.Variable(ranking, trainable=False, shape=[None])

    @tf.function(input_signature=[TEXT, tf.TensorSpec([], tf.int32, "k")], autograph=False)
    def search(self, text: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        found = self._ranking[:k]
        missing = [[0, k - tf.size(found)]]
        numbers = tf.pad(found, missing, constant_values=NONE)
        row = tf.ones([tf.size(text), 1], tf.int32)
        return row * numbers, tf.cast(row, tf.float32) * tf.ones([k])


class Stand(DocumentSearch):
    """Ranks documents as it is told, and fails when told so."""

    def __init__(self, ranking: list[int]) -> None:
        self._functions = Fixed(ranking)
        self.sizes: list[int] = []
        self.fails: type[BaseException] | None = None

    @property
    def search_functions(self) -> Fixed:
        return self._functions

    def rank(self, ranking: list[int]) -> None:
        self._functions._ranking.assign(ranking)

    def index_texts(self, texts: list[str], start: int) -> None:
        if self.fails is not None:
            raise self.fails("stand")
        self.sizes = (self.sizes if start else []) + [len(text) for text in texts]

    def index_arrays(self) -> dict[str, np.ndarray]:
        if self.fails is ArithmeticError:
            raise ValueError("stale")
        return {"sizes": np.array(self.sizes)}

    def take_index(self, arrays: Mapping[str, np.ndarray], num_documents: int) -> None:
        if arrays["sizes"].shape != (num_documents,):
            raise ValueError("other sizes")
        self.sizes = arrays["sizes"].tolist()

    def index_settings(self) -> dict[str, Any]:
        return {"kind": "stand"}


def ids_of(hits: list[dict[str, Any]]) -> list[Any]:
    return [hit["id"] for hit in hits]


@pytest.fixture(scope="module")
def words() -> HybridRetriever:
    """One of two searches by words, with documents. Tests leave it as it is."""
    retriever = HybridRetriever([BM25Retriever(), BM25Retriever(k1=0, b=0)])
    retriever.index(DOCUMENTS, IDS)
    return retriever


@pytest.fixture(scope="module")
def three() -> HybridRetriever:
    """One of three with ten documents, for tests to rank."""
    retriever = HybridRetriever([Stand([0]), Stand([0]), Stand([0])], depth=4, smoothing=2)
    retriever.index([f"document {number}" for number in range(10)])
    return retriever


# ---- scores


def test_by_hand(words: HybridRetriever) -> None:
    by_score, by_rarity = words.retrievers
    assert ids_of(by_score.search_documents("red apple")) == ["red", "green", "car"]
    assert ids_of(by_rarity.search_documents("red apple")) == ["red", "green", "car"]
    found = words.search_documents("red apple")
    assert ids_of(found) == ["red", "green", "car"]
    expected = [2 / (60 + rank) for rank in (1, 2, 3)]
    assert [hit["score"] for hit in found] == pytest.approx(expected, rel=1e-6)
    assert words.search_documents("nothing") == []
    assert ids_of(words.search_documents(["trains", "nothing"])[0]) == ["train"]


def fused(rankings: list[list[int]], depth: int, smoothing: float) -> list[tuple[int, float]]:
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, number in enumerate(ranking[:depth], 1):
            scores[number] = scores.get(number, 0) + 1 / (smoothing + rank)
    rounded = {number: float(np.float32(score)) for number, score in scores.items()}
    return sorted(rounded.items(), key=lambda pair: (-pair[1], pair[0]))


ranking = st.lists(st.integers(0, 9), unique=True, max_size=10)


@settings(max_examples=40)
@given(st.tuples(ranking, ranking, ranking), st.integers(1, 10))
def test_as_the_formula_says(
    three: HybridRetriever, rankings: tuple[list[int], ...], k: int
) -> None:
    for retriever, each in zip(three.retrievers, rankings, strict=True):
        retriever.rank(each)
    found = three.search_documents("any", k=k)
    expected = fused(list(rankings), depth=4, smoothing=2)[:k]
    assert [(hit["id"], hit["score"]) for hit in found] == expected


def test_equal_scores_in_order(three: HybridRetriever) -> None:
    # Sums of the same ranks in another order.
    for retriever, each in zip(three.retrievers, ([7, 3, 5], [3, 5, 7], [5, 7, 3]), strict=True):
        retriever.rank(each)
    assert ids_of(three.search_documents("any")) == [3, 5, 7]


# ---- one index


def test_indexed_in_all(words: HybridRetriever) -> None:
    for retriever in words.retrievers:
        assert (retriever.documents, retriever.ids) == (DOCUMENTS, IDS)
    assert (words.documents, words.ids) == (DOCUMENTS, IDS)


def test_takes_over_what_is_indexed() -> None:
    first, second = BM25Retriever(), Stand([1, 0])
    for retriever in (first, second):
        retriever.index(list(DOCUMENTS), list(IDS))
    both = HybridRetriever([first, second])
    assert ids_of(both.search_documents("red", k=2)) == ["red", "green"]
    both.add(["more"], ["new"])
    assert first.ids == second.ids == [*IDS, "new"]
    assert ids_of(both.search_documents("more")) == ["green", "new", "red"]  # 1/61, 1/61, 1/62
    first.add(["only here"], ["one"])
    with pytest.raises(ValueError, match=r"\[0\] and retrievers\[1\] hold different .* 6 and 5"):
        both.search_documents("red")
    with pytest.raises(ValueError, match="hold different documents"):
        HybridRetriever([first, second])
    both.index(DOCUMENTS, IDS)  # that sets it right
    assert second.ids == first.ids == IDS


@pytest.mark.parametrize("ids", [["a", "b", "c", "e"], None])
def test_other_ids_are_other_documents(ids: Any) -> None:
    first, second = Stand([0]), Stand([0])
    first.index(DOCUMENTS, ["a", "b", "c", "d"])
    second.index(DOCUMENTS, ids)
    with pytest.raises(ValueError, match="hold different documents, 4 and 4; all must hold"):
        HybridRetriever([first, second])


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
@pytest.mark.parametrize("was_indexed", [True, False])
def test_all_or_none(error: type[BaseException], was_indexed: bool) -> None:
    first, second = BM25Retriever(), Stand([0])
    both = HybridRetriever([first, second])
    if was_indexed:
        both.index(DOCUMENTS, IDS)
    for change in (both.index, both.add):
        second.fails = error
        with pytest.raises(error):
            change(["other words"], ["other"])
        second.fails = None
        assert first.ids == second.ids == both.ids == (IDS if was_indexed else [])
        if was_indexed:
            assert ids_of(first.search_documents("red", k=1)) == ["red"]
            assert first.search_documents("other") == []
            assert second.sizes == list(map(len, DOCUMENTS))
        else:
            with pytest.raises(ValueError, match="the index is empty"):
                first.search_documents("other")
    both.add(["more"], ["more"])
    assert first.ids == second.ids == [*(IDS if was_indexed else []), "more"]


def test_an_outdated_index_may_be_replaced() -> None:
    first, second = BM25Retriever(), Stand([0])
    both = HybridRetriever([first, second])
    both.index(DOCUMENTS, IDS)
    second.fails = ArithmeticError  # its arrays cannot be had, and it fails
    with pytest.raises(ArithmeticError):
        both.index(["new"])
    assert first.ids == IDS
    with pytest.raises(ValueError, match="hold different documents"):
        both.search_documents("red")
    second.fails = None
    both.index(["new"])
    assert first.ids == second.ids == [0]


def test_saved_and_loaded(words: HybridRetriever, tmp_path: Path) -> None:
    words.save_index(tmp_path / "index")
    loaded = HybridRetriever([BM25Retriever(), BM25Retriever(k1=0, b=0)])
    loaded.load_index(tmp_path / "index")
    for query in ("red apple", "train a car", "light"):
        assert loaded.search_documents(query) == words.search_documents(query)
    assert loaded.retrievers[1].ids == IDS
    other = HybridRetriever([BM25Retriever(), Stand([0])])
    with pytest.raises(ValueError, match="of another model: it has retrievers="):
        other.load_index(tmp_path / "index")
    with pytest.raises(ValueError, match="of another model: it has kind='hybrid'"):
        BM25Retriever().load_index(tmp_path / "index")


def test_a_part_that_cannot_be_taken_changes_nothing(words: HybridRetriever) -> None:
    first, second = BM25Retriever(), Stand([0])
    both = HybridRetriever([first, second])
    both.index(["old words"])
    own = words.retrievers[0].index_arrays()
    arrays = {f"0.{name}": array for name, array in own.items()}
    with pytest.raises(ValueError, match="other sizes"):
        both.take_index({**arrays, "1.sizes": np.arange(3)}, 4)
    assert ids_of(first.search_documents("words")) == [0]
    assert second.sizes == [9]


def test_served(words: HybridRetriever, tmp_path: Path) -> None:
    words.export(tmp_path / "served")
    search = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    found = search(text=tf.constant(["a red apple", "?"]), k=tf.constant(3))
    expected = words.search_documents("a red apple", k=3)
    assert [name.decode() for name in found["id"].numpy()[0]] == ids_of(expected)
    assert found["score"].numpy()[0].tolist() == [hit["score"] for hit in expected]
    assert found["id"].numpy()[1].tolist() == [b"", b"", b""]
    none = search(text=tf.constant([], tf.string), k=tf.constant(3))
    assert none["id"].shape[0] == 0


@pytest.mark.parametrize(
    ("retrievers", "arguments", "message"),
    [
        ([], {}, "retrievers must be a list of two or more"),
        ([Stand([0])], {}, "retrievers must be a list of two or more"),
        (Stand([0]), {}, "retrievers must be a list"),
        ([Stand([0]), "bm25"], {}, "retrievers must be a list"),
        ([Stand([0]), Stand([0])], {"depth": 0}, "depth must be an int of 1 or more; got 0"),
        ([Stand([0]), Stand([0])], {"depth": 1.5}, "depth must be an int"),
        ([Stand([0]), Stand([0])], {"smoothing": -1}, "smoothing must be a number of 0 or more"),
        ([Stand([0]), Stand([0])], {"smoothing": "60"}, "smoothing must be a number"),
    ],
)
def test_bad_arguments(retrievers: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HybridRetriever(retrievers, **arguments)


def test_the_same_twice_is_refused() -> None:
    one = Stand([0])
    with pytest.raises(ValueError, match="retrievers must be a list of two or more"):
        HybridRetriever([one, one, Stand([1])])
