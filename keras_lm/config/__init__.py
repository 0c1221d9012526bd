"""Hyper-parameters: every one is declared here, once, in a frozen dataclass.

A model takes one config and passes it whole to its layers. `Configured` writes
`get_config` and `from_config` of models and layers from it.
"""

from keras_lm.config.base import Config
from keras_lm.config.configured import Configured
from keras_lm.config.convolutional import ConvolutionalConfig
from keras_lm.config.encoder import EncoderConfig
from keras_lm.config.encoder_decoder import (
    EncoderDecoderConfig,
    RecurrentSeq2SeqConfig,
    SourceConfig,
)
from keras_lm.config.knowledge_graph import KnowledgeGraphConfig
from keras_lm.config.ngram import NGramConfig
from keras_lm.config.positions import PositionConfig, RotaryScaling
from keras_lm.config.recurrent import RecurrentConfig, RecurrentEncoderConfig
from keras_lm.config.transformer import AttentionConfig, TransformerConfig
from keras_lm.config.word_vectors import GloVeConfig, Word2VecConfig

__all__ = [
    "AttentionConfig",
    "Config",
    "Configured",
    "ConvolutionalConfig",
    "EncoderConfig",
    "EncoderDecoderConfig",
    "GloVeConfig",
    "KnowledgeGraphConfig",
    "NGramConfig",
    "PositionConfig",
    "RecurrentConfig",
    "RecurrentEncoderConfig",
    "RecurrentSeq2SeqConfig",
    "RotaryScaling",
    "SourceConfig",
    "TransformerConfig",
    "Word2VecConfig",
]
