"""GloVe: vectors whose products are the logarithms of co-occurrence counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_lm.config import GloVeConfig
from keras_lm.models.word_vectors.base import Vocabulary, WordVectorModel, rows_of

if TYPE_CHECKING:
    from keras_lm.data.word_vectors.corpus import WordCorpus

_MOST_PAIRS_A_STEP = 1 << 14
_PAIRS_A_WORD = 4
_LEARNING_RATE = 0.2
_FIRST_SQUARES = 0.1


@keras.saving.register_keras_serializable("keras_lm")
class GloVe(WordVectorModel):
    """Global vectors (Pennington et al. 2014, https://aclanthology.org/D14-1162).

        Σ f(x_ij) (w_i · c_j + a_i + b_j − log x_ij)²,   f(x) = min(1, (x / x_max) ** alpha)

    over all pairs of words i, j that stand near each other, in both orders; x_ij is the sum of
    1 / distance over the places where they do. The vector of a word is w + c.

    All pairs come once an epoch, in a new random order. The authors' program updates after each
    pair; here the gradients of a batch of pairs are summed, and AdaGrad squares these sums. Its
    rate is 0.2, not 0.05, with which some million words of text take two or three times the epochs.

    Args:
        config: a `GloVeConfig`; or give its fields as keywords.

    Raises:
        ValueError: a field is wrong; the message names it.

    Example:

    >>> texts = ["the cat sat on the mat", "the dog sat on the rug"] * 20
    >>> model = GloVe(dim=8, window=4, min_count=1)
    >>> history = model.fit(texts, epochs=3, verbose=0)
    >>> len(model.vectors), history.history["loss"][-1] < history.history["loss"][0]
    (7, True)
    """

    config_class = GloVeConfig

    def make_weights(self, vocabulary: Vocabulary) -> None:
        """Two tables [V, D], at most 1 / 2D, and their biases [V, 1]."""
        num_words, dim = len(vocabulary.words), self.config.dim
        edge = 0.5 / dim
        for number, name in enumerate(("word", "context")):
            for kind, width in (("vectors", dim), ("biases", 1)):
                uniform = keras.initializers.RandomUniform(
                    -edge, edge, seed=4 * self.config.seed + 2 * number + width % 2
                )
                weight = self.add_weight(
                    shape=(num_words, width), initializer=uniform, name=f"{name}_{kind}"
                )
                setattr(self, f"{name}_{kind}", weight)

    def batches(self, corpus: WordCorpus) -> tuple[Any, int]:
        """Pairs and their counts."""
        from keras_lm.data.word_vectors.cooccurrences import PairBatches, count_cooccurrences

        found = count_cooccurrences(corpus, self.config.window)
        if not len(found.keys):
            raise ValueError("texts has no two words beside each other; give longer texts")
        # Few words need small batches, or an epoch has too few steps.
        most = min(_PAIRS_A_WORD * len(corpus.words), _MOST_PAIRS_A_STEP)
        plan = PairBatches(found, self.config.seed, min(len(found.keys), most))
        return plan, plan.num_steps

    def default_optimizer(self, num_steps: int) -> keras.optimizers.Optimizer:
        """AdaGrad (Duchi et al. 2011): θ −= 0.2 g / √(0.1 + Σ g²), Σ over the steps, this one too.

        g is the sum of a batch's gradients. The authors' program takes one pair after the other and
        their rate η = 0.05 into the squares, which is g / √(1 / η² + Σ g²): slower until a word has
        had thousands of pairs, as most words of small corpora never do.
        """
        return keras.optimizers.Adagrad(_LEARNING_RATE, initial_accumulator_value=_FIRST_SQUARES)

    def table(self) -> np.ndarray:
        """The sum of both vectors of each word."""
        return ops.convert_to_numpy(self.word_vectors) + ops.convert_to_numpy(self.context_vectors)

    def call(self, inputs: dict[str, Any]) -> Any:
        """Half the weighted squared errors of a batch of pairs, and of how many: float32 [2].

        Args:
            inputs: what `PairBatches.batch` gives.
        """
        first, second, count = inputs["first"], inputs["second"], inputs["count"]
        weight = ops.minimum(1.0, (count / self.config.x_max) ** self.config.alpha)
        log_count = ops.log(ops.where(count > 0, count, 1.0))
        # Each row is read once a batch, and its gradient is one sum when the optimizer squares it.
        words = [rows_of(table, inputs["words"]) for table in (self.word_vectors, self.word_biases)]
        contexts = [
            rows_of(table, inputs["words"]) for table in (self.context_vectors, self.context_biases)
        ]
        total = 0.0
        for word, context, times in (
            (first, second, 1.0),
            (second, first, ops.cast(first != second, "float32")),
        ):
            w, a = (ops.take(rows, word, axis=0) for rows in words)
            c, b = (ops.take(rows, context, axis=0) for rows in contexts)
            error = ops.sum(w * c, axis=-1) + a[:, 0] + b[:, 0] - log_count
            total = total + ops.sum(times * weight * error**2) / 2
        return ops.stack([total, ops.sum(ops.cast(count > 0, "float32"))])
