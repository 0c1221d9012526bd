"""Training, calling, saving and loading a byte-level BPE tokenizer, and what it refuses."""

import json
import subprocess
import sys
import warnings
from pathlib import Path
from pydoc_data.topics import topics

import keras
import pytest
import tensorflow as tf
import tokenizers

from keras_lm.tokenizers import BytePairTokenizer, Tokenizer

END = "<|endoftext|>"
TEXTS = ["It's a dog.  Naïve 中文!", "", f"a{END} b"]


# Training


def test_same_text_gives_the_same_vocabulary(tmp_path, tokenizer):
    texts = list(topics.values())
    assert BytePairTokenizer.train(texts=texts, vocab_size=2000).get_config() == (
        tokenizer.get_config()
    )
    path = tmp_path / "topics.txt"
    path.write_text("".join(texts[:20]) * 5, encoding="utf-8")
    from_file, again = (BytePairTokenizer.train([path], vocab_size=500) for _ in range(2))
    assert from_file.get_config() == again.get_config()
    assert from_file.vocab_size == 500


def test_special_tokens_of_training(tokenizer):
    assert tokenizer.vocab_size == 2000
    assert tokenizer.bos_id == tokenizer.eos_id == tokenizer.pad_id == tokenizer.token_to_id(END)
    assert tokenizer.unk_id is None
    assert tokenizer.special_tokens["eos_token"] == END
    plain = BytePairTokenizer.train(texts=["aa"] * 2, vocab_size=257, special_tokens=())
    assert plain.eos_id is None
    assert plain.special_tokens == {}
    assert plain(END).shape[0] == len(END)


def test_vocabulary_without_merges():
    tokenizer = BytePairTokenizer.train(texts=["abc"], vocab_size=257)
    assert tokenizer.detokenize(tokenizer(TEXTS)).numpy()[0].decode() == TEXTS[0]


def test_too_little_text_warns_with_the_size_reached():
    with pytest.warns(UserWarning, match="258 tokens only, not vocab_size=5000"):
        BytePairTokenizer.train(texts=["aa aa"], vocab_size=5000)


def test_text_that_is_long_enough_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BytePairTokenizer.train(texts=["ab"] * 2, vocab_size=258)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of files and texts"),
        ({"files": ["a"], "texts": ["a"]}, "exactly one of files and texts"),
        ({"texts": "a text"}, "texts='a text' must be a list"),
        ({"texts": ["a"], "vocab_size": 256}, "vocab_size=256 must be at least 257"),
        ({"texts": ["a"], "special_tokens": ["a", "a"]}, "must be distinct"),
        ({"texts": ["a"], "special_tokens": [""]}, "not empty"),
        ({"texts": ["a", 3]}, r"texts\[1\] is of type int"),
    ],
)
def test_bad_training_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        BytePairTokenizer.train(**{"vocab_size": 300, **arguments})


def test_bad_training_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt"):
        BytePairTokenizer.train(files=[tmp_path / "nowhere.txt"], vocab_size=300)
    path = tmp_path / "latin.txt"
    path.write_bytes(b"fine\n" * 300_000 + "naïve".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.txt', line 300001: not UTF-8 at byte 1500002"):
        BytePairTokenizer.train(files=[path], vocab_size=300)


# Calling


def test_shapes_and_types(tokenizer):
    one, many, none = tokenizer("a dog"), tokenizer(["a dog", "a"]), tokenizer([])
    assert isinstance(one, tf.Tensor)
    assert one.dtype == many.dtype == tf.int32
    assert one.shape.rank == 1
    assert isinstance(many, tf.RaggedTensor)
    assert many.to_list()[0] == one.numpy().tolist()
    assert none.shape[0] == 0
    assert tokenizer(tf.constant("a dog")).shape == one.shape
    assert tokenizer(tf.constant(["a dog"])).to_list() == [one.numpy().tolist()]
    assert tokenizer([b"a dog"]).to_list() == [one.numpy().tolist()]


def test_sequence_length_cuts_and_pads(tokenizer):
    ids = tokenizer(["a dog", "a cat and a dog and a cat", ""], sequence_length=4)
    assert ids.shape == (3, 4)
    whole = tokenizer("a cat and a dog and a cat").numpy().tolist()
    assert ids[1].numpy().tolist() == whole[:4]
    assert ids[2].numpy().tolist() == [tokenizer.pad_id] * 4
    assert tokenizer("a", sequence_length=4).shape == (4,)


def test_in_the_graph(tokenizer):
    texts = [*TEXTS, *list(topics.values())[:6]]
    data = tf.data.Dataset.from_tensor_slices(texts).batch(4).map(tokenizer).unbatch()
    assert [ids.numpy().tolist() for ids in data] == tokenizer(texts).to_list()
    one = tf.data.Dataset.from_tensor_slices(texts).map(tokenizer)
    assert [ids.numpy().tolist() for ids in one] == tokenizer(texts).to_list()
    traces = []

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def there_and_back(texts):
        traces.append(1)
        return tokenizer.detokenize(tokenizer(texts))

    assert there_and_back(TEXTS).numpy().tolist() == [text.encode() for text in TEXTS]
    there_and_back(texts)
    assert len(traces) == 1


def test_detokenize_shapes(tokenizer):
    ids = tokenizer(["a dog", "a"])
    assert tokenizer.detokenize(ids[0]).numpy() == b"a dog"
    assert tokenizer.detokenize(ids[0].numpy().tolist()).numpy() == b"a dog"
    assert tokenizer.detokenize(ids.to_list()).numpy().tolist() == [b"a dog", b"a"]
    assert tokenizer.detokenize([]).numpy() == b""
    assert tokenizer.detokenize([[], []]).numpy().tolist() == [b"", b""]
    padded = tokenizer(["a dog", "a"], sequence_length=5)
    for batch in (padded, padded.numpy(), tf.cast(padded, tf.int64)):
        texts = tokenizer.detokenize(batch, skip_special_tokens=True)
        assert texts.numpy().tolist() == [b"a dog", b"a"]
    assert tokenizer.detokenize(padded)[1].numpy().decode() == "a" + END * 4


def test_tokens_by_name(tokenizer):
    assert tokenizer.id_to_token(tokenizer.token_to_id("Ġthe")) == "Ġthe"
    with pytest.raises(ValueError, match="token='no such token' is not in"):
        tokenizer.token_to_id("no such token")
    with pytest.raises(ValueError, match=r"id=2000 names no token; ids are in \[0, 2000\)"):
        tokenizer.id_to_token(2000)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (3, "not a int32 tensor"),
        (["a", None], r"texts\[1\] is of type NoneType"),
        ([["a"]], r"texts\[0\] is of type list"),
        (tf.constant([["a"]]), r"shape \(1, 1\)"),
    ],
)
def test_bad_texts(tokenizer, texts, message):
    with pytest.raises(ValueError, match=message):
        tokenizer(texts)


def test_bad_sequence_length(tokenizer):
    with pytest.raises(ValueError, match="sequence_length=0"):
        tokenizer("a", sequence_length=0)
    plain = BytePairTokenizer.train(texts=["aa"] * 2, vocab_size=257, special_tokens=())
    with pytest.raises(ValueError, match="needs a padding token"):
        plain("a", sequence_length=3)


def test_texts_that_are_not_utf8(tokenizer):
    for wrong in (b"\xff", b"a\x80", b"\xed\xa0\x80a\xed\xa0\x81", b"\xc3"):
        with pytest.raises(tf.errors.InvalidArgumentError, match="valid UTF-8"):
            tokenizer([b"fine", wrong])


def test_bad_ids(tokenizer):
    for ids in ([1, 2000], [[1], [-1]]):
        with pytest.raises(ValueError, match=r"must be in \[0, 2000\)"):
            tokenizer.detokenize(ids)
        with pytest.raises(tf.errors.InvalidArgumentError, match="2000"):
            tokenizer.detokenize(tf.ragged.constant(ids))
    with pytest.raises(ValueError, match="must be integers"):
        tokenizer.detokenize([1.5])
    with pytest.raises(ValueError, match="must be integers"):
        tokenizer.detokenize(tf.constant([1.5]))
    with pytest.raises(ValueError, match=r"must be \[T\] or \[B, T\]"):
        tokenizer.detokenize(tf.constant(3))


def test_one_added_token_begins_with_another(rules, write_rules):
    flags = dict.fromkeys(("single_word", "rstrip", "normalized", "special"), False)
    rules["added_tokens"] += [
        {"id": 2000, "content": "<m>", "lstrip": True, **flags},
        {"id": 2001, "content": "<m>x", "lstrip": False, **flags},
    ]
    path = write_rules(rules)
    reference = tokenizers.Tokenizer.from_file(str(path))
    for text in ("a <m>x b", "a  <m> x", "<m><m>x <m>", " <m>x <m>"):
        assert Tokenizer.load(path)(text).numpy().tolist() == reference.encode(text).ids


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
        ("pre_tokenizer", {"type": "Sequence"}, "has no list of 'pretokenizers'"),
        ("pre_tokenizer", None, "pre_tokenizer.type = None"),
        ("pre_tokenizer.use_regex", False, "pre_tokenizer.use_regex = False"),
        ("decoder", None, "decoder.type = None"),
        ("truncation", {"max_length": 5}, "truncation"),
        ("padding", {"pad_id": 0}, "padding"),
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
