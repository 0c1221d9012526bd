"""Token ids in, hidden states or logits out."""

from keras_lm.models.base import Backbone, LanguageModel
from keras_lm.models.convolutional import ConvolutionalEncoder
from keras_lm.models.encoder import Encoder
from keras_lm.models.knowledge_graph import KnowledgeGraphEmbedding
from keras_lm.models.ngram import NGramLM
from keras_lm.models.recurrent import RecurrentLM
from keras_lm.models.recurrent_encoder import RecurrentEncoder
from keras_lm.models.transformer import Decoder
from keras_lm.models.word_vectors import GloVe, Word2Vec, WordVectors

__all__ = [
    "Backbone",
    "ConvolutionalEncoder",
    "Decoder",
    "Encoder",
    "GloVe",
    "KnowledgeGraphEmbedding",
    "LanguageModel",
    "NGramLM",
    "RecurrentEncoder",
    "RecurrentLM",
    "Word2Vec",
    "WordVectors",
]
