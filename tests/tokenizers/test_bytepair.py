"""Training and calling a byte-level BPE tokenizer."""

import json
import warnings
from pydoc_data.topics import topics

import pytest
import tensorflow as tf
import tokenizers
from harness_bytepair import REGEXES

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
        ({"texts": ["a"], "pattern": "gpt4"}, "pattern='gpt4' must be one of gpt2, llama3"),
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


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (
            "gpt2",
            ["Don", "'t", " wait", " 1234", "!", "\n\n", " I", "'", "M", " e", "\u0301."],
        ),
        ("llama3", ["Don", "'t", " wait", " ", "123", "4", "!\n\n", " I", "'M", " e", "\u0301."]),
        ("qwen2", ["Don", "'t", " wait", " ", *"1234", "!\n\n", " I", "'M", " é", "."]),
        (
            "smollm",
            ["Don", "'t", " wait", " ", *"1234", "!", "\n\n", " I", "'", "M", " e", "\u0301."],
        ),
    ],
)
def test_pattern_of_training(pattern, words):
    text = "Don't wait 1234!\n\n I'M e\u0301."
    with pytest.warns(UserWarning, match="tokens only"):
        trained = BytePairTokenizer.train(texts=[text] * 9, vocab_size=400, pattern=pattern)
    rules = json.loads(trained.get_config()["definition"])
    assert rules["normalizer"] == ({"type": "NFC"} if pattern == "qwen2" else None)
    assert rules["model"]["ignore_merges"] == (pattern == "llama3")
    if pattern in REGEXES:
        split, byte_level = rules["pre_tokenizer"]["pretokenizers"]
        assert split["pattern"] == {"Regex": REGEXES[pattern]}
        assert not byte_level["use_regex"]
    # With nothing left to learn, every word is a token.
    spelled = [trained.detokenize([i]).numpy().decode() for i in trained(text).numpy()]
    assert spelled == words


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
