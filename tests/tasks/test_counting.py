"""The n-gram model in a task: the same `fit`, `evaluate`, `generate`, `score` and `export`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lm as klm
from keras_lm.models import NGramLM
from keras_lm.tasks import CausalLM
from keras_lm.tokenizers import BytePairTokenizer, ByteTokenizer, WordTokenizer


@pytest.fixture(scope="module")
def counted(texts: list[str], tokenizer: BytePairTokenizer) -> CausalLM:
    task = CausalLM(NGramLM(order=3), tokenizer, sequence_length=24)
    task.fit(texts, verbose=0)
    return task


def tables(task: CausalLM) -> list[np.ndarray]:
    return [np.asarray(weight) for weight in task.model.weights]


@pytest.mark.parametrize("kind", ["store", "stream", "array"])
def test_texts_of_every_kind_are_counted_alike(
    kind: str, counted: CausalLM, texts: list[str], tokenizer: BytePairTokenizer
) -> None:
    given: Any = {
        "store": lambda: klm.data.TokenStore.from_texts(texts, tokenizer),
        "stream": lambda: tf.data.Dataset.from_tensor_slices(texts),
        "array": lambda: np.array(texts),
    }[kind]()
    task = CausalLM(NGramLM(order=3, tokenizer=tokenizer), tokenizer)
    history = task.fit(given, verbose=0).history
    for ours, theirs in zip(tables(task), tables(counted), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    results = counted.evaluate(texts, verbose=0, return_dict=True)
    # Counted from the tables in one case, looked up text by text in the other.
    assert {name: value[0] for name, value in history.items()} == pytest.approx(results, rel=1e-5)


def test_pieces_of_any_size_give_the_same_counts(
    counted: CausalLM, texts: list[str], tokenizer: BytePairTokenizer, monkeypatch: Any
) -> None:
    monkeypatch.setattr("keras_lm.tasks.counting.PIECE", 7)
    task = CausalLM(NGramLM(order=3), tokenizer)
    task.fit(texts, verbose=0)
    for ours, theirs in zip(tables(task), tables(counted), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_evaluate_is_minus_score_and_is_what_the_tables_say(
    counted: CausalLM, texts: list[str]
) -> None:
    data = [texts[0], "The dog sat on a café", "", " ".join(texts)]
    results = counted.evaluate(data, verbose=0, return_dict=True)
    nats = -counted.score(data).astype("float64").sum()
    num_bytes = sum(len(text.encode()) for text in data)
    assert results["bits_per_byte"] == pytest.approx(nats / math.log(2) / num_bytes, rel=1e-5)
    assert counted.evaluate(data, verbose=0) == pytest.approx(
        [results[name] for name in ("loss", "perplexity", "bits_per_byte")]
    )


def test_the_window_does_not_matter(counted: CausalLM, texts: list[str]) -> None:
    """Where windows overlap by more than the order, nothing of a context is cut off."""
    text = " ".join(texts)
    expected = counted.score(text)
    for length in (6, 7, 200):
        task = CausalLM(counted.model, counted.tokenizer, sequence_length=length)
        assert task.score(text) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", ["kneser_ney", "add_k", "mle"])
def test_each_context_has_a_distribution(smoothing: str, texts: list[str]) -> None:
    words = WordTokenizer.train(texts=texts, vocab_size=30)
    task = CausalLM(NGramLM(order=3, smoothing=smoothing, k=0.5), words)
    task.fit(texts, verbose=0)
    log_probs = task.predict([texts[0], "the dog the dog", texts[5]], verbose=0)
    np.testing.assert_allclose(np.exp(log_probs.astype("float64")).sum(-1), 1.0, atol=1e-5)


def test_generate_goes_on_as_the_text_did(counted: CausalLM) -> None:
    answer = counted.generate("The cat sat", max_new_tokens=12)
    assert answer.startswith("The cat sat on")
    drawn = [counted.generate("A", temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(counted.generate(["A", "Every"], num_return_sequences=3)[1]) == 3


def test_saved_model_and_pretrained_directory(counted: CausalLM, tmp_path: Path) -> None:
    counted.save_pretrained(tmp_path / "directory")
    counted.save(tmp_path / "task.keras")
    counted.export(tmp_path / "served")
    loaded = CausalLM.from_pretrained(tmp_path / "directory")
    assert loaded.training_seconds == counted.training_seconds > 0
    expected, scores = counted.generate(["The cat", "A dog"]), counted.score(["The cat", "x"])
    for again in (loaded, keras.saving.load_model(tmp_path / "task.keras")):
        assert again.generate(["The cat", "A dog"]) == expected
        np.testing.assert_array_equal(again.score(["The cat", "x"]), scores)
    served = tf.saved_model.load(tmp_path / "served").signatures
    answer = served["serving_default"](text=tf.constant(["The cat", "A dog"]))["text"]
    assert [text.decode() for text in answer.numpy()] == expected
    given = served["score"](text=tf.constant(["The cat", "x"]))["score"]
    np.testing.assert_allclose(given, scores, rtol=1e-6)


def test_history_callbacks_and_a_second_fit(texts: list[str]) -> None:
    seen = []
    spy = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append((epoch, sorted(logs)))
    )
    task = CausalLM(NGramLM(order=2), ByteTokenizer.create())
    history = task.fit(texts, validation_split=0.25, callbacks=[spy], epochs=3, verbose=0)
    names = sorted(history.history)
    assert names == sorted(
        f"{prefix}{name}"
        for prefix in ("", "val_")
        for name in ("loss", "perplexity", "bits_per_byte")
    )
    assert seen == [(0, names)]
    assert history.history["loss"][0] < history.history["val_loss"][0]
    first = task.score(texts[0])
    task.fit(["xyz"], verbose=0)  # counts anew, and does not add up
    assert task.score("xyz") > -3 > first > task.score(texts[0])


def test_the_documents_example() -> None:
    """A B C D was seen 10 times, A B C 100 times: P(D | A, B, C) = 10 / 100 = 0.1."""
    texts = ["a b c d"] * 10 + ["a b c e"] * 90
    words = WordTokenizer.train(texts=texts, vocab_size=9)
    task = CausalLM(NGramLM(order=4, smoothing="mle"), words)
    task.fit(texts, verbose=0)
    ids = np.array([[words.token_to_id(token) for token in "abc"]], "int32")
    log_probs = np.asarray(task.model(ids))[0, -1]
    assert math.exp(log_probs[words.token_to_id("d")]) == pytest.approx(0.1, rel=1e-6)
    assert math.exp(log_probs[words.token_to_id("e")]) == pytest.approx(0.9, rel=1e-6)
    assert math.exp(log_probs[words.token_to_id("a")]) < 1e-98


def test_words_of_a_file_as_lmplz_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("the cat sat\nthe dog sat\n", encoding="utf-8")
    model = NGramLM.from_text(path, order=2, smoothing="mle")
    np.testing.assert_allclose(10 ** model.log_prob(["the", "cat"]), [1, 0.5, 0], atol=1e-6)
    assert model.vocabulary == ("<unk>", "<s>", "</s>", "the", "cat", "sat", "dog")
    smooth = NGramLM.from_text(path, order=2)
    smooth.save_arpa(tmp_path / "model.arpa")
    again = NGramLM.from_arpa(tmp_path / "model.arpa")
    for sentence in (["the", "cat"], ["a", "cat", "sat"], []):
        expected = smooth.log_prob(sentence)
        assert len(expected) == len(sentence) + 1
        np.testing.assert_allclose(again.log_prob(sentence), expected, atol=1e-5)


def test_a_tokens_arpa_file_has_its_spelling(tmp_path: Path) -> None:
    task = CausalLM(NGramLM(order=2), ByteTokenizer.create())
    task.fit(["ab a"], verbose=0)
    task.model.save_arpa(tmp_path / "bytes.arpa")
    again = NGramLM.from_arpa(tmp_path / "bytes.arpa")
    words = [task.tokenizer.id_to_token(i) for i in task.tokenizer("ab a").numpy()]
    total = again.log_prob(words).sum() * math.log(10)
    assert total == pytest.approx(task.score("ab a"), abs=1e-4)


def test_bad_input(texts: list[str], tokenizer: BytePairTokenizer) -> None:
    task = CausalLM(NGramLM(order=3), tokenizer)
    with pytest.raises(ValueError, match="counts whole documents"):
        task.fit(np.zeros((4, 9), "int32"))
    with pytest.raises(ValueError, match="has seen no text"):
        task.generate("The")
    with pytest.raises(ValueError, match="order"):
        CausalLM(NGramLM(order=9), tokenizer).fit(["a"], verbose=0)
    with pytest.raises(ValueError, match="words must be a list of strings"):
        NGramLM(order=2).log_prob("the cat")
    model = NGramLM(order=1, tokenizer=ByteTokenizer.create())
    with pytest.raises(ValueError, match="it is another vocabulary"):
        CausalLM(model, tokenizer)
    with pytest.raises(ValueError, match="'<0xZZ>', which is unknown, and there is no <unk>"):
        model.log_prob(["<0xZZ>"])
