"""Where texts come from: files, TensorFlow Datasets, lists, and mixtures of them.

Every source of files takes one path or several, reads gzip and UTF-8, refuses what is broken with
file and line, and gives Python values: `text_files` a list of documents, the others columns.
A list of strings is a source as it is.
"""

from keras_lm.data.sources.json_lines import jsonl
from keras_lm.data.sources.mixing import Mixture, mixture
from keras_lm.data.sources.question_files import squad
from keras_lm.data.sources.tables import csv, tsv
from keras_lm.data.sources.tensorflow_sets import tfds
from keras_lm.data.sources.text import text_files
from keras_lm.data.sources.token_lines import conll, conllu

__all__ = [
    "Mixture",
    "conll",
    "conllu",
    "csv",
    "jsonl",
    "mixture",
    "squad",
    "text_files",
    "tfds",
    "tsv",
]
