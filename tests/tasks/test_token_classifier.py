"""The task of tags: it learns, decodes as it should, and is the same when saved and served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lm as klm
from keras_lm.metrics import entity_scores
from keras_lm.tasks import TokenClassifier
from keras_lm.tokenizers import WordPieceTokenizer

LABELS = ["O", "B-person", "I-person", "B-place", "I-place"]
PEOPLE = [["Ada"], ["José", "Łukasz"], ["Alan", "Turing"], ["李", "白"]]
PLACES = [["London"], ["São", "Paulo"], ["Rio"]]


def _sentences() -> tuple[list[list[str]], list[list[str]]]:
    words, tags = [], []
    for person in PEOPLE:
        for place in PLACES:
            words.append([*person, "lives", "in", *place, "."])
            entities = [["B-person", *["I-person"] * (len(person) - 1)]]
            entities.append(["B-place", *["I-place"] * (len(place) - 1)])
            tags.append([*entities[0], "O", "O", *entities[1], "O"])
    return words, tags


WORDS, TAGS = _sentences()


@pytest.fixture(scope="module")
def word_pieces() -> WordPieceTokenizer:
    texts = [" ".join(row) for row in WORDS]
    return WordPieceTokenizer.train(texts=texts, vocab_size=85, lowercase=False)


def encoder(tokenizer: WordPieceTokenizer, **fields: Any) -> klm.models.Encoder:
    config = klm.EncoderConfig(
        vocab_size=tokenizer.vocab_size,
        **{"num_layers": 1, "hidden_dim": 16, "num_heads": 2, "max_length": 24, **fields},
    )
    return klm.models.Encoder(config)


def trained(tokenizer: WordPieceTokenizer, **arguments: Any) -> TokenClassifier:
    keras.utils.set_random_seed(0)
    tagger = TokenClassifier(encoder(tokenizer), tokenizer, LABELS, **arguments)
    tagger.compile(klm.training.fine_tuning_optimizer(2e-2))
    tagger.fit(WORDS, TAGS, batch_size=4, epochs=12, verbose=0)
    return tagger


@pytest.fixture(scope="module")
def tagger(word_pieces: WordPieceTokenizer) -> TokenClassifier:
    """A trained task. Tests leave it as it is."""
    return trained(word_pieces)


@pytest.fixture(scope="module")
def crf_tagger(word_pieces: WordPieceTokenizer) -> TokenClassifier:
    return trained(word_pieces, use_crf=True)


def brief(spans: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(span["text"], span["label"]) for span in spans]


def test_entities_of_a_raw_text(tagger: TokenClassifier) -> None:
    text = "José  Łukasz lives in São Paulo."
    spans = tagger.tag(text)
    assert brief(spans) == [("José  Łukasz", "person"), ("São Paulo", "place")]
    assert list(spans[0]) == ["text", "label", "start", "end", "start_byte", "end_byte", "score"]
    for span in spans:
        assert text[span["start"] : span["end"]] == span["text"]
        assert text.encode()[span["start_byte"] : span["end_byte"]].decode() == span["text"]
        assert 0.5 < span["score"] <= 1
    assert tagger.tag("Ada lives in London.")[0] | {"score": 0} == {
        "text": "Ada",
        "label": "person",
        "start": 0,
        "end": 3,
        "start_byte": 0,
        "end_byte": 3,
        "score": 0,
    }


def test_lists_words_and_empty_texts(tagger: TokenClassifier) -> None:
    texts = [" ".join(row) for row in WORDS]
    alone = [tagger.tag(text) for text in texts]
    for spans, other in zip(tagger.tag(texts, batch_size=5), alone, strict=True):
        assert brief(spans) == brief(other)
        for span, same in zip(spans, other, strict=True):
            assert span["score"] == pytest.approx(same["score"], abs=1e-4)
    assert [brief(spans) for spans in tagger.tag(WORDS)] == [brief(spans) for spans in alone]
    assert tagger.tag(["", "Ada lives in Rio", "  "])[::2] == [[], []]
    assert tagger.tag("") == []
    assert tagger.tag([[], ["Ada", "lives"]])[0] == []


def found_tags(tagger: TokenClassifier, words: list[list[str]]) -> list[list[str]]:
    """What `tag` says, as BIO tags of words without white space in them."""
    rows = []
    for sentence, spans in zip(words, tagger.tag(words), strict=True):
        starts = np.cumsum([0, *(len(word) + 1 for word in sentence)]).tolist()
        row = ["O"] * len(sentence)
        for span in spans:
            first, last = starts.index(span["start"]), starts.index(span["end"] + 1)
            row[first:last] = [f"B-{span['label']}", *[f"I-{span['label']}"] * (last - first - 1)]
        rows.append(row)
    return rows


def test_evaluate_counts_what_tag_finds(tagger: TokenClassifier) -> None:
    # Sentences that it has not seen, with errors in them.
    words = [[*row[::-1], *row] for row in WORDS[:5]]
    tags = [[*row[::-1], *row] for row in TAGS[:5]]
    results = tagger.evaluate(words, tags, batch_size=2, verbose=0, return_dict=True)
    assert set(results) == {"loss", "accuracy", "entity_f1"}
    found = found_tags(tagger, words)
    expected = entity_scores(tags, found)["micro avg"]["f1"]
    assert results["entity_f1"] == pytest.approx(expected, abs=1e-6)
    assert 0.1 < expected < 0.95


def test_it_has_learned_its_sentences(tagger: TokenClassifier, crf_tagger: TokenClassifier) -> None:
    for each in (tagger, crf_tagger):
        results = each.evaluate(WORDS, TAGS, verbose=0, return_dict=True)
        assert results["entity_f1"] == 1.0
        assert results["accuracy"] == 1.0
        assert results["loss"] < 0.1


def chains(
    tagger: TokenClassifier, words: list[list[str]], tags: list[list[str]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Emissions [K, C] and tag ids [K] of the words of each sentence, at their first sub-words."""
    store = tagger.examples(words, tags, progress=False)
    (rows,) = store.sequences
    found = []
    for row, emissions in enumerate(tagger.predict(words, verbose=0)):
        place = slice(*rows.offsets[row : row + 2])
        counts = rows.columns["weights"][place] > 0
        found.append((emissions[counts], rows.columns["labels"][place][counts]))
    return found


def test_the_loss_of_a_crf_is_that_of_its_chain(crf_tagger: TokenClassifier) -> None:
    words, tags = WORDS[4:7], [row[::-1] for row in TAGS[4:7]]
    nats, count = 0.0, 0
    for emissions, own in chains(crf_tagger, words, tags):
        mask = np.ones([1, len(own)])
        nats -= float(crf_tagger.crf.log_likelihood(emissions[None], own[None], mask)[0])
        count += len(own)
    assert count == sum(map(len, words))
    loss = crf_tagger.evaluate(words, tags, batch_size=2, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(nats / count, rel=1e-3)
    assert np.abs(np.asarray(crf_tagger.crf.transitions)).max() > 0.05  # they have learned


def test_scores_are_the_mean_of_the_probabilities_of_words(
    tagger: TokenClassifier, crf_tagger: TokenClassifier
) -> None:
    words, tags = [["Alan", "Turing", "lives"]], [["O", "O", "O"]]
    for each in (tagger, crf_tagger):
        ((emissions, _),) = chains(each, words, tags)
        chances = np.exp(emissions) / np.exp(emissions).sum(-1, keepdims=True)
        if each.use_crf:
            chances = np.asarray(each.crf.marginals(emissions[None], np.ones([1, 3])))[0]
        (span,) = each.tag(words)[0]
        assert span["text"] == "Alan Turing"
        assert span["score"] == pytest.approx((chances[0, 1] + chances[1, 2]) / 2, abs=1e-4)


def test_saved_and_loaded(crf_tagger: TokenClassifier, tmp_path: Path) -> None:
    text = "José Łukasz lives in Rio."
    expected = crf_tagger.tag(text)
    crf_tagger.save_pretrained(tmp_path / "directory")
    loaded = TokenClassifier.from_pretrained(tmp_path / "directory")
    assert loaded.labels == tuple(LABELS)
    assert loaded.use_crf
    assert loaded.tag(text) == expected
    crf_tagger.save(tmp_path / "task.keras")
    whole = keras.saving.load_model(tmp_path / "task.keras")
    tags = [row[::-1] for row in TAGS]
    before = crf_tagger.evaluate(WORDS, tags, verbose=0, return_dict=True)
    assert before["loss"] > 0.5
    assert whole.evaluate(WORDS, tags, verbose=0, return_dict=True) == before


def test_served(crf_tagger: TokenClassifier, tmp_path: Path) -> None:
    crf_tagger.export(tmp_path)
    served = tf.saved_model.load(tmp_path).signatures
    texts = ["José Łukasz lives in São Paulo.", "", "李白 lives"]
    expected = crf_tagger.tag(texts)
    answers = served["serving_default"](text=tf.constant(texts))
    assert answers["count"].numpy().tolist() == [len(spans) for spans in expected] == [2, 0, 1]
    for row, spans in enumerate(expected):
        for place, span in enumerate(spans):
            for field, value in span.items():
                found = answers[field][row, place].numpy()
                assert (found.decode() if isinstance(found, bytes) else found) == value
    words = served["tag_words"](words=tf.constant([["Alan", "Turing", "lives"], ["Rio", "", ""]]))
    assert words["text"][0].numpy().tolist()[0] == b"Alan Turing"
    assert set(served) == {"serving_default", "tag_words"}


def test_a_new_head_where_the_labels_are_others(tagger: TokenClassifier, tmp_path: Path) -> None:
    tagger.save_pretrained(tmp_path)
    other = TokenClassifier.from_pretrained(tmp_path, labels=["NOUN", "VERB"])
    assert other.head.kernel.shape == (16, 2)
    same, fresh = (task.model.token_embedding.embeddings.numpy() for task in (tagger, other))
    np.testing.assert_array_equal(same, fresh)


def test_transformers_finds_the_head(tagger: TokenClassifier, tmp_path: Path) -> None:
    """The names and settings that Transformers reads; a Hugging Face directory loads the same."""
    from safetensors.numpy import load_file

    from keras_lm.storage import read_json

    tagger.save_pretrained(tmp_path)
    config = read_json(tmp_path / "config.json")
    assert config["architectures"] == ["BertForTokenClassification"]
    assert config["id2label"]["1"] == "B-person"
    tensors = load_file(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(tensors["classifier.weight"], tagger.head.kernel.numpy().T)
