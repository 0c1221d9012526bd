"""Masked language models: from texts to filled masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import harness_resume
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lm as klm
from keras_lm.data.examples.sentence_pairs import sentences_of
from keras_lm.tasks import MaskedLM, TextClassifier
from keras_lm.training import default_optimizer

TEXTS = [
    f"{who} {what} the {where}."
    for who in ("the cat", "a dog", "my friend")
    for what in ("sat on", "looked at")
    for where in ("mat", "café", "moon")
] * 4
DOCUMENTS = [
    ["one is first .", "two is second .", "three is third ."],
    ["red is a color .", "green is one too .", "blue as well ."],
] * 6


@pytest.fixture(scope="module")
def tok() -> klm.tokenizers.WordPieceTokenizer:
    texts = [*TEXTS, *(s for d in DOCUMENTS for s in d)]
    with pytest.warns(UserWarning, match="vocabulary"):
        return klm.tokenizers.WordPieceTokenizer.train(texts=texts, vocab_size=300)


@pytest.fixture(scope="module")
def config(tok: Any) -> klm.EncoderConfig:
    return klm.EncoderConfig(
        vocab_size=tok.vocab_size + 3,
        num_layers=1,
        hidden_dim=16,
        num_heads=2,
        max_length=24,
        dropout=0.0,
    )


def make(config: Any, tok: Any, **settings: Any) -> MaskedLM:
    keras.utils.set_random_seed(0)
    task = MaskedLM(klm.models.Encoder(config), tok, **settings)
    task.compile(default_optimizer(1e-2))
    return task


@pytest.fixture(scope="module")
def trained(config: Any, tok: Any) -> MaskedLM:
    """Knows the texts. Tests leave it as it is."""
    task = make(config, tok)
    history = task.fit(TEXTS, batch_size=8, epochs=20, verbose=0).history
    assert history["loss"][-1] < 0.6 * history["loss"][0]
    assert history["masked_accuracy"][-1] > history["masked_accuracy"][0] + 0.2
    np.testing.assert_allclose(np.exp(history["loss"]), history["perplexity"], rtol=1e-4)
    return task


def probabilities(task: MaskedLM, ids: list[int]) -> np.ndarray:
    """By hand: the softmax over the tokenizer's tokens at every place of [CLS] ids [SEP]."""
    tok = task.tokenizer
    row = np.array([[tok.cls_id, *ids, tok.sep_id]], "int32")
    logits = keras.ops.convert_to_numpy(task({"token_ids": row}))[0, 1:-1, : tok.vocab_size]
    exp = np.exp(logits.astype("float64") - logits.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def test_validation(config: Any, tok: Any) -> None:
    for settings, x in (({}, TEXTS), ({"next_sentence": True}, DOCUMENTS)):
        task = make(config, tok, **settings)
        history = task.fit(x, validation_data=x[:8], verbose=0).history
        now = task.evaluate(x[:8], verbose=0, return_dict=True)
        assert history["val_loss"][-1] == pytest.approx(now["loss"], rel=1e-5)
        assert history["val_masked_accuracy"][-1] == now["masked_accuracy"]


def test_fill_mask(trained: MaskedLM) -> None:
    tok = trained.tokenizer
    answers = trained.fill_mask("The [MASK] sat on the mat.", top_k=3)
    ids = tok(["The [MASK] sat on the mat."]).to_list()[0]
    expected = probabilities(trained, ids)[ids.index(tok.mask_id)]
    best = np.argsort(-expected)[:3]
    assert [answer["token"] for answer in answers] == [tok.id_to_token(i) for i in best]
    np.testing.assert_allclose([a["score"] for a in answers], expected[best], atol=1e-5)
    assert answers[0]["text"] == f"The {answers[0]['token']} sat on the mat."
    assert len(trained.fill_mask("the [MASK] sat")) == 5


def test_several_masks_and_several_texts(trained: MaskedLM) -> None:
    texts = ["the [MASK] sat on the [MASK].", "a [MASK]"]
    two, one = trained.fill_mask(texts, top_k=2)
    assert [len(two), len(two[0]), len(one)] == [2, 2, 2]
    assert two[0][0]["text"] == f"the {two[0][0]['token']} sat on the [MASK]."
    assert two[1][1]["text"] == f"the [MASK] sat on the {two[1][1]['token']}."
    alone = trained.fill_mask(texts[1], top_k=2)
    assert [a["token"] for a in alone] == [a["token"] for a in one]
    np.testing.assert_allclose([a["score"] for a in alone], [a["score"] for a in one], atol=1e-5)


def test_pseudo_log_likelihood_by_hand(trained: MaskedLM) -> None:
    tok = trained.tokenizer
    texts = ["the cat sat on the mat.", "mat", "dog moon a a a"]
    expected = []
    for ids in tok(texts).to_list():
        total = 0.0
        for place, target in enumerate(ids):
            masked = [*ids[:place], tok.mask_id, *ids[place + 1 :]]
            total += np.log(probabilities(trained, masked)[place, target])
        expected.append(total)
    np.testing.assert_allclose(trained.score(texts), expected, rtol=1e-4)
    assert trained.score(texts[0]) == pytest.approx(expected[0], rel=1e-4)
    assert expected[0] > trained.score("mat the on sat cat the.")


def test_a_long_text_counts_every_token_once(trained: MaskedLM) -> None:
    """In windows of 22 tokens that overlap by half; by hand from the same windows."""
    tok = trained.tokenizer
    text = "the cat sat on the mat. a dog looked at the moon. " * 4
    ids = tok([text]).to_list()[0]
    assert len(ids) > 44
    _, start, counted = klm.data.overlapping_windows(np.array([len(ids)]), 22)
    total, count = 0.0, 0
    for begin, first in zip(start.numpy(), counted.numpy(), strict=True):
        window = ids[begin : begin + 22]
        for place in range(first, len(window)):
            masked = [*window[:place], tok.mask_id, *window[place + 1 :]]
            total += np.log(probabilities(trained, masked)[place, window[place]])
            count += 1
    assert count == len(ids)
    assert trained.score(text) == pytest.approx(total, rel=1e-4)


def test_loss_is_that_of_the_logits(config: Any, tok: Any) -> None:
    """Both ways of computing it agree, in value, figures and gradient."""
    batch = next(
        iter(
            klm.data.stream_batches(
                tf.data.Dataset.from_tensor_slices(TEXTS),
                tok,
                24,
                4,
                objective=klm.data.MaskedLM.for_tokenizer(tok),
            )
        )
    )
    losses, weights = [], []
    for metrics in (None, ["sparse_categorical_accuracy"]):
        task = make(config, tok)
        task.head.bias.assign(np.random.default_rng(0).normal(size=config.vocab_size))
        task.compile(keras.optimizers.SGD(0.5), metrics=metrics)
        results = task.train_on_batch(*batch, return_dict=True)
        losses.append([results[n] for n in ("loss", "perplexity", "masked_accuracy")])
        weights.append([w.numpy() for w in task.weights])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_next_sentence(config: Any, tok: Any, tmp_path: Path) -> None:
    task = make(config, tok, next_sentence=True)
    history = task.fit(DOCUMENTS, batch_size=4, epochs=12, verbose=0).history
    assert set(history) == {"loss", "perplexity", "masked_accuracy", "next_sentence_accuracy"}
    assert history["loss"][-1] < 0.9 * history["loss"][0]
    results = task.evaluate(DOCUMENTS, verbose=0, return_dict=True)
    assert set(results) == set(history)
    task.save_pretrained(tmp_path)
    again = MaskedLM.from_pretrained(tmp_path)
    assert again.next_sentence
    assert again.evaluate(DOCUMENTS, verbose=0, return_dict=True) == results
    assert again.fill_mask("red is a [MASK] .") == task.fill_mask("red is a [MASK] .")


def test_raw_texts_are_cut_into_sentences(config: Any, tok: Any) -> None:
    raw = [" ".join(document) for document in DOCUMENTS]
    assert [sentences_of(text) for text in raw] == DOCUMENTS
    losses = [
        make(config, tok, next_sentence=True).fit(x, verbose=0).history["loss"]
        for x in (raw, DOCUMENTS)
    ]
    assert losses[0] == losses[1]
    assert sentences_of('He said "no." Then 3.5 came.\nNew line') == [
        'He said "no.',
        "Then 3.5 came.",
        "New line",
    ]


def test_saved_loaded_served(trained: MaskedLM, tmp_path: Path) -> None:
    texts = ["the [MASK] sat on the [MASK].", "a [MASK]"]
    answers, scores = trained.fill_mask(texts), trained.score(texts)
    trained.save_pretrained(tmp_path / "pretrained")
    trained.save(tmp_path / "task.keras")
    for again in (
        MaskedLM.from_pretrained(tmp_path / "pretrained"),
        keras.saving.load_model(tmp_path / "task.keras"),
    ):
        assert again.fill_mask(texts) == answers
        assert again.score(texts) == scores
    trained.export(tmp_path / "served")
    served = tf.saved_model.load(tmp_path / "served")
    outputs = served.signatures["serving_default"](text=tf.constant(texts))
    tokens = [[t.decode() for t in row] for row in outputs["tokens"].numpy()[:, :, 0]]
    first, second = answers[0][0][0]["token"], answers[0][1][0]["token"]
    assert tokens == [[first, second], [answers[1][0]["token"], ""]]
    assert [text.decode() for text in outputs["text"].numpy()] == [
        f"the {first} sat on the {second}.",
        answers[1][0]["text"],
    ]
    np.testing.assert_allclose(
        served.signatures["score"](text=tf.constant(texts))["score"], scores, rtol=1e-4
    )


def test_what_it_learned_goes_on_to_a_classifier(trained: MaskedLM, tmp_path: Path) -> None:
    trained.save_pretrained(tmp_path)
    task = TextClassifier.from_pretrained(tmp_path, labels=["cat", "dog"])
    assert task.model.config.pooler == "tanh"
    np.testing.assert_array_equal(
        task.model.token_embedding.embeddings, trained.model.token_embedding.embeddings
    )
    again = MaskedLM.from_pretrained(tmp_path)
    assert again.model.config.pooler is None
    klm.checkpoints.save_model(trained.model, tmp_path / "bare")
    trained.tokenizer.save(tmp_path / "bare")
    with pytest.warns(UserWarning, match="holds an encoder alone"):
        MaskedLM.from_pretrained(tmp_path / "bare")


def test_an_interrupted_run_ends_with_the_same_bits(config: Any, tok: Any, tmp_path: Path) -> None:
    harness_resume.check_interrupted_run(
        lambda: make(config.replace(dropout=0.1), tok),
        lambda task, **more: task.fit(TEXTS, batch_size=4, epochs=2, verbose=0, **more),
        tmp_path,
        step=4,
    )


def test_bad_input(trained: MaskedLM, config: Any, tok: Any) -> None:
    for text, message in (
        ("no mask", r"text\[0\] has no \[MASK\]"),
        ("", "empty text"),
        ([], "empty list"),
        (["a [MASK]", 3], r"text\[1\] must be a string"),
        ("word " * 40 + "[MASK]", "its mask number 1 is cut off"),
    ):
        with pytest.raises(ValueError, match=message):
            trained.fill_mask(text)
    with pytest.raises(ValueError, match="top_k must be from 1 to"):
        trained.fill_mask("a [MASK]", top_k=0)
    with pytest.raises(ValueError, match="next_sentence needs a pooler"):
        make(config.replace(pooler=None), tok, next_sentence=True)
    with pytest.raises(ValueError, match="tokenizer has no mask_token"):
        plain = klm.tokenizers.BytePairTokenizer.train(texts=["aa"] * 9, vocab_size=258)
        MaskedLM(klm.models.Encoder(config.replace(vocab_size=300)), plain)
    with pytest.raises(ValueError, match=r"must be a keras_lm.models.Encoder"):
        MaskedLM(
            klm.models.RecurrentLM(klm.RecurrentConfig(vocab_size=9, num_layers=1, hidden_dim=8))
        )
    for x, message in (
        ([], "empty"),
        (None, "x is None"),
        ("text", "one string"),
        ([3], "strings"),
    ):
        with pytest.raises(ValueError, match=message):
            trained.fit(x, verbose=0)
