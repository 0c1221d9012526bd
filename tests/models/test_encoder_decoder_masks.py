"""The encoder–decoder Transformer: its masks written out by hand, and the paper's equations."""

from __future__ import annotations

from typing import Any

import harness
import harness_seq2seq
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import keras_lm as klm
from keras_lm.layers import sinusoidal_positions
from keras_lm.models import Transformer

PAPER = klm.EncoderDecoderConfig(
    vocab_size=11,
    num_layers=2,
    hidden_dim=8,
    num_heads=4,
    max_length=16,
    norm_position="post",
    activation="relu",
    positions="sinusoidal",
    scale_embeddings=True,
)

SOURCE = np.array([[5, 3, 7, 0, 0], [2, 9, 4, 1, 6]], "int32")
TARGET = np.array([[1, 4, 8, 0], [1, 2, 0, 0]], "int32")


def padding_mask(ids: np.ndarray) -> np.ndarray:
    """The documents' `create_padding_mask`: 1 = hidden, [B, 1, 1, S]."""
    return (ids == 0).astype("float32")[:, None, None, :]


def look_ahead_mask(size: int) -> np.ndarray:
    """The documents' `create_look_ahead_mask`: 1 = hidden, [T, T]."""
    return 1 - np.tri(size, dtype="float32")


def test_automatic_masks_are_those_of_the_documents() -> None:
    model = harness.random_model(Transformer, PAPER)
    model.config = PAPER.replace(pad_id=0)
    own = {
        "token_ids": SOURCE,
        "decoder_token_ids": TARGET,
        "decoder_padding_mask": (TARGET != 0).astype("int32"),
    }
    automatic = harness.logits_of(model, own)
    model.config = PAPER  # all that is hidden is said by the masks
    combined = np.maximum(padding_mask(TARGET), look_ahead_mask(4))
    given = {
        "token_ids": SOURCE,
        "decoder_token_ids": TARGET,
        "encoder_attention_mask": padding_mask(SOURCE) == 0,
        "decoder_attention_mask": combined == 0,
        "cross_attention_mask": padding_mask(SOURCE) == 0,
    }
    literal = harness.logits_of(model, given)
    real = TARGET != 0
    np.testing.assert_allclose(literal[real], automatic[real], atol=1e-6)
    for name in ("encoder_attention_mask", "decoder_attention_mask", "cross_attention_mask"):
        without = harness.logits_of(model, {key: given[key] for key in given if key != name})
        moved = np.abs(without - literal)[real].max()
        # What stands behind a token is hidden from it without a mask too.
        assert (moved > 1e-3) == (name != "decoder_attention_mask"), name


def test_a_mask_decides_what_a_token_sees() -> None:
    model = harness.random_model(Transformer, PAPER)
    inputs = harness_seq2seq.random_inputs(model, length=4)
    diagonal = np.eye(4, 6, dtype=bool)[None, None]
    maps = model.attention_maps(
        {
            **inputs,
            "encoder_attention_mask": np.ones((1, 1, 6, 6), bool),
            "decoder_attention_mask": ~np.tri(4, k=-1, dtype=bool)[None, None],
            "cross_attention_mask": diagonal,
        }
    )
    maps = {name: ops.convert_to_numpy(part) for name, part in maps.items()}
    assert (maps["encoder"] > 0).all()
    assert not maps["decoder"][..., np.tri(4, k=-1, dtype=bool)].any()
    expected = np.broadcast_to(diagonal[None], maps["cross"].shape)
    np.testing.assert_allclose(maps["cross"], expected, atol=1e-6)


def test_the_papers_equations() -> None:
    """One layer of each half, written down with NumPy from "Attention Is All You Need"."""
    config = PAPER.replace(num_layers=1, encoder_layers=1, norm_epsilon=1e-6)
    model = harness.random_model(Transformer, config)
    inputs = harness_seq2seq.row_of(harness_seq2seq.random_inputs(model), 0, 5)
    weights = {w.path.split("/", 1)[1]: ops.convert_to_numpy(w) for w in model.weights}
    table = weights["token_embedding/embeddings"]

    def norm(path: str, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        return scaled * weights[f"{path}/gamma"] + weights[f"{path}/beta"]

    def dense(path: str, x: np.ndarray) -> np.ndarray:
        return x @ weights[f"{path}/kernel"] + weights[f"{path}/bias"]

    def attend(path: str, parts: list[np.ndarray], causal: bool) -> np.ndarray:
        query, key, value = parts
        heads = []
        for h in range(0, 8, 2):  # four heads, two wide
            scores = query[:, h : h + 2] @ key[:, h : h + 2].T / np.sqrt(2)
            if causal:
                scores += np.where(look_ahead_mask(len(scores)) == 1, -np.inf, 0)
            shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
            heads.append(shares @ value[:, h : h + 2])
        return dense(f"{path}/output_projection", np.concatenate(heads, axis=-1))

    def self_attention(path: str, x: np.ndarray, causal: bool) -> np.ndarray:
        parts = np.split(dense(f"{path}/attention/query_key_value", x), 3, axis=-1)
        return norm(f"{path}/attention_norm", x + attend(f"{path}/attention", parts, causal))

    def feed(path: str, x: np.ndarray) -> np.ndarray:
        wide = np.maximum(dense(f"{path}/feed_forward/expand", x), 0)
        fed = dense(f"{path}/feed_forward/contract", wide)
        return norm(f"{path}/feed_forward_norm", x + fed)

    def embed(ids: np.ndarray) -> np.ndarray:
        order = np.arange(len(ids))[None]
        places = ops.convert_to_numpy(sinusoidal_positions(order, 8))[0]
        return table[ids] * np.sqrt(8) + places

    memory = embed(inputs["token_ids"][0])
    memory = feed("encoder/block_0", self_attention("encoder/block_0", memory, causal=False))
    block = "decoder/block_0"
    hidden = self_attention(block, embed(inputs["decoder_token_ids"][0]), causal=True)
    query = dense(f"{block}/cross_attention/query", hidden)
    key, value = np.split(dense(f"{block}/cross_attention/key_value", memory), 2, axis=-1)
    looked = attend(f"{block}/cross_attention", [query, key, value], causal=False)
    hidden = feed(block, norm(f"{block}/cross_attention_norm", hidden + looked))
    np.testing.assert_allclose(harness.logits_of(model, inputs)[0], hidden @ table.T, atol=1e-5)


def test_tokens_beyond_the_table_of_positions_are_named() -> None:
    config = klm.EncoderDecoderConfig(
        vocab_size=9,
        num_layers=1,
        hidden_dim=8,
        num_heads=2,
        max_length=4,
        max_source_length=5,
    )
    model = Transformer(config)

    def call(source: int, target: int, model: Transformer = model, **more: np.ndarray) -> Any:
        ids = {"token_ids": np.ones((1, source), "int32")}
        return model({**ids, "decoder_token_ids": np.ones((1, target), "int32"), **more})

    assert call(5, 4).shape == (1, 4, 9)
    with pytest.raises(ValueError, match="token_ids has rows of 6 tokens; the model has 5 pos"):
        call(6, 4)
    with pytest.raises(ValueError, match="decoder_token_ids has rows of 5 tokens; the model has 4"):
        call(5, 5)
    long = {"padding_mask": np.array([[0, 1, 1, 1, 1, 1, 1]])}
    with pytest.raises(ValueError, match="token_ids has rows of 6 tokens; the model has 5 pos"):
        call(7, 4, **long)
    long = {"decoder_padding_mask": np.array([[True] * 5 + [False]])}
    with pytest.raises(ValueError, match="decoder_token_ids has rows of 5 tokens; the model has 4"):
        call(5, 6, **long)
    # Rows that are filled up may be longer, and a model without a table has no limit.
    mask = np.array([[1, 1, 1, 1, 1, 0]])
    assert call(6, 4, padding_mask=mask).shape == (1, 4, 9)
    in_graph = tf.function(lambda mask: call(6, 4, padding_mask=mask), autograph=False)
    assert in_graph(tf.constant(mask)).shape == (1, 4, 9)
    assert call(6, 5, Transformer(config.replace(positions="sinusoidal"))).shape == (1, 5, 9)
