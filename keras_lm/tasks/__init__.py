"""Strings in, answers out: a tokenizer and a model, saved together."""

from keras_lm.tasks.base import Task
from keras_lm.tasks.causal_lm import CausalLM
from keras_lm.tasks.masked_lm import MaskedLM
from keras_lm.tasks.question_answerer import QuestionAnswerer
from keras_lm.tasks.text_classifier import TextClassifier
from keras_lm.tasks.token_classifier import TokenClassifier

__all__ = ["CausalLM", "MaskedLM", "QuestionAnswerer", "Task", "TextClassifier", "TokenClassifier"]
