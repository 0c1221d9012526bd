"""What objectives know of a vocabulary: special ids, where words start, how often an id occurs."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_lm.data.progress import LateBar
from keras_lm.data.store import TokenStore

if TYPE_CHECKING:
    from keras_lm.tokenizers.base import Tokenizer

_TOKENS_COUNTED_AT_ONCE = 1 << 22


def special_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids that stand for no text: BOS, EOS, padding, the mask, the unknown token, unused ids.

    Example:

    >>> import keras_lm as klm
    >>> tok = klm.tokenizers.BytePairTokenizer.train(texts=["aa"] * 9, vocab_size=258)
    >>> special_ids(tok)
    (0,)
    """
    named = [tokenizer.token_to_id(token) for token in tokenizer.special_tokens.values()]
    return tuple(sorted({*named, *np.flatnonzero(tokenizer.byte_lengths == 0).tolist()}))


def word_starts(tokenizer: Tokenizer) -> np.ndarray:
    """Which ids begin a word, bool [V]: what whole-word masking needs to know.

    In a vocabulary with `##`, all that do not begin with it. In one whose tokens carry their white
    space (`Ġ`, `▁`, or a space), all but those that begin with a letter or a digit: "▁un" starts a
    word, "believ" continues it, "," is a word of its own. Chinese characters and kana start
    words, as in BERT; part of a character's bytes does not. In a vocabulary without white space,
    every token is a word.

    Example:

    >>> import keras_lm as klm
    >>> tok = klm.tokenizers.BytePairTokenizer.train(texts=["a b"] * 9, vocab_size=258)
    >>> [token for i, token in enumerate(map(tok.id_to_token, range(258)))
    ...  if token in ("Ġb", "b", ",") and word_starts(tok)[i]]
    [',', 'Ġb']
    """
    spelled = [_token_of(tokenizer, i) for i in range(tokenizer.vocab_size)]
    if any(token.startswith("##") for token in spelled):
        return np.array([not token.startswith("##") for token in spelled])
    if any(token.startswith("▁") for token in spelled):
        texts = [token.replace("▁", " ") for token in spelled]
    else:
        singles = np.arange(tokenizer.vocab_size, dtype=np.int32)[:, np.newaxis]
        decoded = tokenizer.detokenize(singles).numpy()
        texts = [text.decode("utf-8", errors="replace") for text in decoded]
    if not any(text[:1].isspace() for text in texts):
        return np.ones(len(texts), bool)
    return np.array([not _continues_word(text[:1]) for text in texts])


def _token_of(tokenizer: Tokenizer, i: int) -> str:
    try:
        return tokenizer.id_to_token(i)
    except ValueError:  # a hole in the vocabulary
        return ""


def _continues_word(character: str) -> bool:
    if character == "\ufffd":  # the middle of a character's bytes
        return True
    is_hangul = "\uac00" <= character <= "\ud7a3"  # wide, but written with spaces
    is_own_word = bool(character) and unicodedata.east_asian_width(character) == "W"
    is_part = unicodedata.category(character)[0] in "LMN" if character else False
    return is_part and (is_hangul or not is_own_word)


def unigram_counts(store: TokenStore, vocab_size: int) -> np.ndarray:
    """How often each id occurs in a store, int64 [V].

    Raises:
        ValueError: the store holds an id outside of [0, vocab_size).

    Example:

    >>> store = TokenStore(tokens=np.array([0, 2, 2, 1], "int32"), offsets=np.array([0, 4]),
    ...                    num_bytes=np.array([2]))
    >>> unigram_counts(store, vocab_size=4).tolist()
    [1, 1, 2, 0]
    """
    counts = np.zeros(vocab_size, np.int64)
    with LateBar("counting tokens", store.num_tokens) as bar:
        for begin in range(0, store.num_tokens, _TOKENS_COUNTED_AT_ONCE):
            end = min(begin + _TOKENS_COUNTED_AT_ONCE, store.num_tokens)
            tokens = store.tokens[np.arange(begin, end)]
            check_ids(tokens, vocab_size)
            counts += np.bincount(tokens, minlength=vocab_size)
            bar.advance_to(end)
    return counts


def check_ids(token_ids: np.ndarray, vocab_size: int) -> None:
    """ValueError unless all ids are in [0, vocab_size)."""
    if token_ids.size and not 0 <= token_ids.min() <= token_ids.max() < vocab_size:
        wrong = token_ids[(token_ids < 0) | (token_ids >= vocab_size)].flat[0]
        raise ValueError(
            f"vocab_size is {vocab_size}, but the store holds the id {wrong}; "
            "both must come from one tokenizer"
        )


def ordinary_tokens(vocab_size: int, special: Sequence[int]) -> np.ndarray:
    """Which ids stand for text, bool [V].

    Raises:
        ValueError: a special id lies outside of the vocabulary, or no id is left.
    """
    if not isinstance(vocab_size, int | np.integer) or vocab_size < 1:
        raise ValueError(f"vocab_size is {vocab_size!r}; it must be a positive int")
    ordinary = np.ones(vocab_size, bool)
    for i in special:
        if not 0 <= i < vocab_size:
            raise ValueError(f"the special id {i} is outside of the vocabulary, [0, {vocab_size})")
        ordinary[i] = False
    if not ordinary.any():
        raise ValueError(f"special_ids are all {vocab_size} ids; none is left to learn")
    return ordinary


def check_rate(name: str, rate: float) -> None:
    """ValueError unless 0 < rate < 1."""
    if not 0 < rate < 1:
        raise ValueError(f"{name} is {rate!r}; it must lie between 0 and 1")
