"""What Word2Vec and GloVe have in common: a vocabulary, `fit` on texts, and the vectors."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np
from keras import ops

from keras_lm.config import Configured
from keras_lm.config.base import Config
from keras_lm.models.word_vectors import embedding, evaluation
from keras_lm.models.word_vectors.vectors import WordVectors

if TYPE_CHECKING:
    from keras_lm.data.word_vectors.corpus import WordCorpus

FOR_ONE_RUN = "for_one_run"
"""Name of a default optimizer whose learning rate is spent when `fit` ends; the next has a new."""

_MOST_STEPS_AT_ONCE = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Vocabulary:
    """The words of a model and how often each occurred."""

    words: tuple[str, ...]
    counts: np.ndarray


class WordVectorModel(Configured, keras.Model):
    """A model that learns a vector for every word of texts.

    Made from a config, or from its fields as keywords. The vocabulary is that of the first texts
    that `fit` is given; until then there are no weights. A saved `.keras` file holds it.

    A subclass gives `make_weights`, `batches`, `default_optimizer`, `table`, and `call`, which
    says what a batch costs: float32 [2], a sum, and of how many terms.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        words: Sequence[str] | None = None,
        counts: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        own = {name: kwargs.pop(name) for name in set(kwargs) - {"name", "dtype", "trainable"}}
        super().__init__(**kwargs)
        if config is not None and own:
            raise ValueError(f"config is given, and {sorted(own)} as well; give one of both")
        self.config = self.config_class.from_config(own) if config is None else config
        self._vocabulary: Vocabulary | None = None
        if words is not None and counts is not None:
            self._start_with(Vocabulary(tuple(words), np.array(counts, np.int64)))

    def make_weights(self, vocabulary: Vocabulary) -> None:
        """Adds the weights that so many words need."""
        raise NotImplementedError(f"{type(self).__name__} does not define make_weights")

    def batches(self, corpus: WordCorpus) -> tuple[Any, int]:
        """A plan with `batches(start, steps_per_epoch)`, and the steps of an epoch."""
        raise NotImplementedError(f"{type(self).__name__} does not define batches")

    def default_optimizer(self, num_steps: int) -> keras.optimizers.Optimizer:
        """The authors' optimizer, for a run of so many steps."""
        raise NotImplementedError(f"{type(self).__name__} does not define default_optimizer")

    def table(self) -> np.ndarray:
        """The vectors that were learned, float32 [V, D]."""
        raise NotImplementedError(f"{type(self).__name__} does not define table")

    def get_config(self) -> dict[str, Any]:
        """The config, and the vocabulary once there is one."""
        config = super().get_config()
        if self._vocabulary is not None:
            config["words"] = list(self._vocabulary.words)
            config["counts"] = self._vocabulary.counts.tolist()
        return config

    def fit(
        self,
        texts: Iterable[Any],
        epochs: int = 5,
        *,
        initial_epoch: int = 0,
        callbacks: Any = None,
        verbose: int | str = "auto",
    ) -> keras.callbacks.History:
        """Learns from texts, which are counted first.

        A model that has words already keeps these and learns on. Without `compile`, the authors'
        optimizer and learning rate are taken, and many steps go into one call of TensorFlow.

        Args:
            texts: strings, of which the lower-cased runs of letters and digits are the words, or
                lists of words, which are taken as they are: a list, any iterable, or a tf.data
                set of strings. They are read once; 8 bytes a word stay in memory.
            epochs: times to go through them.
            initial_epoch: epochs that are done already.
            callbacks: as Keras's.
            verbose: as Keras's.

        Returns:
            Keras's History; `loss` is the mean over an epoch's batches.

        Raises:
            ValueError: `texts` is of another kind, or too few words are left of it.
        """
        from keras_lm.data.word_vectors.corpus import read_corpus

        known = None if self._vocabulary is None else self._vocabulary.words
        corpus = read_corpus(texts, self.config.min_count, known)
        if len(corpus.words) < 2:
            raise ValueError(f"texts has one word alone, {corpus.words[0]!r}; it takes at least 2")
        plan, num_steps = self.batches(corpus)
        if self._vocabulary is None:
            self._start_with(Vocabulary(corpus.words, corpus.counts))
        begins = initial_epoch == 0
        if not self.compiled or (begins and self.optimizer.name == FOR_ONE_RUN):
            # Many steps in one call, of equal numbers, so that few are left over.
            at_once = math.ceil(num_steps / math.ceil(num_steps / _MOST_STEPS_AT_ONCE))
            optimizer = self.default_optimizer(math.ceil(num_steps / at_once) * at_once * epochs)
            self.compile(optimizer=optimizer, steps_per_execution=at_once, jit_compile=False)
        steps_per_epoch = math.ceil(num_steps / self.steps_per_execution) * self.steps_per_execution
        return super().fit(
            plan.batches(initial_epoch * steps_per_epoch, steps_per_epoch),
            epochs=epochs,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            callbacks=callbacks,
            verbose=verbose,
            shuffle=False,
        )

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The mean to look at, and to descend the sum: what the learning rate was chosen for."""
        total, terms = y_pred[0], y_pred[1]
        return total + ops.stop_gradient(total / ops.maximum(terms, 1.0) - total)

    @property
    def vectors(self) -> WordVectors:
        """A copy of what was learned; ask it more than once rather than the model."""
        if self._vocabulary is None:
            raise ValueError("the model has no words yet; call fit(texts) first")
        return WordVectors(self._vocabulary.words, self.table())

    def similarity(self, word: str, other: str) -> float:
        """`WordVectors.similarity`."""
        return self.vectors.similarity(word, other)

    def most_similar(self, word: str, k: int = 10) -> list[tuple[str, float]]:
        """`WordVectors.most_similar`."""
        return self.vectors.most_similar(word, k)

    def analogy(self, a: str, b: str, c: str, k: int = 10) -> list[tuple[str, float]]:
        """`WordVectors.analogy`: b − a + c."""
        return self.vectors.analogy(a, b, c, k)

    def evaluate_similarity(self, path: str | os.PathLike[str]) -> evaluation.SimilarityScore:
        """`WordVectors.evaluate_similarity`."""
        return self.vectors.evaluate_similarity(path)

    def evaluate_analogies(self, path: str | os.PathLike[str]) -> evaluation.AnalogyScore:
        """`WordVectors.evaluate_analogies`."""
        return self.vectors.evaluate_analogies(path)

    def as_embedding_layer(self, tokenizer: Any, trainable: bool = False) -> keras.layers.Embedding:
        """`WordVectors.as_embedding_layer`."""
        return self.vectors.as_embedding_layer(tokenizer, trainable)

    def coverage(self, tokenizer: Any) -> embedding.Coverage:
        """`WordVectors.coverage`."""
        return self.vectors.coverage(tokenizer)

    def save_vectors(
        self,
        path: str | os.PathLike[str],
        format: Literal["word2vec", "word2vec-binary", "glove"] = "word2vec",
    ) -> None:
        """`WordVectors.save`; `save` is Keras's and keeps the whole model."""
        self.vectors.save(path, format)

    def save_projector(self, directory: str | os.PathLike[str]) -> None:
        """`WordVectors.save_projector`."""
        self.vectors.save_projector(directory)

    def plot(self, path: str | os.PathLike[str], words: Sequence[str] | None = None) -> None:
        """`WordVectors.plot`."""
        self.vectors.plot(path, words)

    def _start_with(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self.make_weights(vocabulary)
        self.built = True


def rows_of(table: Any, ids: Any) -> Any:
    """Rows of a weight, as `ops.take`, of which only these are read.

    TensorFlow copies a whole variable to read it once some of its rows were updated alone, as the
    optimizers do here; its variables can be asked for rows.
    """
    variable = table.value
    if hasattr(variable, "sparse_read"):
        return variable.sparse_read(ids)
    return ops.take(table, ids, axis=0)
