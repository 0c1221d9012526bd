"""Tasks on encoders that have no attention: they learn, are saved, and are served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lm as klm
from keras_lm.tasks import TextClassifier, TokenClassifier
from keras_lm.tokenizers import WordPieceTokenizer

# What tells the classes is a pair of words in its order, which no single word gives away.
TEXTS = [
    f"{a} very {b} {c} {d}"
    for a in ("so", "and")
    for b, c in (("good", "not"), ("not", "good"))
    for d in ("today", "here now", "and then it rained all day")
]
LABELS = ["positive" if "good not" in text else "negative" for text in TEXTS]
WORDS = [text.split() for text in TEXTS]
TAGS = [
    ["after" if "very" in words[max(at - 1, 0) : at] else "other" for at in range(len(words))]
    for words in WORDS
]


@pytest.fixture(scope="module")
def word_pieces() -> WordPieceTokenizer:
    return WordPieceTokenizer.train(texts=TEXTS, vocab_size=60)


def encoder(kind: str, vocab_size: int) -> Any:
    keras.utils.set_random_seed(0)
    fields: dict[str, Any] = {"vocab_size": vocab_size, "hidden_dim": 24}
    if kind == "recurrent":
        config = klm.RecurrentEncoderConfig(**fields, num_layers=1, cell="gru")
        return klm.models.RecurrentEncoder(config)
    return klm.models.ConvolutionalEncoder(klm.ConvolutionalConfig(**fields, widths=(1, 2, 3)))


@pytest.mark.parametrize("kind", ["recurrent", "convolutional"])
def test_text_classifier(kind: str, word_pieces: WordPieceTokenizer, tmp_path: Path) -> None:
    model = encoder(kind, word_pieces.vocab_size)
    task = TextClassifier(model, word_pieces, labels=["negative", "positive"])
    assert task.pooling == "max"
    task.compile(klm.training.fine_tuning_optimizer(2e-2))
    task.fit(TEXTS, LABELS, batch_size=4, epochs=10, verbose=0)
    answers = task.classify(TEXTS)
    assert [answer["label"] for answer in answers] == LABELS
    alone = [task.classify(text)["score"] for text in TEXTS]  # without the others' padding
    np.testing.assert_allclose(alone, [answer["score"] for answer in answers], atol=1e-5)
    task.save_pretrained(tmp_path / "saved")
    loaded = TextClassifier.from_pretrained(tmp_path / "saved")
    assert loaded.model.config == model.config
    assert loaded.classify(TEXTS) == answers
    task.export(tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    got = served(text=tf.constant(TEXTS))
    assert [label.decode() for label in got["label"].numpy()] == LABELS
    np.testing.assert_allclose(got["score"], [answer["score"] for answer in answers], atol=1e-6)


def test_token_classifier(word_pieces: WordPieceTokenizer, tmp_path: Path) -> None:
    model = encoder("recurrent", word_pieces.vocab_size)
    task = TokenClassifier(model, word_pieces, labels=["other", "after"])
    task.compile(klm.training.fine_tuning_optimizer(2e-2))
    task.fit(WORDS, TAGS, batch_size=4, epochs=10, verbose=0)
    tags = [[span["label"] for span in task.tag(text)] for text in TEXTS]
    assert tags == TAGS
    task.save_pretrained(tmp_path / "saved")
    loaded = TokenClassifier.from_pretrained(tmp_path / "saved")
    assert loaded.tag(TEXTS) == task.tag(TEXTS)
