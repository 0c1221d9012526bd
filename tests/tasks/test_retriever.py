"""The dense retriever: vectors, an index of them, search; saved, loaded and served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import harness_files
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_lm as klm
from keras_lm.tasks import BM25Retriever, HybridRetriever, Retriever
from keras_lm.tasks.retrieval import vector_search
from keras_lm.tasks.retrieval.vector_search import nearest

DOCUMENTS = [
    f"{colour} {thing}"
    for colour in ("red", "green", "naïve 🙂")
    for thing in ("car", "pear", "train")
]


@pytest.fixture(scope="module")
def tok() -> klm.tokenizers.BytePairTokenizer:
    return klm.tokenizers.BytePairTokenizer.train(texts=DOCUMENTS * 3, vocab_size=280)


@pytest.fixture(scope="module")
def config(tok: Any) -> klm.EncoderConfig:
    return klm.EncoderConfig(
        vocab_size=tok.vocab_size, num_layers=1, hidden_dim=16, num_heads=2, max_length=24
    )


def make(config: Any, tok: Any, seed: int = 0, **arguments: Any) -> Retriever:
    keras.utils.set_random_seed(seed)
    encoder = klm.models.Encoder(config)
    for weight in encoder.weights:  # larger than fresh ones, so that texts differ
        weight.assign(weight + 0.2 * keras.random.normal(weight.shape))
    return Retriever(encoder, tok, **arguments)


@pytest.fixture(scope="module")
def indexed(config: Any, tok: Any) -> Retriever:
    """A retriever with documents. Tests leave it as it is."""
    retriever = make(config, tok)
    retriever.index(DOCUMENTS)
    return retriever


# ---- vectors


def test_vectors_are_those_of_each_text_alone(indexed: Retriever) -> None:
    vectors = indexed.embed([*DOCUMENTS, "red car"], batch_size=4)
    assert vectors.shape == (10, 16)
    assert vectors.dtype == np.float32
    for text, vector in zip(DOCUMENTS, vectors, strict=False):
        np.testing.assert_allclose(indexed.embed(text), vector, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(vectors[0], vectors[-1], atol=1e-6)
    assert abs(vectors[0] - vectors[1]).max() > 1e-3


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "last"])
def test_vectors_by_hand(config: Any, tok: Any, pooling: str) -> None:
    retriever = make(config, tok, pooling=pooling, normalize=False)
    ids = [tok.cls_id or tok.bos_id, *tok("red car").numpy().tolist(), tok.sep_id or tok.eos_id]
    hidden = retriever.model(np.array([ids])).numpy()[0]
    expected = {
        "cls": hidden[0],
        "last": hidden[-1],
        "mean": hidden.mean(0),
        "max": hidden.max(0),
    }[pooling]
    # Beside a longer text, so that there is padding.
    vectors = retriever.embed(["red car", "a much longer text 🙂"])
    np.testing.assert_allclose(vectors[0], expected, atol=1e-5)


def test_what_is_beyond_the_length_plays_no_part(config: Any, tok: Any) -> None:
    retriever = make(config, tok, sequence_length=6)
    one, other = retriever.embed(["red car red car and more", "red car red car and other things"])
    np.testing.assert_allclose(one, other, atol=1e-6)
    assert abs(one - make(config, tok).embed("red car red car and more")).max() > 1e-3


# ---- search


@settings(deadline=None, max_examples=30)
@given(
    count=st.integers(1, 40),
    k=st.integers(1, 40),
    chunk=st.integers(1, 16),
    seed=st.integers(0, 99),
)
def test_search_in_chunks_is_that_of_all_at_once(count: int, k: int, chunk: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.integers(-2, 3, (count, 3)).astype("float32")  # with many equal scores
    queries = random.integers(-2, 3, (4, 3)).astype("float32")
    k = min(k, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_search, "CHUNK", chunk)
        numbers, scores = nearest(tf.constant(queries), tf.constant(vectors), tf.constant(k))
    products = queries @ vectors.T
    expected = np.argsort(-products, axis=1, kind="stable")[:, :k]
    assert numbers.numpy().tolist() == expected.tolist()
    assert scores.numpy().tolist() == np.take_along_axis(products, expected, 1).tolist()


def test_no_more_scores_than_those_of_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_search, "CHUNK", 8)
    function = tf.function(nearest)
    specs = tf.TensorSpec([None, 3]), tf.TensorSpec([None, 3]), tf.TensorSpec([], tf.int32)
    graph = function.get_concrete_function(*specs).graph.as_graph_def()
    products = [n for f in graph.library.function for n in f.node_def if n.op == "MatMul"]
    assert len(products) == 1
    assert not [n for n in graph.node if n.op == "MatMul"]


def test_search_finds_the_nearest(indexed: Retriever) -> None:
    products = indexed.embed(["green pear"]) @ indexed.embed(DOCUMENTS).T
    expected = np.argsort(-products[0])[:4].tolist()
    hits = indexed.search_documents("green pear", k=4)
    assert [hit["id"] for hit in hits] == expected
    assert hits[0]["document"] == "green pear"
    assert [hit["score"] for hit in hits] == pytest.approx(products[0][expected].tolist(), abs=1e-5)
    assert len(indexed.search_documents("x")) == 9
    several = indexed.search_documents(["red car", "green pear"], k=4)
    assert [hit["id"] for hit in several[1]] == expected


def test_cosine_of_vectors_of_any_length(config: Any, tok: Any) -> None:
    plain = make(config, tok, normalize=False)
    dot = make(config, tok, normalize=False, similarity="dot")
    vectors = plain.embed(DOCUMENTS)
    assert abs(np.linalg.norm(vectors, axis=1) - 1).min() > 0.01
    for retriever, scale in ((plain, np.linalg.norm(vectors, axis=1, keepdims=True)), (dot, 1.0)):
        retriever.index(DOCUMENTS)
        expected = (vectors / scale) @ (vectors / scale)[0]
        found = {hit["id"]: hit["score"] for hit in retriever.search_documents(DOCUMENTS[0])}
        assert found == pytest.approx(dict(enumerate(expected.tolist())), rel=1e-4, abs=1e-4)


def test_prompts(config: Any, tok: Any) -> None:
    retriever = make(config, tok, query_prompt="red ", document_prompt="green ")
    retriever.index(["pear", "car"])
    (hit,) = retriever.search_documents("car", k=1)
    products = retriever.embed(["red car"]) @ retriever.embed(["pear", "car"], "green ").T
    assert hit["score"] == pytest.approx(float(products.max()), abs=1e-5)
    assert hit["id"] == products.argmax()


def test_documents_added_are_found_as_if_indexed_at_once(
    indexed: Retriever, config: Any, tok: Any
) -> None:
    retriever = make(config, tok)
    retriever.index(DOCUMENTS[:4])
    retriever.add(DOCUMENTS[4:])
    for document in DOCUMENTS:
        found, expected = (r.search_documents(document) for r in (retriever, indexed))
        assert [hit["id"] for hit in found] == [hit["id"] for hit in expected]


def test_approximate_search(indexed: Retriever) -> None:
    pytest.importorskip("faiss")
    exact = indexed.search_documents(DOCUMENTS, k=3)
    near = indexed.search_documents(DOCUMENTS, k=3, approximate=True)
    for one, other in zip(exact, near, strict=True):
        assert [hit["id"] for hit in one] == [hit["id"] for hit in other]
        assert [hit["score"] for hit in one] == pytest.approx([hit["score"] for hit in other])


def test_approximate_search_without_its_library(
    indexed: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    indexed._vectors.__dict__.pop("graph", None)
    with pytest.raises(ImportError, match=r"pip install 'keras-lm\[search\]'"):
        indexed.search_documents("x", approximate=True)


# ---- saved, loaded, served


def answers(retriever: Retriever) -> list[list[tuple[Any, float]]]:
    found = retriever.search_documents(DOCUMENTS, k=3)
    return [[(hit["id"], round(hit["score"], 5)) for hit in hits] for hits in found]


def test_saved_with_its_index(indexed: Retriever, tmp_path: Path) -> None:
    indexed.save_pretrained(tmp_path / "dir")
    assert answers(Retriever.from_pretrained(tmp_path / "dir")) == answers(indexed)
    half = Retriever.from_pretrained(tmp_path / "dir", dtype="bfloat16")
    assert half.documents == DOCUMENTS
    assert half.search_documents("green pear", k=1)[0]["document"] == "green pear"
    indexed.save(tmp_path / "retriever.keras")
    assert answers(keras.saving.load_model(tmp_path / "retriever.keras")) == answers(indexed)


def test_saved_without_an_index(config: Any, tok: Any, tmp_path: Path) -> None:
    retriever = make(config, tok, pooling="max", query_prompt="q ", temperature=0.1)
    retriever.save_pretrained(tmp_path / "dir")
    again = Retriever.from_pretrained(tmp_path / "dir")
    assert again.get_config() | {"name": 0, "model": 0} == retriever.get_config() | {
        "name": 0,
        "model": 0,
    }
    np.testing.assert_array_equal(again.embed(DOCUMENTS), retriever.embed(DOCUMENTS))
    assert again.documents == []
    retriever.save(tmp_path / "retriever.keras")
    again = keras.saving.load_model(tmp_path / "retriever.keras")
    np.testing.assert_array_equal(again.embed(DOCUMENTS), retriever.embed(DOCUMENTS))


def test_an_index_of_another_model_is_refused(
    indexed: Retriever, config: Any, tok: Any, tmp_path: Path
) -> None:
    indexed.save_index(tmp_path / "index")
    assert answers(make(config, tok).load_index(tmp_path / "index")) == answers(indexed)
    other = make(config, tok, seed=1)
    other.index(["old"])
    with pytest.raises(ValueError, match="is of another model: it has weights='"):
        other.load_index(tmp_path / "index")
    assert other.documents == ["old"]
    with pytest.raises(ValueError, match="it has pooling='mean', here it is 'cls'"):
        make(config, tok, pooling="cls").load_index(tmp_path / "index")
    with pytest.raises(ValueError, match="it has hidden_dim=16, here it is 8"):
        small = make(config.replace(hidden_dim=8, embedding_dim=8, feed_forward_dim=32), tok)
        small.load_index(tmp_path / "index")


@pytest.mark.parametrize("ids", [None, [f"d{n}" for n in range(9)]])
def test_the_saved_model_finds_the_same(config: Any, tok: Any, ids: Any, tmp_path: Path) -> None:
    retriever = make(config, tok, query_prompt="a ")
    retriever.index(DOCUMENTS, ids)
    retriever.export(tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served"))
    search = served.signatures["serving_default"]
    found = search(text=tf.constant(["red train", "green car"]), k=tf.constant(4))
    expected = retriever.search_documents(["red train", "green car"], k=4)
    for row, hits in enumerate(expected):
        given_ids = found["id"][row].numpy().tolist()
        assert [i.decode() if ids else i for i in given_ids] == [hit["id"] for hit in hits]
        texts = [text.decode() for text in found["document"][row].numpy()]
        assert texts == [hit["document"] for hit in hits]
        scores = [hit["score"] for hit in hits]
        assert found["score"][row].numpy().tolist() == pytest.approx(scores, abs=1e-6)
    # All nine, as the default of k is ten.
    assert served.search_documents(tf.constant(["red train"]))["id"].shape == (1, 9)
    vector = served.signatures["embed"](text=tf.constant(["red train"]))["vector"][0]
    np.testing.assert_allclose(vector, retriever.embed("red train"), atol=1e-6)


def test_without_an_index_the_saved_model_embeds(config: Any, tok: Any, tmp_path: Path) -> None:
    retriever = make(config, tok)
    retriever.export(tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served"))
    vector = served.signatures["serving_default"](text=tf.constant(["red train"]))["vector"][0]
    np.testing.assert_allclose(vector, retriever.embed("red train"), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pooling": "sum"}, "pooling must be"),
        ({"similarity": "l2"}, "similarity must be 'cosine' or 'dot'; got 'l2'"),
        ({"query_prompt": 3}, "query_prompt must be a string"),
        ({"temperature": 0}, "temperature must be a number above 0"),
    ],
)
def test_wrong_arguments(config: Any, tok: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(config, tok, **arguments)


def test_wrong_texts(indexed: Retriever) -> None:
    for texts, message in (
        ([], "texts is an empty list"),
        ("", "texts is an empty text"),
        (["a", 3], r"texts\[1\] must be a string"),
        (["\ud800"], r"texts\[0\] holds a lone surrogate"),
    ):
        with pytest.raises(ValueError, match=message):
            indexed.embed(texts)


# ---- with others


def test_fused_with_search_by_words(config: Any, tok: Any, tmp_path: Path) -> None:
    dense, words = make(config, tok), BM25Retriever()
    hybrid = HybridRetriever([dense, words])
    hybrid.index(DOCUMENTS)
    ranks = dict.fromkeys(range(9), 0.0)
    for part in (dense, words):
        for rank, hit in enumerate(part.search_documents("green pear", k=9), 1):
            ranks[hit["id"]] += 1 / (60 + rank)
    expected = sorted(ranks, key=lambda number: (-ranks[number], number))[:4]
    hits = hybrid.search_documents("green pear", k=4)
    assert [hit["id"] for hit in hits] == expected
    assert [hit["score"] for hit in hits] == pytest.approx([ranks[i] for i in expected])
    hybrid.save_index(tmp_path / "index")
    again = HybridRetriever([make(config, tok), BM25Retriever()]).load_index(tmp_path / "index")
    assert again.search_documents("green pear", k=4) == hits
    hybrid.export(tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served"))
    found = served.search_documents(tf.constant(["green pear"]), tf.constant(4))
    assert found["id"].numpy().tolist() == [expected]
    dense.fit([("red", "red car")], verbose=0)
    with pytest.raises(ValueError, match="the index is of the model before fit"):
        hybrid.search_documents("green pear")


_PROGRAM = """
import json, sys
import keras
import keras_lm as klm
assert keras.backend.backend() == "jax"
request = json.loads(sys.argv[1])
retriever = klm.tasks.Retriever.from_pretrained(request["directory"])
before = retriever.search_documents(request["query"], k=3)
retriever.add(["a blue train"])
history = retriever.fit([("red", "red car"), ("blue", "a blue train")], epochs=3, verbose=0)
print(json.dumps({"before": before, "loss": history.history["loss"]}))
"""


def test_the_jax_backend(indexed: Retriever, tmp_path: Path) -> None:
    pytest.importorskip("jax")
    indexed.save_pretrained(tmp_path / "dir")
    request = {"directory": str(tmp_path / "dir"), "query": "red train"}
    answers = json.loads(
        harness_files.run_python(
            _PROGRAM,
            json.dumps(request),
            cwd=tmp_path,
            KERAS_BACKEND="jax",
            JAX_PLATFORMS="cpu",
            PYTHONPATH=str(harness_files.ROOT),
        )
    )
    hits = indexed.search_documents("red train", k=3)
    assert [hit["id"] for hit in answers["before"]] == [hit["id"] for hit in hits]
    scores = [hit["score"] for hit in hits]
    assert [hit["score"] for hit in answers["before"]] == pytest.approx(scores, abs=1e-5)
    assert np.isfinite(answers["loss"]).all()
