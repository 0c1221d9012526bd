"""Text to batches: sources, cleaning, token stores, packing, objectives, batches by address."""

from keras_lm.data import cleaning
from keras_lm.data.batches import batches, gather_windows, num_batches
from keras_lm.data.examples import (
    BucketPlan,
    Examples,
    ExampleStore,
    SentencePairs,
    Sequences,
    answer_spans,
    bucket_plan,
    classification,
    example_batches,
    sequence_pairs,
    token_labels,
)
from keras_lm.data.lanes import LanePlan, lane_batches, lane_windows
from keras_lm.data.objectives import (
    ContinuousBagOfWords,
    MaskedLM,
    ReplacedTokens,
    SkipGram,
    SpanCorruption,
    special_ids,
    token_windows,
    unigram_counts,
    word_starts,
)
from keras_lm.data.packing import (
    WindowPlan,
    overlapping_windows,
    scoring_windows,
    training_windows,
)
from keras_lm.data.preparation import prepare
from keras_lm.data.preview import preview
from keras_lm.data.sources import (
    Mixture,
    conll,
    conllu,
    csv,
    jsonl,
    mixture,
    squad,
    text_files,
    tfds,
    tsv,
)
from keras_lm.data.store import TokenStore, document_encoder
from keras_lm.data.stream import stream_batches

__all__ = [
    "BucketPlan",
    "ContinuousBagOfWords",
    "ExampleStore",
    "Examples",
    "LanePlan",
    "MaskedLM",
    "Mixture",
    "ReplacedTokens",
    "SentencePairs",
    "Sequences",
    "SkipGram",
    "SpanCorruption",
    "TokenStore",
    "WindowPlan",
    "answer_spans",
    "batches",
    "bucket_plan",
    "classification",
    "cleaning",
    "conll",
    "conllu",
    "csv",
    "document_encoder",
    "example_batches",
    "gather_windows",
    "jsonl",
    "lane_batches",
    "lane_windows",
    "mixture",
    "num_batches",
    "overlapping_windows",
    "prepare",
    "preview",
    "scoring_windows",
    "sequence_pairs",
    "special_ids",
    "squad",
    "stream_batches",
    "text_files",
    "tfds",
    "token_labels",
    "token_windows",
    "training_windows",
    "tsv",
    "unigram_counts",
    "word_starts",
]
