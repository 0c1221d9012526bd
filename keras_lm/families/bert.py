"""BERT (https://arxiv.org/abs/1810.04805): learned positions, token types, post-norm, exact GELU.

RoBERTa and ELECTRA name their layers alike; what they share stands here.
"""

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
    refuse_unless,
    required,
    write_activation,
)

_BLOCK: BlockNames = {
    "attention/query_key_value": [f"attention.self.{part}" for part in ("query", "key", "value")],
    "attention/output_projection": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "feed_forward/expand": "intermediate.dense",
    "feed_forward/contract": "output.dense",
    "feed_forward_norm": "output.LayerNorm",
}


def read_encoder(hf: Mapping[str, Any], pooler: str = "tanh", **others: Any) -> EncoderConfig:
    """The fields that BERT, RoBERTa and ELECTRA spell alike, and some others."""
    refuse_unless(hf, position_embedding_type="absolute", is_decoder=False)
    if hf.get("type_vocab_size", 2) == 0:
        raise ValueError("config.json has type_vocab_size=0; it must be 1 or more")
    return EncoderConfig(
        **{
            "vocab_size": required(hf, "vocab_size"),
            "num_layers": required(hf, "num_hidden_layers"),
            "hidden_dim": required(hf, "hidden_size"),
            "num_heads": required(hf, "num_attention_heads"),
            "feed_forward_dim": required(hf, "intermediate_size"),
            "max_length": required(hf, "max_position_embeddings"),
            "dropout": hf.get("hidden_dropout_prob", 0.1),
            "norm_epsilon": hf.get("layer_norm_eps", 1e-12),
            "activation": read_activation(hf, "hidden_act", "gelu"),
            "tie_embeddings": hf.get("tie_word_embeddings", True),
            "initializer_range": hf.get("initializer_range", 0.02),
            "token_types": hf.get("type_vocab_size", 2),
            "pooler": read_pooler(hf, pooler),
            "attention": AttentionConfig(dropout=hf.get("attention_probs_dropout_prob", 0.1)),
            **others,
        }
    )


def read_pooler(hf: Mapping[str, Any], activation: str) -> Any:
    """Our own key of their config: their pooler is of one kind, and may be missing."""
    pooler = hf.get("pooler", activation)
    if pooler not in (None, activation):
        raise ValueError(f"config.json has pooler={pooler!r}; this family's is {activation!r}")
    return pooler


def write_encoder(config: EncoderConfig) -> HFConfig:
    """The inverse of `read_encoder`."""
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.feed_forward_dim,
        "hidden_act": write_activation(config.activation),
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.attention.dropout,
        "max_position_embeddings": config.max_length,
        "type_vocab_size": config.token_types,
        "initializer_range": config.initializer_range,
        "layer_norm_eps": config.norm_epsilon,
        "tie_word_embeddings": config.tie_embeddings,
        "pooler": config.pooler,
    }


def encoder_weights(config: EncoderConfig, prefix: str, pooler: str) -> list[Weight]:
    """The map of the encoder below the name of the model."""
    embeddings = f"{prefix}.embeddings"
    weights = [
        Weight("token_embedding/embeddings", f"{embeddings}.word_embeddings.weight"),
        Weight("position_embedding/embeddings", f"{embeddings}.position_embeddings.weight"),
        Weight("type_embedding/embeddings", f"{embeddings}.token_type_embeddings.weight"),
        *layer_norm("embedding_norm", f"{embeddings}.LayerNorm"),
    ]
    if config.embedding_dim != config.hidden_dim:
        weights += linear("embedding_projection", f"{prefix}.embeddings_project")
    for i in range(config.num_layers):
        weights += plain_block(config, f"block_{i}", f"{prefix}.encoder.layer.{i}", _BLOCK)
    if config.pooler is not None:
        weights += linear("pooler", pooler)
    return weights


def masked_lm_weights(
    config: EncoderConfig, transform: str, norm: str, bias: str, decoder: str
) -> list[Weight]:
    """The map of a masked language model's head."""
    weights = [
        *linear("head/transform", transform),
        *layer_norm("head/norm", norm),
        Weight("head/bias", bias),
    ]
    if not config.tie_embeddings:
        weights.append(Weight("head/kernel", f"{decoder}.weight"))
    return weights


def simple_heads(prefix: str) -> dict[str, Head]:
    """The heads of one dense layer on every token, which are named alike in most families."""
    return {
        "token_classifier": Head(
            [f"{prefix}ForTokenClassification"], lambda _: linear("head", "classifier")
        ),
        "question_answerer": Head(
            [f"{prefix}ForQuestionAnswering"], lambda _: linear("head", "qa_outputs")
        ),
    }


def _predictions(config: EncoderConfig) -> list[Weight]:
    name = "cls.predictions"
    transform, norm = f"{name}.transform.dense", f"{name}.transform.LayerNorm"
    return masked_lm_weights(config, transform, norm, f"{name}.bias", f"{name}.decoder")


_REPEATED = (r"cls\.predictions\.decoder\.(weight|bias)",)

BERT = Family(
    model_type="bert",
    architecture="BertModel",
    title="BERT, MiniLM and other sentence encoders",
    read_config=read_encoder,
    write_config=write_encoder,
    weights=lambda config: encoder_weights(config, "bert", "bert.pooler.dense"),
    prefix="bert.",
    ignored=(r"bert\.embeddings\.position_ids",),
    config_class=EncoderConfig,
    heads={
        "masked_lm": Head(
            ["BertForMaskedLM", "BertForPreTraining"], _predictions, ignored=_REPEATED
        ),
        "pretraining": Head(
            ["BertForPreTraining"],
            lambda config: [
                *_predictions(config),
                *linear("next_sentence", "cls.seq_relationship"),
            ],
            ignored=_REPEATED,
        ),
        "text_classifier": Head(
            ["BertForSequenceClassification"], lambda _: linear("head", "classifier")
        ),
        **simple_heads("Bert"),
    },
    pooler="bert.pooler.dense",
    aliases=(("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")),
)
