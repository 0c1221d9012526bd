"""Ids, offsets and decoded text equal those of the `sentencepiece` library, whatever the text."""

import gzip
import io
import os
import random
from pathlib import Path
from pydoc_data.topics import topics

import hypothesis
import hypothesis.strategies as st
import pytest
import sentencepiece
import tensorflow as tf

from keras_lm.tokenizers.sentencepiece import SentencePieceTokenizer

SHARED = Path(os.environ.get("KERAS_LM_SHARED", Path(__file__).parents[4] / "shared"))
HELD_OUT = ".enc"  # encrypted, for the final evaluation only

# What the library's trainer is told; every one gives other ids, offsets or texts.
VARIANTS = {
    "unigram": {},
    "unigram, bytes": {"byte_fallback": True},
    "unigram, nfkc": {"normalization_rule_name": "nfkc"},
    "unigram, case folded": {"normalization_rule_name": "nmt_nfkc_cf"},
    "unigram, identity": {"normalization_rule_name": "identity"},
    "unigram, no dummy prefix": {"add_dummy_prefix": False},
    "unigram, white space kept": {"remove_extra_whitespaces": False},
    "unigram, neither": {"add_dummy_prefix": False, "remove_extra_whitespaces": False},
    "unigram, symbols": {
        "user_defined_symbols": ["<sep>", "the", "ab c", "日本", "▁▁", "[MASK]", "ther"],
        "split_digits": True,
    },
    "unigram, T5": {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "unk_surface": "<?>"},
    "bpe": {"model_type": "bpe"},
    "bpe, bytes": {"model_type": "bpe", "byte_fallback": True},
    "bpe, no dummy prefix": {"model_type": "bpe", "add_dummy_prefix": False},
    "bpe, Llama": {
        "model_type": "bpe",
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "split_digits": True,
        "allow_whitespace_only_pieces": True,
    },
    "bpe, symbols": {
        "model_type": "bpe",
        "byte_fallback": True,
        "user_defined_symbols": ["<sep>", "the", "<0x41", "日本", "\n"],
        "control_symbols": ["<ctl>"],
    },
    "bpe, suffix": {"model_type": "bpe", "treat_whitespace_as_suffix": True},
    "character": {"model_type": "char"},
    "word": {"model_type": "word"},
}
HARD = [
    *(
        "",
        " ",
        "   ",
        "\0",
        "a\0b",
        "\0\0 \0",
        "a  ",
        "  a",
        "\t\n",
        "\x01",
        "\x01 \x02",
        "a\x01 b",
    ),
    *("▁", "▁a", "a▁", "a ▁ b", "a ▁ ", "▁▁the▁", "\ufffd", "\ufffda \ufffd", "\u0378", "\ufdd0"),
    *(
        "👩\u200d👩\u200d👧 क\u094d\u200dष \u200d",
        "e\u0301 \u0301 \u1100\u1161",
        "ﷺ" * 300,
        "´a ´",
        "ﹰ",
    ),
    *(
        "ＡＢＣ ① ﬁ ½ İ ß ſ",
        "ｔｈｅ ther other",
        "0000000 88888",
        "a\u3000\u200bb\xa0",
        "a\r\nb\tc",
    ),
    *(
        "<s>",
        "</s>",
        "<unk>",
        "<pad>",
        "<0x41>",
        "<sep>the<sep>",
        "<ctl>",
        "日本日",
        " ⁇ ",
        "\U0010ffff",
    ),
    "the cat sat on the mat. " * 500,
    "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=5000)),
]


def trained(**spec: object) -> bytes:
    lines = [line for topic in topics.values() for line in topic.split("\n") if line.strip()]
    lines = lines[::4] + ["中文日本語 한국어 ไทย é e\u0301 ½ ﬁ ① x² ＡＢＣ ther"] * 5
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        **{"vocab_size": 1000, "minloglevel": 2, "hard_vocab_limit": False, **spec},
    )
    return model.getvalue()


@pytest.fixture(scope="module", params=VARIANTS)
def pair(request):
    model = trained(**VARIANTS[request.param])
    return SentencePieceTokenizer(model), reference_of(model)


def reference_of(model: bytes) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=model)


def check(
    ours: SentencePieceTokenizer, reference: sentencepiece.SentencePieceProcessor, texts: list[str]
) -> None:
    """Ids, spans in bytes, decoded text; and ids again by the way that computes no spans."""
    ids, spans = ours(texts, return_offsets=True)
    expected = reference.encode(texts, return_type="proto")
    for text, one, places, other in zip(
        texts, ids.to_list(), spans.to_list(), expected, strict=True
    ):
        assert one == [piece.id for piece in other.pieces], repr(text)
        assert places == [[piece.begin, piece.end] for piece in other.pieces], repr(text)
    check_ids(ours, reference, texts)


def check_ids(
    ours: SentencePieceTokenizer, reference: sentencepiece.SentencePieceProcessor, texts: list[str]
) -> None:
    ids = ours(texts)
    expected = reference.encode(texts, return_type=int)
    for text, one, other in zip(texts, ids.to_list(), expected, strict=True):
        assert one == other, repr(text)
    decoded = [text.decode() for text in ours.detokenize(ids).numpy()]
    assert decoded == reference.decode(expected)


def without(texts: list[str], characters: str) -> list[str]:
    return [text for text in texts if not set(text) & set(characters)]


def test_generated_strings(pair, unicode_strings):
    """100,000 over all variants: as they are, and those alone that go the shorter way."""
    for seed in range(4):
        texts = unicode_strings(seed, 1400)
        (check_ids if seed else check)(*pair, texts)
        check_ids(*pair, without(texts, "\0▁\t\n\r"))


def test_hard_texts(pair):
    check(*pair, HARD)
    for text in HARD:
        check_ids(*pair, [text])


def test_decoding_of_any_ids(pair):
    """Ids that no text gives: bytes that are no text, control symbols, spaces at the start."""
    ours, reference = pair
    size, source = ours.vocab_size, random.Random(0)
    spaces = [i for i in range(size) if reference.id_to_piece(i)[:1] == "▁"][:8]
    marks = [i for i in range(size) if set(reference.id_to_piece(i)) == {"▁"}]
    rows = [source.choices(range(size), k=source.randrange(9)) for _ in range(500)]
    rows += [source.choices(range(min(270, size)), k=source.randrange(9)) for _ in range(1000)]
    rows += [source.choices([0, 1, 2, *spaces, *marks * 3], k=source.randrange(6)) for _ in rows]
    decoded = [text.decode() for text in ours.detokenize(rows).numpy()]
    assert decoded == reference.decode(rows)


@pytest.fixture(scope="module")
def two() -> list[tuple]:
    models = [trained(), trained(**VARIANTS["bpe, Llama"])]
    return [(SentencePieceTokenizer(model), reference_of(model)) for model in models]


@hypothesis.settings(max_examples=50)
@hypothesis.given(texts=st.lists(st.text(), min_size=1, max_size=5))
def test_any_texts(two, texts):
    for pair in two:
        check(*pair, texts)


def test_characters(two, unicode_strings):
    """Spans in characters cut the text into the library's pieces."""
    texts = unicode_strings(9, 500)
    for ours, reference in two:
        _, spans = ours(texts, return_offsets="characters")
        for text, row in zip(texts, spans.to_list(), strict=True):
            encoded = reference.encode(text, return_type="proto")
            assert [text[a:b] for a, b in row] == [piece.surface for piece in encoded.pieces]


def test_ties_fall_as_in_the_library(two):
    """Pieces in another order have the same score but for rounding; the op's own search errs."""
    source = random.Random(0)
    texts = ["".join(source.choices(["0", "a", "-", "=", "l", " "], k=60)) for _ in range(3000)]
    texts += [c * n for c in "0a-=l.*" for n in range(1, 80)]
    for pair in two:
        check_ids(*pair, texts)


def _texts(path: Path, size: int) -> list[str]:
    """Stretches of `size` characters from all over a file; of all of it where KERAS_LM_ALL is."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    step = size if os.environ.get("KERAS_LM_ALL") else max(size, len(text) // 8)
    return [text[i : i + size] for i in range(0, len(text), step)]


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="no ../shared/data beside this checkout")
def test_real_texts(two):
    files = [path for path in sorted((SHARED / "data").rglob("*")) if path.is_file()]
    for path in files:
        if path.suffix != HELD_OUT:
            texts = _texts(path, size=1000)
            for pair in two:
                check(*pair, texts)


def test_inside_a_batch_a_text_is_what_it_is_alone(two):
    """One text that has to be normalized with care takes the whole batch along."""
    texts = ["a plain text", "marks ▁ and \0", "another", ""]
    for ours, _ in two:
        alone = [ours(text).numpy().tolist() for text in texts]
        assert ours(texts).to_list() == alone
        assert ours(tf.constant(texts[:1])).to_list() == alone[:1]
