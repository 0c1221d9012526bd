"""ELECTRA (https://arxiv.org/abs/2003.10555): a BERT whose token vectors may be narrower."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_lm.config import EncoderConfig
from keras_lm.families.base import Family, Head, HFConfig, Weight, linear
from keras_lm.families.bert import (
    encoder_weights,
    masked_lm_weights,
    read_encoder,
    simple_heads,
    write_encoder,
)


def _read_config(hf: Mapping[str, Any]) -> EncoderConfig:
    return read_encoder(hf, pooler="gelu", embedding_dim=hf.get("embedding_size", 128))


def _write_config(config: EncoderConfig) -> HFConfig:
    return {**write_encoder(config), "embedding_size": config.embedding_dim}


def _predictions(config: EncoderConfig) -> list[Weight]:
    name = "generator_predictions"
    names = (f"{name}.dense", f"{name}.LayerNorm", "generator_lm_head.bias", "generator_lm_head")
    return masked_lm_weights(config, *names)


def _replaced(_: EncoderConfig) -> list[Weight]:
    """The discriminator's own head, which says whether a token was replaced."""
    name = "discriminator_predictions"
    return [
        *linear("head/dense", f"{name}.dense"),
        *linear("head/output", f"{name}.dense_prediction"),
    ]


ELECTRA = Family(
    model_type="electra",
    architecture="ElectraModel",
    title="ELECTRA",
    read_config=_read_config,
    write_config=_write_config,
    weights=lambda config: encoder_weights(config, "electra", "keras_lm.pooler"),
    prefix="electra.",
    ignored=(r"electra\.embeddings\.position_ids",),
    config_class=EncoderConfig,
    heads={
        "masked_lm": Head(
            ["ElectraForMaskedLM"], _predictions, ignored=(r"generator_lm_head\.weight",)
        ),
        "replaced_tokens": Head(["ElectraForPreTraining"], _replaced),
        "text_classifier": Head(
            ["ElectraForSequenceClassification"],
            lambda _: linear("head", "classifier.out_proj"),
            pooler="classifier.dense",
        ),
        **simple_heads("Electra"),
    },
    pooler="keras_lm.pooler",
    pooler_activation="gelu",
)
