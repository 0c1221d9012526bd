"""Training, calling, saving and loading a SentencePiece tokenizer, and what it refuses."""

import io
import json
import random
import subprocess
import sys
import warnings
from pydoc_data.topics import topics

import keras
import pytest
import sentencepiece
import tensorflow as tf

from keras_lm.tokenizers import Tokenizer
from keras_lm.tokenizers.sentencepiece import SentencePieceTokenizer
from keras_lm.tokenizers.sentencepiece_training import LONGEST, lines

TEXTS = ["The value of an object.", "", "naïve  中文 ▁"]
LETTERS = ["the cat sat on the mat and the dog sat on the cat"] * 9


@pytest.fixture(scope="module")
def tokenizer() -> SentencePieceTokenizer:
    return SentencePieceTokenizer.train(texts=list(topics.values())[:60], vocab_size=800)


@pytest.fixture(scope="module")
def bpe() -> SentencePieceTokenizer:
    return SentencePieceTokenizer.train(
        texts=list(topics.values())[:60],
        vocab_size=1000,
        model_type="bpe",
        byte_fallback=True,
        normalization="identity",
    )


@pytest.fixture
def reference(tokenizer) -> sentencepiece.SentencePieceProcessor:
    return reference_of(tokenizer)


def definition_of(tokenizer: SentencePieceTokenizer) -> bytes:
    return tokenizer._files()["spiece.model"]


def reference_of(tokenizer: SentencePieceTokenizer) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=definition_of(tokenizer))


def changed(definition: bytes, change) -> bytes:
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto.FromString(definition)
    change(model)
    return model.SerializeToString()


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


def with_added(tokenizer: SentencePieceTokenizer, **settings) -> SentencePieceTokenizer:
    return SentencePieceTokenizer(definition_of(tokenizer), settings)


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


# Saving and loading


@pytest.mark.parametrize("name", ["tokenizer", "bpe"])
@pytest.mark.parametrize("kind", [Tokenizer, SentencePieceTokenizer])
def test_save_and_load(request, tmp_path, name, kind):
    tokenizer = request.getfixturevalue(name)
    tokenizer.save(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["spiece.model", "tokenizer_config.json"]
    loaded = kind.load(tmp_path)
    assert type(loaded) is SentencePieceTokenizer
    assert loaded.get_config() == tokenizer.get_config()
    assert loaded(TEXTS).to_list() == tokenizer(TEXTS).to_list()
    reference = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
    assert reference.encode(TEXTS) == loaded(TEXTS).to_list()
    (tmp_path / "tokenizer_config.json").unlink()
    file = kind.load(tmp_path / "spiece.model")
    assert file.special_tokens == tokenizer.special_tokens


def test_keras_serialization(tokenizer):
    saved = json.loads(json.dumps(keras.saving.serialize_keras_object(tokenizer)))
    loaded = keras.saving.deserialize_keras_object(saved)
    assert loaded.get_config() == tokenizer.get_config()


FRESH_PROCESS = """
import sys, json
import tensorflow as tf
import tensorflow_text
loaded = tf.saved_model.load(sys.argv[1])
texts = tf.constant(json.loads(sys.argv[2]))
tf.random.set_seed(0)  # drops the kernels of the runtime
encoded = [one.to_list() for one in loaded.tokenize(texts)]
decoded = loaded.signatures["serving_default"](texts)["texts"]
assert not any(name.split(".")[0] in ("keras_lm", "sentencepiece") for name in sys.modules)
print(json.dumps([encoded, [text.decode() for text in decoded.numpy()]]))
"""


class Served(tf.Module):
    """Tokenizers inside of another module, as a task would hold them."""

    def __init__(self, tokenizers):
        super().__init__(name="served")
        self.tokenizers = tokenizers

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def tokenize(self, texts):
        return [part for one in self.tokenizers for part in one(texts, return_offsets=True)]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve(self, texts):
        decoded = [one.detokenize(one(texts)) for one in self.tokenizers]
        return {"texts": tf.concat(decoded, 0)}


def test_saved_model_in_a_fresh_process(tokenizer, bpe, tmp_path):
    added = {"1001": {"content": "obj"}}
    served = Served([with_added(one, added_tokens_decoder=added) for one in (tokenizer, bpe)])
    tf.saved_model.save(served, str(tmp_path / "saved"), signatures=served.serve)
    command = [sys.executable, "-c", FRESH_PROCESS, str(tmp_path / "saved"), json.dumps(TEXTS)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    encoded, texts = json.loads(result.stdout.splitlines()[-1])
    assert encoded == [one.to_list() for one in served.tokenize(tf.constant(TEXTS))]
    expected = served.serve(tf.constant(TEXTS))["texts"]
    assert texts == [text.decode() for text in expected.numpy()]


def test_without_tensorflow_text(tokenizer, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_text", None)
    with pytest.raises(ImportError, match="pip install tensorflow-text"):
        SentencePieceTokenizer(definition_of(tokenizer))


# What is refused


def test_damaged_files(tokenizer, tmp_path):
    whole = definition_of(tokenizer)
    path = tmp_path / "spiece.model"
    for damaged in (b"", b"\xff" * 20, whole[: len(whole) // 2], whole[:-1], b"[]", b"\n" + whole):
        path.write_bytes(damaged)
        for place in (path, tmp_path):
            with pytest.raises(ValueError, match="spiece") as error:
                Tokenizer.load(place)
            assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("name", ["tokenizer", "bpe"])
def test_mutated_files(request, name):
    """An error or a tokenizer, never a crash; small files, for speed."""
    texts = tf.constant(["the cat\0", "▁ 日本 \x01"])
    kind = {"tokenizer": "unigram", "bpe": "bpe"}[name]
    small = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LETTERS), model_writer=small, vocab_size=30, model_type=kind,
        minloglevel=2, hard_vocab_limit=False, user_defined_symbols=["sat"],
        normalization_rule_name="identity",
    )  # fmt: skip
    large, source, loaded = definition_of(request.getfixturevalue(name)), random.Random(0), 0
    for step in range(600):
        data = bytearray(small.getvalue() if step % 50 else large)
        at = source.randrange(len(data))
        match source.randrange(4):
            case 0:
                del data[at:]
            case 1:
                del data[at : at + source.randrange(1, 30)]
            case 2:
                data[at:at] = source.randbytes(source.randrange(1, 9))
            case 3:
                data[at] ^= 1 << source.randrange(8)
        try:
            ours = SentencePieceTokenizer(bytes(data))
        except ValueError:
            continue
        loaded += 1
        if loaded < 10:
            ids, _ = ours(texts, return_offsets=True)
            ours.detokenize(ids)
    assert 30 < loaded < 570


def test_one_that_lacks_what_the_library_needs(tokenizer):
    def no_unknown(model):
        model.pieces[2].type = 1

    def two_of_one(model):
        model.pieces[10].piece = model.pieces[11].piece

    def no_number(model):
        model.pieces[10].score = float("nan")

    def not_utf8(model):
        model.normalizer_spec.precompiled_charsmap += b"\xff\0"

    for change in (no_unknown, two_of_one, no_number, not_utf8):
        with pytest.raises(ValueError, match="SentencePiece model"):
            SentencePieceTokenizer(changed(definition_of(tokenizer), change))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("trainer_spec.treat_whitespace_as_suffix", True, "treat_whitespace_as_suffix = true"),
        ("normalizer_spec.escape_whitespaces", False, "escape_whitespaces = false"),
        ("denormalizer_spec.precompiled_charsmap", b"x", "denormalizer|damaged"),
    ],
)
def test_rules_that_cannot_be_followed(tokenizer, name, value, message):
    def change(model):
        spec, field = name.split(".")
        setattr(getattr(model, spec), field, value)

    with pytest.raises(ValueError, match=message):
        SentencePieceTokenizer(changed(definition_of(tokenizer), change))


def test_control_symbol_of_one_character(bpe):
    def change(model):
        model.pieces[3].piece = "\U0010fffd"

    with pytest.raises(ValueError, match="control symbol '.*' of one character"):
        SentencePieceTokenizer(changed(definition_of(bpe), change))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokenizer_class": "XLMRobertaTokenizer"}, "tokenizer_class = 'XLMRobertaTokenizer'"),
        ({"tokenizer_class": "CamembertTokenizerFast"}, "its ids are not those of its"),
        ({"eos_token": "<none>"}, "eos_token='<none>' is not a token"),
        ({"added_tokens_decoder": {"5": {"content": "<x>"}}}, "gives '<x>' the id 5, which is"),
        ({"added_tokens_decoder": {"900": {"content": "<s>"}}}, "yet it is a piece"),
        (
            {"added_tokens_decoder": {"900": {"content": "<x>", "single_word": True}}},
            "single_word = True",
        ),
        (
            {"added_tokens_decoder": {"900": {"content": "<x>"}}, "legacy": False},
            "legacy = false",
        ),
    ],
)
def test_settings_that_cannot_be_followed(tokenizer, settings, message):
    with pytest.raises(ValueError, match=message):
        with_added(tokenizer, **settings)


def test_white_space_beside_an_added_token(bpe):
    added = {"1000": {"content": "<x>", "lstrip": True}}
    with pytest.raises(ValueError, match="lstrip and rstrip are not supported"):
        with_added(bpe, added_tokens_decoder=added)
