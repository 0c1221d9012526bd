"""Ids and offsets equal those of the `tokenizers` library, and text survives, whatever the text."""

import gzip
import itertools
import json
import os
import random
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics
from typing import NamedTuple

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf
import tokenizers
from tokenizers import AddedToken, pre_tokenizers, processors

from keras_lm.tokenizers import BytePairTokenizer
from keras_lm.tokenizers.splitting import PATTERNS, Splitter

SHARED = Path(os.environ.get("KERAS_LM_SHARED", Path(__file__).parents[3] / "shared"))
HELD_OUT = ".enc"  # encrypted, for the final evaluation only


class Pair(NamedTuple):
    ours: BytePairTokenizer
    reference: tokenizers.Tokenizer


def pair_of(definition: str) -> Pair:
    return Pair(BytePairTokenizer(definition), tokenizers.Tokenizer.from_str(definition))


@pytest.fixture(scope="module")
def pairs(tokenizer, reference) -> dict[str, Pair]:
    """By name of the split pattern: a tokenizer and its reference."""
    train = BytePairTokenizer.train
    found = {"gpt2": Pair(tokenizer, reference)}
    for name in PATTERNS.keys() - found:
        found[name] = pair_of(
            train(texts=list(topics.values()), vocab_size=1000, pattern=name).get_config()[
                "definition"
            ]
        )
    return found


def check(pair: Pair, texts: list[str], with_offsets: bool = True) -> list[str]:
    """Ids, offsets, and text decoded with special tokens and without are the reference's.

    Gives the text decoded with them.
    """
    ids = pair.ours(texts)
    expected = pair.reference.encode_batch(texts, add_special_tokens=False)
    same(ids, [one.ids for one in expected], texts)
    if with_offsets:
        again, spans = pair.ours(texts, return_offsets="characters")
        same(again, [one.ids for one in expected], texts)
        same(spans, [one.offsets for one in expected], texts)
    rows = ids.to_list()
    for skip in (True, False):
        decoded = [text.decode() for text in pair.ours.detokenize(ids, skip).numpy()]
        assert decoded == pair.reference.decode_batch(rows, skip_special_tokens=skip)
    return decoded


def same(got: tf.RaggedTensor, expected: list[list], texts: list[str]) -> None:
    lengths = [len(row) for row in expected]
    values = np.array(list(itertools.chain.from_iterable(expected)), np.int32)
    if (
        lengths != got.row_lengths().numpy().tolist()
        or (values != got.values.numpy().reshape(values.shape)).any()
    ):
        for text, one, other in zip(texts, got.to_list(), expected, strict=True):
            assert np.array(one).tolist() == np.array(other).tolist(), repr(text)


def check_and_restore(pair: Pair, texts: list[str], with_offsets: bool = True) -> None:
    decoded = check(pair, texts, with_offsets)
    if pair.reference.normalizer is None:
        assert decoded == texts


@pytest.mark.parametrize("seed", range(5))
def test_generated_strings(pairs, unicode_strings, seed):
    """100,000 in all: 25,000 for each pattern, offsets of a fifth."""
    strings = iter(unicode_strings(seed, 20_000))
    for pair in pairs.values():
        for part in range(5):
            texts = list(itertools.islice(strings, 1000))
            check_and_restore(pair, texts, with_offsets=part == 0)


HARD = {
    "empty": "",
    "one space": " ",
    "only white space": " \n\t  ",
    "trailing spaces": "word   ",
    "spaces before a word": "a   b",
    "tabs before a word": "a\t\tb\n\nc \n d",
    "apostrophes": "it's we're I'd 'tis ''s o'clock 'S don''t'll",
    "digits": "1 22 3.14 10,000 x2y ²③Ⅳ ٣٤",
    "mixed scripts": "abcабвαβγ中文日本語한국어ไทยहिन्दी",
    "joiners": "👩\u200d👩\u200d👧 क\u094d\u200dष \u200d\u200c \u200d",
    "combining marks": "e\u0301 \u0301 a\u0300\u0316b \u20e3",
    "unassigned": "\u0378 \u0379\U000e0fff\U0003ffff",
    "noncharacters": "\ufffe\uffff\U0010ffff \ufdd0",
    "private use": "\ue000\U000f0000 \U0010fffd",
    "NUL": "a\0b\0\0 \0",
    "separators that are no white space": "a\x1cb\x1d\x1e \x1f c",
    "next line": "a\x85b\x85\x85c \x85",
    "other white space": "a\u3000\u3000b\u2028\u2029c\xa0d\u1680 e",
    "looks like white space": "a\u200bb\ufeffc\u180ed",
    "replacement character": "\ufffd \ufffd\ufffda",
    "special token": "<|endoftext|>",
    "special token inside": "a <|endoftext|> b<|endoftext|><|endoftext|>",
    "spaces before a special token": "a  <|endoftext|>  \n<|endoftext|>",
    "half a special token": "<|endoftext|<|endoftext|>> <|endoftext",
    "long word": "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=10_000)),
    "long run": "-" * 3000 + " " * 3000 + "a" * 3000,
    "long text": "the cat sat. " * 2000,
    "apostrophes of any case": "IT'S 'LL'll 'Re x'ſ y'ſt 'ſ 'K'D 'Ve!'M",
    "letters after signs": "$a (b) .c\td 'e \u3000f _g 1h \u200di",
    "signs before line breaks": "a!\n\nb !\r\n c?\n d,\n\n  e;\r\r",
    "white space around line breaks": "a \n b\n\n  c \t\r\n\td\n \n \n  e\n",
    "carriage returns": "a\rb\r\rc \r d\r\n",
    "digits of three": "1 12 123 1234 12345678 a1234b ١٢٣٤٥ ²³¹¹ ½⅓¼⅕",
    "digits of other scripts": "१२३ 一二三 Ⅷ ㊿ 𝟙𝟚𝟛 \U00011de0\U00011de1 \U00016ff4",
    "composed and decomposed": "é e\u0301 ệ e\u0323\u0302 ẹ\u0302 é\u0323 각 \u1100\u1161\u11a8",
    "marks out of order": "a\u0301\u0323 a\u0323\u0301 \u0344\u0316 \u0f73\u0f72\u0f71 \u0301a",
    "characters that decompose": "Å \u212b \u2126 \u1fef \u0958 \ufb1d \uf900 \U0002f800 \u2001",
    "marks that the reference does not know": "a\u0897\u0334 \u105d2\u0307 \U000105d2\u0307",
}


class Result(NamedTuple):
    ids: list[int]
    offsets: list[tuple[int, ...]]
    decoded: str


@pytest.fixture(scope="module")
def hard_results(pairs) -> dict[tuple[str, str], tuple[list[Result], list[Result]]]:
    """Ours and the reference's by pattern and name: each text alone, and all in one batch."""
    found = {}
    for pattern, (ours, reference) in pairs.items():
        for name, text in (HARD | {"in one batch": [*HARD.values(), ""]}).items():
            texts = [text] if isinstance(text, str) else text
            ids, spans = ours(texts, return_offsets="characters")
            decoded = ours.detokenize(ids).numpy()
            expected = reference.encode_batch(texts, add_special_tokens=False)
            assert ours(texts).to_list() == ids.to_list()
            found[pattern, name] = (
                [
                    Result(one, [tuple(place) for place in places], text.decode())
                    for one, places, text in zip(
                        ids.to_list(), spans.to_list(), decoded, strict=True
                    )
                ],
                [
                    Result(one.ids, one.offsets, reference.decode(one.ids, False))
                    for one in expected
                ],
            )
    return found


@pytest.mark.parametrize("name", [*HARD, "in one batch"])
def test_hard_text(hard_results, name):
    for pattern in PATTERNS:
        ours, reference = hard_results[pattern, name]
        assert ours == reference, pattern
        if pattern != "qwen2" and name in HARD:
            assert ours[0].decoded == HARD[name], pattern


@hypothesis.settings(max_examples=40)
@hypothesis.given(st.lists(st.text(), max_size=5))
def test_any_texts(pairs, texts):
    for pair in pairs.values():
        check_and_restore(pair, texts)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_character_is_in_the_class_that_the_reference_has_it_in(pairs, pattern):
    """Each beside a letter, a digit and a sign; a quarter of the first planes with each pattern."""
    part = list(PATTERNS).index(pattern)
    points = [*range(part, 0x20000, 4), *range(0x20000 + part, 0x110000, 67)]
    characters = [chr(point) for point in points if not 0xD800 <= point <= 0xDFFF]
    texts = ["".join(f"a{c}1{c}!{c}" for c in characters[i : i + 500])
             for i in range(0, len(characters), 500)]  # fmt: skip
    ours = Splitter(pattern, [])(tf.constant(texts)).to_list()
    split = pairs[pattern].reference.pre_tokenizer.pre_tokenize_str
    for text, words in zip(texts, ours, strict=True):
        assert [w.decode() for w in words] == [text[a:b] for _, (a, b) in split(text)]


def _texts(path: Path, size: int) -> list[str]:
    """Twenty stretches of `size` characters from all over a file."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    step = max(size, len(text) // 20)
    return [text[i : i + size] for i in range(0, len(text), step)]


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="no ../shared/data beside this checkout")
def test_real_texts(pairs):
    files = [path for path in sorted((SHARED / "data").rglob("*")) if path.is_file()]
    for number, path in enumerate(files):
        if path.suffix != HELD_OUT:
            pattern = list(PATTERNS)[number % len(PATTERNS)]
            check_and_restore(pairs[pattern], _texts(path, size=500))


NFC_PARTS = [
    *("e\u0301", "a\u0323\u0302", "\u0301", "\u0323", "\u0316\u0301\u0300", "\u212b", "\u0344"),
    *("\u1100", "\u1161", "\u11a8", "가", "각", "\uac00\u11a8", "\u0958", "ﬁ", "\uf900"),
    *("\u0f73\u0f72\u0f71", "\u1e9b\u0323", "\u0340", "\u0897", "q\u0307\u0323", "\u1ed9"),
    *("o\u0302\u0323", "\u2126", "\u037e", "\u1fef", "é", "ệ", "\u0b47\u0b56", "\U00011131"),
    *("\U00011127", "\U0001d15e", "x", " ", "1", "中"),
]


def test_normal_form(pairs, unicode_strings):
    """Characters that compose, decompose and change places, and where they come from."""
    source = random.Random(0)
    texts = ["".join(source.choices(NFC_PARTS, k=source.randrange(9))) for _ in range(5000)]
    pair = pairs["qwen2"]
    assert check(pair, texts) == [pair.reference.normalizer.normalize_str(t) for t in texts]
    assert sum(unicodedata.normalize("NFC", text) != text for text in texts) > 3000


def variants() -> dict[str, Callable[[dict], None]]:
    """Changes of a tokenizer.json that change its ids."""

    def shuffle_merges(rules: dict) -> None:
        random.Random(0).shuffle(rules["model"]["merges"])

    def repeat_merges(rules: dict) -> None:
        rules["model"]["merges"] += rules["model"]["merges"][:200]

    def ignore_merges(rules: dict) -> None:
        shuffle_merges(rules)
        rules["model"]["ignore_merges"] = True

    def old_spelling(rules: dict) -> None:
        rules["model"]["merges"] = [" ".join(pair) for pair in rules["model"]["merges"]]

    def prefix_space(rules: dict) -> None:
        rules["pre_tokenizer"]["add_prefix_space"] = True

    def no_merges(rules: dict) -> None:
        rules["model"]["merges"] = []

    def swap_some_merges(rules: dict) -> None:
        """So that some tokens are used before they are made, but few."""
        merges = rules["model"]["merges"]
        merges[20:300] = random.Random(0).sample(merges[20:300], 280)

    def every_cut(rules: dict) -> None:
        """A merge for every way to cut a token in two, as files made from tiktoken's have them."""
        ids = rules["model"]["vocab"]
        merges = []
        for token in sorted(ids, key=ids.__getitem__):
            if token != "<|endoftext|>":
                cuts = [[token[:i], token[i:]] for i in range(1, len(token))]
                known = [cut for cut in cuts if cut[0] in ids and cut[1] in ids]
                merges += sorted(known, key=lambda cut: (ids[cut[0]], ids[cut[1]]))
        rules["model"]["merges"] = merges

    def other_spelling(rules: dict) -> None:
        """GPT-2's pattern as a step of its own."""
        regex = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
        split = pre_tokenizers.Split(tokenizers.Regex(regex), "isolated")
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        rules["pre_tokenizer"] = json.loads(
            pre_tokenizers.Sequence([split, byte_level]).__getstate__()
        )

    found = (shuffle_merges, repeat_merges, ignore_merges, old_spelling, prefix_space, no_merges)
    return {f.__name__: f for f in (*found, swap_some_merges, every_cut, other_spelling)}


TRIMMING = {
    "byte level": processors.ByteLevel(trim_offsets=True, add_prefix_space=False),
    "byte level with a space": processors.ByteLevel(trim_offsets=True, add_prefix_space=True),
    "roberta": processors.RobertaProcessing(("</s>", 0), ("<s>", 0), trim_offsets=True),
    "template": processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing("<|endoftext|> $A", None, [("<|endoftext|>", 0)]),
        ]
    ),
}


@pytest.mark.parametrize(
    ("name", "add_prefix_space"),
    [
        *((name, True) for name in ("byte level", "byte level with a space", "roberta")),
        *((name, False) for name in ("byte level", "template")),
    ],
)
def test_offsets_without_spaces(reference, unicode_strings, name, add_prefix_space):
    changed = tokenizers.Tokenizer.from_str(reference.to_str())
    changed.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    changed.post_processor = TRIMMING[name]
    check(pair_of(changed.to_str()), [*unicode_strings(11, 1000), *HARD.values()])


@pytest.mark.parametrize("name", variants())
def test_variant(rules, write_rules, unicode_strings, name):
    variants()[name](rules)
    path = write_rules(rules)
    reference = tokenizers.Tokenizer.from_file(str(path))
    texts = [*unicode_strings(7, 1000), *(text for text in HARD.values() if len(text) < 1000)]
    check(Pair(BytePairTokenizer.load(path), reference), texts)


@pytest.mark.parametrize("pattern", ["gpt2", "qwen2"])
def test_added_tokens(pairs, unicode_strings, pattern):
    """The longest is taken, before the text is split; some take the white space along."""
    ours = tokenizers.Tokenizer.from_str(pairs[pattern].reference.to_str())
    taking = [AddedToken("<mask>", lstrip=True), AddedToken("[R]", rstrip=True)]
    ours.add_special_tokens([*taking, AddedToken("<b>", lstrip=True, rstrip=True), "<x>", "<xy>"])
    ours.add_tokens([AddedToken("ab", normalized=False), AddedToken("abc", normalized=False)])
    ours.add_tokens([AddedToken("日本"), "$1.5^[a-z]*\\d", "｜end▁of｜", "naïve"])
    parts = ["<mask>", "[R]", "<b>", "<x>", "<xy>", "ab", "abc", "日本", "$1.5^[a-z]*\\d"]
    parts += ["｜end▁of｜", "naïve", "nai\u0308ve", "é", "e\u0301", "12"]
    parts += [" ", "  ", "\u3000", "\n ", "a", "\x1f"]
    source = random.Random(0)
    texts = ["".join(source.choices(parts, k=8)) for _ in range(3000)]
    texts += unicode_strings(3, 1000)
    check(pair_of(ours.to_str()), texts)
    ours.post_processor = processors.ByteLevel(trim_offsets=True)
    if pattern == "gpt2":
        ours.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    check(pair_of(ours.to_str()), texts)


def test_decoding_of_any_ids(tokenizer, reference):
    """Ids that no text gives: what is not UTF-8 becomes U+FFFD as in the reference."""
    source = random.Random(0)
    rows = [source.choices(range(tokenizer.vocab_size), k=source.randrange(9)) for _ in range(5000)]
    rows += [source.choices(range(1, 257), k=source.randrange(9)) for _ in range(20000)]
    decoded = [text.decode() for text in tokenizer.detokenize(rows).numpy()]
    assert decoded == reference.decode_batch(rows, skip_special_tokens=False)


def test_whole_word_table_changes_nothing(tokenizer, unicode_strings):
    """Merging every word gives what the table gives for those that it knows."""
    texts = tf.constant([*topics.values(), *unicode_strings(5, 500)])
    words = tokenizer._split(tokenizer._mark(texts)).values
    words, _ = tf.unique(words)
    words = tf.boolean_mask(words, ~tf.strings.regex_full_match(words, r"\x{d800}.*"))
    known = tokenizer._whole_words.lookup(words)
    merged = tokenizer._merge(words)
    for one, ids in zip(known.numpy(), merged.to_list(), strict=True):
        assert one == -1 or [one] == ids
    assert (known.numpy() >= 0).mean() > 0.1


LONG = {
    "letters": lambda source: source.choices("abcdefghijklmnopqrstuvwxyz", k=100_000),
    "two digits": lambda source: source.choices("01", k=100_000),
    "one letter": lambda source: "a" * 100_000,
    "signs, nearly one": lambda source: "-" * 99_999 + "=",
    "Chinese": lambda source: source.choices("的一是不了人我在有他这中大来上国", k=30_000),
}


@pytest.mark.parametrize("name", LONG)
def test_words_of_a_hundred_thousand_letters(tokenizer, reference, name):
    """A merge at a time would take minutes, and the time limit is generous."""
    word = "".join(LONG[name](random.Random(0)))
    tokenizer(word[:100])
    start = time.process_time()
    ids = tokenizer(word).numpy().tolist()
    assert time.process_time() - start < 10
    assert ids == reference.encode(word).ids
