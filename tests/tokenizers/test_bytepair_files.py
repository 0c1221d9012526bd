"""Saving and loading a byte-level BPE tokenizer, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import pytest
import tensorflow as tf
import tokenizers
from harness_bytepair import REGEXES

from keras_lm.tokenizers import BytePairTokenizer, Tokenizer

END = "<|endoftext|>"
TEXTS = ["It's a dog.  Naïve 中文!", "", f"a{END} b"]


# Saving and loading


@pytest.mark.parametrize("kind", [Tokenizer, BytePairTokenizer])
def test_save_and_load(tokenizer, tmp_path, kind):
    tokenizer.save(tmp_path / "saved")
    tokenizer.save(tmp_path / "saved")
    names = sorted(path.name for path in (tmp_path / "saved").iterdir())
    assert names == ["tokenizer.json", "tokenizer_config.json"]
    loaded = kind.load(tmp_path / "saved")
    assert type(loaded) is BytePairTokenizer
    assert loaded.get_config() == tokenizer.get_config()
    assert loaded(TEXTS).to_list() == tokenizer(TEXTS).to_list()
    reference = tokenizers.Tokenizer.from_file(str(tmp_path / "saved" / "tokenizer.json"))
    assert [reference.encode(text).ids for text in TEXTS] == tokenizer(TEXTS).to_list()
    file = kind.load(tmp_path / "saved" / "tokenizer.json")
    assert file.eos_id == tokenizer.eos_id


def test_keras_serialization(tokenizer):
    saved = json.loads(json.dumps(keras.saving.serialize_keras_object(tokenizer)))
    assert keras.saving.deserialize_keras_object(saved).get_config() == tokenizer.get_config()


def test_gpt2_layout(tokenizer, rules, tmp_path):
    (tmp_path / "vocab.json").write_text(json.dumps(rules["model"]["vocab"]), encoding="utf-8")
    merges = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in rules["model"]["merges"])])
    (tmp_path / "merges.txt").write_text(merges + "\n", encoding="utf-8")
    loaded = Tokenizer.load(tmp_path)
    assert loaded(TEXTS).to_list() == tokenizer(TEXTS).to_list()
    assert loaded.special_tokens == tokenizer.special_tokens
    loaded.save(tmp_path / "new")
    reference = tokenizers.Tokenizer.from_file(str(tmp_path / "new" / "tokenizer.json"))
    assert reference.encode(TEXTS[0]).ids == tokenizer(TEXTS[0]).numpy().tolist()


def test_bytes_alone_are_another_kind(rules):
    for merges, use_regex, is_ours in (
        ([], False, False),
        ([], True, True),
        (["a b"], False, True),
    ):
        rules["model"]["merges"] = merges
        rules["pre_tokenizer"]["use_regex"] = use_regex
        assert BytePairTokenizer.reads(json.dumps(rules)) is is_ours
    assert not BytePairTokenizer.reads(b"a SentencePiece model")


def test_settings_beside_the_file(rules, write_rules, tmp_path):
    path = write_rules(rules)
    assert Tokenizer.load(path).eos_id == Tokenizer.load(tmp_path).pad_id == 0
    settings = {"eos_token": {"content": "Ġthe"}, "pad_token": END, "bos_token": None}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(settings), encoding="utf-8")
    loaded = Tokenizer.load(tmp_path)
    assert loaded.special_tokens == {"eos_token": "Ġthe", "pad_token": END}
    settings["pad_token"] = "[PAD]"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(ValueError, match=r"pad_token='\[PAD\]' is not a token"):
        Tokenizer.load(tmp_path)


FRESH_PROCESS = """
import sys, json
import tensorflow as tf
import tensorflow_text
loaded = tf.saved_model.load(sys.argv[1])
ids = loaded.tokenize(tf.constant(json.loads(sys.argv[2])))
texts = loaded.signatures["serving_default"](tf.constant(json.loads(sys.argv[2])))["texts"]
assert not any(name.split(".")[0] in ("keras_lm", "tokenizers") for name in sys.modules)
print(json.dumps([ids.to_list(), [text.decode() for text in texts.numpy()]]))
"""


class Served(tf.Module):
    """A tokenizer inside of another module, as a task would hold it."""

    def __init__(self, tokenizer):
        super().__init__(name="served")
        self.tokenizer = tokenizer

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def tokenize(self, texts):
        return self.tokenizer(texts)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve(self, texts):
        return {"texts": self.tokenizer.detokenize(self.tokenizer(texts))}


def test_saved_model_in_a_fresh_process(tokenizer, tmp_path):
    served = Served(tokenizer)
    tf.saved_model.save(served, str(tmp_path / "saved"), signatures=served.serve)
    command = [sys.executable, "-c", FRESH_PROCESS, str(tmp_path / "saved"), json.dumps(TEXTS)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    ids, texts = json.loads(result.stdout.splitlines()[-1])
    assert ids == tokenizer(TEXTS).to_list()
    assert texts == TEXTS


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Tokenizer.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"holds no tokenizer: no tokenizer\.json"):
        Tokenizer.load(tmp_path)


def test_damaged_files(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    whole = path.read_bytes()
    for damaged, message in (
        (whole[: len(whole) // 2], "not valid JSON"),
        (b"", "not valid JSON"),
        (b"\xff" + whole, "not UTF-8 at byte 0"),
        (b"[]", "has no 'model'"),
        (b'{"model": 3}', "has no 'model'"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=message) as error:
            Tokenizer.load(tmp_path)
        assert str(tmp_path) in str(error.value)


SPLIT = {"type": "Split", "pattern": {"Regex": REGEXES["llama3"]}, "behavior": "Isolated",
         "invert": False}  # fmt: skip


def in_sequence(*steps: dict, use_regex: bool = False, add_prefix_space: bool = False) -> dict:
    """A pre-tokenizer with the steps before ByteLevel."""
    last = {"type": "ByteLevel", "use_regex": use_regex, "add_prefix_space": add_prefix_space}
    return {"type": "Sequence", "pretokenizers": [*steps, last]}


ADDED = {"id": 2000, "content": "<x>", "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}  # fmt: skip


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("model.type", "Unigram", "model.type = 'Unigram'"),
        ("model.dropout", 0.1, "model.dropout = 0.1"),
        ("model.byte_fallback", True, "model.byte_fallback = True"),
        ("model.continuing_subword_prefix", "##", "continuing_subword_prefix = '##'"),
        ("model.end_of_word_suffix", "</w>", "end_of_word_suffix = '</w>'"),
        ("normalizer", {"type": "NFKC"}, "normalizer = 'NFKC'"),
        ("pre_tokenizer", {"type": "Sequence"}, "no list of 'pretokenizers'"),
        ("pre_tokenizer", None, "pre_tokenizer.type = None"),
        ("pre_tokenizer", in_sequence(SPLIT | {"behavior": "Removed"}), "behavior = 'Removed'"),
        ("pre_tokenizer", in_sequence(SPLIT | {"invert": True}), "invert = True"),
        ("pre_tokenizer", in_sequence(SPLIT | {"pattern": {"Regex": "a+"}}), r"'a\+'\} of this"),
        (
            "pre_tokenizer",
            in_sequence(SPLIT | {"pattern": {"String": "a"}}),
            "only those of llama3",
        ),
        ("pre_tokenizer", in_sequence(SPLIT, use_regex=True), "use_regex = True"),
        ("pre_tokenizer", in_sequence(SPLIT, add_prefix_space=True), "add_prefix_space = True"),
        ("pre_tokenizer", in_sequence(SPLIT, SPLIT), "steps before ByteLevel = 2"),
        ("pre_tokenizer", in_sequence({"type": "Digits"}, use_regex=True), "individual_digits"),
        ("pre_tokenizer", in_sequence({"type": "Whitespace"}), "pre_tokenizer = 'Whitespace'"),
        ("post_processor", {"type": "Bert"}, "post_processor = 'Bert'"),
        ("pre_tokenizer.use_regex", False, "pre_tokenizer.use_regex = False"),
        ("decoder", None, "decoder.type = None"),
        ("model.vocab", {"a": 0}, "lacks 255 of the 256 bytes"),
        ("model.vocab", None, "model.vocab must map"),
        ("model.merges", None, "model.merges must be a list"),
        ("model.merges", ["a b c"], r"merges\[0\] = 'a b c' is not a pair"),
        ("model.merges", [["a", "\u0100\u0100\u0100"]], "is not in the vocab"),
        ("added_tokens", [ADDED | {"single_word": True}], "single_word = True"),
        ("added_tokens", [ADDED | {"content": ""}], "empty content"),
        (
            "added_tokens",
            [ADDED, ADDED | {"content": ">y", "normalized": True, "id": 2001}],
            "overlap and differ in 'normalized'",
        ),
        (
            "added_tokens",
            [ADDED | {"lstrip": True}, ADDED | {"content": " y", "id": 2001}],
            "begins or ends with white space",
        ),
    ],
)
def test_rules_that_cannot_be_followed(rules, write_rules, place, value, message):
    *parents, last = place.split(".")
    target = rules
    for parent in parents:
        target = target[parent]
    target[last] = value
    path = write_rules(rules)
    with pytest.raises(ValueError, match=message) as error:
        Tokenizer.load(path)
    assert Path(path).name in str(error.value)
