"""Strings in, answers out: a tokenizer and a model, saved together."""

from keras_lm.tasks.base import Task
from keras_lm.tasks.causal_lm import CausalLM
from keras_lm.tasks.link_predictor import LinkPredictor
from keras_lm.tasks.masked_lm import MaskedLM
from keras_lm.tasks.question_answerer import QuestionAnswerer
from keras_lm.tasks.relation_extractor import RelationExtractor
from keras_lm.tasks.retrieval import BM25Retriever, HybridRetriever, Reranker, Retriever
from keras_lm.tasks.seq2seq_lm import Seq2SeqLM, Summarizer, Translator
from keras_lm.tasks.text_classifier import TextClassifier
from keras_lm.tasks.token_classifier import TokenClassifier

__all__ = [
    "BM25Retriever",
    "CausalLM",
    "HybridRetriever",
    "LinkPredictor",
    "MaskedLM",
    "QuestionAnswerer",
    "RelationExtractor",
    "Reranker",
    "Retriever",
    "Seq2SeqLM",
    "Summarizer",
    "Task",
    "TextClassifier",
    "TokenClassifier",
    "Translator",
]
