"""Labelled examples: from lists of strings to batches of static shapes, by address."""

from keras_lm.data.examples.answer_spans import answer_spans
from keras_lm.data.examples.batches import Examples, example_batches
from keras_lm.data.examples.buckets import BucketPlan, bucket_plan
from keras_lm.data.examples.classification import classification
from keras_lm.data.examples.relations import entity_relations
from keras_lm.data.examples.sentence_pairs import SentencePairs
from keras_lm.data.examples.sequence_pairs import sequence_pairs
from keras_lm.data.examples.sequences import Sequences
from keras_lm.data.examples.store import ExampleStore
from keras_lm.data.examples.text_groups import TextGroups, text_groups
from keras_lm.data.examples.token_labels import token_labels

__all__ = [
    "BucketPlan",
    "ExampleStore",
    "Examples",
    "SentencePairs",
    "Sequences",
    "TextGroups",
    "answer_spans",
    "bucket_plan",
    "classification",
    "entity_relations",
    "example_batches",
    "sequence_pairs",
    "text_groups",
    "token_labels",
]
