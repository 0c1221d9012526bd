"""Word vectors: learned by Word2Vec and GloVe, read from files, asked and shown."""

from keras_lm.models.word_vectors.glove import GloVe
from keras_lm.models.word_vectors.vectors import WordVectors
from keras_lm.models.word_vectors.word2vec import Word2Vec

__all__ = ["GloVe", "Word2Vec", "WordVectors"]
