"""Word2Vec: skip-gram and continuous bag of words."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_lm.config import Word2VecConfig
from keras_lm.models.word_vectors.base import FOR_ONE_RUN, Vocabulary, WordVectorModel, rows_of
from keras_lm.models.word_vectors.huffman import huffman_paths

if TYPE_CHECKING:
    from keras_lm.data.word_vectors.corpus import WordCorpus

_LEARNING_RATE = 0.025
_LAST_LEARNING_RATE = 1e-4


@keras.saving.register_keras_serializable("keras_lm")
class Word2Vec(WordVectorModel):
    """Vectors that say which words stand near each other (Mikolov et al. 2013).

        skip-gram   each neighbour v of a word w says it: log σ(in[v] · out[w]), and random words n
                    it does not say: Σ log σ(−in[v] · out[n])   (https://arxiv.org/abs/1310.4546)
        CBOW        the mean of in[v] says it               (https://arxiv.org/abs/1301.3781)

    With `hierarchical_softmax`, `out` belongs to the nodes of a Huffman tree, and the probability
    of a word is the product of σ(± in · out[node]) on the way to it.

    It differs from the authors' program in that the updates of up to a thousand words are added
    up, that the random words are drawn for 32 words of text at a time (one for each, weighted to
    count as `negative` for each neighbour), and that text is read in random order. Like it, CBOW
    hands each neighbour the whole gradient of their mean.

    Args:
        config: a `Word2VecConfig`; or give its fields as keywords.

    Raises:
        ValueError: a field is wrong; the message names it.

    Example:

    >>> texts = ["the cat sat on the mat", "the dog sat on the rug"] * 20
    >>> model = Word2Vec(dim=8, window=2, min_count=1, seed=1)
    >>> history = model.fit(texts, epochs=2, verbose=0)
    >>> len(model.vectors), model.vectors.dim, len(history.history["loss"])
    (7, 8, 2)
    >>> [word for word, cosine in model.most_similar("cat", k=1)]
    ['...']
    """

    config_class = Word2VecConfig

    def make_weights(self, vocabulary: Vocabulary) -> None:
        """`in` [V, D], at most 1 / 2D; `out` [V, D] of words, or [V − 1, D] of nodes: zeros."""
        num_words, dim = len(vocabulary.words), self.config.dim
        edge = 0.5 / dim
        self.input_vectors = self.add_weight(
            shape=(num_words, dim),
            initializer=keras.initializers.RandomUniform(-edge, edge, seed=self.config.seed),
            name="input_vectors",
        )
        num_outputs = num_words - self.config.hierarchical_softmax
        self.output_vectors = self.add_weight(
            shape=(num_outputs, dim), initializer="zeros", name="output_vectors"
        )
        if self.config.hierarchical_softmax:
            paths = huffman_paths(vocabulary.counts)
            self._nodes = ops.convert_to_tensor(paths.nodes)
            self._signs = ops.convert_to_tensor(paths.signs)

    def batches(self, corpus: WordCorpus) -> tuple[Any, int]:
        """Blocks of neighbouring words."""
        from keras_lm.data.word_vectors.neighbours import NeighbourBlocks

        config = self.config
        plan = NeighbourBlocks(corpus, config.window, config.subsample, config.seed)
        if config.hierarchical_softmax:
            # Every prediction begins at the root; measured, as the defaults were.
            plan = dataclasses.replace(
                plan, block_words=16, num_noise=0, shares_rows=True, most_repeats=64
            )
        return plan, plan.num_steps

    def default_optimizer(self, num_steps: int) -> keras.optimizers.Optimizer:
        """Plain gradient descent; the rate falls in a line from 0.025 to 0.0001."""
        rate = keras.optimizers.schedules.PolynomialDecay(
            _LEARNING_RATE, max(num_steps, 1), _LAST_LEARNING_RATE
        )
        return keras.optimizers.SGD(rate, name=FOR_ONE_RUN)

    def table(self) -> np.ndarray:
        """The input vectors."""
        return ops.convert_to_numpy(self.input_vectors)

    def call(self, inputs: dict[str, Any]) -> Any:
        """The nats of a batch of blocks, and of how many predictions: float32 [2].

        Args:
            inputs: what `NeighbourBlocks.batch` gives.
        """
        window, words = self.config.window, inputs["words"]
        centre = slice(window, words.shape[1] - window)
        near = self._near(inputs, centre)
        hidden = rows_of(self.input_vectors, words)
        if self.config.architecture == "skipgram":
            # Each of its neighbours says a word.
            times = ops.transpose(near, (0, 2, 1))
        else:
            total, count = ops.matmul(near, hidden), ops.sum(near, axis=-1, keepdims=True)
            hidden = total + ops.stop_gradient(total / ops.maximum(count, 1.0) - total)
            times = ops.cast(count > 0, "float32") * ops.eye(near.shape[1])
        if self.config.hierarchical_softmax:
            nats = self._tree_nats(hidden, words[:, centre], times)
        else:
            nats = self._sampled_nats(hidden, words[:, centre], times, inputs["noise"])
        return ops.stack([nats, ops.sum(times)])

    def _near(self, inputs: dict[str, Any], centre: slice) -> Any:
        """1 where one of S = W + T + W words is near one of the block: float32 [B, T, S]."""
        words, texts = inputs["words"], inputs["texts"]
        places = np.arange(words.shape[1])
        distance = np.abs(places[centre, np.newaxis] - places)
        within = (distance > 0) & (distance <= inputs["reach"][:, :, np.newaxis])
        return ops.cast(within & (texts[:, centre, None] == texts[:, None, :]), "float32")

    def _sampled_nats(self, hidden: Any, said: Any, times: Any, noise: Any) -> Any:
        """−Σ log σ of what is true, and of random words against it.

        Args:
            hidden: [B, S, D].
            said: int [B, T].
            times: float32 [B, S, T], how often each of S says each of T.
            noise: int [B, N].
        """
        true = ops.matmul(hidden, _transposed(rows_of(self.output_vectors, said)))
        false = ops.matmul(hidden, _transposed(rows_of(self.output_vectors, noise)))
        # What is true of a word is no noise beside it.
        is_noise = ops.cast(said[:, :, None] != noise[:, None, :], "float32")
        weight = self.config.negative / noise.shape[1] * ops.matmul(times, is_noise)
        return ops.sum(times * ops.softplus(-true)) + ops.sum(weight * ops.softplus(false))

    def _tree_nats(self, hidden: Any, said: Any, times: Any) -> Any:
        """−Σ log σ(±) of the decisions on the way to what is said; arguments as above."""
        signs = ops.take(self._signs, said, axis=0)
        batch, num_said, depth = signs.shape
        flat = (batch, num_said * depth)
        nodes = ops.reshape(ops.take(self._nodes, said, axis=0), flat)
        signs = ops.reshape(signs, (batch, 1, num_said * depth))
        decisions = ops.matmul(hidden, _transposed(rows_of(self.output_vectors, nodes)))
        nats = ops.softplus(-decisions * signs) * ops.abs(signs)
        return ops.sum(ops.repeat(times, depth, axis=-1) * nats)


def _transposed(matrices: Any) -> Any:
    return ops.transpose(matrices, (0, 2, 1))
