"""Link prediction: learned, ranked, asked."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest

import keras_lm as klm
from keras_lm.tasks import LinkPredictor
from keras_lm.tasks.link_ranking import filtered_ranks
from keras_lm.training import Resume

PEOPLE = [f"person_{number}" for number in range(24)]
NEXT = [(one, "parent_of", other) for one, other in itertools.pairwise(PEOPLE)]
BACK = [(other, "child_of", one) for one, _, other in NEXT]
HELD_OUT = BACK[::4]
TRIPLES = NEXT + [triple for triple in BACK if triple not in HELD_OUT]


def make(method: str = "complex", **settings: Any) -> LinkPredictor:
    keras.utils.set_random_seed(0)
    return LinkPredictor(method, **{"dim": 16, "regularization": 0.01, **settings})


@pytest.fixture(scope="module")
def trained() -> LinkPredictor:
    """A predictor that knows who is whose parent. Tests leave it as it is."""
    task = make()
    task.fit(TRIPLES, epochs=40, batch_size=8, verbose=0)
    return task


def test_it_learns_and_finds_what_it_was_not_told(trained: LinkPredictor) -> None:
    """Nobody said these children's parents, but that they are their parents' children."""
    assert trained.evaluate(TRIPLES, verbose=0, return_dict=True)["mrr"] == 1.0
    results = trained.evaluate(HELD_OUT, verbose=0, return_dict=True)
    assert list(results) == ["mrr", "hits@1", "hits@3", "hits@10"]
    assert results["mrr"] > 0.9
    assert trained.evaluate(HELD_OUT, verbose=0) == list(results.values())
    head, relation, tail = HELD_OUT[1]
    assert trained.predict_tail(head, relation, k=1)[0]["entity"] == tail
    assert trained.predict_head(relation, tail, k=1)[0]["entity"] == head


@pytest.mark.parametrize(("method", "negatives"), [("complex", 4), ("distmult", 24)])
def test_every_method_learns_with_all_entities_and_with_some(method: str, negatives: int) -> None:
    """DistMult cannot say that nobody is the parent of their parents."""
    task = make(method, negatives=negatives)
    task.compile(jit_compile=negatives == 4)
    history = task.fit(TRIPLES, epochs=60, batch_size=8, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0] / 2
    assert task.evaluate(TRIPLES, verbose=0)[0] > (0.9 if method == "complex" else 0.7)
    assert task.model.config.compares_all is (negatives == 24)


def brute_force_ranks(task: LinkPredictor, triples: list, true: set) -> list[float]:
    """One triple after the other, both sides, by the definition."""
    entities, relations = list(task.entities), list(task.relations)
    ranks = []
    for head, relation, tail in triples:
        number = relations.index(relation)
        for asked, own, which, side in (
            (head, tail, number, lambda e: (head, relation, e)),  # noqa: B023
            (tail, head, number + len(relations), lambda e: (e, relation, tail)),  # noqa: B023
        ):
            scores = np.asarray(task.model.scores([entities.index(asked)], [which]))[0]
            target = scores[entities.index(own)]
            others = [s for e, s in zip(entities, scores, strict=True) if side(e) not in true]
            better, ties = (sum(test(s) for s in others) for test in (target.__lt__, target.__eq__))
            ranks.append(1 + better + ties / 2)
    return ranks


@pytest.mark.parametrize("chunk", [1, 5, 2**23])
def test_figures_are_those_of_a_ranking_by_hand(chunk: int, monkeypatch: Any) -> None:
    monkeypatch.setattr("keras_lm.tasks.link_predictor._SCORES_AT_ONCE", 24 * chunk)
    task = make(entities=PEOPLE, relations=["parent_of", "child_of"])
    random = np.random.default_rng(0)
    for weight in task.model.weights:  # few values, so that many scores are alike
        weight.assign(random.integers(-1, 2, weight.shape))
    asked = [*HELD_OUT, HELD_OUT[0], (PEOPLE[3], "parent_of", PEOPLE[3])]
    more = [(PEOPLE[0], "child_of", name) for name in PEOPLE[5:20]]
    for known in ([], more):
        ranks = brute_force_ranks(task, asked, {*asked, *known})
        results = task.evaluate(asked, known=known or None, verbose=0, return_dict=True)
        assert results["mrr"] == pytest.approx(np.mean(1 / np.array(ranks)), rel=1e-5)
        for k in (1, 3, 10):
            assert results[f"hits@{k}"] == pytest.approx(np.mean(np.array(ranks) <= k))
    assert any(rank % 1 for rank in ranks)


def test_what_is_known_does_not_count_against_a_triple(trained: LinkPredictor) -> None:
    """From training, from `known`, or from the triples themselves."""
    asked = [(PEOPLE[2], "parent_of", PEOPLE[9])]  # wrong, and behind the right one
    rank = 1 / trained.evaluate(asked, verbose=0)[0]
    fresh = make(entities=trained.entities, relations=trained.relations)
    fresh.model.set_weights(trained.model.get_weights())
    unfiltered = fresh.evaluate(asked, verbose=0)[0]
    assert 1 / unfiltered > rank
    strangers = [("nobody", "parent_of", PEOPLE[0]), (PEOPLE[0], "loves", PEOPLE[1])]
    filtered = fresh.evaluate(asked, known=[*TRIPLES, *strangers], verbose=0)[0]
    assert 1 / filtered == pytest.approx(rank)
    assert fresh.evaluate(asked, known=strangers, verbose=0)[0] == pytest.approx(unfiltered)


def test_scores_that_are_no_numbers_rank_last() -> None:
    """Not first: nothing compares above nan."""
    triples = np.array([[0, 0, 1], [1, 0, 2]])
    known = klm.data.triples.KnownTails(triples, 1)

    def nothing(heads: np.ndarray, relations: np.ndarray) -> np.ndarray:
        return np.full((len(heads), 5), np.nan)

    ranks = filtered_ranks(nothing, triples, known, chunk=9, tell=lambda done: None)
    assert (ranks >= 5).all()


def test_validation_is_what_evaluate_says() -> None:
    task = make()
    history = task.fit(
        TRIPLES, HELD_OUT, epochs=4, batch_size=8, validation_freq=2, verbose=0
    ).history
    assert len(history["loss"]) == 4
    assert len(history["val_mrr"]) == 2
    results = task.evaluate(HELD_OUT, verbose=0, return_dict=True)
    assert {name.removeprefix("val_") for name in history} == {"loss", *results}
    for name, value in results.items():
        assert history[f"val_{name}"][-1] == value
    assert len(task.known) == len(TRIPLES) + len(HELD_OUT)


def test_answers(trained: LinkPredictor) -> None:
    every = trained.predict_tail(PEOPLE[4], "parent_of", k=len(PEOPLE))
    assert sorted(answer["entity"] for answer in every) == sorted(PEOPLE)
    scores = [answer["score"] for answer in every]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=1e-5)
    logits = np.asarray(trained.model.scores([trained.entities.index(PEOPLE[4])], [1]))[0]
    expected = np.exp(logits) / np.exp(logits).sum()
    assert trained.relations[1] == "parent_of"
    for answer in every:
        place = trained.entities.index(answer["entity"])
        assert answer["score"] == pytest.approx(expected[place], abs=1e-5)
    new = trained.predict_tail(PEOPLE[4], "parent_of", k=len(PEOPLE), known=False)
    assert new == [answer for answer in every if answer["entity"] != PEOPLE[5]]
    heads = trained.predict_head("parent_of", PEOPLE[4], k=3, known=False)
    assert len(heads) == 3
    assert PEOPLE[3] not in [answer["entity"] for answer in heads]
    both = trained.predict_tail([PEOPLE[4], PEOPLE[7]], ["parent_of", "child_of"], k=5)
    alone = [every[:5], trained.predict_tail(PEOPLE[7], "child_of", k=5)]
    for one, other in zip(itertools.chain(*both), itertools.chain(*alone), strict=True):
        assert one == {"entity": other["entity"], "score": pytest.approx(other["score"], rel=1e-4)}


def test_scores_are_log_probabilities_among_all_entities(trained: LinkPredictor) -> None:
    triples = [(PEOPLE[4], "parent_of", name) for name in PEOPLE]
    found = trained.score([*triples, TRIPLES[0]])
    assert np.exp(found[:-1]).sum() == pytest.approx(1, abs=1e-5)
    answers = {a["entity"]: a["score"] for a in trained.predict_tail(*triples[0][:2], k=24)}
    for (_, _, tail), score in zip(triples, found, strict=False):
        assert np.exp(score) == pytest.approx(answers[tail], abs=1e-5)


def test_entities_of_which_there_is_no_triple_are_candidates() -> None:
    task = make(entities=[*PEOPLE, "stranger"])
    task.fit(TRIPLES, epochs=1, verbose=0)
    assert task.evaluate([("stranger", "child_of", PEOPLE[0])], verbose=0)[0] > 0
    assert len(task.predict_tail("stranger", "child_of", k=25)) == 25


def test_training_goes_on_and_knows_more() -> None:
    task = make()
    task.fit(TRIPLES, epochs=1, verbose=0)
    head, relation, tail = HELD_OUT[0]
    names = [a["entity"] for a in task.predict_tail(head, relation, k=24, known=False)]
    assert tail in names
    task.fit(HELD_OUT, epochs=1, verbose=0)
    assert len(task.known) == len(TRIPLES) + len(HELD_OUT)
    names = [a["entity"] for a in task.predict_tail(head, relation, k=24, known=False)]
    assert tail not in names
    with pytest.raises(ValueError, match="x has the entity 'stranger', which is none of the 24"):
        task.fit([("stranger", "child_of", PEOPLE[0])], verbose=0)


def test_a_seed_is_a_run() -> None:
    def losses(seed: int) -> list[float]:
        history = make(negatives=8).fit(TRIPLES, epochs=2, batch_size=8, seed=seed, verbose=0)
        return history.history["loss"]

    first = losses(1)
    assert first == losses(1)
    assert first != losses(2)


def test_resume_is_exact(tmp_path: Any) -> None:
    """Stopped in its second epoch, and taken up by the same command."""

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if int(self.model.optimizer.iterations) == 9:
                raise KeyboardInterrupt

    def run(directory: str, *callbacks: Any) -> tuple[Any, Any]:
        task = make(negatives=8)
        resume = Resume(tmp_path / directory, every=2, verbose=0)
        history = task.fit(
            TRIPLES, HELD_OUT, epochs=3, batch_size=12, callbacks=[resume, *callbacks], verbose=0
        )
        return task.model.get_weights(), history.history

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("parts", Stop())
    # The one that stops is another command; without it, its checkpoints are refused.
    with pytest.raises(ValueError, match="holds another run: callbacks"):
        run("parts")
    Stop.on_train_batch_end = keras.callbacks.Callback.on_train_batch_end  # type: ignore
    again = run("parts", Stop())
    for one, other in zip(whole[0], again[0], strict=True):
        np.testing.assert_array_equal(one, other)
    assert whole[1] == again[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "transe"}, "method must be 'complex', 'distmult' or 'text'; got 'transe'"),
        ({"dim": 0}, "dim must be positive; got 0"),
        ({"negatives": -1}, "negatives must be positive"),
        ({"regularization": "much"}, "regularization must be of type float"),
        ({"method": "text"}, "method='text' needs an encoder and its tokenizer"),
        ({"texts": {"a": "b"}}, "texts is for method='text'; method is 'complex'"),
        ({"sequence_length": 9}, "sequence_length is for method='text'"),
        ({"model": 3}, "method='complex' needs no model, or a KnowledgeGraphEmbedding; got 3"),
        ({"entities": ["a", "a"]}, "entities has 'a' twice"),
        ({"relations": []}, "relations is empty"),
    ],
)
def test_bad_arguments(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LinkPredictor(**settings)


def test_bad_input(trained: LinkPredictor) -> None:
    fresh = make()
    for use in (
        lambda: fresh.evaluate(TRIPLES),
        lambda: fresh.predict_tail("a", "b"),
        lambda: fresh.save_pretrained("nowhere"),
        lambda: fresh.export("nowhere"),
    ):
        with pytest.raises(ValueError, match="the predictor has no entities yet; call fit"):
            use()
    with pytest.raises(ValueError, match="x is empty"):
        fresh.fit([])
    with pytest.raises(ValueError, match=r"validation_data\[0\] must be \(head, relation, tail\)"):
        fresh.fit(TRIPLES, [("a", "b")])
    with pytest.raises(ValueError, match="batch_size is 0"):
        fresh.fit(TRIPLES, batch_size=0)
    assert not fresh.built  # nothing of what was refused is left behind
    with pytest.raises(ValueError, match="ask predict_tail, predict_head or score"):
        trained.predict(TRIPLES)
    with pytest.raises(ValueError, match="loss must be left out: a LinkPredictor has its own"):
        fresh.compile(loss="mse")
    with pytest.raises(ValueError, match="x has the entity 'person_99'"):
        trained.evaluate([("person_99", "child_of", PEOPLE[0])])
    with pytest.raises(ValueError, match="evaluate takes no batch_size"):
        trained.evaluate(TRIPLES, batch_size=3)
    with pytest.raises(ValueError, match="triples has the relation 'loves'"):
        trained.score([(PEOPLE[0], "loves", PEOPLE[1])])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("person_99", "child_of"), "head has the entity 'person_99'.* near it are 'person_9'"),
        ((PEOPLE[0], "child"), "relation has the relation 'child'.*near it are 'child_of'"),
        ((PEOPLE[0], "child_of", 0), "k is 0; it must be an int, at least 1"),
        ((PEOPLE[0], "child_of", 25), "k=25 is above the number of entities, 24"),
        ((PEOPLE[:2], ["child_of"]), "head and relation must be two names, or two lists"),
        ((PEOPLE[:2], "child_of"), "head and relation must be two names, or two lists"),
        (([], []), "head is an empty list"),
        ((3, "child_of"), "head must be a string or a list"),
    ],
)
def test_bad_questions(trained: LinkPredictor, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trained.predict_tail(*arguments)


def test_a_model_that_is_given_must_fit_the_names() -> None:
    config = klm.KnowledgeGraphConfig(num_entities=3, num_relations=2, dim=4)
    model = klm.models.KnowledgeGraphEmbedding(config)
    with pytest.raises(ValueError, match="the model has 3 entities and 2 relations; entities nam"):
        LinkPredictor(model=model, entities=["a", "b"], relations=["r", "s"])
