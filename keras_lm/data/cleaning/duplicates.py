"""Filters that keep a document the first time it comes: exactly, or nearly, the same one."""

from __future__ import annotations

import hashlib
import re

import numpy as np

# Thai to Tibetan, Myanmar, Khmer, kana and Han put no space between words: there a character is
# what a word is elsewhere.
_NO_SPACES = (
    r"\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNIT = re.compile(rf"[{_NO_SPACES}]|[^\W{_NO_SPACES}]+")


class DropDuplicates:
    """A filter that is true the first time it sees a text and false when the text comes again.

    It keeps a hash of 16 bytes (BLAKE2) for each text, not the text.

    Example:

    >>> is_new = DropDuplicates()
    >>> [is_new(text) for text in ("a", "b", "a")]
    [True, True, False]
    """

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def __call__(self, text: str) -> bool:
        digest = hashlib.blake2b(_encoded(text), digest_size=16).digest()
        is_new = digest not in self._seen
        self._seen.add(digest)
        return is_new


class DropNearDuplicates:
    """A filter that is false for a text that is nearly the same as one it let pass before.

    Two texts are as alike as the shingles (runs of words, or of characters in scripts without
    spaces; case and punctuation do not count) that both have, out of those that one has: Jaccard's
    index. It is estimated with MinHash, and candidates are found by locality-sensitive hashing
    (Broder 1997; the library `datasketch`), so that not every text is compared with every other.
    With 128 permutations the standard error of the estimate is 0.035 at a likeness of 0.8.

    Args:
        threshold: from which likeness on a text is dropped, above 0 and up to 1.
        shingle_size: how many words make a shingle.
        num_permutations: of MinHash: more are more exact, and slower.
        seed: of the permutations.

    Raises:
        ImportError: `datasketch` is not installed.
        ValueError: an argument is out of its range.

    Example:

    >>> is_new = DropNearDuplicates(threshold=0.7)
    >>> speech = "Four score and seven years ago our fathers brought forth a new nation here"
    >>> is_new(speech), is_new(speech.upper() + "!"), is_new("Something else altogether, it is")
    (True, False, True)
    """

    def __init__(
        self,
        threshold: float = 0.8,
        shingle_size: int = 3,
        num_permutations: int = 128,
        seed: int = 0,
    ) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold is {threshold}; it must be above 0 and up to 1")
        if shingle_size < 1:
            raise ValueError(f"shingle_size is {shingle_size}; it must be 1 or more")
        if num_permutations < 16:
            raise ValueError(f"num_permutations is {num_permutations}; it must be 16 or more")
        try:
            import datasketch
        except ImportError:
            raise ImportError(
                "DropNearDuplicates needs datasketch; install it by pip install keras-lm[cleaning]"
            ) from None
        self._threshold, self._shingle_size = threshold, shingle_size
        # Missing a candidate is the worse mistake of the two: each is looked at again.
        self._index = datasketch.MinHashLSH(threshold, num_permutations, weights=(0.1, 0.9))
        self._no_shingles = datasketch.MinHash(num_permutations, seed)
        self._passed: list[np.ndarray] = []

    def __call__(self, text: str) -> bool:
        minhash = self._no_shingles.copy()
        minhash.update_batch(self._shingles(text))
        for candidate in self._index.query(minhash):
            if np.mean(self._passed[candidate] == minhash.hashvalues) >= self._threshold:
                return False
        self._index.insert(len(self._passed), minhash)
        self._passed.append(minhash.hashvalues)
        return True

    def _shingles(self, text: str) -> list[bytes]:
        units = _UNIT.findall(text.casefold())
        if not units:
            return [_encoded(text)]  # punctuation is like nothing but itself
        size = min(self._shingle_size, len(units))
        runs = (units[start : start + size] for start in range(len(units) - size + 1))
        return [_encoded(shingle) for shingle in {" ".join(run) for run in runs}]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
