"""Encoder–decoders as SavedModels and pretrained directories: what Python answers, they answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import harness_files
import keras
import numpy as np
import pytest

import keras_lm as klm
from keras_lm.tasks import Translator
from keras_lm.tokenizers import BytePairTokenizer

TEXTS = ["a b c", "c a", "b b a c", "a"]

_SERVER = """
import json, sys
import tensorflow as tf
import tensorflow_text
served = tf.saved_model.load(sys.argv[1])
texts = tf.constant(json.loads(sys.argv[2]))
default = served.signatures["serving_default"]
generate = served.generate
def listed(answers):
    return {
        "text": [[v.decode() for v in row] for row in answers["text"].numpy().tolist()],
        "score": answers["score"].numpy().tolist(),
        "truncated": answers["truncated"].numpy().tolist(),
    }
print(json.dumps({
    "inputs": sorted(default.structured_input_signature[1]),
    "default": [v.decode() for v in default(text=texts)["text"].numpy()],
    "greedy": listed(generate(texts, num_beams=tf.constant(1))),
    "beams": listed(generate(texts, num_beams=tf.constant(4), num_return_sequences=tf.constant(3),
                             length_penalty=tf.constant(0.5), max_new_tokens=tf.constant(5))),
    "rules": listed(generate(texts, no_repeat_ngram_size=tf.constant(1), num_beams=tf.constant(1))),
    "long": listed(generate(tf.constant(["a b " * 20])))["truncated"],
    "has_keras_lm": "keras_lm" in sys.modules,
}))
"""

pytestmark = pytest.mark.usefixtures("without_xla")


@pytest.fixture(scope="module")
def task() -> Translator:
    """Of random weights, large enough that answers differ. Tests leave it as it is."""
    keras.utils.set_random_seed(0)
    tok = BytePairTokenizer.train(texts=TEXTS * 9, vocab_size=260)
    config = klm.EncoderDecoderConfig(
        vocab_size=tok.vocab_size, num_layers=1, hidden_dim=16, num_heads=2, max_length=16
    )
    model = klm.models.Transformer(config)
    random = np.random.default_rng(4)
    for weight in model.weights:
        weight.assign(random.normal(1.0 if "gamma" in weight.path else 0.0, 0.4, weight.shape))
    return Translator(model, tok, generation={"num_beams": 2})


def test_a_saved_model_answers_as_python_does(task: Translator, tmp_path: Path) -> None:
    task.export(tmp_path / "served")
    answers = json.loads(
        harness_files.run_python(_SERVER, str(tmp_path / "served"), json.dumps(TEXTS), cwd=tmp_path)
    )
    assert not answers["has_keras_lm"]
    assert answers["inputs"] == ["text"]
    assert answers["default"] == task.translate(TEXTS)
    assert answers["long"] == [True]
    several = {
        "num_beams": 4,
        "num_return_sequences": 3,
        "length_penalty": 0.5,
        "max_new_tokens": 5,
    }
    for name, options in (
        ("greedy", {"num_beams": 1}),
        ("beams", several),
        ("rules", {"num_beams": 1, "no_repeat_ngram_size": 1}),
    ):
        local = task.translate(TEXTS, **options, return_scores=True)
        rows = [row if isinstance(row, list) else [row] for row in local]
        assert answers[name]["text"] == [[text for text, _ in row] for row in rows]
        scores = [[score for _, score in row] for row in rows]
        np.testing.assert_allclose(answers[name]["score"], scores, rtol=1e-5)
    assert answers["greedy"]["text"] != answers["rules"]["text"]


def test_settings_survive(task: Translator, tmp_path: Path) -> None:
    own: dict[str, Any] = {"source_length": 12, "sequence_length": 9, "prefix": "x "}
    search = {"num_beams": 3, "length_penalty": 0.5, "bad_words_ids": [[7]]}
    own |= {"add_bos": True, "generation": {**search, "renormalize_logits": True}}
    other = Translator(task.model, task.tokenizer, **own)
    other.save_pretrained(tmp_path / "task")
    other.save(tmp_path / "task.keras")
    for again in (
        Translator.from_pretrained(tmp_path / "task"),
        keras.saving.load_model(tmp_path / "task.keras"),
    ):
        assert {name: getattr(again, name) for name in own} == own
        assert again.translate(TEXTS) == other.translate(TEXTS)
    stored = json.loads((tmp_path / "task" / "generation_config.json").read_text())
    assert stored.items() >= own["generation"].items()
    assert stored["decoder_start_token_id"] == task.model.config.decoder_start_id
    changed = Translator.from_pretrained(tmp_path / "task", generation={}, prefix="")
    assert changed.generation == {}
    assert changed.prefix == ""
    config = json.loads((tmp_path / "task" / "config.json").read_text())
    del config["keras_lm"]  # as Transformers writes it
    (tmp_path / "task" / "config.json").write_text(json.dumps(config))
    assert Translator.from_pretrained(tmp_path / "task").generation == own["generation"]


def test_the_task_s_own_search_is_the_default(task: Translator) -> None:
    own, greedy, beams = (
        task.translate(TEXTS, return_scores=True, **options)
        for options in ({}, {"num_beams": 1}, {"num_beams": 2})
    )
    assert own == beams != greedy
