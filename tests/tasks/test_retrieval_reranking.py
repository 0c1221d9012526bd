"""A classifier of pairs orders what was found: as `classify` says, in Python and served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lm as klm
from keras_lm.tasks import BM25Retriever, HybridRetriever, Reranker, TextClassifier
from keras_lm.tasks.retrieval import reranking

DOCUMENTS = [f"{colour} {thing}" for colour in ("red", "green") for thing in ("car", "pear", "bus")]
DOCUMENTS += ["red and green, a car like a pear", "a train"]
IDS = [f"d{number}" for number in range(len(DOCUMENTS))]
QUERIES = ["a red pear", "car bus", "green", "?"]


@pytest.fixture(scope="module")
def tok() -> klm.tokenizers.BytePairTokenizer:
    return klm.tokenizers.BytePairTokenizer.train(texts=DOCUMENTS * 3, vocab_size=280)


def make(tok: Any, labels: Any, **arguments: Any) -> TextClassifier:
    """A classifier of random weights that are large enough for scores to differ."""
    keras.utils.set_random_seed(1)
    config = klm.EncoderConfig(
        vocab_size=tok.vocab_size, num_layers=1, hidden_dim=16, num_heads=2, max_length=48
    )
    classifier = TextClassifier(klm.models.Encoder(config), tok, labels, **arguments)
    for weight in classifier.weights:
        weight.assign(weight + 0.3 * keras.random.normal(weight.shape))
    return classifier


@pytest.fixture(scope="module")
def classifier(tok: Any) -> TextClassifier:
    return make(tok, ["no", "maybe", "yes"])


@pytest.fixture(scope="module")
def words() -> BM25Retriever:
    """A retriever with documents. Tests leave it as it is."""
    retriever = BM25Retriever()
    retriever.index(DOCUMENTS, IDS)
    return retriever


def expected(
    words: BM25Retriever, classifier: TextClassifier, query: str, depth: int, label: str
) -> list[tuple[str, float]]:
    """What `classify` makes of the retriever's best documents."""
    hits = words.search_documents(query, k=depth)
    if not hits:
        return []
    answers = classifier.classify([(query, hit["document"]) for hit in hits])
    scores = [(hit["id"], answer["scores"][label]) for hit, answer in zip(hits, answers)]
    return sorted(scores, key=lambda pair: -pair[1])


@pytest.mark.parametrize(
    ("depth", "label", "pairs"), [(50, None, 32), (3, "maybe", 32), (5, "no", 2)]
)
def test_as_classify_says(
    words: BM25Retriever,
    classifier: TextClassifier,
    monkeypatch: pytest.MonkeyPatch,
    depth: int,
    label: str | None,
    pairs: int,
) -> None:
    monkeypatch.setattr(reranking, "PAIRS", pairs)
    reranker = Reranker(words, classifier, depth, label)
    found = reranker.search_documents(QUERIES, k=min(depth, len(DOCUMENTS)))
    reordered = False
    for query, hits in zip(QUERIES, found, strict=True):
        wanted = expected(words, classifier, query, min(depth, 8), label or "yes")
        assert [hit["id"] for hit in hits] == [each for each, _ in wanted]
        np.testing.assert_allclose(
            [hit["score"] for hit in hits], [score for _, score in wanted], rtol=1e-5
        )
        before = [hit["id"] for hit in words.search_documents(query, k=min(depth, 8))]
        reordered |= before != [hit["id"] for hit in hits]
        alone = reranker.search_documents(query, k=1)
        assert [hit["id"] for hit in alone] == [hit["id"] for hit in hits[:1]]
    assert reordered
    assert found[-1] == []


def test_regression(words: BM25Retriever, tok: Any) -> None:
    classifier = make(tok, 1)
    reranker = Reranker(words, classifier, depth=4)
    found = reranker.search_documents("red pear", k=4)
    wanted = expected(words, classifier, "red pear", 4, classifier.labels[0])
    assert [hit["id"] for hit in found] == [each for each, _ in wanted]
    scores = [hit["score"] for hit in found]
    np.testing.assert_allclose(scores, [score for _, score in wanted], rtol=1e-5)
    assert min(scores) < 0 or max(scores) > 1  # numbers, not probabilities


def test_equal_scores_in_order(tok: Any) -> None:
    classifier = make(tok, 2)
    for weight in classifier.head.weights:
        weight.assign(0 * weight)
    reranker = Reranker(BM25Retriever(), classifier, depth=3)
    reranker.index(["a b c d", "a b c", "a b", "a"])
    hits = reranker.search_documents("a", k=3)
    assert [hit["id"] for hit in reranker.retriever.search_documents("a", k=3)] == [3, 2, 1]
    assert [hit["id"] for hit in hits] == [1, 2, 3]
    assert [hit["score"] for hit in hits] == [0.5] * 3


def test_index_is_the_retrievers(
    words: BM25Retriever, classifier: TextClassifier, tmp_path: Path
) -> None:
    reranker = Reranker(BM25Retriever(), classifier)
    with pytest.raises(ValueError, match="the index is empty"):
        reranker.search_documents("car")
    reranker.index(DOCUMENTS[:6], IDS[:6])
    first = reranker.search_documents("red pear")
    assert len(first) == 4
    reranker.add(DOCUMENTS[6:], IDS[6:])
    assert (reranker.ids, reranker.retriever.ids) == (IDS, IDS)
    found = reranker.search_documents("red pear")
    assert len(found) == 5
    assert [hit for hit in found if hit["id"] != "d6"] == [
        {**hit, "score": pytest.approx(hit["score"], rel=1e-5)} for hit in first
    ]
    reranker.save_index(tmp_path / "index")
    assert BM25Retriever().load_index(tmp_path / "index").ids == IDS
    reranker.index(["other"])
    assert reranker.load_index(tmp_path / "index").search_documents("red pear") == found


def test_follows_the_classifiers_weights(words: BM25Retriever, tok: Any) -> None:
    classifier = make(tok, 2)
    reranker = Reranker(words, classifier)
    before = reranker.search_documents("red pear")
    classifier.head.kernel.assign(-classifier.head.kernel)
    classifier.head.bias.assign(-classifier.head.bias)
    after = reranker.search_documents("red pear")
    assert [hit["id"] for hit in after] == [hit["id"] for hit in before][::-1]


def test_served_over_several_retrievers(
    words: BM25Retriever, classifier: TextClassifier, tmp_path: Path
) -> None:
    words.save_index(index := tmp_path / "index")
    both = HybridRetriever([words, BM25Retriever().load_index(index)])
    reranker = Reranker(both, classifier, depth=3)
    reranker.export(tmp_path / "served")
    search = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    found = search(text=tf.constant(QUERIES), k=tf.constant(5))
    assert found["id"].shape == (4, 5)
    for row, query in enumerate(QUERIES):
        hits = reranker.search_documents(query, k=3)
        names = [hit["id"] for hit in hits] + [""] * (5 - len(hits))  # depth is 3, not 5
        assert [name.decode() for name in found["id"].numpy()[row]] == names
        texts = [hit["document"] for hit in hits] + [""] * (5 - len(hits))
        assert [text.decode() for text in found["document"].numpy()[row]] == texts
        scores = [hit["score"] for hit in hits] + [0.0] * (5 - len(hits))
        np.testing.assert_allclose(found["score"].numpy()[row], scores, rtol=1e-5)
    none = search(text=tf.constant([], tf.string), k=tf.constant(2))
    assert none["id"].shape == (0, 2)


@pytest.mark.parametrize("k", [0, 9, "2"])
def test_bad_k(words: BM25Retriever, classifier: TextClassifier, k: Any) -> None:
    reranker = Reranker(words, classifier, depth=4)
    with pytest.raises(ValueError, match="k must be from 1 to the number of documents, 8; got"):
        reranker.search_documents("car", k)
    with pytest.raises(ValueError, match=r"k must be at most depth=4, .*; got 5"):
        reranker.search_documents("car", 5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"retriever": "bm25"}, "retriever must be one, such as a BM25Retriever; got 'bm25'"),
        ({"classifier": None}, "classifier must be a TextClassifier; got None"),
        ({"depth": 0}, "depth must be an int of 1 or more; got 0"),
        ({"depth": True}, "depth must be an int"),
        ({"label": "perhaps"}, r"label must be one of \('no', 'maybe', 'yes'\); got 'perhaps'"),
    ],
)
def test_bad_arguments(
    words: BM25Retriever, classifier: TextClassifier, changed: dict[str, Any], message: str
) -> None:
    arguments = {"retriever": words, "classifier": classifier, **changed}
    with pytest.raises(ValueError, match=message):
        Reranker(**arguments)
