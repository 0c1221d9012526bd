"""Training and calling a SentencePiece tokenizer."""

import random
import warnings
from pydoc_data.topics import topics

import keras
import pytest
import tensorflow as tf
from harness_sentencepiece import LETTERS, TEXTS, definition_of, reference_of, with_added

from keras_lm.tokenizers import Tokenizer
from keras_lm.tokenizers.sentencepiece import SentencePieceTokenizer
from keras_lm.tokenizers.sentencepiece.training import LONGEST, lines

# Training


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_same_text_gives_the_same_vocabulary(tmp_path, model_type):
    texts = list(topics.values())[:20]
    path = tmp_path / "topics.txt"
    path.write_text("".join(texts), encoding="utf-8")
    one, same = (
        SentencePieceTokenizer.train(texts=texts, vocab_size=400, model_type=model_type)
        for _ in range(2)
    )
    file = SentencePieceTokenizer.train([path], vocab_size=400, model_type=model_type)
    assert one.get_config() == same.get_config()
    assert one.vocab_size == file.vocab_size == 400
    assert list(tmp_path.iterdir()) == [path]


def test_special_tokens_of_training(tokenizer):
    names = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    assert dict(tokenizer.special_tokens) == names
    ids = (tokenizer.pad_id, tokenizer.eos_id, tokenizer.unk_id, tokenizer.bos_id)
    assert ids == (0, 1, 2, 3)
    reference = reference_of(tokenizer)
    assert ids == (
        reference.pad_id(), reference.eos_id(), reference.unk_id(), reference.bos_id()
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "named", "first"),
    [
        ((), {"unk_token": "<unk>"}, ["<unk>"]),
        (
            ["<|end|>", "<x>"],
            {**dict.fromkeys(("bos_token", "eos_token", "pad_token"), "<|end|>"),
             "unk_token": "<unk>"},
            ["<|end|>", "<x>", "<unk>"],
        ),
        (
            {"unk_token": "?", "mask_token": "[M]", "eos_token": "<e>", "pad_token": "<e>"},
            {"unk_token": "?", "mask_token": "[M]", "eos_token": "<e>", "pad_token": "<e>"},
            ["?", "[M]", "<e>"],
        ),
    ],
)  # fmt: skip
def test_given_special_tokens(given, named, first):
    tokenizer = SentencePieceTokenizer.train(
        texts=LETTERS, vocab_size=24, special_tokens=given, model_type="bpe"
    )
    assert dict(tokenizer.special_tokens) == named
    assert [tokenizer.id_to_token(i) for i in range(len(first))] == first
    again = SentencePieceTokenizer(definition_of(tokenizer))  # what the model itself knows
    assert {part: named[part] for part in again.special_tokens} == dict(again.special_tokens)


def test_byte_fallback_of_training(bpe):
    text = "naïve  中文 \n👩 "
    assert bpe.detokenize(bpe(text)).numpy().decode() == text
    assert bpe.byte_lengths[bpe.token_to_id("<0xE4>")] == 1
    assert bpe.byte_lengths[:4].tolist() == [0, 0, 0, 0]
    assert bpe.byte_lengths[bpe.token_to_id("▁the")] == 4


def test_no_text_is_lost():
    """The trainer leaves out long lines, and lines with NUL or U+2585, without a word."""
    long = "abc " * 3000 + "x" * 9999 + "é" * 9999
    pieces = list(lines([long + "\nq\0w\u2585e", "r"]))
    assert "".join(pieces) == long + "qwer"
    assert max(len(piece.encode()) for piece in pieces) <= LONGEST
    tokenizer = SentencePieceTokenizer.train(
        texts=["q\0w\u2585e", "x" * 9999 + "y"] * 9, vocab_size=12, character_coverage=1.0
    )
    assert tokenizer.unk_id not in tokenizer("q w e x y").numpy()


def test_texts_may_be_any_iterable():
    tokenizer = SentencePieceTokenizer.train(texts=iter(LETTERS), vocab_size=24, model_type="bpe")
    assert tokenizer.vocab_size == 24


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_too_little_text_warns_with_the_size_reached(model_type):
    with pytest.warns(UserWarning, match=r"vocabulary of \d\d tokens only, not vocab_size=5000"):
        SentencePieceTokenizer.train(texts=LETTERS, vocab_size=5000, model_type=model_type)


def test_text_that_is_long_enough_does_not_warn(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SentencePieceTokenizer.train(texts=LETTERS, vocab_size=24, model_type="bpe")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of files and texts"),
        ({"files": ["a"], "texts": ["a"]}, "exactly one of files and texts"),
        ({"texts": "a text"}, "texts='a text' must be a list"),
        ({"texts": []}, "no text to learn from"),
        ({"texts": ["", " \n"]}, "no text to learn from"),
        ({"texts": LETTERS, "vocab_size": 4}, "vocab_size=4 must be at least 5"),
        ({"texts": LETTERS, "vocab_size": 12}, "vocab_size=12 must be at least 1[0-9]"),
        ({"texts": LETTERS, "byte_fallback": True}, "must be at least 261: 256 bytes"),
        ({"texts": LETTERS, "model_type": "word"}, "model_type='word' must be one of unigram, bpe"),
        ({"texts": LETTERS, "normalization": "NFD"}, "normalization='NFD' must be one of nmt_nfkc"),
        ({"texts": LETTERS, "character_coverage": 2}, r"character_coverage=2 must be in \[0.98, 1"),
        ({"texts": ["a"], "special_tokens": ["a", "a"]}, "must be distinct"),
        ({"texts": ["a"], "special_tokens": {"x": "a"}}, "special_tokens has 'x'"),
        ({"texts": ["a", 3]}, r"texts\[1\] is of type int"),
    ],
)
def test_bad_training_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SentencePieceTokenizer.train(**{"vocab_size": 20, **arguments})


# Calling


@pytest.mark.parametrize("name", ["tokenizer", "bpe"])
def test_shapes_and_types(request, name):
    tokenizer = request.getfixturevalue(name)
    one, many, none = tokenizer("a dog"), tokenizer(["a dog", "a"]), tokenizer([])
    assert one.dtype == many.dtype == tf.int32
    assert one.shape.rank == 1
    assert many.to_list()[0] == one.numpy().tolist()
    assert none.shape[0] == 0
    assert tokenizer([""]).to_list() == [[]]
    ids, spans = tokenizer(["a dog", "a"], sequence_length=3, return_offsets=True)
    assert ids.shape == (2, 3)
    assert spans.shape == (2, 3, 2)
    ids, spans = tokenizer([""], return_offsets=True)
    assert ids.to_list() == spans.to_list() == [[]]
    assert tokenizer([], return_offsets=True)[1].to_list() == []


def test_in_the_graph(tokenizer, bpe):
    texts = [*TEXTS, *list(topics.values())[:6]]
    for one in (tokenizer, bpe):
        data = tf.data.Dataset.from_tensor_slices(texts).batch(4).map(one).unbatch()
        assert [ids.numpy().tolist() for ids in data] == one(texts).to_list()
        single = tf.data.Dataset.from_tensor_slices(texts).map(one)
        assert [ids.numpy().tolist() for ids in single] == one(texts).to_list()
        there_and_back = tf.function(
            lambda texts, one=one: one.detokenize(one(texts)),
            input_signature=[tf.TensorSpec([None], tf.string)],
        )
        expected = one.detokenize(one(texts)).numpy().tolist()
        assert there_and_back(texts).numpy().tolist() == expected
        there_and_back(TEXTS)
        assert there_and_back.experimental_get_tracing_count() == 1


def test_seeds_do_not_disturb_it(tokenizer):
    """Setting one makes the runtime drop its kernels, and what belongs to them."""
    ids = tokenizer(TEXTS).to_list()
    keras.utils.set_random_seed(1)
    assert tokenizer(TEXTS).to_list() == ids


def test_texts_that_are_not_utf8(tokenizer, bpe):
    for one in (tokenizer, bpe):
        for wrong in (b"\xff", b"a\x80", b"\xed\xa0\x80a\xed\xa0\x81", b"\xc3"):
            with pytest.raises(tf.errors.InvalidArgumentError, match="valid UTF-8"):
                one([b"fine", wrong, b"\x80"])
            with pytest.raises(tf.errors.InvalidArgumentError, match="valid UTF-8"):
                one([b"fine", wrong], return_offsets=True)
        replaced = one([b"a\xffb"], errors="replace").to_list()
        assert replaced == one(["a\ufffdb"]).to_list()


def test_detokenize(tokenizer, reference):
    ids = [0, 3, *tokenizer("a dog").numpy().tolist(), 2, 1, 0]
    assert tokenizer.detokenize(ids).numpy().decode() == reference.decode(ids) == "a dog ⁇ "
    assert tokenizer.detokenize(ids, skip_special_tokens=True).numpy() == b"a dog"
    assert tokenizer.detokenize([]).numpy() == b""
    assert tokenizer.detokenize([[], [1]]).numpy().tolist() == [b"", b""]
    with pytest.raises(ValueError, match=r"must be in \[0, 800\)"):
        tokenizer.detokenize([800])
    for wrong in (tf.constant([[800]]), tf.constant([[1], [-1]], tf.int64)):
        with pytest.raises(tf.errors.InvalidArgumentError):
            tokenizer.detokenize(wrong)


def test_bytes_that_are_no_text_decode_as_in_the_library(bpe):
    ids = [bpe.token_to_id(f"<0x{byte:02X}>") for byte in b"\xe4\xb8a\xe4\xb8\xad\xff\xed\xa0\x80"]
    for row in (ids, ids[:2], [*ids[:1], 1, *ids[1:2]], ids[::-1]):
        assert bpe.detokenize(row).numpy().decode() == reference_of(bpe).decode(row)
    assert bpe.detokenize(ids[:2]).numpy().decode() == "\ufffd\ufffd"


# Tokens beside the model


ADDED = {
    "1": {"content": "</s>", "special": True},
    "802": {"content": "<|a|>", "special": True},
    "803": {"content": "<|a|>b", "special": False},
    "805": {"content": "naïve▁\\1", "special": False},
}


def test_added_tokens(tokenizer, reference):
    ours = with_added(tokenizer, added_tokens_decoder=ADDED)
    assert ours.vocab_size == 806
    assert ours.token_to_id("<|a|>b") == 803
    pieces = ["<|a|>", "<|a|>b", "naïve▁\\1", "the", " ", "x y", "  ", "é", "</s>", "\0", "naïve"]
    ids = {entry["content"]: int(i) for i, entry in ADDED.items() if int(i) > 800}
    source = random.Random(0)
    rows = [source.choices(pieces, k=source.randrange(9)) for _ in range(500)]
    texts = ["".join(row) for row in rows]
    got, spans = ours(texts, return_offsets=True)
    assert got.to_list() == ours(texts).to_list()
    for text, one, places in zip(texts, got.to_list(), spans.to_list(), strict=True):
        expected, expected_spans = by_hand(text, ids, reference)
        assert one == expected, repr(text)
        assert places == expected_spans, repr(text)


def by_hand(text: str, added: dict[str, int], reference) -> tuple[list[int], list[list[int]]]:
    """The leftmost added token, then the longest; each stretch between is encoded by itself."""
    ids, spans, stretch, at = [], [], "", 0

    def finish():
        encoded = reference.encode(stretch, return_type="proto")
        start = len(text[:at].encode()) - len(stretch.encode())
        ids.extend(piece.id for piece in encoded.pieces)
        spans.extend([start + piece.begin, start + piece.end] for piece in encoded.pieces)

    while at < len(text):
        found = [token for token in added if text.startswith(token, at)]
        if not found:
            stretch, at = stretch + text[at], at + 1
            continue
        finish()
        token, stretch = max(found, key=len), ""
        start = len(text[:at].encode())
        ids.append(added[token])
        spans.append([start, start + len(token.encode())])
        at += len(token)
    finish()
    return ids, spans


def test_added_tokens_are_decoded(tokenizer):
    ours = with_added(tokenizer, added_tokens_decoder=ADDED, eos_token="<|a|>")
    ids = ours("the <|a|> dog<|a|>b")
    assert ours.detokenize(ids).numpy() == b"the<|a|> dog<|a|>b"
    assert ours.detokenize(ids, skip_special_tokens=True).numpy() == b"the dog<|a|>b"
    assert ours.detokenize([801, 804]).numpy() == b""  # ids that no token has
    assert ours.byte_lengths[[801, 802, 803]].tolist() == [0, 0, 6]
    assert ours.eos_id == 802


def test_legacy(bpe):
    """Unless it is false, every stretch has a dummy prefix."""
    added = {"1000": {"content": "<|a|>", "special": True}}
    legacy = with_added(bpe, added_tokens_decoder=added)
    newer = with_added(bpe, added_tokens_decoder=added, legacy=False)
    plain = bpe("the").numpy().tolist()
    assert legacy("the<|a|>the").numpy().tolist() == [*plain, 1000, *plain]
    ids = newer("the<|a|>the<|a|> the").numpy().tolist()
    assert ids[: len(plain) + 1] == [*plain, 1000]
    assert ids[-len(plain) :] == plain
    assert "".join(newer.id_to_token(i) for i in ids) == "▁the<|a|>the<|a|>▁the"
    assert newer.detokenize(ids).numpy() == b"the<|a|>the<|a|> the"


def test_sentinels_of_t5(tokenizer):
    ours = with_added(tokenizer, extra_ids=100, tokenizer_class="T5Tokenizer")
    assert ours.vocab_size == 900
    assert ours.token_to_id("<extra_id_0>") == 899
    assert ours.token_to_id("<extra_id_99>") == 800
    assert ours("<extra_id_0><extra_id_10>").numpy().tolist() == [899, 889]


def test_file_of_added_tokens(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    (tmp_path / "added_tokens.json").write_text('{"<x>": 800, "<y>": 801}', encoding="utf-8")
    ours = Tokenizer.load(tmp_path)
    assert ours("<y><x>").numpy().tolist() == [801, 800]
    ours.save(tmp_path / "again")
    assert Tokenizer.load(tmp_path / "again")("<y><x>").numpy().tolist() == [801, 800]
