"""Word vectors that are given: asked, evaluated, stored, shown, and put into models."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lm as klm
from keras_lm.models import WordVectors
from keras_lm.models.word_vectors.pictures import principal_places

SHARED = Path(os.environ.get("KERAS_LM_SHARED", Path(__file__).parents[3] / "shared")) / "data"

WORDS = ["king", "queen", "man", "woman", "zero", "Paris"]
TABLE = [[2, 2, 0], [1, 1, 1], [0, 3, 0], [0, 2, 2], [0, 0, 0], [-1, 0, 0]]


@pytest.fixture
def vectors() -> WordVectors:
    return WordVectors(WORDS, TABLE)


def test_similarity(vectors: WordVectors) -> None:
    assert vectors.similarity("king", "king") == pytest.approx(1)
    assert vectors.similarity("king", "queen") == pytest.approx(2 / 6**0.5)
    assert vectors.similarity("man", "Paris") == 0
    assert vectors.similarity("king", "zero") == 0, "a vector of zeros points nowhere"


def test_most_similar_is_exact(vectors: WordVectors) -> None:
    found = vectors.most_similar("king", k=3)
    assert [word for word, _ in found] == ["queen", "man", "woman"]
    np.testing.assert_allclose([x for _, x in found], [2 / 6**0.5, 0.5**0.5, 0.5], rtol=1e-6)
    assert len(vectors.most_similar("king", k=100)) == 5
    assert vectors.most_similar("king")[-1][0] == "Paris"


def test_analogy_adds_unit_vectors_and_leaves_out_the_three(vectors: WordVectors) -> None:
    unit = np.array(TABLE[:4]) / np.linalg.norm(TABLE[:4], axis=1, keepdims=True)
    target = unit[0] - unit[2] + unit[3]
    [(word, cosine)] = vectors.analogy("man", "king", "woman", k=1)
    assert word == "queen"
    assert cosine == pytest.approx(unit[1] @ target / np.linalg.norm(target))
    assert {w for w, _ in vectors.analogy("man", "king", "woman")} == {"queen", "zero", "Paris"}


def test_random_vectors_against_plain_search() -> None:
    random = np.random.default_rng(0)
    table = random.normal(size=(200, 7))
    vectors = WordVectors([f"w{i}" for i in range(200)], table)
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    for row in range(20):
        best = [i for i in np.argsort(-(unit @ unit[row])) if i != row][:5]
        assert [w for w, _ in vectors.most_similar(f"w{row}", k=5)] == [f"w{i}" for i in best]


def test_words_are_found_as_spelled_and_then_lower_cased(vectors: WordVectors) -> None:
    assert vectors["KING"].tolist() == [2, 2, 0]
    assert "King" in vectors
    assert "paris" not in vectors, "it is spelled with a capital"
    both = WordVectors(["us", "US"], [[1], [2]])
    assert both["US"] == 2
    assert both["Us"] == 1


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda v: v["quen"], "word='quen' has no vector; the nearest spelling is 'queen'"),
        (lambda v: v["PARI"], "the nearest spelling is 'Paris'"),
        (lambda v: v["xyz"], "word='xyz' has no vector$"),
        (lambda v: v[""], "word='' has no vector$"),
        (lambda v: v.most_similar("kin"), "the nearest spelling is 'king'"),
        (lambda v: v.analogy("man", "king", "womn"), "the nearest spelling is 'woman'"),
        (lambda v: v.similarity("king", "mann"), "the nearest spelling is 'man'"),
        (lambda v: v.most_similar("king", k=0), "k=0 must be 1 or more"),
        (lambda v: v.plot("x.png", ["king", "quen"]), "the nearest spelling is 'queen'"),
        (lambda v: v.plot("x.png", ["king", "queen"]), "words: 2 of them"),
    ],
)
def test_bad_questions(vectors: WordVectors, ask, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ask(vectors)


@pytest.mark.parametrize(
    ("words", "table", "message"),
    [
        (["a", "b"], [[1, 2]], r"vectors is of shape \(1, 2\); 2 words"),
        (["a"], [1, 2], r"vectors is of shape \(2,\)"),
        ([], np.zeros((0, 2)), "at least one"),
        (["a", "b"], [[1, 2], [1, np.nan]], "that of 'b' is not finite"),
        (["a", "b", "a"], np.eye(3), "'a' is there twice"),
    ],
)
def test_tables_that_are_none(words: list[str], table: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WordVectors(words, table)


@pytest.mark.parametrize("format", ["word2vec", "word2vec-binary", "glove"])
def test_save_and_load(vectors: WordVectors, tmp_path: Path, format: str) -> None:
    vectors.save(tmp_path / "vectors", format)
    again = WordVectors.load(tmp_path / "vectors")
    assert again.words == vectors.words
    np.testing.assert_array_equal(again.vectors, vectors.vectors)


# ---- evaluation


def test_spearman_by_hand(vectors: WordVectors, tmp_path: Path) -> None:
    """Cosines 0.82, 0.71, 0.5, 0.71 have the ranks 4, 2.5, 1, 2.5; the scores 3, 4, 1, 2."""
    path = tmp_path / "pairs.tsv"
    path.write_text(
        "word1\tword2\tscore\nking\tqueen\t7\nking\tman\t9\nKing\tWoman\t1\nman\twoman\t2\n"
        "king\tunknown\t5\n"
    )
    score = vectors.evaluate_similarity(path)
    ours, theirs = np.array([4, 2.5, 1, 2.5]), np.array([3, 4, 1, 2])
    assert score == pytest.approx(np.corrcoef(ours, theirs)[0, 1])
    assert score.num_pairs == 4
    assert score.left_out == (("king", "unknown"),)
    path.write_text("word1\tword2\tscore\nking\tqueen\t7\nking\tunknown\t5\n")
    with pytest.raises(ValueError, match="path: 1 of 2 pairs have vectors"):
        vectors.evaluate_similarity(path)


def test_analogies_by_hand(vectors: WordVectors, tmp_path: Path) -> None:
    path = tmp_path / "questions.txt"
    path.write_text(
        ": family\nman king woman queen\nMan King Woman Paris\nman king woman unknown\n"
        "Paris Paris king queen\n"  # nearest of all is king itself, which is in the question
        ": empty\nnone of these words\n"
    )
    score = vectors.evaluate_analogies(path)
    assert score.sections == {"family": (2, 3), "empty": (0, 0)}
    assert (float(score), score.num_questions, score.left_out) == (2 / 3, 3, 2)
    path.write_text(": empty\nnone of these words\n")
    with pytest.raises(ValueError, match="path: none of its 1 questions"):
        vectors.evaluate_analogies(path)


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the data sets are not at {SHARED}")
def test_published_vectors_have_their_published_scores() -> None:
    glove = WordVectors.load(SHARED / "glove-6b-50d/glove.6B.50d.part.txt.gz")
    assert (len(glove), glove.dim) == (20_229, 50)
    scores = [
        glove.evaluate_similarity(SHARED / "word-similarity" / name)
        for name in ("wordsim353.tsv", "simlex999-part.tsv")
    ]
    assert scores == pytest.approx([0.503, 0.244], abs=5e-4)
    analogies = glove.evaluate_analogies(SHARED / "google-analogies/questions-words-part.txt.gz")
    assert analogies == pytest.approx(0.486, abs=5e-4)
    assert (analogies.num_questions, analogies.left_out) == (14_598, 0)
    assert glove.analogy("man", "king", "woman", k=1)[0][0] == "queen"


# ---- in other models


def test_as_embedding_layer_of_words(vectors: WordVectors) -> None:
    tokenizer = klm.tokenizers.WordTokenizer.train(texts=["the king saw ! the queen"], vocab_size=9)
    layer = vectors.as_embedding_layer(tokenizer)
    table = layer.get_weights()[0]
    assert table.shape == (tokenizer.vocab_size, 3)
    for word in ("king", "queen"):
        np.testing.assert_array_equal(table[tokenizer.token_to_id(word)], vectors[word])
    coverage = vectors.coverage(tokenizer)
    assert "the" in coverage.missing
    assert "king" not in coverage.missing
    assert coverage.num_found + len(coverage.missing) == tokenizer.vocab_size
    found = [i for i in range(len(table)) if tokenizer.id_to_token(i) not in coverage.missing]
    mean = table[found].mean(axis=0)
    np.testing.assert_allclose(table[tokenizer.token_to_id("the")], mean, rtol=1e-6)
    if tokenizer.pad_id is not None:
        assert not table[tokenizer.pad_id].any()
    assert not layer.trainable
    assert not layer.trainable_weights
    assert vectors.as_embedding_layer(tokenizer, trainable=True).trainable_weights


def stand_in(tokens: list[str], said: list[str], pad_id: int | None = None) -> object:
    """What `as_embedding_layer` asks of a tokenizer."""

    class Tokenizer:
        vocab_size = len(tokens)

        def __init__(self) -> None:
            self.pad_id = pad_id

        def id_to_token(self, token_id: int) -> str:
            if tokens[token_id] == "<hole>":
                raise ValueError("no token")
            return tokens[token_id]

        def detokenize(self, ids: list[list[int]]) -> tf.Tensor:
            return tf.constant([said[i] for [i] in ids])

    return Tokenizer()


def test_marks_of_subwords(vectors: WordVectors) -> None:
    tokens = ["Ġking", "▁Queen", "##man", "man", "ĠParÃŃs", "[PAD]", "<hole>", "##", "▁"]
    said = [" king", "Queen", "man", "man", " Paris", "", "", "##", ""]
    tokenizer = stand_in(tokens, said, pad_id=5)
    layer = vectors.as_embedding_layer(tokenizer)
    table = layer.get_weights()[0]
    rows = [vectors["king"], vectors["queen"], vectors["man"], vectors["Paris"]]
    np.testing.assert_array_equal(table[[0, 1, 3, 4]], rows)
    np.testing.assert_allclose(table[[2, 6, 7, 8]], [np.mean(rows, axis=0)] * 4)
    assert not table[5].any()
    assert vectors.coverage(tokenizer).missing == ("##man", "[PAD]", "", "##", "▁")
    with pytest.raises(ValueError, match="none of its 1 tokens has one of the 6 vectors"):
        vectors.as_embedding_layer(stand_in(["x"], ["x"]))


def test_layer_lives_in_a_saved_model(vectors: WordVectors, tmp_path: Path) -> None:
    layer = vectors.as_embedding_layer(stand_in(["king", "man", "x"], ["king", "man", "x"]))
    model = keras.Sequential([layer, keras.layers.GlobalAveragePooling1D()])
    ids = np.array([[0, 1], [2, 2]])
    model(ids)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again(ids), model(ids))
    np.testing.assert_allclose(model(ids)[0], [1, 2.5, 0])


# ---- pictures


def test_projector(vectors: WordVectors, tmp_path: Path) -> None:
    vectors.save_projector(tmp_path / "logs")
    table = np.loadtxt(tmp_path / "logs/vectors.tsv", delimiter="\t", dtype=np.float32)
    np.testing.assert_array_equal(table, vectors.vectors)
    assert (tmp_path / "logs/metadata.tsv").read_text().split("\n") == [*WORDS, ""]
    config = (tmp_path / "logs/projector_config.pbtxt").read_text()
    assert 'tensor_path: "vectors.tsv"' in config
    assert 'metadata_path: "metadata.tsv"' in config
    with pytest.raises(ValueError, match="is a file"):
        vectors.save_projector(tmp_path / "logs/metadata.tsv")
    with pytest.raises(ValueError, match="'a\\\\tb' has a tab"):
        WordVectors(["a\tb"], [[1]]).save_projector(tmp_path / "other")


def test_tensorboard_reads_the_projector(vectors: WordVectors, tmp_path: Path) -> None:
    config_of = pytest.importorskip(
        "tensorboard.plugins.projector.projector_config_pb2", reason="tensorboard is missing"
    )
    from google.protobuf import text_format

    vectors.save_projector(tmp_path)
    text = (tmp_path / "projector_config.pbtxt").read_text()
    config = text_format.Parse(text, config_of.ProjectorConfig())
    assert [e.tensor_path for e in config.embeddings] == ["vectors.tsv"]


def test_principal_places() -> None:
    """Points on a slanted line lie on one axis, at their distances."""
    points = np.outer([0, 1, 3, 6], [3, 4, 0]) + 7
    places = principal_places(points)
    np.testing.assert_allclose(np.diff(places[:, 0]), [5, 10, 15])
    np.testing.assert_allclose(places[:, 1], 0, atol=1e-9)
    np.testing.assert_allclose(places.mean(axis=0), 0, atol=1e-9)
    assert principal_places(np.zeros((3, 1))).tolist() == [[0, 0]] * 3


def test_plot(vectors: WordVectors, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is missing")
    vectors.plot(tmp_path / "all.png")
    vectors.plot(tmp_path / "three.png", ["king", "Queen", "man"])
    for name in ("all.png", "three.png"):
        content = (tmp_path / name).read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", content[16:24])
        assert width > height > 300


def test_labels_do_not_cover_each_other() -> None:
    figure = pytest.importorskip("matplotlib.figure", reason="matplotlib is missing")
    from keras_lm.models.word_vectors.pictures import _label

    drawing = figure.Figure(figsize=(8, 6), layout="constrained")
    axes = drawing.subplots()
    places = np.random.default_rng(0).normal(size=(40, 2)) * 0.2
    axes.scatter(*places.T)
    drawing.draw_without_rendering()
    _label(axes, places, [f"word{i}" for i in range(40)])
    drawing.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 40
    crossings = sum(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert crossings == 0
