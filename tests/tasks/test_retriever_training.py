"""Contrastive training: the loss by hand, what counts as wrong, exact resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import harness_resume
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lm as klm
from keras_lm.tasks import Retriever
from keras_lm.training import fine_tuning_optimizer

COLOURS = ("red", "green", "blue", "black")
THINGS = ("car", "pear", "train", "house")
PAIRS = [
    (f"{colour} {thing}", f"a {thing} that is {colour}") for colour in COLOURS for thing in THINGS
]
TRIPLES = [(query, document, f"no {document}") for query, document in PAIRS]


@pytest.fixture(scope="module")
def tok() -> klm.tokenizers.BytePairTokenizer:
    texts = [text for pair in PAIRS for text in pair]
    return klm.tokenizers.BytePairTokenizer.train(texts=texts, vocab_size=290)


def make(tok: Any, dropout: float = 0.0, **arguments: Any) -> Retriever:
    keras.utils.set_random_seed(0)
    config = klm.EncoderConfig(
        vocab_size=tok.vocab_size,
        num_layers=1,
        hidden_dim=16,
        num_heads=2,
        max_length=24,
        dropout=dropout,
    )
    retriever = Retriever(klm.models.Encoder(config), tok, **arguments)
    retriever.compile(fine_tuning_optimizer(1e-2))
    return retriever


def test_it_learns(tok: Any) -> None:
    retriever = make(tok)
    retriever.index([document for _, document in PAIRS])
    before = [hits[0]["id"] for hits in retriever.search_documents([q for q, _ in PAIRS], k=1)]
    history = retriever.fit(PAIRS, batch_size=8, epochs=15, validation_data=PAIRS, verbose=0)
    assert history.history["val_accuracy"][-1] == 1.0
    with pytest.raises(ValueError, match="the index is of the model before fit"):
        retriever.search_documents("red car")
    with pytest.raises(ValueError, match="the index is of the model before fit"):
        retriever.add(["more"])
    retriever.index([document for _, document in PAIRS])
    after = [hits[0]["id"] for hits in retriever.search_documents([q for q, _ in PAIRS], k=1)]
    assert np.mean(np.array(before) == np.arange(16)) < 0.7
    assert np.mean(np.array(after) == np.arange(16)) > 0.9


@pytest.mark.parametrize("given", [PAIRS[:5], TRIPLES[:5]])
@pytest.mark.parametrize("arguments", [{}, {"normalize": False, "similarity": "dot"}])
def test_the_loss_by_hand(tok: Any, given: list[Any], arguments: dict[str, Any]) -> None:
    retriever = make(tok, temperature=0.5, **arguments)
    columns = [retriever.embed(list(column)).astype("float64") for column in zip(*given)]
    logits = columns[0] @ np.concatenate(columns[1:]).T / 0.5
    nats = np.log(np.exp(logits).sum(1)) - logits.diagonal()
    results = retriever.evaluate(given, batch_size=5, verbose=0, return_dict=True)
    assert results["loss"] == pytest.approx(nats.mean(), rel=1e-4)
    accuracy = np.mean(logits.argmax(1) == np.arange(5))
    assert results["accuracy"] == pytest.approx(accuracy)


def logits_of(retriever: Retriever, rows: list[tuple[str, ...]], size: int) -> np.ndarray:
    """With rows of padding up to `size`."""
    groups = klm.data.text_groups(rows, retriever.tokenizer, 24)
    numbers = np.array([*range(len(rows)), *[-1] * (size - len(rows))])
    x, _, _ = groups.rows(numbers, groups.lengths.max(axis=0))
    return keras.ops.convert_to_numpy(retriever(x))


def test_what_is_as_good_is_not_wrong(tok: Any) -> None:
    rows = [
        ("red car", "a car that is red", "a pear"),
        ("red car", "a red car", "a house"),  # the same query
        ("my car", "a car that is red", "red car"),  # the same document; the first query itself
        ("pear", "a pear", "my car"),  # its document is wrong for the first; its own query
    ]
    logits = logits_of(make(tok), rows, size=5)
    assert logits.shape == (5, 10)
    counts = (logits > -1e8).astype(int).tolist()
    #     documents of rows 0–3, padding; unfit ones of rows 0–3, padding
    assert counts[0] == [1, 0, 0, 1, 0, 1, 1, 0, 1, 0]
    assert counts[1] == [0, 1, 0, 1, 0, 1, 1, 0, 1, 0]
    assert counts[2] == [0, 1, 1, 1, 0, 1, 1, 1, 0, 0]
    assert counts[3] == [1, 1, 1, 1, 0, 0, 1, 1, 1, 0]
    assert np.isfinite(logits).all()


def test_kinds_of_input_train_alike(tok: Any) -> None:
    queries, documents = map(list, zip(*PAIRS))
    dataset = tf.data.Dataset.from_tensor_slices((queries, documents))
    losses = []
    for given in (PAIRS, (queries, documents), dataset, dataset.batch(3)):
        retriever = make(tok)
        losses.append(retriever.fit(given, batch_size=4, verbose=0).history["loss"])
    assert losses[0] == losses[1] == losses[2] == losses[3]


def test_vectors_by_predict(tok: Any) -> None:
    retriever = make(tok)
    texts = [query for query, _ in PAIRS]
    np.testing.assert_allclose(retriever.predict(texts), retriever.embed(texts), atol=1e-6)


@pytest.mark.parametrize("jit_compile", [True, False])
def test_an_interrupted_run_ends_with_the_same_bits(
    tok: Any, tmp_path: Path, jit_compile: bool
) -> None:
    def fresh() -> Retriever:
        retriever = make(tok, dropout=0.1)
        retriever.compile(fine_tuning_optimizer(1e-2), jit_compile=jit_compile)
        return retriever

    harness_resume.check_interrupted_run(
        fresh,
        lambda task, **more: task.fit(TRIPLES, batch_size=4, epochs=2, verbose=0, **more),
        tmp_path,
    )


def test_any_backbone(tok: Any) -> None:
    keras.utils.set_random_seed(0)
    for model in (
        klm.models.RecurrentEncoder(
            klm.RecurrentEncoderConfig(
                vocab_size=tok.vocab_size, hidden_dim=16, num_layers=1, dropout=0.0
            )
        ),
        klm.models.Decoder(
            klm.TransformerConfig(
                vocab_size=tok.vocab_size,
                num_layers=1,
                hidden_dim=16,
                num_heads=2,
                max_length=24,
                dropout=0.0,
            )
        ),
    ):
        retriever = Retriever(model, tok, sequence_length=24)
        retriever.compile(fine_tuning_optimizer(1e-2))
        assert retriever.pooling == ("last" if isinstance(model, klm.models.Decoder) else "mean")
        before = retriever.evaluate(PAIRS, batch_size=8, verbose=0, return_dict=True)
        retriever.fit(PAIRS, batch_size=8, epochs=15, verbose=0)
        after = retriever.evaluate(PAIRS, batch_size=8, verbose=0, return_dict=True)
        assert after["loss"] < 0.6 * before["loss"]
        retriever.index(["a", "b"])
        assert retriever.search_documents("b", k=1)[0]["id"] == 1


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (PAIRS, [0] * 16, "y must be None"),
        (["a", "b"], None, "x holds single texts"),
        ([], None, "x is empty"),
        ([("a",)], None, r"x\[0\] must be a tuple of two or more strings"),
        ([("a", "b"), "c"], None, r"x\[1\] must be a tuple"),
        ([("a", "b"), ("c", "d", "e")], None, r"x\[1\] has 3 texts"),
        ([("a", "")], None, r"x\[0\]\[1\] is an empty text"),
        ([("a", 3)], None, r"x\[0\]\[1\] must be a string"),
        ((["a", "b"], ["c"]), None, r"lists of \[2, 1\] items"),
        ("a", None, "x must be a list"),
    ],
)
def test_wrong_examples(tok: Any, x: Any, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(tok).fit(x, y, verbose=0)
