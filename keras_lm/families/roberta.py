"""RoBERTa (https://arxiv.org/abs/1907.11692): a BERT whose positions begin behind its pad id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_lm.config import EncoderConfig
from keras_lm.families.base import Family, Head, HFConfig, Weight, linear, required
from keras_lm.families.bert import (
    encoder_weights,
    masked_lm_weights,
    read_encoder,
    simple_heads,
    write_encoder,
)


def _read_config(hf: Mapping[str, Any]) -> EncoderConfig:
    rows, pad_id = required(hf, "max_position_embeddings"), hf.get("pad_token_id", 1)
    for name, value in (("max_position_embeddings", rows), ("pad_token_id", pad_id)):
        if type(value) is not int or value < 0:
            raise ValueError(f"config.json has {name}={value!r}; it must be an int, at least 0")
    return read_encoder(hf, max_length=rows - pad_id - 1, position_offset=pad_id + 1)


def _write_config(config: EncoderConfig) -> HFConfig:
    return {
        **write_encoder(config),
        "max_position_embeddings": config.max_length + config.position_offset,
        "pad_token_id": config.position_offset - 1,
    }


def _predictions(config: EncoderConfig) -> list[Weight]:
    names = ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias", "lm_head.decoder")
    return masked_lm_weights(config, *names)


ROBERTA = Family(
    model_type="roberta",
    architecture="RobertaModel",
    title="RoBERTa",
    read_config=_read_config,
    write_config=_write_config,
    weights=lambda config: encoder_weights(config, "roberta", "roberta.pooler.dense"),
    prefix="roberta.",
    ignored=(r"roberta\.embeddings\.position_ids",),
    config_class=EncoderConfig,
    heads={
        "masked_lm": Head(
            ["RobertaForMaskedLM"], _predictions, ignored=(r"lm_head\.decoder\.(weight|bias)",)
        ),
        "text_classifier": Head(
            ["RobertaForSequenceClassification"],
            lambda _: linear("head", "classifier.out_proj"),
            pooler="classifier.dense",
        ),
        **simple_heads("Roberta"),
    },
    pooler="roberta.pooler.dense",
)
