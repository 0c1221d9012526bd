"""The task of relations: it learns, finds what it should, and is the same when saved and served."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import keras_lm as klm
from keras_lm.tasks import RelationExtractor, TokenClassifier
from keras_lm.tasks.relation_functions import PAIRS_AT_ONCE
from keras_lm.tokenizers import WordPieceTokenizer

LABELS = ["Other", "owns(e1,e2)", "owns(e2,e1)"]
PEOPLE, FIRMS = ["Ada Byron", "Łukasz"], ["Acme", "Ünion", "Bolt"]
PATTERNS = {"{} owns {}.": "owns(e1,e2)", "{} belongs to {}.": "owns(e2,e1)", "{} saw {}.": "Other"}


def _examples() -> tuple[list[str], list[str]]:
    """Each sentence with its first entity as e1, and with its first as e2."""
    sentences, relations = [], []
    for pattern, label in PATTERNS.items():
        for names in itertools.product(PEOPLE, FIRMS):
            one, other = names[::-1] if "belongs" in pattern else names
            sentences.append(pattern.format(f"<e1>{one}</e1>", f"<e2>{other}</e2>"))
            relations.append(label)
            sentences.append(pattern.format(f"<e2>{one}</e2>", f"<e1>{other}</e1>"))
            turned = {"owns(e1,e2)": "owns(e2,e1)", "owns(e2,e1)": "owns(e1,e2)"}
            relations.append(turned.get(label, label))
    return sentences, relations


SENTENCES, RELATIONS = _examples()
KINDS = {"Ada": "B-person", "Byron": "I-person", "Łukasz": "B-person"} | dict.fromkeys(
    FIRMS, "B-firm"
)
WORDS = [
    [*one.split(), *verb.split(), *other.split(), "."]
    for one, other in itertools.permutations(PEOPLE + FIRMS, 2)
    for verb in ("saw", "owns", "belongs to")
]
WORDS += [["Who", "?"], ["Nobody", "."]] * 4
TAGS = [[KINDS.get(word, "O") for word in words] for words in WORDS]
TEXTS = ["Ada Byron owns Acme.", "Bolt  belongs to Łukasz. Who?", "Nobody.", "Ada Byron saw Ünion."]


@pytest.fixture(scope="module")
def tok() -> WordPieceTokenizer:
    texts = [*SENTENCES, "@ # Who Nobody ?"]
    return WordPieceTokenizer.train(texts=texts, vocab_size=90, lowercase=False)


def encoder(tok: WordPieceTokenizer, **fields: Any) -> klm.models.Encoder:
    sizes = {"num_layers": 1, "hidden_dim": 16, "num_heads": 2, "max_length": 64, **fields}
    positions = klm.PositionConfig(kind="rotary")
    config = klm.EncoderConfig(vocab_size=tok.vocab_size, positions=positions, **sizes)
    return klm.models.Encoder(config)


@pytest.fixture(scope="module")
def tagger(tok: WordPieceTokenizer) -> TokenClassifier:
    keras.utils.set_random_seed(0)
    task = TokenClassifier(encoder(tok), tok, ["O", "B-person", "I-person", "B-firm"])
    task.compile(klm.training.fine_tuning_optimizer(3e-2))
    task.fit(WORDS, TAGS, batch_size=8, epochs=4, verbose=0)
    return task


@pytest.fixture(scope="module")
def extractor(tok: WordPieceTokenizer, tagger: TokenClassifier) -> RelationExtractor:
    """A trained task with a tagger. Tests leave it as it is."""
    keras.utils.set_random_seed(0)
    task = RelationExtractor(encoder(tok), tok, LABELS, tagger=tagger, dropout=0.0)
    task.compile(klm.training.fine_tuning_optimizer(2e-2))
    task.fit(SENTENCES, RELATIONS, batch_size=9, epochs=20, verbose=0)
    return task


def brief(relations: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(one["head"]["text"], one["relation"], one["tail"]["text"]) for one in relations]


def test_it_learns_and_says_so(extractor: RelationExtractor) -> None:
    results = extractor.evaluate(SENTENCES, RELATIONS, verbose=0, return_dict=True)
    assert set(results) == {"loss", "accuracy", "relation_f1"}
    assert results["accuracy"] == results["relation_f1"] == 1.0
    answer = extractor.classify(SENTENCES[0])
    assert list(answer) == ["label", "score", "scores"]
    assert answer["label"] == "owns(e1,e2)"
    assert list(answer["scores"]) == LABELS
    assert answer["score"] == answer["scores"]["owns(e1,e2)"] > 0.8
    answers = extractor.classify(SENTENCES, batch_size=5)
    assert [answer["label"] for answer in answers] == RELATIONS
    assert answers[0]["score"] == pytest.approx(answer["score"], abs=1e-5)


def test_evaluation_is_that_of_all_examples_at_once(extractor: RelationExtractor) -> None:
    turned = RELATIONS[-5:] + RELATIONS[:-5]  # some are right and some are not
    logits = extractor.predict(SENTENCES).astype("float64")
    ids = np.array([LABELS.index(label) for label in turned])
    nats = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(ids)), ids]
    metric = klm.metrics.RelationF1(LABELS)
    metric.update_state(ids, logits)
    for batch_size in (1, 5, 64):
        results = extractor.evaluate(SENTENCES, turned, batch_size, verbose=0, return_dict=True)
        assert results["loss"] == pytest.approx(nats.mean(), rel=1e-4)
        assert results["accuracy"] == pytest.approx((logits.argmax(1) == ids).mean())
        assert results["relation_f1"] == pytest.approx(float(metric.result()), abs=1e-6)
    assert 0.1 < float(metric.result()) < 0.9


def test_relations_of_a_text(extractor: RelationExtractor) -> None:
    text = "Who? Bolt  belongs to Łukasz."
    (one,) = extractor.extract_relations(text)
    assert list(one) == ["head", "relation", "tail", "score"]
    assert one["head"] == {
        "text": "Łukasz",
        "label": "person",
        "start": 22,
        "end": 28,
        "start_byte": 22,
        "end_byte": 29,
    }
    assert one["relation"] == "owns"
    assert (one["tail"]["text"], one["tail"]["label"], one["tail"]["start"]) == ("Bolt", "firm", 5)
    answer = extractor.classify("Who? <e1>Bolt</e1>  belongs to <e2>Łukasz</e2>.")
    assert answer["label"] == "owns(e2,e1)"
    assert one["score"] == pytest.approx(answer["score"], abs=1e-5)
    assert [brief(found) for found in extractor.extract_relations(TEXTS)] == [
        [("Ada Byron", "owns", "Acme")],
        [("Łukasz", "owns", "Bolt")],
        [],
        [],
    ]


def test_each_pair_is_what_classify_says_of_it(extractor: RelationExtractor) -> None:
    """Many pairs, in several batches of the graph, of texts of different numbers of entities."""
    long = "Łukasz owns Acme. Bolt saw Ünion. " * 3 + "Bolt belongs to Ada Byron."
    texts = ["Łukasz.", long, "Acme belongs to Łukasz.", "Ada Byron saw Ünion."]
    spans = extractor.tagger.tag(texts)
    assert len(spans[0]) == 1
    assert len(spans[1]) * (len(spans[1]) - 1) / 2 > PAIRS_AT_ONCE
    found = extractor.extract_relations(texts)
    for text, entities, relations in zip(texts, spans, found, strict=True):
        pairs = list(itertools.combinations(entities, 2))
        answers = extractor.classify([tagged(text, *pair) for pair in pairs]) if pairs else []
        expected = []
        for (one, other), answer in zip(pairs, answers, strict=True):
            if answer["label"] != "Other":
                head, tail = (other, one) if answer["label"] == LABELS[2] else (one, other)
                score = pytest.approx(answer["score"], abs=1e-4)
                expected.append((head["start"], tail["start"], score))
        assert [
            (one["head"]["start"], one["tail"]["start"], one["score"]) for one in relations
        ] == expected
    assert len(found[1]) > 3
    assert [len(one) for one in found[::3]] == [0, 0]
    alone = [extractor.extract_relations(text) for text in texts]
    assert [brief(one) for one in alone] == [brief(one) for one in found]


def tagged(text: str, one: dict[str, Any], other: dict[str, Any]) -> str:
    """The text with the first of two spans as e1 and the second as e2."""
    between = text[one["end"] : other["start"]]
    return (
        f"{text[: one['start']]}<e1>{one['text']}</e1>{between}<e2>{other['text']}</e2>"
        f"{text[other['end'] :]}"
    )


def test_the_tagger_is_a_task_of_its_own(extractor: RelationExtractor) -> None:
    """Its weights are neither trained nor counted with the extractor's."""
    inside = {id(weight) for weight in extractor.tagger.weights}
    for variables in (extractor.weights, extractor.trainable_variables, extractor.variables):
        assert not inside & {id(variable) for variable in variables}


def test_the_tagger_can_be_set_later(tok: WordPieceTokenizer, tagger: TokenClassifier) -> None:
    keras.utils.set_random_seed(1)
    task = RelationExtractor(encoder(tok), tok, ["A", "B(e1,e2)"])
    with pytest.raises(ValueError, match="extract_relations needs a tagger"):
        task.extract_relations("Łukasz owns Acme.")
    with pytest.raises(ValueError, match="to_triples needs a tagger"):
        task.to_triples(["Ada owns Acme."], "nowhere.tsv")
    assert list(task.text_functions.signatures()) == ["serving_default", "classify"]
    task.tagger = tagger
    # No label means none, so that every pair has a relation.
    assert task.no_relation is None
    assert len(task.extract_relations("Łukasz owns Acme.")) == 1
    task.tagger = TokenClassifier(encoder(tok), tok, ["O", "B-thing"])
    assert task.text_functions.tagging is task.tagger.text_functions
    task.tagger = None
    with pytest.raises(ValueError, match="needs a tagger"):
        task.extract_relations("Łukasz owns Acme.")


def test_triples(extractor: RelationExtractor, tmp_path: Path) -> None:
    path = tmp_path / "graph.tsv"
    texts = [*TEXTS, "Who? Ada\t\n Byron owns Acme.", "Łukasz owns Ünion."]
    triples = extractor.to_triples(texts, path)
    assert triples == [
        ("Ada Byron", "owns", "Acme"),
        ("Łukasz", "owns", "Bolt"),
        ("Łukasz", "owns", "Ünion"),
    ]
    table = klm.data.tsv(path)
    assert list(table) == ["head", "relation", "tail"]
    assert list(zip(*table.values(), strict=True)) == triples
    before = path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=r"texts\[1\] is an empty text"):
        extractor.to_triples(["Ada owns Acme.", " "], path)
    assert path.read_text(encoding="utf-8") == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["graph.tsv"]
    with pytest.raises(FileNotFoundError):
        extractor.to_triples(TEXTS, tmp_path / "nowhere" / "graph.tsv")


def test_one_file_holds_the_task_and_its_tagger(
    extractor: RelationExtractor, tmp_path: Path
) -> None:
    extractor.save(tmp_path / "task.keras")
    loaded = keras.saving.load_model(tmp_path / "task.keras")
    assert int(loaded.optimizer.iterations) == int(extractor.optimizer.iterations) > 0
    assert loaded.extract_relations(TEXTS) == extractor.extract_relations(TEXTS)
