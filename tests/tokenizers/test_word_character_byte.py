"""Training, saving and loading word, character and byte tokenizers, and what they refuse."""

import json

import keras
import pytest
import tensorflow as tf
import tokenizers

from keras_lm.tokenizers import Tokenizer
from keras_lm.tokenizers.byte import ByteTokenizer
from keras_lm.tokenizers.character import CharacterTokenizer
from keras_lm.tokenizers.word import WordTokenizer

CORPUS = ["the cat, the Cat!\nnaïve 中文", "a cat ate the 中", "<s> b"]
TEXTS = ["The cat's naïve\r\n中文", "", "<s>the dog</s>"]
KINDS = [WordTokenizer, CharacterTokenizer, ByteTokenizer]


def train(kind: type[Tokenizer], **options) -> Tokenizer:
    sizes = {WordTokenizer: 15, CharacterTokenizer: 20, ByteTokenizer: 259}
    return kind.train(**{"texts": CORPUS, "vocab_size": sizes[kind], **options})


def tokens_of(tokenizer: Tokenizer) -> list[str]:
    return [tokenizer.id_to_token(i) for i in range(tokenizer.vocab_size)]


def test_the_most_frequent_words():
    assert tokens_of(train(WordTokenizer)) == [
        *("<pad>", "<unk>", "<s>", "</s>"),
        *("the", "cat", "中", "!", ",", "<", ">", "Cat", "a", "ate", "b"),
    ]
    lower = train(WordTokenizer, lowercase=True, vocab_size=7)
    assert tokens_of(lower)[4:] == ["cat", "the", "中"]
    whole = train(WordTokenizer, handle_chinese_chars=False, vocab_size=18)
    assert "中文" in tokens_of(whole)
    with pytest.warns(UserWarning, match="a vocabulary of 7 tokens only, not vocab_size=15"):
        often = train(WordTokenizer, min_count=2)
    assert tokens_of(often)[4:] == ["the", "cat", "中"]


def test_unknown_words_and_decoding():
    tokenizer = train(WordTokenizer)
    ids = tokenizer(["the dog, the 中文.", "<s>cat</s>"])
    texts = tokenizer.detokenize(ids).numpy()
    assert [text.decode() for text in texts] == ["the <unk> , the 中 <unk> <unk>", "<s> cat </s>"]
    texts = tokenizer.detokenize(ids, skip_special_tokens=True).numpy()
    assert [text.decode() for text in texts] == ["the , the 中", "cat"]


def test_the_most_frequent_characters():
    tokenizer = train(CharacterTokenizer, vocab_size=8)
    assert tokens_of(tokenizer)[4:] == [" ", "a", "e", "t"]
    assert tokenizer("tea  x").numpy().tolist() == [7, 6, 5, 4, 4, tokenizer.unk_id]
    assert tokenizer.detokenize(tokenizer("tea  x")).numpy() == b"tea  <unk>"
    often = CharacterTokenizer.train(texts=["aab"], vocab_size=5, min_count=2)
    assert tokens_of(often)[4:] == ["a"]


def test_bytes_are_their_ids():
    tokenizer = train(ByteTokenizer)
    assert tokenizer("né\0").numpy().tolist() == [110, 195, 169, 0]
    assert tokenizer("<s>a").numpy().tolist() == [tokenizer.bos_id, 97]
    assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id) == (256, 257, 258)
    assert ByteTokenizer.create().get_config() == tokenizer.get_config()
    one = ByteTokenizer.create(["<|end|>"])
    assert one.eos_id == one.bos_id == one.pad_id == 256
    assert ByteTokenizer.create([]).vocab_size == 256
    assert tokenizer.detokenize([195, 40, 255]).numpy().decode() == "\ufffd(\ufffd"
    assert tokenizer.byte_lengths.tolist() == [1] * 256 + [0] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_and_graph(kind):
    tokenizer = train(kind)
    assert isinstance(tokenizer(TEXTS), tf.RaggedTensor)
    assert tokenizer(TEXTS[0]).dtype == tf.int32
    assert tokenizer([]).shape[0] == 0
    ids, spans = tokenizer(TEXTS, sequence_length=5, return_offsets="characters")
    assert ids.shape == (3, 5)
    assert spans.shape == (3, 5, 2)
    assert ids[1].numpy().tolist() == [tokenizer.pad_id] * 5
    data = tf.data.Dataset.from_tensor_slices(TEXTS).batch(2).map(tokenizer).unbatch()
    assert [ids.numpy().tolist() for ids in data] == tokenizer(TEXTS).to_list()


@pytest.mark.parametrize("kind", KINDS)
def test_same_text_gives_the_same_vocabulary(kind, tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(CORPUS), encoding="utf-8")
    again = kind.train([path], vocab_size=train(kind).vocab_size)
    if kind is not CharacterTokenizer:  # whose vocabulary has the line ends between texts
        assert again.get_config() == train(kind).get_config()
    assert kind.train([path], vocab_size=again.vocab_size).get_config() == again.get_config()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by_kind", [True, False])
def test_save_and_load(kind, by_kind, tmp_path):
    tokenizer = train(kind)
    tokenizer.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    loaded = (kind if by_kind else Tokenizer).load(tmp_path)
    assert type(loaded) is kind
    assert loaded.get_config() == tokenizer.get_config()
    assert loaded(TEXTS).to_list() == tokenizer(TEXTS).to_list()
    reference = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert [reference.encode(text).ids for text in TEXTS] == tokenizer(TEXTS).to_list()
    assert loaded.special_tokens == tokenizer.special_tokens


@pytest.mark.parametrize("kind", KINDS)
def test_keras_serialization_and_saved_model(kind, tmp_path):
    tokenizer = train(kind)
    saved = json.loads(json.dumps(keras.saving.serialize_keras_object(tokenizer)))
    assert keras.saving.deserialize_keras_object(saved).get_config() == tokenizer.get_config()
    module = tf.Module()
    module.tokenizer = tokenizer
    module.tokenize = tf.function(
        lambda texts: tokenizer(texts), input_signature=[tf.TensorSpec([None], tf.string)]
    )
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    assert loaded.tokenize(TEXTS).to_list() == tokenizer(TEXTS).to_list()


@pytest.mark.parametrize("kind", KINDS)
def test_bad_training(kind, tmp_path):
    for arguments, message in (
        ({"texts": None}, "exactly one of files and texts"),
        ({"texts": "a text"}, "must be a list"),
        ({"vocab_size": 4}, r"vocab_size=4 must be at least (5|259)"),
        ({"vocab_size": True}, "vocab_size=True must be"),
        ({"texts": ["a", 3]}, r"texts\[1\] is of type int"),
        ({"texts": ["a\ud800"]}, "lone surrogate at character 1"),
        ({"special_tokens": {"unknown": "a"}}, "special_tokens has 'unknown'"),
    ):
        with pytest.raises(ValueError, match=message):
            train(kind, **arguments)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        kind.train([tmp_path / "nowhere"], vocab_size=300)
    path = tmp_path / "latin.txt"
    path.write_bytes("fine\nnaïve".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.txt', line 2: not UTF-8"):
        kind.train([path], vocab_size=300)
    with pytest.warns(UserWarning, match="tokens only, not vocab_size=900"):
        train(kind, vocab_size=900)


@pytest.mark.parametrize("kind", [WordTokenizer, CharacterTokenizer])
def test_an_unknown_token_must_be_named(kind):
    for special_tokens in ({"eos_token": "</s>"}, ["<unk>"], {}):
        with pytest.raises(ValueError, match="must name an unk_token"):
            train(kind, special_tokens=special_tokens)
    own = train(kind, special_tokens={"unk_token": "?"}, vocab_size=3)
    assert own("q").numpy().tolist() == [own.unk_id] == [0]


@pytest.mark.parametrize(
    ("kind", "place", "value", "message"),
    [
        (WordTokenizer, "model.type", "WordPiece", "model.type = 'WordPiece'"),
        (WordTokenizer, "model.unk_token", "?", "model.unk_token = '\\?' is not in"),
        (WordTokenizer, "model.vocab", {}, "model.unk_token"),
        (WordTokenizer, "normalizer", {"type": "NFKC"}, "normalizer = 'NFKC'"),
        (WordTokenizer, "pre_tokenizer", {"type": "Whitespace"}, "'Whitespace'"),
        (WordTokenizer, "decoder", {"type": "Fuse"}, "decoder = 'Fuse'"),
        (CharacterTokenizer, "normalizer", {"type": "NFC"}, "normalizer = 'NFC'"),
        (CharacterTokenizer, "pre_tokenizer.behavior", "Removed", "pre_tokenizer = 'Split'"),
        (CharacterTokenizer, "decoder", None, "decoder = None"),
        (ByteTokenizer, "model.merges", [["a", "b"]], "model.merges"),
        (ByteTokenizer, "model.ignore_merges", True, "model.ignore_merges = True"),
        (ByteTokenizer, "model.vocab", {"a": 0}, "lacks 255 of the 256 bytes"),
        (ByteTokenizer, "pre_tokenizer.use_regex", True, "pre_tokenizer"),
        (ByteTokenizer, "pre_tokenizer.add_prefix_space", True, "pre_tokenizer = 'ByteLevel'"),
        (ByteTokenizer, "post_processor", {"type": "ByteLevel"}, "post_processor = 'ByteLevel'"),
        (ByteTokenizer, "decoder", None, "decoder.type = None"),
    ],
)
def test_rules_that_cannot_be_followed(kind, place, value, message):
    rules = json.loads(train(kind).get_config()["definition"])
    *parents, last = place.split(".")
    target = rules
    for parent in parents:
        target = target[parent]
    target[last] = value
    with pytest.raises(ValueError, match=message):
        kind(json.dumps(rules))


def test_whose_file_it_is():
    definitions = {kind: train(kind).get_config()["definition"] for kind in KINDS}
    for kind in KINDS:
        assert [other for other, text in definitions.items() if kind.reads(text)] == [kind]
        assert not kind.reads(b"a SentencePiece model")
