"""The task of search: texts become vectors, and a query finds the documents nearest to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import keras
import numpy as np
from keras import ops

from keras_lm import data
from keras_lm.layers.pooling import POOLINGS, Pooling, pool, unit
from keras_lm.models import Backbone, LanguageModel
from keras_lm.tasks.base import check_export
from keras_lm.tasks.head_task import HeadTask
from keras_lm.tasks.reading import check_texts
from keras_lm.tasks.retrieval.groups import text_rows
from keras_lm.tasks.retrieval.search import DocumentSearch
from keras_lm.tasks.retrieval.sentence_layout import (
    read_settings,
    write_settings,
)
from keras_lm.tasks.retrieval.vectors import (
    RetrieverFunctions,
    VectorStore,
    fingerprint,
)
from keras_lm.tokenizers import Tokenizer

NEVER = -1e9
INDEX = "index"
"""The folder of the index in a pretrained directory."""


@keras.saving.register_keras_serializable("keras_lm")
class Retriever(DocumentSearch, HeadTask):
    """Finds the documents whose vectors are nearest to that of a query.

        hidden states [B, T, D] → pooling → length 1 → vectors [B, D]

    It learns from queries and their documents: each query is to be nearest to its own document
    among all of the batch (InfoNCE, van den Oord et al. 2018; in-batch negatives, Karpukhin et
    al. 2020, https://arxiv.org/abs/2004.04906).

    Args:
        model: any `Backbone`: an `Encoder`, a `Decoder`, a `RecurrentEncoder`, …
        tokenizer: its tokenizer.
        pooling: what stands for a whole text: `"mean"` or `"max"` over its tokens, `"cls"`, the
            first token's state, or `"last"`, the last token's. Default: `"last"` for a language
            model, `"mean"` for others.
        normalize: whether vectors have the length 1.
        similarity: `"cosine"`, or `"dot"`, the product of the vectors as they are.
        query_prompt: what is put before a query, as some models want it.
        document_prompt: what is put before a document.
        temperature: what similarities are divided by in training; default 0.05.
        sequence_length: T, the most tokens of a text; more are cut. Default: the model's
            `max_length`.

    Raises:
        ValueError: an argument is of a wrong kind.

    Example:

    >>> import keras_lm as klm
    >>> texts = ["red apple", "green pear", "fast car", "slow train"]
    >>> tok = klm.tokenizers.BytePairTokenizer.train(texts=texts * 9, vocab_size=280)
    >>> config = klm.EncoderConfig(vocab_size=tok.vocab_size, num_layers=1, hidden_dim=16,
    ...                            num_heads=2, max_length=16)
    >>> retriever = Retriever(klm.models.Encoder(config), tok)
    >>> retriever.compile(klm.training.fine_tuning_optimizer(1e-2))
    >>> history = retriever.fit([(text.split()[0], text) for text in texts], epochs=8, verbose=0)
    >>> retriever.embed(texts).shape
    (4, 16)
    >>> retriever.index(texts, ids=["apple", "pear", "car", "train"])
    >>> [hit["id"] for hit in retriever.search_documents("fast", k=1)]
    ['car']
    """

    HEAD = "retriever"
    SETTINGS = (
        *HeadTask.SETTINGS,
        "pooling",
        "normalize",
        "similarity",
        "query_prompt",
        "document_prompt",
        "temperature",
    )

    def __init__(
        self,
        model: Backbone,
        tokenizer: Tokenizer | None = None,
        pooling: Pooling | None = None,
        normalize: bool = True,
        similarity: Literal["cosine", "dot"] = "cosine",
        query_prompt: str = "",
        document_prompt: str = "",
        temperature: float = 0.05,
        sequence_length: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, tokenizer, sequence_length, **kwargs)
        usual: Pooling = "last" if isinstance(model, LanguageModel) else "mean"
        self.pooling: Pooling = usual if pooling is None else pooling
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling must be 'cls', 'mean', 'max' or 'last'; got {pooling!r}")
        if similarity not in ("cosine", "dot"):
            raise ValueError(f"similarity must be 'cosine' or 'dot'; got {similarity!r}")
        for name, prompt in (("query_prompt", query_prompt), ("document_prompt", document_prompt)):
            if not isinstance(prompt, str):
                raise ValueError(f"{name} must be a string; got {prompt!r}")
        if not isinstance(temperature, int | float) or not temperature > 0:
            raise ValueError(f"temperature must be a number above 0; got {temperature!r}")
        self.normalize, self.similarity = bool(normalize), similarity
        self.query_prompt, self.document_prompt = query_prompt, document_prompt
        self.temperature = float(temperature)
        self._vectors = VectorStore(model.config.hidden_dim)
        self._is_stale = False

    # ---- training

    @classmethod
    def wants_pooler(cls, settings: Mapping[str, Any]) -> bool | None:
        return None  # it is kept, so that a directory is written as it was read

    def usual_loss(self) -> keras.losses.Loss:
        return keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        )

    def usual_metrics(self) -> list[Any]:
        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]

    def rows(self, x: Any, y: Any) -> tuple[list[Any], list[Any] | None]:
        if y is not None:
            raise ValueError(
                "y must be None: x holds (query, document) pairs, or longer tuples with documents "
                "that do not fit"
            )
        inputs = text_rows(x)
        return inputs, (None if isinstance(inputs[0], str) else [0] * len(inputs))

    def _require_targets(self, targets: Any) -> None:
        if targets is None:
            raise ValueError("x holds single texts; give (query, document) pairs or longer tuples")

    def examples(self, x: list[Any], y: list[Any] | None, progress: bool) -> Any:
        tokenizer = self.require_tokenizer("fit on texts")
        if isinstance(x[0], str):
            return data.classification(x, [0] * len(x), tokenizer, self.sequence_length)
        prompts = self.query_prompt, self.document_prompt
        return data.text_groups(x, tokenizer, self.sequence_length, prompts, progress)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Vectors of texts, or how alike the texts of groups are.

        Args:
            inputs: ids [B, T], or a dict of them as models take it; or groups of texts, as
                `data.text_groups` gives them.
            training: as in Keras.

        Returns:
            Vectors float32 [B, D]. For groups of G texts float32 [B, (G − 1) · B]: the similarity
            of each first text with the second ones of all groups, then with all third ones, …,
            divided by the temperature; -1e9 where the other is as good as its own.
        """
        if not isinstance(inputs, dict) or "texts" not in inputs:
            return self._vectors_of(inputs, training)
        queries, *others = (self._vectors_of(text, training) for text in inputs["texts"])
        if self.similarity == "cosine" and not self.normalize:
            queries, *others = (unit(vectors) for vectors in (queries, *others))
        alike = ops.matmul(queries, ops.transpose(ops.concatenate(others))) / self.temperature
        return ops.where(_may_differ(inputs["numbers"]), alike, NEVER)

    def _vectors_of(self, inputs: Any, training: bool | None) -> Any:
        inputs = inputs if isinstance(inputs, dict) else {"token_ids": inputs}
        hidden = self.model.hidden_states(inputs, training=training)
        pooled = ops.cast(pool(hidden, inputs.get("padding_mask"), self.pooling), "float32")
        return unit(pooled) if self.normalize else pooled

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Keras's `fit`, on queries and documents; further arguments as in every task with a head.

        What fits a query by any pair of the batch does not count as wrong for it. What was indexed
        before must be indexed again.

        Args:
            x: a list of pairs (query, document) of strings, or of longer tuples (query, document,
                document that does not fit, …); a tuple of such lists; or a tf.data set of tuples.
            *args: as in `HeadTask.fit`, without targets.
            **kwargs: `batch_size`, which is also the number of documents that a query is compared
                with; `epochs`, `validation_data` of the same kinds as x, …

        Raises:
            ValueError: an example is no tuple of strings, or of another size than the others.
        """
        self._is_stale = True
        return super().fit(x, *args, **kwargs)

    # ---- vectors

    def embed(self, texts: Any, prompt: str = "", batch_size: int = 32) -> np.ndarray:
        """The vectors of texts.

        Args:
            texts: a string, or a list of strings.
            prompt: what is put before each.
            batch_size: texts that are read at once.

        Returns:
            float32 [n, D]; [D] for a string. What is beyond `sequence_length` tokens of a text
            plays no part.

        Raises:
            ValueError: a text is empty or no string.
        """
        listed = [prompt + text for text in check_texts("texts", texts)]
        vectors = self.text_functions.vectors(listed, batch_size)
        return vectors[0] if isinstance(texts, str) else vectors

    def make_functions(self) -> RetrieverFunctions:
        return RetrieverFunctions(self, self._vectors)

    # ---- documents

    @property
    def search_functions(self) -> RetrieverFunctions:
        self._require_fresh()
        functions: RetrieverFunctions = self.text_functions
        return functions

    def index_texts(self, texts: list[str], start: int) -> None:
        if start:
            self._require_fresh()
        vectors = self.embed(texts, self.document_prompt)
        if self.similarity == "cosine" and not self.normalize:
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        self._vectors.put(vectors, start)
        self._is_stale = False

    def index_arrays(self) -> dict[str, np.ndarray]:
        self._require_fresh()
        return {"vectors": self._vectors.values.numpy()}

    def take_index(self, arrays: Mapping[str, np.ndarray], num_documents: int) -> None:
        vectors = arrays.get("vectors")
        wanted = (num_documents, self.model.config.hidden_dim)
        if vectors is None or vectors.shape != wanted or vectors.dtype != np.float32:
            raise ValueError(
                f"the index must hold vectors float32 {wanted}; it has "
                f"{None if vectors is None else (vectors.dtype, vectors.shape)}"
            )
        self._vectors.put(vectors, 0)
        self._is_stale = False

    def index_settings(self) -> dict[str, Any]:
        settings = {name: getattr(self, name) for name in self.SETTINGS if name != "temperature"}
        width = self.model.config.hidden_dim
        weights = fingerprint(self.model)
        return {"kind": "vectors", "hidden_dim": width, **settings, "weights": weights}

    def _require_fresh(self) -> None:
        if self._is_stale and self.documents:
            raise ValueError(
                "the index is of the model before fit; call index(documents) with the new weights"
            )

    def search_documents(self, query: Any, k: int | None = None, approximate: bool = False) -> Any:
        """Finds the documents nearest to a query.

        Args:
            query: a string, or a list of strings.
            k: how many documents; default: 10, or all if they are fewer.
            approximate: search a graph of neighbours (HNSW, Malkov and Yashunin 2018) by the
                library faiss, instead of all vectors. It is made at the first such search, and
                pays where there are some 100,000 documents or more; a few may be missed. It needs
                `pip install 'keras-lm[search]'`.

        Returns:
            A list of dicts, best first: `id`, `document` (its text) and `score`, the similarity.
            For a list of queries a list of such lists.

        Raises:
            ValueError: nothing is indexed, or was indexed before `fit`; k is not from 1 to the
                number of documents; a query is empty or no string.
            ImportError: `approximate` without faiss.
        """
        self._require_fresh()
        if not approximate:
            return super().search_documents(query, k)
        k = self._checked(k)
        queries = self.embed([query] if isinstance(query, str) else query, self.query_prompt)
        numbers, scores = self._vectors.graph.search(queries, k)
        rows = zip(numbers, scores, strict=True)
        found = [self._hits({"numbers": row, "scores": score}) for row, score in rows]
        return found[0] if isinstance(query, str) else found

    # ---- directories

    def write_more(self, directory: Path) -> None:
        write_settings(self, directory)
        if self.documents:
            self.save_index(directory / INDEX)

    @classmethod
    def from_directory(cls, path: Path, dtype: Any = None, **settings: Any) -> Self:
        """Of a directory in the layout of Sentence-Transformers too, and with its index."""
        encoder, found = read_settings(path)
        task = super().from_directory(encoder, dtype, **{**found, **settings})
        if (encoder / INDEX).is_dir():
            task._load_own_index(encoder / INDEX)
        return task

    def _load_own_index(self, directory: Path) -> None:
        """An index that was saved with the weights, whatever dtype they are read in."""
        settings = self.index_settings()
        del settings["weights"]
        self._load_index(directory, settings)

    def save_assets(self, directory: str) -> None:
        """What Keras calls for a `.keras` file."""
        if self.documents:
            self.save_index(Path(directory) / INDEX)

    def load_assets(self, directory: str) -> None:
        """What Keras calls for a `.keras` file."""
        if (Path(directory) / INDEX).is_dir():
            self._load_own_index(Path(directory) / INDEX)

    def export(self, directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Writes a SavedModel with tokenizer, encoder and index: a query in, documents out.

        Its signature `serving_default` has the inputs `text` [B] and `k` (default 10), and gives
        `id`, `document` and `score` [B, k]; `embed` gives the `vector` [B, D] of `text`, without a
        prompt. Without an index `serving_default` is `embed`.

        Args:
            directory: where; an earlier SavedModel there is replaced as a whole.

        Raises:
            ValueError: the backend is not TensorFlow, `directory` is something else, or the index
                is of the model before `fit`.
        """
        if not self.documents:
            return HeadTask.export(self, directory, **kwargs)
        self._require_fresh()
        check_export(kwargs)
        self.export_search(directory, embed=self.text_functions.embed)


def _may_differ(numbers: Any) -> Any:
    """Whether a query may be told to be unlike a text, bool [B, (G − 1) · B]; its own it may.

    Args:
        numbers: int32 [B, G], the number of each text of the groups; -1 for padding.
    """
    size, count = ops.shape(numbers)[0], ops.shape(numbers)[1] - 1
    query, own = numbers[:, :1], numbers[:, 1:2]
    other = ops.reshape(ops.transpose(numbers[:, 1:]), (1, -1))
    column = ops.arange(size * count, dtype="int32")[None]
    row = ops.arange(size, dtype="int32")[:, None]
    # A document fits a query where any group of the batch has the two together.
    same_query = ops.cast(ops.transpose(query) == query, "float32")
    fits = ops.matmul(same_query, ops.cast(own == other, "float32")) > 0
    fits = fits | (other == query) | (other < 0)
    return ops.logical_not(fits) | (column == row)
