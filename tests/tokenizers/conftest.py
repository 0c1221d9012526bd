"""A vocabulary learned from Python's own language reference, and strings that are hard to split."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import tokenizers

from keras_lm.tokenizers import BytePairTokenizer

SPACES = [
    *"\t\n\v\f\r \x1c\x1d\x1e\x1f\x85\xa0\u1680\u180e\u2028\u2029\u202f\u205f\u3000\u200b\ufeff",
    *map(chr, range(0x2000, 0x200B)),
]
FRAGMENTS = [
    *("'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "''", "don't", "we'll", "'ſ"),
    *("1", "23", "½", "Ⅷ", "٣", "x²", "é", "e\u0301", "a\u0300\u0316", "\u200d", "\u0600"),
    *("👩‍👩‍👧", "🇩🇪", "❤️", "中文", "日本語", "ภาษาไทย", "हिन्दी", "العربية", "한국어"),
    *("the", " the", "hello", "ing", "!", "...", "<|endoftext|>", "<|", "|>", "\0", "\x7f"),
]
LETTERS = "abcdefghijklmnopqrstuvwxyz etaoin 0123456789'.,-_"


@pytest.fixture(scope="session")
def tokenizer() -> BytePairTokenizer:
    return BytePairTokenizer.train(texts=list(topics.values()), vocab_size=2000)


@pytest.fixture(scope="session")
def reference(tokenizer: BytePairTokenizer) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(tokenizer.get_config()["definition"])


@pytest.fixture
def rules(tokenizer: BytePairTokenizer) -> dict:
    """The content of the vocabulary's tokenizer.json, to be changed by a test."""
    return json.loads(tokenizer.get_config()["definition"])


@pytest.fixture(scope="session")
def unicode_strings() -> Callable[[int, int], list[str]]:
    """A function (seed, number of strings) → strings of all kinds of characters side by side."""

    def character(source: random.Random) -> str:
        while True:
            planes = (0x80, 0x300, 0x10000, 0x20000, 0x110000)
            point = source.randrange(source.choice(planes))
            if not 0xD800 <= point <= 0xDFFF:
                return chr(point)

    def string(source: random.Random) -> str:
        parts = []
        for _ in range(source.randrange(14)):
            kind = source.randrange(4)
            if kind == 0:
                parts.append(source.choice(SPACES) * source.choice([1, 1, 1, 2, 3]))
            elif kind == 1:
                parts.append(source.choice(FRAGMENTS))
            elif kind == 2:
                parts.append(character(source) * source.choice([1, 1, 2]))
            else:
                parts += source.choices(LETTERS, k=source.randrange(1, 9))
        return "".join(parts)

    def strings(seed: int, count: int) -> list[str]:
        source = random.Random(seed)
        return [string(source) for _ in range(count)]

    return strings


@pytest.fixture
def write_rules(tmp_path: Path) -> Callable[[dict], Path]:
    """A function that writes a tokenizer.json and gives its path."""

    def write(rules: dict) -> Path:
        path = tmp_path / "tokenizer.json"
        path.write_text(json.dumps(rules), encoding="utf-8")
        return path

    return write
