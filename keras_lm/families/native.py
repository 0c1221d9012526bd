"""Models that no family of Hugging Face can express: our own configs and our own weight names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_lm.config import (
    Config,
    ConvolutionalConfig,
    EncoderConfig,
    EncoderDecoderConfig,
    KnowledgeGraphConfig,
    NGramConfig,
    RecurrentConfig,
    RecurrentEncoderConfig,
    RecurrentSeq2SeqConfig,
    TransformerConfig,
)
from keras_lm.families.base import Family


def _native(model_type: str, architecture: str, config_class: type[Config]) -> Family:
    def read_config(hf: Mapping[str, Any]) -> Config:
        if not isinstance(hf.get("config"), Mapping):
            raise ValueError(f"config.json lacks 'config', the fields of {config_class.__name__}")
        return config_class.from_config(hf["config"])

    return Family(
        model_type=model_type,
        architecture=architecture,
        read_config=read_config,
        write_config=lambda config: {"config": config.get_config()},
        weights=None,
        config_class=config_class,
    )


NATIVE = (
    _native("keras_lm_decoder", "Decoder", TransformerConfig),
    _native("keras_lm_encoder", "Encoder", EncoderConfig),
    _native("keras_lm_encoder_decoder", "Transformer", EncoderDecoderConfig),
    _native("keras_lm_recurrent", "RecurrentLM", RecurrentConfig),
    _native("keras_lm_recurrent_encoder", "RecurrentEncoder", RecurrentEncoderConfig),
    _native("keras_lm_recurrent_seq2seq", "RecurrentSeq2Seq", RecurrentSeq2SeqConfig),
    _native("keras_lm_convolutional", "ConvolutionalEncoder", ConvolutionalConfig),
    _native("keras_lm_ngram", "NGramLM", NGramConfig),
    _native("keras_lm_knowledge_graph", "KnowledgeGraphEmbedding", KnowledgeGraphConfig),
)
