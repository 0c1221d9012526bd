"""Strings in, answers out: a tokenizer and a model, saved together."""

from keras_lm.tasks.base import Task
from keras_lm.tasks.causal_lm import CausalLM

__all__ = ["CausalLM", "Task"]
