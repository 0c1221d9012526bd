"""Metrics that are exact over a data set, on every Keras backend."""

from keras_lm.metrics.perplexity import BitsPerByte, CrossEntropy, Perplexity

__all__ = ["BitsPerByte", "CrossEntropy", "Perplexity"]
