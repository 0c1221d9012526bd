"""WordPiece, word, character and byte tokenizers give what the `tokenizers` library gives."""

import functools
import gzip
import os
import random
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf
import tokenizers
from tokenizers import AddedToken, decoders, normalizers, pre_tokenizers

from keras_lm.tokenizers import Tokenizer
from keras_lm.tokenizers.byte import ByteTokenizer
from keras_lm.tokenizers.character import CharacterTokenizer
from keras_lm.tokenizers.normalization import MARK, Normalizer, NormalizerRules
from keras_lm.tokenizers.word import WordTokenizer
from keras_lm.tokenizers.wordpiece import WordPieceTokenizer

SHARED = Path(os.environ.get("KERAS_LM_SHARED", Path(__file__).parents[3] / "shared"))
HELD_OUT = ".enc"  # encrypted, for the final evaluation only

# Marks of all combining classes that survive where accents are stripped, characters that
# decompose into several or into others, and special tokens.
PIECES = [
    *("\u0300", "\u0316", "\u0345", "\u1baa", "\u1b44", "\u302e", "\u302f", "\U0001d165"),
    *("\U0001d16d", "\u08d4", "\U0001e000", "\U00011c3f", "\U0001d160", "\u3099", "\u0ccb"),
    *("İ", "ı", "Å", "\u212b", "\u1fef", "≠", "가", "각", "\uf900", "\U0002f800", "\ufb2a", "ẞ"),
    *("[MASK]", "[CLS]", "[UNK]", "[", "<s>", "</s>", "<pad>", "<unk>", "##", "##ing", "@@", "\n"),
]  # fmt: skip
MORE = [
    "naïve Ångström İstanbul straße",
    "中文 汉字 漢字 日本語 한국어",
    "e\u0301\u0316x \u302f\u1baa",
]


@pytest.fixture(scope="module")
def strings(unicode_strings) -> Callable[[int, int], list[str]]:
    """A function (seed, number of strings) → strings, some with `PIECES`, some in capitals."""

    def with_pieces(source: random.Random, text: str) -> str:
        if source.random() < 0.5:
            place = source.randrange(len(text) + 1)
            inserted = "".join(source.choices(PIECES, k=source.randrange(1, 5)))
            text = text[:place] + inserted + text[place:]
        return text.upper() if source.random() < 0.2 else text

    def make(seed: int, count: int) -> list[str]:
        source = random.Random(seed)
        return [with_pieces(source, text) for text in unicode_strings(seed, count)]

    return make


@pytest.fixture(scope="module")
def corpus(strings) -> list[str]:
    return [*list(topics.values())[:30], *strings(999, 2000), *MORE * 3]


KINDS = {
    "wordpiece": lambda texts: WordPieceTokenizer.train(texts=texts, vocab_size=5000),
    "cased wordpiece": lambda texts: WordPieceTokenizer.train(
        texts=texts, vocab_size=4000, lowercase=False, handle_chinese_chars=False
    ),
    "wordpiece with accents": lambda texts: WordPieceTokenizer.train(
        texts=texts, vocab_size=4000, strip_accents=False
    ),
    "word": lambda texts: WordTokenizer.train(texts=texts, vocab_size=4000),
    "lower-case word": lambda texts: WordTokenizer.train(
        texts=texts, vocab_size=4000, lowercase=True, handle_chinese_chars=False
    ),
    "character": lambda texts: CharacterTokenizer.train(texts=texts, vocab_size=1500),
    "byte": lambda texts: ByteTokenizer.create(),
}
# How many thousand generated strings each is tried on.
THOUSANDS = dict.fromkeys(KINDS, 5) | {"wordpiece": 100}


@pytest.fixture(scope="module")
def made(corpus) -> Callable[[str], Tokenizer]:
    """A function kind → its tokenizer, trained once."""
    return functools.cache(lambda kind: KINDS[kind](corpus))


@functools.cache
def reference_from(definition: str) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(definition)


def reference_of(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    return reference_from(tokenizer.get_config()["definition"])


def check(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    """Ids, spans and decoded text, with and without special tokens, are the reference's."""
    reference = reference_of(tokenizer)
    ids, spans = tokenizer(texts, return_offsets="characters")
    expected = reference.encode_batch(texts, add_special_tokens=False)
    rows = [encoding.ids for encoding in expected]
    got = zip(texts, ids.to_list(), rows, strict=True)
    assert next((repr(text) for text, a, b in got if a != b), None) is None
    offsets = [offset for encoding in expected for offset in encoding.offsets]
    wrong = np.flatnonzero((spans.values.numpy() != np.array(offsets or [(0, 0)])).any(axis=-1))
    if offsets and wrong.size:
        row = ids.value_rowids().numpy()[wrong[0]]
        assert [*map(tuple, spans[row].numpy().tolist())] == expected[row].offsets, repr(texts[row])
    for skip in (False, True):
        decoded = [text.decode() for text in tokenizer.detokenize(ids, skip).numpy()]
        assert decoded == reference.decode_batch(rows, skip_special_tokens=skip)
    return rows


@pytest.mark.parametrize("kind", KINDS)
def test_generated_strings(made, strings, kind):
    tokenizer = made(kind)
    for seed in range(THOUSANDS[kind] // 5):
        check(tokenizer, strings(seed, 5000))
    texts = strings(0, 5000)
    ids, _ = tokenizer(texts, return_offsets=True)
    assert np.array_equal(tokenizer(texts).values, ids.values)


HARD = {
    "empty": "",
    "only white space": " \n\t  ",
    "trailing spaces": "word   ",
    "spaces between words": "a   b\t\tc\n\nd \r\n e",
    "apostrophes": "it's we're I'd 'tis ''s o'clock don't''ll",
    "digits": "1 22 3.14 10,000 x2y ²③Ⅳ ٣٤",
    "mixed scripts": "abcабвαβγ中文日本語한국어ไทยहिन्दी",
    "Chinese in a word": "a中b文c 汉，字。《x》",
    "compatibility ideographs": "\uf900\ufa0e\U0002f800 x\uf900y",
    "joiners": "👩\u200d👩\u200d👧 क\u094d\u200dष \u200d\u200c \u200d",
    "accents": "Naïve CAFÉ Ångström Åse \u212b ẞ ß ﬁ İ ı İİ",
    "combining marks": "e\u0301 \u0301 a\u0300\u0316b \u20e3 q\u0307\u0323",
    "marks only": "\u0301\u0316 \u0301 中\u0301中",
    "marks that are sorted": "x\u0301\u302f\u1baa y\u302f\u1b44\u0301 \u302f\u1baa",
    "Hangul": "각 가 한국어 \u1112\u1161\u11ab",
    "decomposes into punctuation": "a\u1fefb \u037e ≠ x≠y",
    "unassigned": "\u0378 \u0379\U000e0fff\U0003ffff",
    "noncharacters": "\ufffe\uffff\U0010ffff \ufdd0",
    "private use": "a\ue000\U000f0000 \U000f1234b \U0010fffd",
    "NUL": "a\0b\0\0 \0",
    "control characters": "a\x01b\x7fc\x0bd\x0ce \x1b \x80\x9f",
    "separators that are no white space": "a\x1cb\x1d\x1e \x1f c",
    "next line": "a\x85b\x85\x85c \x85",
    "other white space": "a\u3000\u3000b\u2028\u2029c\xa0d\u1680 e",
    "looks like white space": "a\u200bb\ufeffc\u180ed",
    "replacement character": "\ufffd \ufffd\ufffda",
    "special tokens": "[CLS] a [MASK][MASK].[SEP] <s>b</s> <unk>",
    "half a special token": "[MAS[MASK]K] [MASK <s </s",
    "special token in capitals": "[mask] <S>",
    "continuing pieces": "##ing a##b ## # @@",
    "word of a hundred letters": "ab" * 50 + " " + "ab" * 50 + "a",
    "a hundred wide letters": "é" * 100 + " " + "é" * 101 + " " + "𝔸" * 100,
    "long word": "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=10_000)),
    "long run": "-" * 3000 + " " * 3000 + "a" * 3000,
    "long text": "the cat sat. " * 2000,
}  # fmt: skip


@pytest.fixture(scope="module")
def hard_results(made) -> list[dict[str, tuple]]:
    """What some kinds give for each hard text, and what their references give."""
    results = []
    for kind in ("wordpiece", "word", "character", "byte"):
        ids, spans = made(kind)(list(HARD.values()), return_offsets="characters")
        ours = zip(ids.to_list(), [[*map(tuple, row)] for row in spans.to_list()], strict=True)
        expected = [
            (e.ids, e.offsets) for e in reference_of(made(kind)).encode_batch([*HARD.values()])
        ]
        results.append(dict(zip(HARD, zip(ours, expected, strict=True), strict=True)))
    return results


@pytest.mark.parametrize("name", HARD)
def test_hard_text(hard_results, name):
    for results in hard_results:
        ours, expected = results[name]
        assert ours == expected


@pytest.mark.parametrize("kind", KINDS)
def test_hard_texts_together_and_alone(made, kind):
    check(made(kind), [*HARD.values(), "", *HARD.values()])
    for text in HARD.values() if kind in ("wordpiece", "word", "character", "byte") else ():
        check(made(kind), [text])


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(st.lists(st.text(), max_size=5))
@pytest.mark.parametrize("kind", ["wordpiece", "word", "character", "byte"])
def test_any_texts(made, kind, texts):
    check(made(kind), texts)


@pytest.mark.parametrize("kind", ["wordpiece", "word", "character", "byte"])
def test_any_bytes(made, kind):
    """2,500 random byte strings for each: refused if they are not UTF-8, else right."""
    tokenizer, source = made(kind), random.Random(0)
    texts: list[bytes] = []
    for _ in range(2500):
        alphabet = source.choice([range(256), range(128), b"\xc3\xa9\xe4\xb8\xad a."])
        texts.append(bytes(source.choices(alphabet, k=source.randrange(12))))
    refused = [text for text in texts if text.decode(errors="ignore").encode() != text]
    assert 500 < len(refused) < 2000
    for text in refused[:100]:
        with pytest.raises(tf.errors.InvalidArgumentError, match="valid UTF-8"):
            tokenizer([text, b"fine"])
    check(tokenizer, [text.decode() for text in texts if text not in {*refused}])
    replaced = tokenizer(refused, errors="replace")
    as_read = tf.strings.unicode_transcode(refused, "UTF-8", "UTF-8")
    assert np.array_equal(replaced.values, tokenizer(as_read).values)


def test_offsets_in_bytes(made):
    text = "Naïve 中文 İx"
    for kind in ("wordpiece", "word", "character", "byte"):
        _, spans = made(kind)(text, return_offsets=True)
        _, characters = made(kind)(text, return_offsets="characters")
        for (start, end), (a, b) in zip(spans.numpy(), characters.numpy(), strict=True):
            assert text.encode()[start:end].decode() == text[a:b]


def _texts(path: Path, size: int) -> list[str]:
    """Ten stretches of `size` characters from all over a file."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    step = max(size, len(text) // 10)
    return [text[i : i + size] for i in range(0, len(text), step)]


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="no ../shared/data beside this checkout")
def test_real_texts(made):
    for path in sorted((SHARED / "data").rglob("*")):
        if path.is_file() and path.suffix != HELD_OUT:
            texts = _texts(path, size=300)
            check(made("wordpiece"), texts)
            check(made("word"), texts[::2])
            check(made("character"), texts[::5])
            check(made("byte"), texts[::5])


@pytest.mark.parametrize("kind", ["wordpiece", "word", "character", "byte"])
def test_decoding_of_any_ids(made, kind):
    tokenizer, source = made(kind), random.Random(0)
    rows = [source.choices(range(tokenizer.vocab_size), k=source.randrange(9)) for _ in range(5000)]
    decoded = [text.decode() for text in tokenizer.detokenize(rows).numpy()]
    assert decoded == reference_of(tokenizer).decode_batch(rows, skip_special_tokens=False)


def test_characters_and_bytes_come_back(made):
    texts = [*HARD.values(), *MORE]
    restored = made("byte").detokenize(made("byte")(texts)).numpy()
    assert [text.decode() for text in restored] == texts
    character = made("character")
    known = [text for text in texts if character.unk_id not in character(text).numpy()]
    assert len(known) > 10
    assert "a   b\t\tc\n\nd \r\n e" in texts
    restored = character.detokenize(character(known)).numpy()
    assert [text.decode() for text in restored] == known


# Other rules


def changes() -> dict[str, Callable[[tokenizers.Tokenizer], None]]:
    """Changes of a WordPiece tokenizer that change its ids or what they decode to."""

    def no_normalizer(reference):
        reference.normalizer = None

    def accents_stripped_only(reference):
        reference.normalizer = normalizers.BertNormalizer(False, False, True, False)

    def not_cleaned(reference):
        reference.normalizer = normalizers.BertNormalizer(clean_text=False)

    def without_clean_up(reference):
        reference.decoder = decoders.WordPiece("##", cleanup=False)

    def other_decoder_prefix(reference):
        reference.decoder = decoders.WordPiece("#")

    def no_decoder(reference):
        reference.decoder = None

    def short_words_and_special_tokens_around(reference):
        reference.model.max_input_chars_per_word = 5
        reference.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))

    def added(reference):
        """The longest is taken, before the text is split; some take the white space along."""
        reference.add_special_tokens(
            [AddedToken("<mask>", lstrip=True), AddedToken("[R]", rstrip=True), "<x>", "<xy>"]
        )
        reference.add_special_tokens([AddedToken("[LR]", lstrip=True, rstrip=True)])
        reference.add_tokens(
            [AddedToken("ab", normalized=False), AddedToken("abc", normalized=False)]
        )

    def added_normalized(reference):
        """These are looked for in the normalized text, where Chinese stands between spaces."""
        reference.add_tokens(
            [AddedToken("日本", normalized=True), AddedToken("NaÏve", normalized=True)]
        )
        reference.add_tokens(
            [AddedToken("a b", normalized=True), AddedToken("1.5^$", normalized=True)]
        )
        reference.add_special_tokens([AddedToken("<x>", normalized=False)])

    def added_normalized_that_strip(reference):
        reference.add_tokens([AddedToken("Zz", normalized=True, lstrip=True, rstrip=True)])
        reference.add_tokens([AddedToken("A.", normalized=True, lstrip=True), "zZz"])

    return dict(locals())


@pytest.mark.parametrize("name", changes())
def test_other_rules(made, strings, name):
    reference = reference_from.__wrapped__(made("wordpiece").get_config()["definition"])
    changes()[name](reference)
    tokenizer = WordPieceTokenizer(reference.to_str())
    source = random.Random(0)
    parts = ["<mask>", "[R]", "<x>", "<xy>", "[LR]", "ab", "abc", "日本", "naïve", "NAÏVE", "zz"]
    parts += ["1.5^$", " ", "  ", "\u3000", "\n ", "a", "b", "é", "日", "本", "\u0301", "\x1f"]
    texts = ["".join(source.choices(parts, k=8)) for _ in range(1000)]
    check(
        tokenizer, [*texts, *strings(3, 500), *(text for text in HARD.values() if len(text) < 500)]
    )


@pytest.mark.parametrize("kind", ["word", "character", "byte"])
def test_added_tokens(made, kind):
    reference = reference_from.__wrapped__(made(kind).get_config()["definition"])
    reference.add_special_tokens([AddedToken("<m>", lstrip=True), AddedToken("[R]", rstrip=True)])
    reference.add_tokens([AddedToken("ab"), AddedToken("é b", normalized=kind == "word")])
    tokenizer = type(made(kind))(reference.to_str())
    parts = ["<m>", "[R]", "ab", "é b", "é", " b", " ", "\n", "a", "<s>", "中"]
    source = random.Random(0)
    check(tokenizer, ["".join(source.choices(parts, k=8)) for _ in range(2000)])


@pytest.mark.parametrize("prefix", ["@@", "#", "-_"])
def test_other_prefix(strings, prefix):
    tokens = ["[UNK]", "a", "b", "ab", "#", "@", "-"]
    vocabulary = [*tokens, prefix, *(prefix + token for token in tokens)]
    reference = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(
            {token: i for i, token in enumerate(dict.fromkeys(vocabulary))},
            unk_token="[UNK]",
            continuing_subword_prefix=prefix,
        )
    )
    reference.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    reference.decoder = decoders.WordPiece(prefix)
    source = random.Random(0)
    texts = ["".join(source.choices("ab#@-_ c", k=12)) for _ in range(2000)]
    check(WordPieceTokenizer(reference.to_str()), texts)


def test_numbers_that_are_no_tokens():
    vocabulary = {"[UNK]": 1, "a": 3, "##b": 5, "c": 8}
    reference = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    reference.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    reference.decoder = decoders.WordPiece()
    tokenizer = WordPieceTokenizer(reference.to_str())
    check(tokenizer, ["ab c a abb x 2"])
    rows = [[0, 3], [2, 8, 5, 0, 3], [0], []]
    decoded = [text.decode() for text in tokenizer.detokenize(rows).numpy()]
    assert decoded == reference.decode_batch(rows, skip_special_tokens=False)


@pytest.mark.parametrize(
    "rules",
    [NormalizerRules(True, True, True, True), NormalizerRules(True, True, False, True)],
)  # fmt: skip
def test_every_character_is_normalized_as_the_reference_does(rules):
    """All of Unicode, and marks in any order."""
    normalize = Normalizer(rules)
    points = [point for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF]
    marks = [0x300, 0x316, 0x345, 0x1BAA, 0x1B44, 0x302E, 0x302F, 0x1D165, 0x8D4, 0x41, 0xE9, 0x20]
    source = random.Random(0)
    for codes in (
        points,
        source.choices(marks, k=100_000),
        source.choices(points[:0x20000], k=10**5),
    ):
        text = "a".join(map(chr, codes)) if codes is points else "".join(map(chr, codes))
        made = normalize(tf.constant(list(map(ord, text)), tf.int32))
        kept = made.code.numpy()[(made.kind.numpy() & MARK) == 0]
        assert "".join(map(chr, kept)) == rules.reference().normalize_str(text)
