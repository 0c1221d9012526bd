"""Questions to answers: learned, decoded, saved, served."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import harness_files
import keras
import numpy as np
import pytest

import keras_lm as klm
from keras_lm.tasks import BM25Retriever, QuestionAnswerer, Retriever
from keras_lm.tokenizers import BytePairTokenizer, WordPieceTokenizer

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES, PLACES = ["Ada", "Zoë", "李明", "Bob"], ["Lima", "北京", "Orléans", "Rome"]
FILLER = "one two three four five six seven"


def example(name: str, place: str, asked: str, before: str = "") -> dict[str, Any]:
    context = f"{before}{name} lives in {place}."
    if asked == "why":
        return {"question": "why ?", "context": context, "answer": None}
    answer = name if asked == "who" else place
    start = context.index(answer, len(before))
    return {
        "question": f"{asked} ?",
        "context": context,
        "answers": {"text": [answer, f"in {place}"][: 1 + (asked == "where")]}
        | {"answer_start": [start, context.index("in ")][: 1 + (asked == "where")]},
    }


def examples(*asked: str) -> list[dict[str, Any]]:
    return [
        example(name, place, one, before)
        for one in asked
        for number, name in enumerate(NAMES)
        for other, place in enumerate(PLACES)
        for before in ("", f"{FILLER} "[: 4 * (number + other)], f"{FILLER} " * 3)
        if (number, other) != (1, 2)  # Zoë does not live in Orléans while it learns
    ]


@pytest.fixture(scope="module")
def tokenizer() -> WordPieceTokenizer:
    texts = [one["context"] + one["question"] for one in examples("who", "where", "why")]
    return WordPieceTokenizer.train(texts=[*texts, FILLER], vocab_size=104)


def untrained(tokenizer: Any) -> QuestionAnswerer:
    keras.utils.set_random_seed(0)
    config = klm.EncoderConfig(
        vocab_size=tokenizer.vocab_size,
        num_layers=1,
        hidden_dim=32,
        num_heads=2,
        max_length=24,
        dropout=0.0,
        initializer_range=0.15,
        attention={"dropout": 0.0},
    )
    qa = QuestionAnswerer(
        klm.models.Encoder(config), tokenizer, doc_stride=8, max_question_length=6
    )
    qa.compile(klm.training.fine_tuning_optimizer(0.005))
    return qa


@pytest.fixture(scope="module")
def trained(tokenizer: WordPieceTokenizer) -> QuestionAnswerer:
    """It has learned who and where, and that nobody says why. Tests leave it as it is."""
    qa = untrained(tokenizer)
    qa.fit(examples("who", "where", "why"), epochs=14, batch_size=16, verbose=0)
    return qa


def test_it_answers_what_it_has_not_read(trained: QuestionAnswerer) -> None:
    context = "Zoë lives in Orléans."
    who, where = trained.find_answer(["who ?", "where ?"], [context, context])
    assert sorted(who) == ["answer", "end", "end_byte", "score", "start", "start_byte"]
    assert (who["answer"], who["start"], who["end"], who["end_byte"]) == ("Zoë", 0, 3, 4)
    assert (where["answer"], where["start"], where["end"]) == ("Orléans", 13, 20)
    assert (where["start_byte"], where["end_byte"]) == (14, 22)
    assert min(who["score"], where["score"]) > 0.5
    assert trained.find_answer("where ?", context) == pytest.approx(where)


def test_long_contexts_are_read_in_windows(trained: QuestionAnswerer) -> None:
    """Nine windows, and the answer in the last."""
    context = f"{FILLER} " * 11 + "Bob lives in 北京."
    found = trained.find_answer("where ?", context)
    assert found["answer"] == "北京"
    assert (found["start"], found["end"]) == (context.index("北京"), len(context) - 1)


def test_the_best_of_several_documents(trained: QuestionAnswerer) -> None:
    documents = [FILLER, f"{FILLER} Ada lives in Rome.", "six seven"]
    found = trained.find_answer("who ?", documents)
    assert (found["answer"], found["document"]) == ("Ada", 1)
    assert documents[1][found["start"] : found["end"]] == "Ada"
    both = trained.find_answer(["where ?", "who ?"], [("one two.", documents[1]), documents[1]])
    assert [answer["answer"] for answer in both] == ["Rome", "Ada"]
    assert both[0]["document"] == 1
    assert "document" not in both[1]


def test_no_answer(trained: QuestionAnswerer) -> None:
    assert trained.allow_no_answer
    found = trained.find_answer("why ?", "Ada lives in Lima.")
    assert (found["answer"], found["start"], found["end"], found["end_byte"]) == ("", 0, 0, 0)
    assert found["score"] > 0.5


def test_many_questions_come_back_in_their_order(trained: QuestionAnswerer) -> None:
    """More than go into one call, of different lengths."""
    asked = examples("where")[::-1]
    found = trained.find_answer(
        [one["question"] for one in asked], [one["context"] for one in asked]
    )
    right = [answer["answer"] in one["answers"]["text"] for answer, one in zip(found, asked)]
    assert len(found) > 32
    assert np.mean(right) > 0.9


def test_evaluate(trained: QuestionAnswerer) -> None:
    asked = examples("who", "where")[::5]
    figures = trained.evaluate(asked, verbose=0, return_dict=True)
    assert sorted(figures) == ["end_accuracy", "exact_match", "f1", "loss", "start_accuracy"]
    answers = trained.find_answer(
        [one["question"] for one in asked], [one["context"] for one in asked]
    )
    right = [answer["answer"] in one["answers"]["text"] for answer, one in zip(answers, asked)]
    assert figures["exact_match"] == pytest.approx(100 * np.mean(right))
    assert figures["f1"] >= figures["exact_match"] > 80
    # The loss is the mean over all windows, whatever the batches.
    inputs, targets = trained.rows(asked, None)
    store = trained.examples(inputs, targets, progress=False)
    logits = trained.predict(asked)
    nats = [
        [np.log(np.exp(row).sum()) - row[target] for row, target in zip(rows, store.values[side])]
        for side, rows in logits.items()
    ]
    assert len(nats[0]) == len(store) > len(asked)
    assert figures["loss"] == pytest.approx(np.mean(nats), rel=1e-4)
    for batch_size in (3, 64):
        other = trained.evaluate(asked, batch_size=batch_size, verbose=0)
        assert other[0] == pytest.approx(figures["loss"], rel=1e-4)
        assert other[-2:] == [figures["exact_match"], figures["f1"]]


def test_predict_gives_the_logits_of_windows(trained: QuestionAnswerer) -> None:
    long = f"{FILLER} {FILLER} {FILLER}"
    logits = trained.predict([{"question": "who ?", "context": c} for c in ("Ada .", long)])
    assert [len(row) for row in logits["start"]] == [7, 24, 18]
    place = int(np.argmax(logits["start"][0][4:6])) + 4
    assert place == 4  # [CLS] who ? [SEP] Ada
    both = trained({"token_ids": np.ones((2, 5), "int32")})
    assert {name: tuple(side.shape) for name, side in both.items()} == {
        "start": (2, 5),
        "end": (2, 5),
    }
    padded = trained(
        {
            "token_ids": np.ones((1, 3), "int32"),
            "padding_mask": np.array([[1, 1, 0]], "int32"),
        }
    )
    assert padded["end"].numpy()[0, 2] == -1e9


CONTEXT = "Zoë lives in Orléans."


def test_pretrained_directory(trained: QuestionAnswerer, tmp_path: Path) -> None:
    trained.save_pretrained(tmp_path)
    loaded = QuestionAnswerer.from_pretrained(tmp_path)
    assert loaded.allow_no_answer
    assert (loaded.doc_stride, loaded.max_question_length, loaded.sequence_length) == (8, 6, 24)
    for question in ("who ?", "why ?"):
        assert loaded.find_answer(question, CONTEXT) == trained.find_answer(question, CONTEXT)
    loaded.allow_no_answer = False
    assert loaded.find_answer("why ?", CONTEXT)["answer"] != ""
    other = QuestionAnswerer.from_pretrained(tmp_path, allow_no_answer=False, language="zh")
    assert (other.allow_no_answer, other.language) == (False, "zh")
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["BertForQuestionAnswering"]


def test_keras_file(trained: QuestionAnswerer, tmp_path: Path) -> None:
    trained.save(tmp_path / "task.keras")
    loaded = keras.saving.load_model(tmp_path / "task.keras")
    assert loaded.find_answer("who ?", CONTEXT) == trained.find_answer("who ?", CONTEXT)
    assert loaded.get_compile_config() == trained.get_compile_config()
    assert loaded.allow_no_answer


_SERVER = """
import json, sys
import numpy as np
import tensorflow as tf
import tensorflow_text
served = tf.saved_model.load(sys.argv[1])
questions, contexts = json.loads(sys.argv[2])
def plain(fields):
    values = {name: np.asarray(field).tolist() for name, field in fields.items()}
    answer = values["answer"]
    values["answer"] = [a.decode() for a in answer] if isinstance(answer, list) else answer.decode()
    return values
default = served.signatures["serving_default"]
print(json.dumps({
    "default": plain(default(question=tf.constant(questions), context=tf.constant(contexts))),
    "inputs": sorted(default.structured_input_signature[1]),
    "method": plain(served.find_answer(tf.constant(questions), tf.constant(contexts))),
    "documents": plain(served.signatures["documents"](
        question=tf.constant(questions[0]), context=tf.constant(contexts))),
    "has_keras": "keras_lm" in sys.modules or "keras" in sys.modules,
}))
"""


def test_the_saved_model_answers_as_python_does(trained: QuestionAnswerer, tmp_path: Path) -> None:
    questions = ["where ?", "why ?", "who ?"]
    contexts = [CONTEXT, CONTEXT, f"{FILLER} " * 9 + "李明 lives in Rome."]
    trained.export(tmp_path / "served")
    request = json.dumps([questions, contexts])
    answers = json.loads(
        harness_files.run_python(_SERVER, str(tmp_path / "served"), request, cwd=tmp_path)
    )
    assert answers["inputs"] == ["context", "question"]
    assert answers["method"] == answers["default"]
    local = trained.find_answer(questions, contexts)
    assert [one["answer"] for one in local] == ["Orléans", "", "李明"]
    for name in local[0]:
        expected = [one[name] for one in local]
        served = answers["default"][name]
        assert served == (pytest.approx(expected) if name == "score" else expected)
    best = trained.find_answer(questions[0], contexts)
    served = answers["documents"]
    assert {name: served[name] for name in best} == pytest.approx(best)


@pytest.mark.parametrize("kind", ["recurrent", "bfloat16"])
def test_other_backbones(kind: str) -> None:
    asked = examples("where")
    texts = [one["context"] + one["question"] for one in asked]
    tokenizer = BytePairTokenizer.train(texts=texts, vocab_size=300)
    sizes = {"vocab_size": tokenizer.vocab_size, "num_layers": 1, "hidden_dim": 32}
    if kind == "recurrent":
        model: Any = klm.models.RecurrentLM(klm.RecurrentConfig(cell="gru", **sizes))
    else:
        config = klm.TransformerConfig(num_heads=2, max_length=48, **sizes)
        model = klm.models.Decoder(config, dtype="mixed_bfloat16")
    qa = QuestionAnswerer(model, tokenizer, sequence_length=48, max_question_length=8)
    logits = qa({"token_ids": np.ones((1, 4), "int32")})
    assert {side.dtype.name for side in logits.values()} == {"float32"}
    assert "head/kernel" in qa.own_variables
    found = qa.find_answer("where ?", CONTEXT)
    assert found["answer"] == CONTEXT[found["start"] : found["end"]] != ""
    if kind == "recurrent":
        qa.compile(klm.training.fine_tuning_optimizer(0.01))
        losses = qa.fit(asked, epochs=4, batch_size=16, verbose=0).history["loss"]
        assert losses[-1] < 0.7 * losses[0]
        assert not qa.allow_no_answer  # there was nothing that had no answer


@pytest.mark.parametrize(
    ("family", "architecture"),
    [
        ("bert", "BertForQuestionAnswering"),
        ("roberta", "RobertaForQuestionAnswering"),
        ("distilbert", "DistilBertForQuestionAnswering"),
    ],
)
def test_logits_are_those_of_transformers(family: str, architecture: str, tmp_path: Path) -> None:
    golden = dict(np.load(GOLDEN / f"{family}.npz"))
    head = f"heads/{architecture}/"
    golden |= {k.replace(head, "weights/"): v for k, v in golden.items() if k.startswith(head)}
    harness_files.write_golden(golden, tmp_path, f"configs/{architecture}")
    WordPieceTokenizer.train(texts=["a b"] * 3, vocab_size=7).save(tmp_path)
    qa = QuestionAnswerer.from_pretrained(tmp_path, max_question_length=9)
    inputs = {"token_ids": golden["token_ids"], "padding_mask": golden["attention_mask"]}
    if "token_type_ids" in golden:
        inputs["token_types"] = golden["token_type_ids"]
    logits = qa(inputs)
    real = golden["attention_mask"].astype(bool)
    for side in ("start", "end"):
        expected = golden[f"outputs/{architecture}/{side}_logits"]
        np.testing.assert_allclose(logits[side].numpy()[real], expected[real], atol=2e-5, rtol=0)
    again = tmp_path / "again"
    qa.save_pretrained(again)
    assert json.loads((again / "config.json").read_text())["architectures"] == [architecture]
    shutil.rmtree(again)


# ---- a question without a context: searched for, read, and cited

DOCUMENTS = ["Zoë lives in Orléans.", f"{FILLER} Bob lives in 北京.", FILLER]
IDS = ["zoë", "bob", "none"]


@pytest.fixture(scope="module")
def bm25() -> BM25Retriever:
    retriever = BM25Retriever()
    retriever.index(DOCUMENTS, IDS)
    return retriever


def test_it_cites_what_it_has_read(trained: QuestionAnswerer, bm25: BM25Retriever) -> None:
    found = trained.find_answer("where ? Zoë", retriever=bm25)
    assert found["answer"] == "Orléans"
    citation = found["citation"]
    assert citation == bm25.search_documents("where ? Zoë", k=1)[0]
    assert (citation["id"], citation["document"]) == ("zoë", DOCUMENTS[0])
    assert citation["document"][found["start"] : found["end"]] == "Orléans"
    assert "document" not in found
    alone = trained.find_answer("where ? Zoë", DOCUMENTS[0])
    assert {name: found[name] for name in alone} == pytest.approx(alone)


def test_several_questions(trained: QuestionAnswerer, bm25: BM25Retriever) -> None:
    """Of one no word is in any document."""
    questions = ["where ? Bob", "qqq", "who ? 北京"]
    bob, nothing, who = trained.find_answer(questions, retriever=bm25, k=1)
    assert (bob["answer"], bob["citation"]["id"]) == ("北京", "bob")
    assert (who["answer"], who["citation"]["id"]) == ("Bob", "bob")
    empty = {"answer": "", "start": 0, "end": 0, "start_byte": 0, "end_byte": 0, "score": 0.0}
    assert nothing == {**empty, "citation": None}


def test_nothing_is_cited_for_no_answer(trained: QuestionAnswerer, bm25: BM25Retriever) -> None:
    found = trained.find_answer("why ? Bob", retriever=bm25, k=1)
    assert (found["answer"], found["citation"]) == ("", None)


def test_with_a_dense_retriever(trained: QuestionAnswerer) -> None:
    keras.utils.set_random_seed(0)
    retriever = Retriever(trained.model, trained.tokenizer)
    retriever.index(DOCUMENTS)
    found = trained.find_answer("where ? Bob", retriever=retriever)  # reads all three
    assert found["citation"]["document"][found["start"] : found["end"]] == found["answer"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give find_answer a context, or a retriever"),
        ({"context": "a", "retriever": BM25Retriever()}, "a context, or a retriever"),
        ({"context": "a", "k": 3}, "k=3 is for a retriever"),
        ({"retriever": BM25Retriever()}, "the index is empty"),
        ({"retriever": "bm25"}, "retriever must be one of keras_lm.tasks; got 'bm25'"),
    ],
)
def test_wrong_arguments(tokenizer: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        untrained(tokenizer).find_answer("where ?", **arguments)


def test_wrong_k_and_questions(trained: QuestionAnswerer, bm25: BM25Retriever) -> None:
    with pytest.raises(ValueError, match="k must be from 1 to the number of documents, 3; got 4"):
        trained.find_answer("where ?", retriever=bm25, k=4)
    with pytest.raises(ValueError, match=r"question\[1\]"):
        trained.find_answer(["where ?", ""], retriever=bm25)
