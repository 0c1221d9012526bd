"""Search: documents that are indexed once and found by a query."""

from keras_lm.tasks.retrieval.bm25 import BM25Retriever
from keras_lm.tasks.retrieval.hybrid import HybridRetriever
from keras_lm.tasks.retrieval.reranking import Reranker
from keras_lm.tasks.retrieval.retriever import Retriever
from keras_lm.tasks.retrieval.search import DocumentSearch

__all__ = ["BM25Retriever", "DocumentSearch", "HybridRetriever", "Reranker", "Retriever"]
