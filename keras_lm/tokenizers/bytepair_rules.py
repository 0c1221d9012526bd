"""The rules of byte-level BPE in a `tokenizer.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras_lm.tokenizers.rules import AddedToken, added_tokens, read_rules, refuse, vocabulary_of


def byte_alphabet() -> list[str]:
    """The character that stands for each byte in a byte-level vocabulary (GPT-2's convention).

    Printable bytes of Latin-1 stand for themselves, the others for U+0100 onwards, in order.

    Example:

    >>> byte_alphabet()[ord("A")], byte_alphabet()[ord(" ")]
    ('A', 'Ġ')
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    stand_ins = iter(range(256, 512))
    return [chr(byte if byte in printable else next(stand_ins)) for byte in range(256)]


@dataclass(frozen=True)
class BytePairRules:
    """All that decides the ids of byte-level BPE; tokens are spelled in the byte alphabet."""

    vocabulary: dict[str, int]
    merges: list[tuple[str, str]]
    added: list[AddedToken]
    add_prefix_space: bool
    ignore_merges: bool


def byte_pair_rules(tokenizer_json: str) -> BytePairRules:
    """Reads the rules of a `tokenizer.json`.

    Raises:
        ValueError: it is damaged, or has a rule that cannot be followed exactly; names it.
    """
    data = read_rules(tokenizer_json)
    model = data["model"]
    refuse("model.type", model.get("type", "BPE"), ("BPE",))
    refuse("normalizer", data.get("normalizer"), (None,))
    for rule in ("continuing_subword_prefix", "end_of_word_suffix"):
        refuse(f"model.{rule}", model.get(rule), (None, ""))
    refuse("model.dropout", model.get("dropout"), (None, 0))
    refuse("model.byte_fallback", model.get("byte_fallback", False), (False,))
    splitter = data.get("pre_tokenizer") or {}
    refuse("pre_tokenizer.type", splitter.get("type"), ("ByteLevel",))
    refuse("pre_tokenizer.use_regex", splitter.get("use_regex", True), (True,))
    refuse("decoder.type", (data.get("decoder") or {}).get("type"), ("ByteLevel",))
    vocabulary = vocabulary_of(data)
    missing = [character for character in byte_alphabet() if character not in vocabulary]
    if missing:
        raise ValueError(
            f"model.vocab lacks {len(missing)} of the 256 bytes, {missing[0]!r} for one; "
            "the reference drops them from texts without a word"
        )
    return BytePairRules(
        vocabulary=vocabulary,
        merges=_merges(model.get("merges"), vocabulary),
        added=added_tokens(data.get("added_tokens") or []),
        add_prefix_space=bool(splitter.get("add_prefix_space", True)),
        ignore_merges=bool(model.get("ignore_merges", False)),
    )


def _merges(merges: Any, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Merges in order of rank, from either spelling: "a b" (older) or ["a", "b"]."""
    if not isinstance(merges, list):
        raise ValueError("model.merges must be a list")
    pairs = []
    for rank, merge in enumerate(merges):
        pair = tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge)
        if len(pair) != 2:
            raise ValueError(f"model.merges[{rank}] = {merge!r} is not a pair of tokens")
        for token in (*pair, "".join(pair)):
            if token not in vocabulary:
                raise ValueError(f"model.merges[{rank}] = {merge!r}: {token!r} is not in the vocab")
        pairs.append(pair)
    return pairs
