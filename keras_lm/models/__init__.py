"""Token ids in, hidden states or logits out."""

from keras_lm.models.base import Backbone, EncoderDecoder, LanguageModel
from keras_lm.models.convolutional import ConvolutionalEncoder
from keras_lm.models.encoder import Encoder
from keras_lm.models.encoder_decoder import Transformer
from keras_lm.models.knowledge_graph import KnowledgeGraphEmbedding
from keras_lm.models.ngram import NGramLM
from keras_lm.models.recurrent import RecurrentLM
from keras_lm.models.recurrent_encoder import RecurrentEncoder
from keras_lm.models.recurrent_seq2seq import RecurrentSeq2Seq
from keras_lm.models.transformer import Decoder
from keras_lm.models.word_vectors import GloVe, Word2Vec, WordVectors

__all__ = [
    "Backbone",
    "ConvolutionalEncoder",
    "Decoder",
    "Encoder",
    "EncoderDecoder",
    "GloVe",
    "KnowledgeGraphEmbedding",
    "LanguageModel",
    "NGramLM",
    "RecurrentEncoder",
    "RecurrentLM",
    "RecurrentSeq2Seq",
    "Transformer",
    "Word2Vec",
    "WordVectors",
]
