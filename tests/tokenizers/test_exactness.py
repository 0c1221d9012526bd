"""Ids equal those of the `tokenizers` library, and text survives, whatever the text."""

import gzip
import os
import random
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics

import hypothesis
import hypothesis.strategies as st
import pytest
import tensorflow as tf
import tokenizers
from tokenizers import AddedToken, pre_tokenizers

from keras_lm.tokenizers import BytePairTokenizer
from keras_lm.tokenizers.splitting import Splitter

SHARED = Path(os.environ.get("KERAS_LM_SHARED", Path(__file__).parents[3] / "shared"))
HELD_OUT = ".enc"  # encrypted, for the final evaluation only


def check(tokenizer: BytePairTokenizer, reference: tokenizers.Tokenizer, texts: list[str]) -> None:
    """Ids, decoded text and decoded text without special tokens are the reference's."""
    ids = tokenizer(texts)
    got = ids.to_list()
    expected = [e.ids for e in reference.encode_batch(texts, add_special_tokens=False)]
    for text, one, other in zip(texts, got, expected, strict=True):
        assert one == other, repr(text)
    for skip in (False, True):
        decoded = [text.decode() for text in tokenizer.detokenize(ids, skip).numpy()]
        assert decoded == reference.decode_batch(expected, skip_special_tokens=skip)


def check_and_restore(
    tokenizer: BytePairTokenizer, reference: tokenizers.Tokenizer, texts: list[str]
) -> None:
    check(tokenizer, reference, texts)
    restored = tokenizer.detokenize(tokenizer(texts)).numpy()
    assert [text.decode() for text in restored] == texts


@pytest.mark.parametrize("seed", range(10))
def test_generated_strings(tokenizer, reference, unicode_strings, seed):
    """100,000 in all."""
    for part in range(5):
        check_and_restore(tokenizer, reference, unicode_strings(10 * seed + part, 2000))


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
}


@pytest.mark.parametrize("name", HARD)
def test_hard_text(tokenizer, reference, name):
    check_and_restore(tokenizer, reference, [HARD[name]])


def test_hard_texts_in_one_batch(tokenizer, reference):
    check_and_restore(tokenizer, reference, [*HARD.values(), ""])


@hypothesis.settings(max_examples=150)
@hypothesis.given(st.lists(st.text(), max_size=5))
def test_any_texts(tokenizer, reference, texts):
    check_and_restore(tokenizer, reference, texts)


def test_every_character_is_in_the_class_that_the_reference_has_it_in():
    """Two planes in full and each other plane in part, beside a letter, a digit and a sign."""
    points = [*range(0x20000), *range(0x20000, 0x110000, 17)]
    characters = [chr(point) for point in points if not 0xD800 <= point <= 0xDFFF]
    texts = ["".join(f"a{c}1{c}!{c}" for c in characters[i : i + 500])
             for i in range(0, len(characters), 500)]  # fmt: skip
    ours = Splitter([], add_prefix_space=False)(tf.constant(texts)).to_list()
    split = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str
    for text, words in zip(texts, ours, strict=True):
        assert [w.decode() for w in words] == [text[a:b] for _, (a, b) in split(text)]


def _texts(path: Path, size: int) -> list[str]:
    """Twenty stretches of `size` characters from all over a file."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    step = max(size, len(text) // 20)
    return [text[i : i + size] for i in range(0, len(text), step)]


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="no ../shared/data beside this checkout")
def test_real_texts(tokenizer, reference):
    files = [path for path in sorted((SHARED / "data").rglob("*")) if path.is_file()]
    for path in files:
        if path.suffix != HELD_OUT:
            check_and_restore(tokenizer, reference, _texts(path, size=1000))


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

    return {f.__name__: f for f in (shuffle_merges, repeat_merges, ignore_merges, old_spelling,
                                    prefix_space, no_merges)}  # fmt: skip


@pytest.mark.parametrize("name", variants())
def test_variant(rules, write_rules, unicode_strings, name):
    variants()[name](rules)
    path = write_rules(rules)
    reference = tokenizers.Tokenizer.from_file(str(path))
    check(BytePairTokenizer.load(path), reference, [*unicode_strings(7, 1000), *HARD.values()])


def test_added_tokens(reference, tmp_path, unicode_strings):
    """The longest is taken, before the text is split; some take the white space along."""
    ours = tokenizers.Tokenizer.from_str(reference.to_str())
    ours.add_special_tokens(
        [AddedToken("<mask>", lstrip=True), AddedToken("[R]", rstrip=True), "<x>", "<xy>"]
    )
    ours.add_tokens([AddedToken("ab", normalized=False), AddedToken("abc", normalized=False)])
    ours.add_tokens([AddedToken("日本"), "$1.5^[a-z]*\\d", "｜end▁of｜", "naïve"])
    ours.save(str(tmp_path / "tokenizer.json"))
    tokens = ["<mask>", "[R]", "<x>", "<xy>", "ab", "abc", "日本", "$1.5^[a-z]*\\d", "｜end▁of｜"]
    source = random.Random(0)
    texts = [
        "".join(source.choices([*tokens, "naïve", " ", "\u3000", "\n ", "a", "\x1f", "é"], k=8))
        for _ in range(3000)
    ]
    check(BytePairTokenizer.load(tmp_path), ours, texts + unicode_strings(3, 1000))
    rules_with_prefix = tokenizers.Tokenizer.from_str(ours.to_str())
    rules_with_prefix.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    rules_with_prefix.save(str(tmp_path / "tokenizer.json"))
    check(BytePairTokenizer.load(tmp_path), rules_with_prefix, texts)


def test_decoding_of_any_ids(tokenizer, reference):
    """Ids that no text gives: what is not UTF-8 becomes U+FFFD as in the reference."""
    source = random.Random(0)
    rows = [source.choices(range(tokenizer.vocab_size), k=source.randrange(9)) for _ in range(5000)]
    rows += [source.choices(range(1, 257), k=source.randrange(9)) for _ in range(20000)]
    decoded = [text.decode() for text in tokenizer.detokenize(rows).numpy()]
    assert decoded == reference.decode_batch(rows, skip_special_tokens=False)


def test_whole_word_table_changes_nothing(tokenizer, unicode_strings):
    """Merging every word gives what the table gives for those that it knows."""
    words = tokenizer._split(tf.constant([*topics.values(), *unicode_strings(5, 500)])).values
    words, _ = tf.unique(words)
    words = tf.boolean_mask(words, ~tf.strings.regex_full_match(words, r"\x{d800}.*"))
    known = tokenizer._whole_words.lookup(words)
    merged = tokenizer._merge(words)
    for one, ids in zip(known.numpy(), merged.to_list(), strict=True):
        assert one == -1 or [one] == ids
    assert (known.numpy() >= 0).mean() > 0.1
