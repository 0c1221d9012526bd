"""Batches for Word2Vec: blocks of consecutive words, with the words around them.

Word2Vec's program takes a word, a neighbour and a few random words at a time. Here a step takes
blocks of a text at once, so that all pairs of a block are one product of small matrices and each
vector is fetched once (after Ji et al. 2016, https://arxiv.org/abs/1604.04661); a block's random
words are shared by all of its words. `SkipGram` and `ContinuousBagOfWords` of `keras_lm.data` are
for models that take pairs from a token store, and give every pair random words of its own.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import tensorflow as tf

from keras_lm.data.addresses import numbered_steps
from keras_lm.data.batches import address_random, without_autotune
from keras_lm.data.objectives.drawing import AliasTable
from keras_lm.data.python_calls import python_call
from keras_lm.data.word_vectors.corpus import WordCorpus

_NOISE_POWER = 0.75
_MOST_BLOCKS = 32


@dataclasses.dataclass(frozen=True, eq=False)
class NeighbourBlocks:
    """A plan of the steps in which Word2Vec reads a corpus.

    Every epoch thins out frequent words anew and cuts what is left into blocks, which come in
    random order. A step's updates are added up, and were each made without the others; many to one
    row would carry it too far. So a step has no more blocks than let the most frequent row be hit
    about `most_repeats` times.

    Args:
        corpus: the words.
        window: W, the most words to look to either side.
        subsample: t; a word of frequency f is kept with probability √(t / f) + t / f.
        seed: with the number of an epoch and a step, all that is random follows from it.
        block_words: T, the words of a block.
        num_noise: N, random words a block, from counts to the power of 0.75; may be 0.
        most_repeats: how often the most frequent row may be hit in a step.
        shares_rows: True: all words have a row in common, as the root of a tree is.

    Example:

    >>> from keras_lm.data.word_vectors.corpus import read_corpus
    >>> corpus = read_corpus([["a", "b", "c"]])
    >>> plan = NeighbourBlocks(corpus, window=1, subsample=0, seed=0, block_words=2, num_noise=2)
    >>> batch = plan.batch(0)
    >>> plan.num_steps, batch["words"].tolist(), batch["texts"].tolist()
    (1, [[1, 2, 0, 0], [0, 0, 1, 2]], [[0, 0, -1, -1], [-1, 0, 0, 0]])
    >>> batch["reach"].tolist(), batch["noise"].shape
    ([[1, 0], [1, 1]], (2, 2))
    """

    corpus: WordCorpus
    window: int
    subsample: float
    seed: int
    block_words: int = 32
    num_noise: int = 32
    most_repeats: int = 12
    shares_rows: bool = False

    @cached_property
    def keep(self) -> np.ndarray:
        """The probability that a word is kept, float32 [V]."""
        if not self.subsample:
            return np.ones(len(self.corpus.counts), np.float32)
        counts = np.maximum(self.corpus.counts, 1)
        ratio = self.subsample * counts.sum() / counts
        return np.minimum(np.sqrt(ratio) + ratio, 1).astype(np.float32)

    @cached_property
    def num_blocks(self) -> int:
        """B, blocks in a step."""
        kept = self.corpus.counts * self.keep
        share = 1.0 if self.shares_rows else float(kept.max() / kept.sum())
        blocks = self.most_repeats / (share * self.block_words)
        return int(np.clip(blocks, 1, min(_MOST_BLOCKS, self._blocks_needed)))

    @property
    def num_steps(self) -> int:
        """Steps of an epoch, alike in all epochs; the last may have empty blocks."""
        return math.ceil(self._blocks_needed / self.num_blocks)

    @cached_property
    def _blocks_needed(self) -> int:
        keep = self.keep.astype(np.float64)
        expected = float((self.corpus.counts * keep).sum())
        spread = math.sqrt((self.corpus.counts * keep * (1 - keep)).sum())
        # Once in 30,000 epochs there are more words; those beyond are left out.
        return max(1, math.ceil((expected + 4 * spread) / self.block_words))

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """The blocks of a step, counted from the first of the first epoch.

        Returns:
            `words` and `texts`, int32 [B, W + T + W]: a block and what stands around it, and the
            text that each word is of, -1 where there is none; `reach` int32 [B, T], how far each
            word of the block looks to either side, 0 where there is none; `noise` int32 [B, N].
        """
        epoch, step_of_epoch = divmod(step, self.num_steps)
        words, texts, order = self._epoch(epoch)
        first = step_of_epoch * self.num_blocks
        starts = np.full(self.num_blocks, len(words) - self.block_words - 2 * self.window)
        chosen = order[first : first + self.num_blocks] * self.block_words
        starts[: len(chosen)] = chosen  # the last place of all is always empty
        places = starts[:, np.newaxis] + np.arange(self.block_words + 2 * self.window)
        random = address_random(self.seed, step)
        batch = {"words": words[places], "texts": texts[places]}
        size = (self.num_blocks, self.block_words)
        reach = random.integers(1, self.window, size, dtype=np.int32, endpoint=True)
        present = batch["texts"][:, self.window : self.window + self.block_words] >= 0
        batch["reach"] = np.where(present, reach, 0).astype(np.int32)
        batch["noise"] = self._noise.draw(random, (self.num_blocks, self.num_noise))
        return batch

    def batches(self, start: int, steps_per_epoch: int) -> tf.data.Dataset:
        """An endless set of batches from step `start` on.

        Args:
            start: the first step.
            steps_per_epoch: at least `num_steps`; batches beyond these are empty.
        """
        specs = {
            name: tf.TensorSpec(array.shape, tf.int32) for name, array in self.batch(0).items()
        }

        def read(step: np.ndarray) -> Sequence[np.ndarray]:
            epoch, step_of_epoch = divmod(int(step), steps_per_epoch)
            if step_of_epoch >= self.num_steps:
                return [np.full(s.shape, -(n == "texts"), np.int32) for n, s in specs.items()]
            return list(self.batch(epoch * self.num_steps + step_of_epoch).values())

        def batch_of(step: tf.Tensor) -> dict[str, tf.Tensor]:
            return dict(zip(specs, python_call(read, [step], list(specs.values()))))

        return without_autotune(numbered_steps(start).map(batch_of).prefetch(4))

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The words and texts of an epoch, with room around them, and the order of the blocks."""
        if self._last_epoch.get("number") != epoch:
            self._last_epoch.clear()
            self._last_epoch.update(number=epoch, plan=self._plan_epoch(epoch))
        plan: tuple[np.ndarray, np.ndarray, np.ndarray] = self._last_epoch["plan"]
        return plan

    @cached_property
    def _last_epoch(self) -> dict:
        return {}

    def _plan_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        # Steps are counted up from 0; the numbers of epochs count down from -1.
        random = address_random(self.seed, -1 - epoch)
        ids, numbers = self.corpus.ids, self.corpus.text_numbers
        kept = random.random(len(ids), dtype=np.float32) < self.keep[ids]
        room = self._blocks_needed * self.block_words
        kept_ids, kept_numbers = ids[kept][:room], numbers[kept][:room]
        size = room + self.block_words + 2 * self.window
        words, texts = np.zeros(size, np.int32), np.full(size, -1, np.int32)
        inside = slice(self.window, self.window + len(kept_ids))
        words[inside], texts[inside] = kept_ids, kept_numbers
        return words, texts, random.permutation(self._blocks_needed)

    @cached_property
    def _noise(self) -> AliasTable:
        return AliasTable(self.corpus.counts**_NOISE_POWER)
