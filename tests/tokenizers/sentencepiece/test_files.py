"""Saving and loading a SentencePiece tokenizer, and what it refuses."""

import io
import json
import random
import subprocess
import sys

import keras
import pytest
import sentencepiece
import tensorflow as tf
from harness_sentencepiece import LETTERS, TEXTS, changed, definition_of, with_added

from keras_lm.tokenizers import Tokenizer
from keras_lm.tokenizers.sentencepiece import SentencePieceTokenizer

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
