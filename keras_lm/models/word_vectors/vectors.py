"""Words and their vectors: asked, evaluated, stored, shown, and put into other models."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import keras
import numpy as np

from keras_lm.models.word_vectors import embedding, evaluation, pictures

_MOST_NEIGHBOURS_SEARCHED = 50_000
_WORDS_ON_A_MAP = 100


class WordVectors:
    """Words and a vector for each.

    Nearness is the cosine of the angle between two vectors, from -1 to 1. A word is looked up as it
    is spelled, and lower-cased where that is not there.

    Args:
        words: V words, all different; in files and in `most_similar` this is their order, which
            customarily is that of falling frequency.
        vectors: numbers [V, D], finite; kept as float32.

    Raises:
        ValueError: the shapes do not agree, a number is not finite, or a word is there twice.

    Example:

    >>> vectors = WordVectors(["king", "queen", "man", "woman"],
    ...                       [[1, 1, 0], [1, 1, 1], [0, 1, 0], [0, 1, 1]])
    >>> vectors.analogy("man", "king", "woman", k=1)
    [('queen', 0.97...)]
    >>> vectors.most_similar("queen", k=2)
    [('king', 0.81...), ('woman', 0.81...)]
    >>> vectors["Man"].tolist(), "man" in vectors, len(vectors), vectors.dim
    ([0.0, 1.0, 0.0], True, 4, 3)
    """

    def __init__(self, words: Sequence[str], vectors: Any) -> None:
        self.words = tuple(words)
        self.vectors = np.asarray(vectors, np.float32)
        """float32 [V, D]"""
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.words) or not self.words:
            raise ValueError(
                f"vectors is of shape {self.vectors.shape}; {len(self.words)} words need as many "
                "vectors, and at least one"
            )
        if len(bad := np.flatnonzero(~np.isfinite(self.vectors).all(axis=1))):
            raise ValueError(f"vectors: that of {self.words[bad[0]]!r} is not finite")
        self._rows = {word: row for row, word in enumerate(self.words)}
        if len(self._rows) < len(self.words):
            twice = next(word for row, word in enumerate(self.words) if self._rows[word] != row)
            raise ValueError(f"words: {twice!r} is there twice")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> WordVectors:
        """Reads word2vec's text or binary format or GloVe's, gzipped or not; the content tells.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: it is cut short, disagrees with its header or itself, or holds a word twice
                or a number that is none; the message names the file and the line, in a binary
                file the word's number.
        """
        from keras_lm.data.word_vectors.vector_files import read_vectors

        return cls(*read_vectors(path))

    def save(
        self,
        path: str | os.PathLike[str],
        format: Literal["word2vec", "word2vec-binary", "glove"] = "word2vec",
    ) -> None:
        """Writes a file from which `load`, and gensim, read the very same numbers.

        Raises:
            ValueError: `format` is another, or a word is empty or has white space in it.
        """
        from keras_lm.data.word_vectors.vector_files import VectorTable, write_vectors

        write_vectors(path, VectorTable(self.words, self.vectors), format)

    @property
    def dim(self) -> int:
        """D, the numbers of a vector."""
        return int(self.vectors.shape[1])

    @cached_property
    def unit_vectors(self) -> np.ndarray:
        """The vectors at length 1, float32 [V, D]; a vector of zeros stays one."""
        lengths = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        unit: np.ndarray = self.vectors / np.where(lengths > 0, lengths, 1)
        return unit

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return self.find(word) is not None

    def __getitem__(self, word: str) -> np.ndarray:
        """The vector of a word, float32 [D]; `ValueError` where there is none."""
        vector: np.ndarray = self.vectors[self._row(word)]
        return vector

    def find(self, word: str) -> int | None:
        """The row of a word as spelled or, failing that, lower-cased; None where there is none."""
        row = self._rows.get(word)
        return self._rows.get(word.lower()) if row is None else row

    def similarity(self, word: str, other: str) -> float:
        """The cosine between the vectors of two words.

        Raises:
            ValueError: a word has no vector; the message names the nearest spelling.
        """
        return float(self.unit_vectors[self._row(word)] @ self.unit_vectors[self._row(other)])

    def most_similar(self, word: str, k: int = 10) -> list[tuple[str, float]]:
        """The k words nearest to a word, without itself, and their cosines; nearest first.

        Raises:
            ValueError: the word has no vector, or `k` is not positive.
        """
        row = self._row(word)
        return self._nearest(self.unit_vectors[row], [row], k)

    def analogy(self, a: str, b: str, c: str, k: int = 10) -> list[tuple[str, float]]:
        """What is to `c` as `b` is to `a`: the k words nearest to b − a + c, and their cosines.

        The vectors are added at length 1, and the three words are left out (3CosAdd: Mikolov et
        al. 2013, https://aclanthology.org/N13-1090).

        Raises:
            ValueError: a word has no vector, or `k` is not positive.
        """
        rows = [self._row(word) for word in (a, b, c)]
        one, two, three = self.unit_vectors[rows]
        return self._nearest(two - one + three, rows, k)

    def evaluate_similarity(self, path: str | os.PathLike[str]) -> evaluation.SimilarityScore:
        """Spearman's correlation with people's scores of pairs, and which pairs were left out.

        Args:
            path: a tab-separated file with the columns `word1`, `word2` and `score`.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: it is of another form, or fewer than two pairs have vectors.
        """
        from keras_lm.data.word_vectors.questions import similarity_pairs

        return evaluation.similarity_score(self.find, self.unit_vectors, similarity_pairs(path))

    def evaluate_analogies(self, path: str | os.PathLike[str]) -> evaluation.AnalogyScore:
        """The share of questions "a is to b as c is to d" that `analogy` answers with d.

        Args:
            path: lines of four words, in sections that lines `: name` begin.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: it is of another form, or no question's words all have vectors.
        """
        from keras_lm.data.word_vectors.questions import analogy_questions

        return evaluation.analogy_score(self.find, self.unit_vectors, analogy_questions(path))

    def as_embedding_layer(self, tokenizer: Any, trainable: bool = False) -> keras.layers.Embedding:
        """A layer [V, D] whose row i is the vector of the tokenizer's token i.

        Tokens are looked up as `coverage` says. Those without a vector have the mean of the
        vectors that were found, the padding token has zeros.

        Args:
            tokenizer: any tokenizer of `keras_lm.tokenizers`.
            trainable: whether training changes the vectors.

        Returns:
            A built `keras.layers.Embedding`.

        Raises:
            ValueError: no token has a vector.
        """
        return embedding.embedding_layer(self.find, self.vectors, tokenizer, trainable)

    def coverage(self, tokenizer: Any) -> embedding.Coverage:
        """Which tokens of a tokenizer have a vector of their own.

        A token is looked up without the mark of a word's beginning (Ġ of GPT-2, ▁ of
        SentencePiece); one that BERT marks as the middle of a word (##) is no word and has none.
        """
        return embedding.coverage(self.find, tokenizer)

    def save_projector(self, directory: str | os.PathLike[str]) -> None:
        """Writes `vectors.tsv`, `metadata.tsv` and `projector_config.pbtxt` for TensorBoard.

        `tensorboard --logdir DIRECTORY` shows them on its Projector page; so does
        https://projector.tensorflow.org, which takes the first two.

        Raises:
            ValueError: a word has a tab or a line break in it, or `directory` is a file.
        """
        pictures.save_projector(self.words, self.vectors, directory)

    def plot(self, path: str | os.PathLike[str], words: Sequence[str] | None = None) -> None:
        """Draws words on a flat map, near each other where their vectors are.

        The map is that of the two directions in which these words differ most: the first principal
        components of their vectors at length 1.

        Args:
            path: the picture; its ending tells the format, `.png` for one.
            words: at least three; default: the first hundred.

        Raises:
            ImportError: matplotlib is not installed (`pip install keras-lm[plots]`).
            ValueError: a word has no vector, or there are fewer than three.
        """
        chosen = self.words[:_WORDS_ON_A_MAP] if words is None else words
        rows = [self._row(word) for word in chosen]
        pictures.draw_map(chosen, self.unit_vectors[rows], path)

    def _row(self, word: str) -> int:
        row = self.find(word)
        if row is None:
            begins = [w for w in self.words if w[:1] == word[:1].lower() or w[:1] == word[:1]]
            near = difflib.get_close_matches(
                word.lower(), begins[:_MOST_NEIGHBOURS_SEARCHED], n=1, cutoff=0
            )
            hint = f"; the nearest spelling is {near[0]!r}" if near else ""
            raise ValueError(f"word={word!r} has no vector{hint}")
        return row

    def _nearest(self, target: np.ndarray, without: list[int], k: int) -> list[tuple[str, float]]:
        if k < 1:
            raise ValueError(f"k={k} must be 1 or more")
        cosines = self.unit_vectors @ (target / max(float(np.linalg.norm(target)), 1e-12))
        cosines[without] = -np.inf
        k = min(k, len(self) - len(set(without)))
        best = np.argpartition(-cosines, k - 1)[:k] if k else np.zeros(0, int)
        best = best[np.argsort(-cosines[best], kind="stable")]
        return [(self.words[row], float(cosines[row])) for row in best]
