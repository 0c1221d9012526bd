"""What is read in the graph is what training reads; and what parts two texts."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import keras_lm as klm
from keras_lm.tasks.reading import Reader, rows_of
from keras_lm.tokenizers.pairs import begins_with_special, separators_between

FIRST = ["a b", "a b c d e f g h", "c", "é 🙂 d d d d", "h g f e d c b a"]
SECOND = ["c d e f g h a b c", "a", "b c", "a b c d e", "h h h h h h h h"]


@pytest.fixture(scope="module", params=[1, 2])
def tok(request: pytest.FixtureRequest) -> Any:
    """A tokenizer with BERT's separator, and one with RoBERTa's two."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tokenizer = klm.tokenizers.WordPieceTokenizer.train(texts=FIRST + SECOND, vocab_size=99)
    config = tokenizer.get_config()
    if request.param == 2:
        config["settings"]["tokenizer_class"] = "RobertaTokenizer"
    made = klm.tokenizers.WordPieceTokenizer.from_config(config)
    assert made.separators_between_texts == request.param
    return made


@pytest.mark.parametrize("length", [7, 12, 40])
@pytest.mark.parametrize("are_pairs", [False, True])
def test_the_graph_reads_what_training_reads(tok: Any, length: int, are_pairs: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        texts = (FIRST, SECOND) if are_pairs else FIRST
        store = klm.data.classification(texts, [0] * 5, tok, length)
    width = int(store.lengths.max())
    x, *_ = store.rows(np.arange(5), [width])
    second = tf.constant(SECOND) if are_pairs else None
    inputs, cut = Reader(tok, length)(tf.constant(FIRST), second)
    for name, tensor in zip(("token_ids", "token_types", "padding_mask"), inputs, strict=True):
        np.testing.assert_array_equal(tensor, x[name])
    whole = Reader(tok, 99)(tf.constant(FIRST), second)[0][2].numpy().sum(axis=1)
    assert cut.numpy().tolist() == (whole > length).tolist()


def processor(definition: Any) -> str:
    return json.dumps({"post_processor": definition})


@pytest.mark.parametrize(
    ("definition", "settings", "expected"),
    [
        (processor(None), {}, 1),
        (processor({"type": "BertProcessing"}), {}, 1),
        (processor({"type": "RobertaProcessing"}), {}, 2),
        (processor({"type": "Sequence", "processors": [{"type": "RobertaProcessing"}]}), {}, 2),
        (
            processor(
                {
                    "type": "TemplateProcessing",
                    "pair": [
                        {"SpecialToken": {"id": "<s>"}},
                        {"Sequence": {"id": "A"}},
                        {"SpecialToken": {"id": "</s>"}},
                        {"SpecialToken": {"id": "</s>"}},
                        {"Sequence": {"id": "B"}},
                        {"SpecialToken": {"id": "</s>"}},
                    ],
                }
            ),
            {},
            2,
        ),
        (
            processor(
                {
                    "type": "TemplateProcessing",
                    "pair": [
                        {"Sequence": {"id": "A"}},
                        {"Sequence": {"id": "B"}},
                    ],
                }
            ),
            {},
            1,
        ),
        (processor(None), {"tokenizer_class": "RobertaTokenizerFast"}, 2),
        (b"a SentencePiece model", {"tokenizer_class": "XLMRobertaTokenizer"}, 2),
        (b"a SentencePiece model", {}, 1),
    ],
)
def test_separators(definition: Any, settings: Any, expected: int) -> None:
    assert separators_between(definition, settings) == expected


BEGINS = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}]}


@pytest.mark.parametrize(
    ("definition", "settings", "expected"),
    [
        (processor(None), {}, False),
        (processor(BEGINS), {}, True),
        (processor(BEGINS), {"add_bos_token": False}, False),
        (processor(None), {"add_bos_token": True}, True),
        (processor(None), {"tokenizer_class": "LlamaTokenizerFast"}, False),
        (b"a SentencePiece model", {"tokenizer_class": "LlamaTokenizer"}, True),
        (b"a SentencePiece model", {"tokenizer_class": "GemmaTokenizer"}, True),
        (b"a SentencePiece model", {"tokenizer_class": "T5Tokenizer"}, False),
        (
            b"a SentencePiece model",
            {"tokenizer_class": "LlamaTokenizer", "add_bos_token": False},
            False,
        ),
    ],
)
def test_whether_texts_begin_with_bos(definition: Any, settings: Any, expected: bool) -> None:
    assert begins_with_special(definition, settings) is expected


def test_rows_come_back_in_order() -> None:
    seen = []

    def function(first: tf.Tensor, second: tf.Tensor) -> dict[str, tf.Tensor]:
        seen.append(len(first))
        return {"both": first + second, "size": tf.strings.length(first)}

    texts = ["ccc", "a", "bb", "dddd", ""]
    rows = rows_of(function, texts, texts, batch_size=2)
    assert [row["both"].decode() for row in rows] == [text * 2 for text in texts]
    assert [row["size"] for row in rows] == [3, 1, 2, 4, 0]
    assert seen == [2, 2, 1]


def test_attention_of_an_encoder(tok: Any) -> None:
    config = klm.EncoderConfig(
        vocab_size=99, num_layers=2, hidden_dim=8, num_heads=2, max_length=16
    )
    task = klm.tasks.TextClassifier(klm.models.Encoder(config), tok, labels=2)
    maps = klm.explain.attention_maps(task, "a b")
    assert maps.tokens == ["[CLS]", "a", "b", "[SEP]"]
    assert maps.weights.shape == (2, 2, 4, 4)
    pair = klm.explain.attention_maps(task, ("a", "b"))
    assert len(pair.tokens) == 4 + tok.separators_between_texts
    for wrong in ("", "a " * 20):
        with pytest.raises(ValueError, match="text must have from 1 to 15 tokens"):
            klm.explain.attention_maps(task, wrong)
