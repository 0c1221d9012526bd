"""Tags that are no entities, other models, and what is given in other ways or wrongly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import harness_files
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lm as klm
from keras_lm.tasks import TokenClassifier
from keras_lm.tokenizers import BytePairTokenizer

WORDS = [["The", "cat", "sat", "."], ["A", "dog", "looked", "!"], ["Everyone", "slept"]]
TAGS = [["DET", "NOUN", "VERB", "PUNCT"], ["DET", "NOUN", "VERB", "PUNCT"], ["PRON", "VERB"]]
LABELS = ["DET", "NOUN", "PRON", "PUNCT", "VERB"]
# Byte-level BPE has BOS and EOS in the place of CLS and SEP; its tokens hold the space before.


@pytest.fixture(scope="module")
def tagger(tokenizer: BytePairTokenizer) -> TokenClassifier:
    """A tagger of parts of speech on a recurrent language model, in windows of 8 tokens."""
    config = klm.RecurrentConfig(vocab_size=tokenizer.vocab_size, hidden_dim=16, num_layers=1)
    task = TokenClassifier(klm.models.RecurrentLM(config), tokenizer, LABELS, sequence_length=8)
    task.compile(klm.training.fine_tuning_optimizer(2e-2))
    task.fit(WORDS * 4, TAGS * 4, batch_size=4, epochs=25, verbose=0)
    return task


def test_each_word_is_a_span(tagger: TokenClassifier) -> None:
    assert set(tagger.evaluate(WORDS, TAGS, verbose=0, return_dict=True)) == {"loss", "accuracy"}
    spans = tagger.tag("The cat  sat.")
    assert [(span["text"], span["label"], span["start"]) for span in spans] == [
        ("The", "DET", 0),
        ("cat", "NOUN", 4),
        ("sat", "VERB", 9),
        (".", "PUNCT", 12),
    ]


def test_long_texts_are_read_in_windows(tagger: TokenClassifier) -> None:
    words = [word for _ in range(9) for word in WORDS[0]]
    spans = tagger.tag([words, ["slept"]])[0]
    assert [span["text"] for span in spans] == words
    assert sum(span["label"] == "NOUN" for span in spans) >= 7
    results = tagger.evaluate([words], [TAGS[0] * 9], verbose=0, return_dict=True)
    right = [span["label"] == tag for span, tag in zip(spans, TAGS[0] * 9, strict=True)]
    assert results["accuracy"] == pytest.approx(np.mean(right))


def test_names_ints_and_data_sets_are_the_same_to_it(tagger: TokenClassifier) -> None:
    ids = [[LABELS.index(tag) for tag in row] for row in TAGS]

    def elements() -> Any:
        yield from zip(WORDS, TAGS, strict=True)

    spec = tf.TensorSpec([None], tf.string)
    one_by_one = tf.data.Dataset.from_generator(elements, output_signature=(spec, spec))
    expected = tagger.evaluate(WORDS, TAGS, verbose=0, return_dict=True)
    for x, y in (
        (WORDS, ids),
        (tuple(WORDS[:2]), TAGS[:2]),
        (one_by_one, None),
        (one_by_one.ragged_batch(2), None),
    ):
        results = tagger.evaluate(x, y, verbose=0, return_dict=True)
        if isinstance(x, tuple):
            expected = tagger.evaluate(WORDS[:2], TAGS[:2], verbose=0, return_dict=True)
        assert results == expected
        expected = tagger.evaluate(WORDS, TAGS, verbose=0, return_dict=True)


def test_training_takes_validation_data_class_weights_and_a_decoder(
    tokenizer: BytePairTokenizer, config: klm.TransformerConfig
) -> None:
    tagger = TokenClassifier(klm.models.Decoder(config), tokenizer, labels=5)
    assert tagger.labels == tuple(f"LABEL_{i}" for i in range(5))
    ids = [[LABELS.index(tag) for tag in row] for row in TAGS]
    weights = dict.fromkeys(range(1, 5), 0.0)  # only DET counts
    history = tagger.fit(
        WORDS * 2, ids * 2, class_weight=weights, validation_data=(WORDS, ids), verbose=0
    ).history
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert history["loss"][0] == pytest.approx(np.log(5), abs=0.2)
    assert tagger.tag("") == []


def test_mixed_precision_gives_emissions_in_float32(tokenizer: BytePairTokenizer) -> None:
    config = klm.EncoderConfig(
        vocab_size=tokenizer.vocab_size, num_layers=1, hidden_dim=16, num_heads=2, max_length=16
    )
    model = klm.models.Encoder(config, dtype="mixed_bfloat16")
    tagger = TokenClassifier(model, tokenizer, ["O", "B-x"], use_crf=True)
    tagger.fit([["a", "b"]], [["O", "B-x"]], verbose=0)
    assert tagger.predict([["a", "b"]], verbose=0)[0].dtype == "float32"
    assert tagger.crf.transitions.dtype == "float32"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.fit(WORDS, [*TAGS[:2], ["PRON", "ADJ"]]), r"tags\[2\]\[1\].*'slept'.* 'ADJ'"),
        (lambda t: t.fit(WORDS, [*TAGS[:2], ["PRON"]]), r"tags\[2\] is .*a list of 2"),
        (lambda t: t.fit(WORDS, TAGS[:2]), "y has 2 items; x has 3"),
        (lambda t: t.fit(WORDS), "y is None; give the targets"),
        (lambda t: t.fit(["a b"], [["DET"]]), r"words\[0\] is of type str"),
        (lambda t: t.fit([[]], [[]]), r"words\[0\] is empty"),
        (lambda t: t.evaluate(WORDS, TAGS[::-1]), r"tags\[0\] is"),
        (lambda t: t.tag(3), "text must be a string or a list of strings; got 3"),
        (lambda t: t.tag([]), r"text must be a string or a list of strings; got \[\]"),
        (lambda t: t.tag(["a", None]), r"text\[1\] is of type NoneType"),
        (lambda t: t.tag(["a", ["b"]]), r"text\[1\] is of type list"),
        (lambda t: t.tag([["a"], "b"]), r"text\[1\] is 'b'; it must be a list of words"),
        (lambda t: t.tag([["a", ""]]), r"text\[0\]\[1\] is an empty word"),
        (lambda t: t.tag("\ud800"), r"text\[0\] holds a lone surrogate at character 0"),
        (lambda t: t.fit(tf.data.Dataset.from_tensors([b"a"]), [["DET"]]), "y must be None where"),
    ],
)
def test_bad_input_is_named(tagger: TokenClassifier, call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(tagger)


def test_bad_arguments(tokenizer: BytePairTokenizer, config: klm.TransformerConfig) -> None:
    model = klm.models.Decoder(config)
    for arguments, message in (
        ({}, "labels must be a list of names or a positive number; got None"),
        ({"labels": ["a", "a"]}, "must hold different names"),
        ({"labels": 3, "separator": None}, "separator must be a string; got None"),
        ({"labels": 3, "sequence_length": 2}, "sequence_length=2 leaves no room"),
    ):
        with pytest.raises(ValueError, match=message):
            TokenClassifier(model, tokenizer, **arguments)
    with pytest.raises(ValueError, match="needs a tokenizer"):
        TokenClassifier(model, labels=3)
    crf = TokenClassifier(model, tokenizer, LABELS, use_crf=True)
    with pytest.raises(ValueError, match="class_weight is for tags one by one"):
        crf.fit(WORDS, TAGS, class_weight={"DET": 2.0})
    with pytest.raises(ValueError, match="a ChainLoss is for TokenClassifier"):
        keras.losses.get(crf.usual_loss())(np.zeros([1, 2]), np.zeros([1, 2, 3]))


_ON_JAX = """
import json, sys
import keras
import keras_lm as klm
assert keras.backend.backend() == "jax"
tagger = klm.tasks.TokenClassifier.from_pretrained(sys.argv[1])
words, tags = [["Ada", "lives", "."]] * 2, [["B-x", "O", "O"]] * 2
spans = tagger.tag("Ada lives.")
print(json.dumps([spans, tagger.evaluate(words, tags, verbose=0, return_dict=True)]))
"""


def test_the_jax_backend(tokenizer: BytePairTokenizer, tmp_path: Path) -> None:
    pytest.importorskip("jax")
    config = klm.EncoderConfig(
        vocab_size=tokenizer.vocab_size, num_layers=1, hidden_dim=16, num_heads=2, max_length=16
    )
    tagger = TokenClassifier(
        klm.models.Encoder(config), tokenizer, ["O", "B-x", "I-x"], use_crf=True
    )
    tagger.crf.transitions.assign(np.random.default_rng(0).normal(size=[4, 4]))
    tagger.head.bias.assign([0.0, 2.0, 1.0])
    tagger.save_pretrained(tmp_path)
    output = harness_files.run_python(
        _ON_JAX,
        str(tmp_path),
        cwd=harness_files.ROOT,
        KERAS_BACKEND="jax",
        JAX_PLATFORMS="cpu",
    )
    spans, results = json.loads(output)
    expected = tagger.tag("Ada lives.")
    assert expected
    for span, own in zip(spans, expected, strict=True):
        assert span == own | {"score": pytest.approx(own["score"], abs=1e-4)}
    words, tags = [["Ada", "lives", "."]] * 2, [["B-x", "O", "O"]] * 2
    ours = tagger.evaluate(words, tags, verbose=0, return_dict=True)
    assert results["loss"] == pytest.approx(ours["loss"], rel=1e-4)
    assert set(results) == set(ours) == {"loss", "accuracy", "entity_f1"}
