"""How often each term stands in each document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from keras_lm.data.progress import LateBar
from keras_lm.tasks.reading import TEXT
from keras_lm.tasks.retrieval.terms import TermSplitter

BATCH = 64
"""Documents that are split at once."""


Counter = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]


def term_counter(splitter: TermSplitter) -> Counter:
    """A graph function from texts [B] to their terms.

    It gives the different ones, strings in the order in which they come; for each term of the texts
    its place among these, int32; and its text, int64.
    """

    @tf.function(input_signature=[TEXT], autograph=False)
    def counted(texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        terms = splitter(texts)
        names, place = tf.unique(terms.values)
        return names, place, terms.value_rowids()

    return counted


def _none(dtype: type) -> np.ndarray:
    return np.zeros(0, dtype)


@dataclass(frozen=True)
class Postings:
    """Counts of terms, by term: those of term i are `splits[i]` to `splits[i + 1]`.

    Args:
        terms: V strings in UTF-8, in the order in which they first came.
        splits: int64 [V + 1].
        documents: int32 [P], the numbers of the documents that have the term, rising.
        counts: int32 [P], how often each has it.
        num_documents: N.
    """

    terms: list[bytes] = field(default_factory=list)
    splits: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))
    documents: np.ndarray = field(default_factory=lambda: _none(np.int32))
    counts: np.ndarray = field(default_factory=lambda: _none(np.int32))
    num_documents: int = 0

    def weights(self, k1: float, b: float) -> np.ndarray:
        """What each posting adds to the score of its document, float32 [P].

        BM25 (Robertson and Zaragoza 2009) as Lucene 8 and later have it, without the factor k1 + 1
        that is the same for all, and with lengths as they are:

            idf · tf / (tf + k1 · (1 − b + b · length / mean length))
            idf = ln(1 + (N − df + 0.5) / (df + 0.5))
        """
        frequency = np.diff(self.splits)
        rarity = np.log1p((self.num_documents - frequency + 0.5) / (frequency + 0.5))
        lengths = np.bincount(self.documents, self.counts, self.num_documents)
        # Where no document has a term there is nothing to weigh.
        mean = lengths.mean() if self.counts.size else 1.0
        norm = k1 * (1 - b + b * lengths[self.documents] / mean)
        weights = np.repeat(rarity, frequency) * self.counts / (self.counts + norm)
        return weights.astype(np.float32)

    def more(self, texts: list[str], counter: Counter) -> Postings:
        """These and the counts of further documents, numbered on; of `term_counter`'s terms."""
        vocabulary = {term: number for number, term in enumerate(self.terms)}
        keys = [self._keys()]
        counts = [self.counts]
        with LateBar("indexing", len(texts)) as bar:
            for start in range(0, len(texts), BATCH):
                batch = tf.constant(texts[start : start + BATCH])
                names, place, rows = (part.numpy() for part in counter(batch))
                known = [vocabulary.setdefault(name, len(vocabulary)) for name in names.tolist()]
                term = np.array(known, np.int64)[place]
                document = rows + (self.num_documents + start)
                found = np.unique(term << 32 | document, return_counts=True)
                keys.append(found[0])
                counts.append(found[1].astype(np.int32))
                bar.advance_to(start + len(batch))
        key = np.concatenate(keys)
        order = np.argsort(key)
        frequency = np.bincount(key >> 32, minlength=len(vocabulary))
        return Postings(
            terms=list(vocabulary),
            splits=np.concatenate([[0], np.cumsum(frequency)]).astype(np.int64),
            documents=(key[order] & 0xFFFFFFFF).astype(np.int32),
            counts=np.concatenate(counts)[order],
            num_documents=self.num_documents + len(texts),
        )

    def _keys(self) -> np.ndarray:
        """Term and document of each posting as one number."""
        term = np.repeat(np.arange(len(self.terms)), np.diff(self.splits))
        return term << 32 | self.documents

    def arrays(self) -> dict[str, np.ndarray]:
        """What is saved."""
        sizes = np.array([len(term) for term in self.terms], np.int64)
        return {
            "terms": np.frombuffer(b"".join(self.terms), np.uint8),
            "term_splits": np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            "splits": self.splits,
            "documents": self.documents,
            "counts": self.counts,
        }

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], num_documents: int) -> Postings:
        """Reads what `arrays` gave.

        Raises:
            ValueError: they are not those of postings of so many documents.
        """
        kinds = {"terms": "u1", "term_splits": "i8", "splits": "i8"}
        kinds |= {"documents": "i4", "counts": "i4"}
        for name, kind in kinds.items():
            array = arrays.get(name)
            if array is None or array.dtype != np.dtype(kind) or array.ndim != 1:
                raise ValueError(f"the index must hold {name}, {np.dtype(kind).name} of one axis")
        spelled = arrays["terms"].tobytes()
        ends = arrays["term_splits"]
        _check_splits("term_splits", ends, len(spelled))
        _check_splits("splits", arrays["splits"], len(arrays["counts"]))
        found = cls(
            terms=[spelled[a:b] for a, b in zip(ends[:-1].tolist(), ends[1:].tolist())],
            splits=arrays["splits"],
            documents=arrays["documents"],
            counts=arrays["counts"],
            num_documents=num_documents,
        )
        in_order = np.all(np.diff(found._keys()) > 0) if found._fits() else False
        if not in_order or len(set(found.terms)) < len(found.terms):
            raise ValueError(
                f"the index does not hold terms, each once, and their counts in {num_documents} "
                "documents"
            )
        return found

    def _fits(self) -> bool:
        sizes = {len(self.documents), len(self.counts), int(self.splits[-1])}
        if len(sizes) > 1 or len(self.splits) != len(self.terms) + 1:
            return False
        is_known = (self.documents >= 0) & (self.documents < self.num_documents)
        return bool(np.all(is_known & (self.counts > 0)))


def _check_splits(name: str, splits: np.ndarray, size: int) -> None:
    if not len(splits) or splits[0] != 0 or splits[-1] != size or np.any(np.diff(splits) < 0):
        raise ValueError(f"the index's {name} must rise from 0 to {size}")
