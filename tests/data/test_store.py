import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from keras_lm.data import TokenStore, document_encoder
from keras_lm.data import store as store_module


def test_documents_stand_between_bos_and_eos(tokenizer):
    store = TokenStore.from_texts(["ab", "", "é"], tokenizer)
    assert store.tokens.tolist() == [256, 97, 98, 257, 256, 257, 256, 0xC3, 0xA9, 257]
    assert store.offsets.tolist() == [0, 4, 6, 10]
    assert store.num_bytes.tolist() == [2, 0, 2]
    assert (store.num_documents, store.num_tokens) == (3, 10)
    assert [a.dtype for a in (store.tokens, store.offsets, store.num_bytes)] == [
        "int32",
        "int64",
        "int64",
    ]


@pytest.mark.parametrize("characters", [40, 1 << 20])
def test_batches_for_the_tokenizer_change_nothing(tokenizer, monkeypatch, characters):
    monkeypatch.setattr(store_module, "_TOKENIZER_CHARACTERS", characters)
    texts = ["x" * (i % 7) + str(i) for i in range(1100)]
    store = TokenStore.from_texts(iter(texts), tokenizer)
    documents = [
        bytes(store.tokens[a + 1 : b - 1].astype(np.uint8)).decode()
        for a, b in zip(store.offsets, store.offsets[1:], strict=False)
    ]
    assert documents == texts


def test_progress_appears_only_when_it_takes_long(tokenizer, monkeypatch, capsys):
    texts = ["a"] * 600
    TokenStore.from_texts(texts, tokenizer, progress=True)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("keras_lm.data.progress.SECONDS_BEFORE_BAR", -1.0)
    store = TokenStore.from_texts(texts, tokenizer, progress=True)
    assert "tokenizing" in capsys.readouterr().err
    assert store.num_documents == 600


def test_the_encoder_works_inside_a_graph(tokenizer):
    encode = document_encoder(tokenizer)
    lengths = tf.function(lambda texts: encode(texts)[1])(tf.constant(["a", "bcd"]))
    assert lengths.numpy().tolist() == [3, 5]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "texts is empty"),
        ("one text", "texts is one str; give a list"),
        (["a", 3], r"texts\[1\] is of type int"),
        ([b"a"], r"texts\[0\] is of type bytes"),
        (["a", None], r"texts\[1\] is of type NoneType"),
        (["ok", "ab\ud800"], r"texts\[1\] holds a lone surrogate at character 2"),
    ],
)
def test_bad_texts_are_named(tokenizer, texts, message):
    with pytest.raises(ValueError, match=message):
        TokenStore.from_texts(texts, tokenizer)


def test_what_begins_and_ends_a_document(tokenizer):
    tokenizer.bos_id = None
    assert TokenStore.from_texts(["a"], tokenizer).tokens.tolist() == [257, 97, 257]
    tokenizer.eos_id, tokenizer.cls_id, tokenizer.sep_id = None, 7, 8
    assert document_encoder.__wrapped__(tokenizer)(["a"])[0].numpy().tolist() == [7, 97, 8]
    tokenizer.sep_id = None
    with pytest.raises(ValueError, match="tokenizer.eos_id and sep_id are None"):
        document_encoder.__wrapped__(tokenizer)


def test_arrays_that_do_not_fit_are_refused():
    good = TokenStore(np.zeros(5, np.int32), np.array([0, 2, 5]), np.array([0, 1]))
    for change, message in [
        ({"tokens": np.zeros(5)}, "tokens is float64"),
        ({"tokens": np.zeros([5, 1], np.int32)}, "tokens is int32 of 2 dimensions"),
        ({"num_bytes": np.array([1])}, "offsets has 3 entries for 1 documents"),
        ({"offsets": np.array([0, 2, 4])}, "offsets runs from 0 to 4"),
        ({"offsets": np.array([0, 1, 5])}, "document 0 has fewer than two ids"),
    ]:
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(good, **change)
