"""N-gram models as flat arrays: counting, smoothing, the ARPA format."""

from keras_lm.data.ngrams.arpa import read_arpa
from keras_lm.data.ngrams.arpa_writing import write_arpa
from keras_lm.data.ngrams.estimation import estimate
from keras_lm.data.ngrams.table import NGramTable
from keras_lm.data.ngrams.text import TextFile, table_of_text

__all__ = ["NGramTable", "TextFile", "estimate", "read_arpa", "table_of_text", "write_arpa"]
