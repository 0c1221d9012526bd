"""What a model learns from windows of tokens, other than the next token.

Each objective is a small frozen object for `batches(…, objective=…)` or `stream_batches`: it turns
the rows of a batch, and random numbers that follow from the batch's address, into
`(x, y, sample_weight)` of static shapes. The windows are those of `token_windows`.
"""

from keras_lm.data.objectives.corruption import SpanCorruption
from keras_lm.data.objectives.masked import MaskedLM
from keras_lm.data.objectives.replaced import ReplacedTokens
from keras_lm.data.objectives.skip_gram import ContinuousBagOfWords, SkipGram
from keras_lm.data.objectives.vocabulary import special_ids, unigram_counts, word_starts
from keras_lm.data.objectives.windows import token_windows

__all__ = [
    "ContinuousBagOfWords",
    "MaskedLM",
    "ReplacedTokens",
    "SkipGram",
    "SpanCorruption",
    "special_ids",
    "token_windows",
    "unigram_counts",
    "word_starts",
]
