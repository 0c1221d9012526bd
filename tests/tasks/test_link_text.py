"""Links predicted from texts: what a batch holds, what it costs, what is learned."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import keras_lm as klm
from keras_lm.data.triples import KnownTails, with_inverses
from keras_lm.tasks import LinkPredictor
from keras_lm.tasks.link_text import TextTriples, text_cost, text_triples
from keras_lm.tasks.reading import Reader
from keras_lm.training import fine_tuning_optimizer

KINDS = ("apple", "pear", "plum")
COLOURS = ("red", "green", "yellow", "black")
FRUITS = [f"{colour}_{kind}" for kind in KINDS for colour in COLOURS]
TRIPLES = [(fruit, "kind_of", fruit.split("_")[1]) for fruit in FRUITS]
HELD_OUT = [TRIPLES[2], TRIPLES[5]]
TRAIN = [triple for triple in TRIPLES if triple not in HELD_OUT]
ENTITIES = [*FRUITS, *KINDS]


@pytest.fixture(scope="module")
def tok() -> Any:
    texts = [" ".join(triple).replace("_", " ") for triple in TRIPLES] + ["inverse of"] * 3
    with pytest.warns(UserWarning, match="vocabulary"):
        return klm.tokenizers.WordPieceTokenizer.train(texts=texts, vocab_size=90)


@pytest.fixture(scope="module")
def config(tok: Any) -> klm.EncoderConfig:
    return klm.EncoderConfig(
        vocab_size=tok.vocab_size, num_layers=1, hidden_dim=16, num_heads=2, max_length=16
    )


def make(config: Any, tok: Any, **settings: Any) -> LinkPredictor:
    keras.utils.set_random_seed(0)
    return LinkPredictor(
        "text", model=klm.models.Encoder(config), tokenizer=tok, entities=ENTITIES, **settings
    )


@pytest.fixture(scope="module")
def trained(config: Any, tok: Any) -> LinkPredictor:
    task = make(config, tok)
    task.compile(fine_tuning_optimizer(1e-2))
    task.fit(TRAIN, epochs=15, batch_size=4, verbose=0)
    return task


def test_it_knows_something_of_entities_without_triples(trained: LinkPredictor) -> None:
    """No triple of training has them, but their names say what they are."""
    for head, relation, tail in HELD_OUT:
        assert trained.predict_tail(head, relation, k=1)[0]["entity"] == tail
    assert trained.predict_head("kind_of", "pear", k=1)[0]["entity"].endswith("pear")
    assert trained.evaluate(HELD_OUT, verbose=0)[0] > 0.6


def questions(triples: list) -> tuple[np.ndarray, tuple[str, ...]]:
    numbers = [[ENTITIES.index(h), 0, ENTITIES.index(t)] for h, _, t in triples]
    return with_inverses(np.array(numbers, np.int32), 1), ("kind of", "inverse of kind of")


def examples(tok: Any, batch_size: int, max_length: int = 16) -> TextTriples:
    triples, relations = questions(TRIPLES)
    texts = [name.replace("_", " ") for name in ENTITIES], relations
    return text_triples(triples, KnownTails(triples, 1), texts, tok, max_length, batch_size)


@pytest.mark.parametrize("max_length", [16, 6])
def test_training_reads_what_serving_reads(tok: Any, max_length: int) -> None:
    """The rows of a batch are those of the graph's reader, cut ones as well."""
    store = examples(tok, 4, max_length)
    numbers = np.array([0, 13, 20, 7])
    width = int(store.lengths[numbers].max())
    x, _, _ = store.rows(numbers, [width], np.random.default_rng(0))
    triples, relations = questions(TRIPLES)
    reader = Reader(tok, max_length)
    heads = [ENTITIES[h].replace("_", " ") for h, _, _ in triples[numbers]]
    rows, cut = reader(heads, [relations[r] for _, r, _ in triples[numbers]])
    for name, expected in zip(("token_ids", "token_types", "padding_mask"), rows, strict=True):
        np.testing.assert_array_equal(x[name], expected)
    assert bool(np.any(cut)) is (max_length == 6)
    alone, _ = reader([ENTITIES[tail].replace("_", " ") for _, _, tail in triples[numbers]])
    found = x["candidate_token_ids"][x["tails"]]
    np.testing.assert_array_equal(found[:, : alone[0].shape[1]], alone[0])


def test_candidates_compete_unless_they_are_true(tok: Any) -> None:
    store = examples(tok, 4)
    triples, _ = questions(TRIPLES)
    numbers = np.array([0, 1, 13, -1])  # two apples; and from "apple" to another one
    x, _, weights = store.rows(numbers, [int(store.lengths.max())], np.random.default_rng(3))
    assert weights.tolist() == [1, 1, 1, 0]
    rows = [tuple(row) for row in x["candidate_token_ids"].tolist()]
    assert len(set(rows)) == len(rows) == 8
    names = {tuple(tok(name.replace("_", " ")).numpy().tolist()): name for name in ENTITIES}
    sizes = x["candidate_padding_mask"].sum(axis=1)
    who = [names[row[1 : size - 1]] for row, size in zip(rows, sizes, strict=True)]
    asked = [(ENTITIES[h], ENTITIES[t]) for h, _, t in triples[numbers[:3]]]
    assert {name for pair in asked for name in pair} <= set(who)
    assert [who[place] for place in x["tails"][:3]] == [tail for _, tail in asked]
    fruits = {f"{colour}_apple" for colour in COLOURS}
    for (head, tail), competes in zip(asked, x["competes"], strict=False):
        true = fruits if head == "apple" else {"apple"}
        out = {name for name, is_in in zip(who, competes, strict=True) if not is_in}
        assert out == (true & set(who)) - {tail}
    assert any(0 in row for row in x["competes"][:3])


def test_a_head_is_told_apart_from_its_tail(tok: Any) -> None:
    """With room for two candidates these are the two."""
    store = examples(tok, 1)
    for number in range(len(store)):
        x, _, _ = store.rows(np.array([number]), [16], np.random.default_rng(number))
        sizes = x["candidate_padding_mask"].sum(axis=1)
        rows = zip(x["candidate_token_ids"].tolist(), sizes, strict=True)
        head, _, tail = store.triples[number]
        expected = [
            tok(ENTITIES[place].replace("_", " ")).numpy().tolist()
            for place in sorted((head, tail))
        ]
        assert [row[1 : size - 1] for row, size in rows] == expected


def test_a_batch_costs_what_the_formula_says(config: Any, tok: Any) -> None:
    model = make(config, tok).model
    store = examples(tok, 4)
    x, _, _ = store.rows(np.array([0, 16, 5, -1]), [10], np.random.default_rng(0))

    def vectors(prefix: str) -> np.ndarray:
        names = ("token_ids", "token_types", "padding_mask")
        hidden = np.array(model.hidden_states({name: x[prefix + name] for name in names}))
        mask = x[prefix + "padding_mask"]
        means = [row[real > 0].mean(axis=0) for row, real in zip(hidden, mask, strict=True)]
        return np.stack([mean / np.linalg.norm(mean) for mean in means])

    logits = vectors("") @ vectors("candidate_").T / 0.05
    nats = 0.0
    for row, competes, tail in zip(logits[:3], x["competes"], x["tails"], strict=False):
        nats += np.log(np.exp(row[competes == 1]).sum()) - row[tail]
    found = np.asarray(text_cost(model, x, training=False))
    assert found == pytest.approx([nats, 0], rel=1e-4)


def test_vectors_of_entities_follow_the_encoder(config: Any, tok: Any) -> None:
    """In every epoch's validation, and after training, they are those of today's weights."""
    task = make(config, tok)
    seen = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seen.append((logs["val_mrr"], self.model.evaluate(TRIPLES, verbose=0)[0]))

    task.compile(fine_tuning_optimizer(1e-2))
    task.fit(TRAIN, TRIPLES, epochs=2, batch_size=8, verbose=0, callbacks=[Look()])
    assert [one for one, _ in seen] == [other for _, other in seen]
    task.predict_tail("red_apple", "kind_of")
    table = keras.ops.convert_to_numpy(task.table)
    np.testing.assert_allclose(table, task.link_functions.embedded(), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(table, axis=1), 1, rtol=1e-5)
    task.fit(TRAIN, epochs=1, batch_size=8, verbose=0)
    task.predict_tail("red_apple", "kind_of")
    assert np.abs(keras.ops.convert_to_numpy(task.table) - table).max() > 1e-3


def test_texts_stand_for_names(config: Any, tok: Any) -> None:
    task = make(config, tok, relations=["kind_of"], texts={"plum": "red apple"})
    vectors = task.link_functions.embedded()
    rows = [ENTITIES.index(name) for name in ("plum", "red_apple", "pear")]
    np.testing.assert_allclose(vectors[rows[0]], vectors[rows[1]], atol=1e-6)
    assert np.abs(vectors[rows[0]] - vectors[rows[2]]).max() > 1e-3


def test_half_precision_learns_compiled_as_well(config: Any, tok: Any) -> None:
    keras.utils.set_random_seed(0)
    model = klm.models.Encoder(config, dtype="mixed_bfloat16")
    task = LinkPredictor("text", model=model, tokenizer=tok, dtype="mixed_bfloat16")
    task.compile(fine_tuning_optimizer(1e-2), jit_compile=True)
    losses = task.fit(TRAIN, epochs=6, batch_size=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sequence_length": 99}, "sequence_length=99 is above the model's max_length=16"),
        ({"sequence_length": 2}, "sequence_length is 2; it must be an int, at least 8"),
        ({"tokenizer": None}, "method='text' needs an encoder and its tokenizer"),
        ({"model": 3}, "method='text' needs an encoder and its tokenizer"),
        ({"texts": {"pear": ""}, "relations": ["r"]}, r"texts\['pear'\] is empty"),
    ],
)
def test_bad_arguments(settings: Any, message: str, config: Any, tok: Any) -> None:
    usual = {"model": klm.models.Encoder(config), "tokenizer": tok, "entities": ENTITIES}
    with pytest.raises(ValueError, match=message):
        LinkPredictor("text", **{**usual, **settings})
