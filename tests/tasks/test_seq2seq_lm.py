"""Tasks of encoder–decoders: fitting, evaluating, writing; what they refuse."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import harness_files
import harness_resume
import keras
import numpy as np
import pytest
from keras import ops

import keras_lm as klm
from keras_lm.tasks import Seq2SeqLM, Summarizer, Translator
from keras_lm.tokenizers import BytePairTokenizer
from keras_lm.training import NextTokenLoss, default_optimizer

pytestmark = pytest.mark.usefixtures("without_xla")

WORDS = {"red": "rot", "green": "grün", "blue": "blau", "black": "schwarz"}
ROWS = [row for n in (1, 2) for row in itertools.product(WORDS, repeat=n)]
SOURCES = [" ".join(row) for row in ROWS]
TARGETS = [" ".join(WORDS[word] for word in row) for row in ROWS]


@pytest.fixture(scope="module")
def tok() -> BytePairTokenizer:
    return BytePairTokenizer.train(texts=[*SOURCES, *TARGETS], vocab_size=285)


def make(tok: Any, kind: type[Seq2SeqLM] = Translator, **arguments: Any) -> Any:
    keras.utils.set_random_seed(0)
    settings = {"num_layers": 1, "hidden_dim": 32, "num_heads": 2, "max_length": 16}
    settings["initializer_range"] = 0.1
    settings |= arguments.pop("config", {})
    config = klm.EncoderDecoderConfig(vocab_size=tok.vocab_size, **settings)
    return kind(klm.models.Transformer(config), tok, **arguments)


@pytest.fixture(scope="module")
def trained(tok: Any) -> Translator:
    """Tests leave it as it is."""
    task = make(tok)
    task.compile(default_optimizer(5e-3))
    history = task.fit(SOURCES, TARGETS, batch_size=10, epochs=40, verbose=0)
    assert history.history["loss"][-1] < 0.2
    return task


def test_it_translates(trained: Translator) -> None:
    assert trained.translate(SOURCES) == TARGETS
    assert trained.translate("red blue") == "rot blau"
    assert trained.translate(SOURCES, num_beams=3) == TARGETS
    assert trained.translate(SOURCES[3:7], batch_size=1) == TARGETS[3:7]


def test_several_answers_with_scores(trained: Translator) -> None:
    (answers,) = trained.translate(
        ["green"], num_beams=4, num_return_sequences=3, return_scores=True
    )
    texts, scores = zip(*answers, strict=True)
    assert texts[0] == "grün"
    assert len(set(texts)) == 3
    assert list(scores) == sorted(scores, reverse=True)
    assert trained.translate("green", num_beams=4, num_return_sequences=3) == list(texts)
    text, score = trained.translate("green", return_scores=True)
    assert text == "grün"
    # The mean log-probability of "grün" and EOS, as `evaluate` counts it.
    loss = trained.evaluate(["green"], ["grün"], verbose=0, return_dict=True)["loss"]
    assert score == pytest.approx(-loss, abs=1e-5)


def test_sampling_is_seeded(trained: Translator) -> None:
    drawn = [
        trained.generate(["red"] * 4, temperature=3.0, seed=seed, num_return_sequences=2)
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert len({text for row in drawn[0] for text in row}) > 2


def test_constraints_reach_the_search(trained: Translator, tok: Any) -> None:
    word = tok("rot").numpy().tolist()
    assert trained.translate("red") == "rot"
    assert trained.translate("red", bad_words_ids=[word]) != "rot"
    assert trained.translate("red", max_new_tokens=0) == ""
    longer = trained.translate("red", min_new_tokens=6, max_new_tokens=6)
    assert len(tok(longer)) >= 4


def test_what_the_model_reads(tok: Any) -> None:
    task = make(tok, prefix="say: ", add_bos=True, source_length=8, sequence_length=6)
    with pytest.warns(UserWarning, match="cut"):
        store = task.examples(["red", "red green blue black red green"], ["rot", "blau"], False)
    x, y, weight = store.rows(np.array([0, 1]), store.lengths.max(axis=0))
    bos, eos = tok.bos_id, tok.eos_id
    ids = tok("say: red").numpy().tolist()
    assert x["token_ids"][0][: len(ids) + 2].tolist() == [bos, *ids, eos]
    assert x["token_ids"].shape == (2, 8)
    assert x["token_ids"][1, -1] == eos
    target = tok("rot").numpy().tolist()
    start = task.model.config.decoder_start_id
    assert x["decoder_token_ids"][0][: len(target) + 2].tolist() == [start, bos, *target]
    assert y[0][: len(target) + 2].tolist() == [bos, *target, eos]
    assert weight[0].sum() == len(target) + 2
    # The graph reads texts as training does.
    read, was_cut = task.text_functions.source(["red", "red green blue black red green"])
    assert read.to_list() == [
        row[:n].tolist() for row, n in zip(x["token_ids"], store.lengths[:, 0])
    ]
    assert was_cut.numpy().tolist() == [False, True]


def test_loss_is_that_of_the_logits(trained: Translator) -> None:
    results = trained.evaluate(SOURCES, TARGETS, batch_size=7, verbose=0, return_dict=True)
    store = trained.examples(SOURCES, TARGETS, False)
    x, y, weight = store.rows(np.arange(len(store)), store.lengths.max(axis=0))
    log_probs = ops.log_softmax(trained.model(x))
    nats = -np.take_along_axis(ops.convert_to_numpy(log_probs), y[:, :, None], 2)[:, :, 0]
    assert results["loss"] == pytest.approx((nats * weight).sum() / weight.sum(), rel=1e-5)
    num_bytes = sum(len(text.encode()) for text in TARGETS)
    bits = (nats * weight).sum() / np.log(2) / num_bytes
    assert results["bits_per_byte"] == pytest.approx(bits, rel=1e-5)


def test_targets_may_have_another_tokenizer(tok: Any, tmp_path: Path) -> None:
    other = BytePairTokenizer.train(texts=TARGETS, vocab_size=264)
    keras.utils.set_random_seed(0)
    config = klm.EncoderDecoderConfig(
        vocab_size=other.vocab_size,
        source_vocab_size=tok.vocab_size,
        num_layers=1,
        hidden_dim=32,
        num_heads=2,
        max_length=16,
        initializer_range=0.1,
    )
    task = Translator(klm.models.Transformer(config), tok, target_tokenizer=other)
    assert task.model.config.eos_id == other.eos_id
    task.compile(default_optimizer(5e-3))
    task.fit(SOURCES, TARGETS, batch_size=10, epochs=40, verbose=0)
    assert task.translate(SOURCES[:6]) == TARGETS[:6]
    task.save_pretrained(tmp_path / "task")
    task.save(tmp_path / "task.keras")
    for again in (
        Translator.from_pretrained(tmp_path / "task"),
        keras.saving.load_model(tmp_path / "task.keras"),
    ):
        assert again.target_tokenizer.vocab_size == other.vocab_size
        assert again.translate(SOURCES[:6]) == TARGETS[:6]


@pytest.mark.parametrize("arguments", [{"token_budget": 64}, {"batch_size": 4}])
def test_an_interrupted_run_ends_with_the_same_bits(
    tok: Any, tmp_path: Path, arguments: dict[str, int]
) -> None:
    def fresh() -> Translator:
        task = make(tok, config={"dropout": 0.2})
        task.compile(default_optimizer(5e-3))
        return task

    harness_resume.check_interrupted_run(
        fresh,
        lambda task, **more: task.fit(SOURCES, TARGETS, epochs=2, verbose=0, **arguments, **more),
        tmp_path,
    )


def test_smoothing_is_the_default_and_any_loss_can_be_given(tok: Any) -> None:
    task = make(tok)
    task.compile()
    assert task.loss.label_smoothing == 0.1
    task.compile(loss=NextTokenLoss(), metrics=["accuracy"])
    history = task.fit(SOURCES, TARGETS, verbose=0, validation_split=0.2).history
    assert {"accuracy", "loss", "val_accuracy", "val_loss"} <= set(history)


def test_any_encoder_decoder(tok: Any) -> None:
    keras.utils.set_random_seed(0)
    config = klm.RecurrentConfig(
        vocab_size=tok.vocab_size, num_layers=1, hidden_dim=32, cell="gru", attention="additive"
    )
    task = Summarizer(klm.models.RecurrentSeq2Seq(config), tok)
    task.compile(default_optimizer(5e-3))
    task.fit(SOURCES, TARGETS, batch_size=10, epochs=40, verbose=0)
    assert task.summarize(SOURCES[:6]) == TARGETS[:6]
    assert task.summarize(SOURCES[:6], num_beams=2) == TARGETS[:6]
    blind = klm.models.RecurrentSeq2Seq(config.replace(attention=None))
    with pytest.raises(ValueError, match="coverage_penalty must be 0 for a RecurrentSeq2Seq"):
        Summarizer(blind, tok).summarize("red", num_beams=2, coverage_penalty=0.2)


@pytest.mark.parametrize(
    ("sources", "targets", "message"),
    [
        (["a", "b"], ["c"], "y has 1 items; x has 2"),
        (["a"], [""], r"targets\[0\] holds no tokens"),
        ([""], ["a"], r"sources\[0\] holds no tokens"),
        ([], [], "x is empty"),
        (["a"], None, "y is None"),
        (["a"], [3], r"targets\[0\] is of type int"),
    ],
)
def test_bad_pairs_are_named(tok: Any, sources: Any, targets: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(tok).fit(sources, targets, verbose=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 0}, "num_beams must be an int, 1 or more; got 0"),
        ({"num_beams": 2, "num_return_sequences": 3}, "num_return_sequences must be at most"),
        ({"num_beans": 2}, "no parameter 'num_beans'; did you mean 'num_beams'"),
        ({"max_new_tokens": 16}, "max_new_tokens=16 exceed the"),
        ({"num_beams": 2, "temperature": 1.0}, "temperature must be 0"),
        ({"repetition_penalty": 0.0}, "repetition_penalty must be"),
    ],
)
def test_bad_options_are_named(trained: Translator, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trained.translate("red", **options)
    with pytest.raises(ValueError, match=message):
        Translator(trained.model, trained.tokenizer, generation=options)


def test_texts_are_checked(trained: Translator) -> None:
    with pytest.raises(ValueError, match="text is an empty text"):
        trained.translate("")
    with pytest.raises(ValueError, match=r"text\[1\] must be a string"):
        trained.translate(["red", 3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"text\[1\] is longer than source_length=16 tokens"):
        trained.translate(["red", "red " * 30])
    assert isinstance(trained.translate("red " * 30, truncation=True), str)


def test_arguments_are_checked(tok: Any) -> None:
    model = make(tok).model
    with pytest.raises(ValueError, match="model must be a keras_lm.models.EncoderDecoder"):
        Translator(
            klm.models.Decoder(
                klm.TransformerConfig(vocab_size=9, num_layers=1, hidden_dim=8, num_heads=2)
            ),
            tok,
        )
    with pytest.raises(ValueError, match="source_length is 17"):
        Translator(model, tok, source_length=17)
    with pytest.raises(ValueError, match="sequence_length must be from 1 to the model's"):
        Translator(model, tok, sequence_length=17)
    with pytest.raises(ValueError, match="target_tokenizer must be a keras_lm Tokenizer"):
        Translator(model, tok, target_tokenizer="de")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="prefix must be a string"):
        Translator(model, tok, prefix=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="give batch_size=4 or token_budget=64"):
        Translator(model, tok).fit(SOURCES, TARGETS, batch_size=4, token_budget=64)
    small = klm.EncoderDecoderConfig(vocab_size=9, num_layers=1, hidden_dim=8, num_heads=2)
    with pytest.raises(ValueError, match="more than the model's vocab_size=9"):
        Translator(klm.models.Transformer(small), tok)


def test_jax_backend(trained: Translator, tmp_path: Path) -> None:
    pytest.importorskip("jax")
    trained.save_pretrained(tmp_path / "task")
    program = f"""
import keras, keras_lm as klm
assert keras.backend.backend() == "jax"
task = klm.tasks.Translator.from_pretrained({str(tmp_path / "task")!r})
print([task.translate({SOURCES[:5]!r}), task.translate({SOURCES[:5]!r}, num_beams=2)])
"""
    printed = harness_files.run_python(program, cwd=tmp_path, KERAS_BACKEND="jax")
    assert printed == str([TARGETS[:5], TARGETS[:5]])
