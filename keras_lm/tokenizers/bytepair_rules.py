"""The rules of byte-level BPE in a `tokenizer.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from unicodedata import is_normalized

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


RARE_BYTES = frozenset({*range(9), 11, 12, *range(14, 32), 127, 0xC0, 0xC1, *range(0xF1, 0x100)})
"""Control characters, and what begins no character that Unicode has assigned. A vocabulary may
lack them, as SmolLM's does; the reference drops them from texts.
"""

# The regular expressions of the references, by the names of `PATTERNS`; GPT-2's is built in.
_REGEXES = {
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
_GPT2_REGEX = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_PATTERN_OF_REGEX = {regex: name for name, regex in _REGEXES.items()} | {_GPT2_REGEX: "gpt2"}


@dataclass(frozen=True)
class Trimming:
    """Spaces are left out of the spans of tokens; but not the first, if it may have been added."""

    add_prefix_space: bool


@dataclass(frozen=True)
class BytePairRules:
    """All that decides ids and spans of byte-level BPE; tokens are spelled in the byte alphabet."""

    vocabulary: dict[str, int]
    merges: list[tuple[str, str]]
    added: list[AddedToken]
    composes: bool
    pattern: str
    add_prefix_space: bool
    ignore_merges: bool
    trimming: Trimming | None


def byte_pair_rules(tokenizer_json: str) -> BytePairRules:
    """Reads the rules of a `tokenizer.json`.

    Raises:
        ValueError: it is damaged, or has a rule that cannot be followed exactly; names it.
    """
    data = read_rules(tokenizer_json)
    model = data["model"]
    refuse("model.type", model.get("type", "BPE"), ("BPE",))
    for rule in ("continuing_subword_prefix", "end_of_word_suffix"):
        refuse(f"model.{rule}", model.get(rule), (None, ""))
    refuse("model.dropout", model.get("dropout"), (None, 0))
    refuse("model.byte_fallback", model.get("byte_fallback", False), (False,))
    composes = _composes(data.get("normalizer"))
    pattern, add_prefix_space = _pattern(data.get("pre_tokenizer") or {})
    refuse("decoder.type", (data.get("decoder") or {}).get("type"), ("ByteLevel",))
    vocabulary = vocabulary_of(data)
    alphabet = byte_alphabet()
    missing = [i for i, character in enumerate(alphabet) if character not in vocabulary]
    if not RARE_BYTES.issuperset(missing) or (missing and model.get("unk_token") is not None):
        raise ValueError(
            f"model.vocab lacks {len(missing)} of the 256 bytes, {alphabet[missing[0]]!r} for one; "
            "the reference drops them from texts without a word"
        )
    added = added_tokens(data.get("added_tokens") or [])
    for token in added:
        if composes and token.normalized and not is_normalized("NFC", token.content):
            raise ValueError(f"added_tokens {token.content!r} is 'normalized', but not in NFC")
    return BytePairRules(
        vocabulary=vocabulary,
        merges=_merges(model.get("merges"), vocabulary),
        added=added,
        composes=composes,
        pattern=pattern,
        add_prefix_space=add_prefix_space,
        ignore_merges=bool(model.get("ignore_merges", False)),
        trimming=_trimming(data.get("post_processor")),
    )


def splitting_rules(pattern: str) -> dict[str, Any]:
    """The normalizer and the pre-tokenizer of a pattern, as its reference spells them.

    Example:

    >>> splitting_rules("gpt2")["pre_tokenizer"]["type"], splitting_rules("qwen2")["normalizer"]
    ('ByteLevel', {'type': 'NFC'})
    """
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": pattern != "qwen2",
        "use_regex": pattern not in _REGEXES,
    }
    before: list[dict[str, Any]] = []
    if pattern == "smollm":
        before = [{"type": "Digits", "individual_digits": True}]
    elif pattern in _REGEXES:
        regex = {"Regex": _REGEXES[pattern]}
        before = [{"type": "Split", "pattern": regex, "behavior": "Isolated", "invert": False}]
    return {
        "normalizer": {"type": "NFC"} if pattern == "qwen2" else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*before, byte_level]}
        if before
        else byte_level,
    }


def _composes(normalizer: dict[str, Any] | None) -> bool:
    """Whether texts are put in normal form C first."""
    steps = _steps(normalizer, "normalizers")
    for step in steps:
        refuse("normalizer", step, ({"type": "NFC"},))
    return bool(steps)


def _pattern(splitter: dict[str, Any]) -> tuple[str, bool]:
    """The name of the split pattern, and whether texts are to begin with a space."""
    *before, last = _steps(splitter, "pretokenizers") or [{}]
    refuse("pre_tokenizer.type", last.get("type"), ("ByteLevel",))
    splits_itself = last.get("use_regex", True)
    if not before:
        refuse("pre_tokenizer.use_regex", splits_itself, (True,))
        return "gpt2", bool(last.get("add_prefix_space", True))
    # It would be added to every word.
    refuse("pre_tokenizer.add_prefix_space", last.get("add_prefix_space", True), (False,))
    refuse("pre_tokenizer: steps before ByteLevel", len(before), (1,))
    step = before[0]
    refuse("pre_tokenizer", step.get("type"), ("Digits", "Split"))
    if step["type"] == "Digits":
        refuse("pre_tokenizer.individual_digits", step.get("individual_digits"), (True,))
        refuse("pre_tokenizer.use_regex", splits_itself, (True,))
        return "smollm", False
    refuse("pre_tokenizer.use_regex", splits_itself, (False,))
    refuse("pre_tokenizer.behavior", step.get("behavior"), ("Isolated",))
    refuse("pre_tokenizer.invert", step.get("invert", False), (False,))
    regex = (step.get("pattern") or {}).get("Regex")
    if regex not in _PATTERN_OF_REGEX:
        raise ValueError(
            f"pre_tokenizer.pattern = {step.get('pattern')!r} of this tokenizer.json is not "
            f"supported; only those of {', '.join(_PATTERN_OF_REGEX.values())} are"
        )
    return _PATTERN_OF_REGEX[regex], False


def _trimming(processor: dict[str, Any] | None) -> Trimming | None:
    """What is left out of spans; what is done with special tokens besides is not asked for."""
    found = []
    for step in _steps(processor, "processors"):
        known = ("ByteLevel", "RobertaProcessing", "TemplateProcessing", "BertProcessing")
        refuse("post_processor", step.get("type"), known)
        if step["type"] in known[:2] and step.get("trim_offsets", True):
            found.append(Trimming(bool(step.get("add_prefix_space", True))))
    refuse("post_processor: steps with trim_offsets", len(found), (0, 1))
    return found[0] if found else None


def _steps(rule: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    """The steps of a rule: of a sequence its own, which stand under a name of their own."""
    if not rule:
        return []
    if rule.get("type") != "Sequence":
        return [rule]
    steps = rule.get(name)
    if not isinstance(steps, list):
        raise ValueError(f"a Sequence of this tokenizer.json has no list of {name!r}")
    return [step for part in steps for step in _steps(part, name)]


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
