"""Cleaning of text: each step a small function of a string, alone or in `clean`.

A function that returns a string changes the text; one that returns a bool is a filter. Options are
keyword arguments, which `functools.partial` fixes for a pipeline.
"""

from keras_lm.data.cleaning.characters import (
    fold_case,
    lower_case,
    normalize_unicode,
    squeeze_white_space,
    strip_control_characters,
    strip_punctuation,
)
from keras_lm.data.cleaning.duplicates import DropDuplicates, DropNearDuplicates
from keras_lm.data.cleaning.filters import has_length, is_script
from keras_lm.data.cleaning.markup import strip_html
from keras_lm.data.cleaning.pipeline import Cleaned, StepCounts, clean
from keras_lm.data.cleaning.redaction import Redactor
from keras_lm.data.cleaning.stop_words import remove_stop_words

__all__ = [
    "Cleaned",
    "DropDuplicates",
    "DropNearDuplicates",
    "Redactor",
    "StepCounts",
    "clean",
    "fold_case",
    "has_length",
    "is_script",
    "lower_case",
    "normalize_unicode",
    "remove_stop_words",
    "squeeze_white_space",
    "strip_control_characters",
    "strip_html",
    "strip_punctuation",
]
