"""What a model must beat: byte n-grams, interpolated after Witten and Bell.

Bits per byte as everywhere in keras_lm: the end of every document is predicted too, and the bits
are divided by the bytes of the texts alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# The bytes, and one symbol that stands before and after every document.
_BOUNDARY = 256
_SYMBOLS = 257


def bits_per_byte(train: Sequence[str], held_out: Sequence[str], order: int) -> float:
    """Bits per byte of `held_out` under a byte n-gram counted on `train`.

    With c(h, w) the count of byte w after the bytes h, c(h) the sum of these and t(h) how many
    different bytes followed h, P(w | h) = (c(h, w) + t(h) P(w | h less its first byte)) /
    (c(h) + t(h)); below the unigram all 257 symbols are equal (Witten and Bell, 1991, method C).

    Args:
        train: the texts to count.
        held_out: the texts to measure.
        order: bytes of an n-gram: 1, 2 or 3 (a table of 257 ** order counts is made).

    Example:

    After "a" alone, both "a" and the boundary have P = (1 + 2 / 257) / 4.

    >>> round(bits_per_byte(["a"], ["a"], order=1), 4)
    3.9776
    """
    counted, measured = _ngrams(train, order), _ngrams(held_out, order)
    probability = np.full(len(measured), 1 / _SYMBOLS)
    for length in range(1, order + 1):
        place_values = _SYMBOLS ** np.arange(length)[::-1]
        codes = counted[:, order - length :] @ place_values
        table = np.bincount(codes, minlength=_SYMBOLS**length).reshape(-1, _SYMBOLS)
        history, symbol = np.divmod(measured[:, order - length :] @ place_values, _SYMBOLS)
        total = table.sum(axis=1)[history]
        types = np.count_nonzero(table, axis=1)[history]
        weighted = table[history, symbol] + types * probability
        # A history that never occurred leaves the shorter one's probability as it is.
        probability = np.where(total > 0, weighted / np.maximum(total + types, 1), probability)
    num_bytes = sum(len(text.encode("utf-8")) for text in held_out)
    return float(-np.log2(probability).sum() / num_bytes)


def _ngrams(texts: Sequence[str], order: int) -> np.ndarray:
    """int64 [positions, order]: every byte, and the end of each text, after what precedes it."""
    rows = []
    for text in texts:
        symbols = np.frombuffer(text.encode("utf-8"), np.uint8)
        bounded = np.pad(symbols.astype(np.int64), (order - 1, 1), constant_values=_BOUNDARY)
        rows.append(np.lib.stride_tricks.sliding_window_view(bounded, order))
    return np.concatenate(rows)
