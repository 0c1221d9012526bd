"""DistilBERT (https://arxiv.org/abs/1910.01108): BERT without token types and pooler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_lm.config import AttentionConfig, EncoderConfig
from keras_lm.families.base import (
    BlockNames,
    Family,
    Head,
    HFConfig,
    Weight,
    layer_norm,
    linear,
    plain_block,
    read_activation,
    required,
    write_activation,
)
from keras_lm.families.bert import masked_lm_weights, read_pooler, simple_heads

_BLOCK: BlockNames = {
    "attention/query_key_value": [f"attention.{part}_lin" for part in "qkv"],
    "attention/output_projection": "attention.out_lin",
    "attention_norm": "sa_layer_norm",
    "feed_forward/expand": "ffn.lin1",
    "feed_forward/contract": "ffn.lin2",
    "feed_forward_norm": "output_layer_norm",
}


def _read_config(hf: Mapping[str, Any]) -> EncoderConfig:
    # Sinusoidal positions are stored as a table as well.
    return EncoderConfig(
        vocab_size=required(hf, "vocab_size"),
        num_layers=required(hf, "n_layers"),
        hidden_dim=required(hf, "dim"),
        num_heads=required(hf, "n_heads"),
        feed_forward_dim=required(hf, "hidden_dim"),
        max_length=required(hf, "max_position_embeddings"),
        dropout=hf.get("dropout", 0.1),
        activation=read_activation(hf, "activation", "gelu"),
        tie_embeddings=hf.get("tie_word_embeddings", True),
        initializer_range=hf.get("initializer_range", 0.02),
        token_types=0,
        pooler=read_pooler(hf, "relu"),
        attention=AttentionConfig(dropout=hf.get("attention_dropout", 0.1)),
    )


def _write_config(config: EncoderConfig) -> HFConfig:
    return {
        "vocab_size": config.vocab_size,
        "dim": config.hidden_dim,
        "n_layers": config.num_layers,
        "n_heads": config.num_heads,
        "hidden_dim": config.feed_forward_dim,
        "activation": write_activation(config.activation),
        "dropout": config.dropout,
        "attention_dropout": config.attention.dropout,
        "max_position_embeddings": config.max_length,
        "initializer_range": config.initializer_range,
        "sinusoidal_pos_embds": False,
        "tie_word_embeddings": config.tie_embeddings,
        "pooler": config.pooler,
    }


def _weights(config: EncoderConfig) -> list[Weight]:
    embeddings = "distilbert.embeddings"
    weights = [
        Weight("token_embedding/embeddings", f"{embeddings}.word_embeddings.weight"),
        Weight("position_embedding/embeddings", f"{embeddings}.position_embeddings.weight"),
        *layer_norm("embedding_norm", f"{embeddings}.LayerNorm"),
    ]
    for i in range(config.num_layers):
        weights += plain_block(config, f"block_{i}", f"distilbert.transformer.layer.{i}", _BLOCK)
    if config.pooler is not None:
        weights += linear("pooler", "keras_lm.pooler")
    return weights


def _predictions(config: EncoderConfig) -> list[Weight]:
    names = ("vocab_transform", "vocab_layer_norm", "vocab_projector.bias", "vocab_projector")
    return masked_lm_weights(config, *names)


DISTILBERT = Family(
    model_type="distilbert",
    architecture="DistilBertModel",
    title="DistilBERT",
    read_config=_read_config,
    write_config=_write_config,
    weights=_weights,
    prefix="distilbert.",
    ignored=(r"distilbert\.embeddings\.position_ids",),
    config_class=EncoderConfig,
    heads={
        "masked_lm": Head(
            ["DistilBertForMaskedLM"], _predictions, ignored=(r"vocab_projector\.weight",)
        ),
        "text_classifier": Head(
            ["DistilBertForSequenceClassification"],
            lambda _: linear("head", "classifier"),
            pooler="pre_classifier",
        ),
        **simple_heads("DistilBert"),
    },
    pooler="keras_lm.pooler",
    pooler_activation="relu",
)
