"""No texts at all: a server gives no rows for an empty batch, and Python says what is missing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import pytest
import tensorflow as tf

import keras_lm as klm
from keras_lm.tasks.retrieval import DocumentSearch
from keras_lm.tasks.retrieval.search import ServedSearch

TEXTS = ["red apples", "green apples", "a red car"]
TRIPLES = [("apple", "is", "red"), ("car", "is", "red"), ("apple", "is", "green")]
SIZES: dict[str, Any] = {"num_layers": 1, "hidden_dim": 8, "num_heads": 2, "max_length": 16}

pytestmark = pytest.mark.usefixtures("without_xla")


@functools.cache
def byte_pairs() -> Any:
    return klm.tokenizers.BytePairTokenizer.train(texts=TEXTS * 9, vocab_size=260)


@functools.cache
def word_pieces() -> Any:
    return klm.tokenizers.WordPieceTokenizer.train(texts=[*TEXTS, "@ #"] * 9, vocab_size=40)


def encoder() -> Any:
    config = klm.EncoderConfig(
        vocab_size=word_pieces().vocab_size, positions={"kind": "rotary"}, **SIZES
    )
    return klm.models.Encoder(config)


def head_task(name: str, *arguments: Any, **settings: Any) -> Any:
    return getattr(klm.tasks, name)(encoder(), word_pieces(), *arguments, **settings)


def causal_lm() -> Any:
    config = klm.TransformerConfig(vocab_size=byte_pairs().vocab_size, **SIZES)
    return klm.tasks.CausalLM(klm.models.Decoder(config), byte_pairs())


def seq2seq_lm() -> Any:
    config = klm.EncoderDecoderConfig(vocab_size=byte_pairs().vocab_size, **SIZES)
    return klm.tasks.Seq2SeqLM(klm.models.Transformer(config), byte_pairs())


def link_predictor() -> Any:
    task = klm.tasks.LinkPredictor("complex", dim=4)
    task.fit(TRIPLES, batch_size=3, verbose=0)
    return task


def indexed(search: DocumentSearch) -> DocumentSearch:
    search.index(TEXTS)
    return search


TASKS: dict[str, Callable[[], Any]] = {
    "BM25Retriever": lambda: indexed(klm.tasks.BM25Retriever()),
    "CausalLM": causal_lm,
    "HybridRetriever": lambda: indexed(
        klm.tasks.HybridRetriever([klm.tasks.BM25Retriever(), head_task("Retriever")])
    ),
    "LinkPredictor": link_predictor,
    "MaskedLM": lambda: head_task("MaskedLM"),
    "QuestionAnswerer": lambda: head_task(
        "QuestionAnswerer", max_question_length=4, allow_no_answer=True
    ),
    "RelationExtractor": lambda: head_task(
        "RelationExtractor",
        ["none", "owns(e1,e2)"],
        tagger=head_task("TokenClassifier", ["O", "B-thing"]),
    ),
    "Reranker": lambda: indexed(
        klm.tasks.Reranker(klm.tasks.BM25Retriever(), head_task("TextClassifier", ["no", "yes"]))
    ),
    "Retriever": lambda: indexed(head_task("Retriever")),
    "Seq2SeqLM": seq2seq_lm,
    "TextClassifier": lambda: head_task("TextClassifier", ["no", "yes"]),
    "TokenClassifier": lambda: head_task("TokenClassifier", ["a", "b"], use_crf=True),
}
"""Each task by its name."""

VERBS: dict[str, tuple[str, ...]] = {
    "generate": ("CausalLM", "Seq2SeqLM"),
    "score": ("CausalLM", "MaskedLM"),
    "fill_mask": ("MaskedLM",),
    "classify": ("TextClassifier", "RelationExtractor"),
    "extract_relations": ("RelationExtractor",),
    "tag": ("TokenClassifier",),
    "embed": ("Retriever",),
    "search_documents": ("BM25Retriever", "HybridRetriever", "Reranker", "Retriever"),
    "find_answer": ("QuestionAnswerer",),
    "predict_tail": ("LinkPredictor",),
    "predict_head": ("LinkPredictor",),
}
TWO = ("find_answer", "predict_tail", "predict_head")
"""Verbs that take two lists."""


@functools.cache
def made(name: str) -> Any:
    """A task of random weights. Tests leave it as it is."""
    keras.utils.set_random_seed(0)
    return TASKS[name]()


def modules(task: Any) -> list[tuple[Any, dict[str, Any]]]:
    """What `export` writes, which its functions need to be kept, and these by name."""
    if isinstance(task, klm.tasks.LinkPredictor):
        return [(task.link_functions, task.link_functions.signatures())]
    found = []
    if isinstance(task, keras.Model):
        found.append((task.text_functions, task.text_functions.signatures()))
    if isinstance(task, DocumentSearch):
        search = ServedSearch(task.search_functions, task._documents)
        found.append((search, {"search_documents": search.search_documents}))
    return found


def test_no_task_is_forgotten() -> None:
    others = set(klm.tasks.__all__) - set(TASKS) - {"Task"}
    assert others == {"Summarizer", "Translator"}
    for name in others:  # which only call the verb otherwise
        assert getattr(klm.tasks, name).make_functions is klm.tasks.Seq2SeqLM.make_functions


@pytest.mark.parametrize("name", TASKS)
def test_a_server_gives_no_rows_for_no_texts(name: str) -> None:
    for _, functions in modules(made(name)):
        for verb, function in functions.items():
            specs = [spec for spec in function.input_signature if spec.dtype == tf.string]
            if any(spec.shape.rank == 0 for spec in specs):
                continue  # one question about several texts has one answer
            if (name, verb) == ("Seq2SeqLM", "generate"):
                continue  # the same with three searches, whose tracing takes seconds
            empty = {spec.name: tf.zeros([0] * spec.shape.rank, tf.string) for spec in specs}
            for field, answer in function(**empty).items():
                assert answer.shape[0] == 0, (verb, field)


def test_a_question_about_no_texts_is_refused() -> None:
    functions = made("QuestionAnswerer").text_functions
    with pytest.raises(tf.errors.InvalidArgumentError, match="context holds no text"):
        functions.find_in_documents(tf.constant("red"), tf.zeros([0], tf.string))


@pytest.mark.parametrize(("verb", "name"), [(v, n) for v, names in VERBS.items() for n in names])
def test_python_says_what_is_missing(verb: str, name: str) -> None:
    arguments: tuple[list[str], ...] = ([], []) if verb in TWO else ([],)
    with pytest.raises(ValueError, match=r"^\w+ (is an empty list|must be .*got \[\])"):
        getattr(made(name), verb)(*arguments, **({"k": 1} if "predict" in verb else {}))
