"""Training, saving and loading a WordPiece tokenizer, and what it refuses."""

import json
import subprocess
import sys
import warnings
from pydoc_data.topics import topics

import keras
import pytest
import tensorflow as tf
import tokenizers

from keras_lm.tokenizers import Tokenizer
from keras_lm.tokenizers.wordpiece import WordPieceTokenizer

TEXTS = ["It's a dog.  Naïve 中文!", "", "The [MASK] of the STATEMENT, unaffable."]


@pytest.fixture(scope="module")
def tokenizer() -> WordPieceTokenizer:
    return WordPieceTokenizer.train(texts=[*topics.values(), *TEXTS] * 2, vocab_size=2000)


@pytest.fixture
def rules(tokenizer) -> dict:
    return json.loads(tokenizer.get_config()["definition"])


# Training


def test_same_text_gives_the_same_vocabulary(tmp_path, tokenizer):
    """Even in another process: the reference's own trainer differs from run to run."""
    texts = [*list(topics.values())[:20], *TEXTS] * 2
    here = WordPieceTokenizer.train(texts=iter(texts), vocab_size=700)
    path = tmp_path / "topics.txt"
    path.write_text("\n".join(texts), encoding="utf-8")
    from_file, again = (WordPieceTokenizer.train([path], vocab_size=700) for _ in range(2))
    assert here.get_config() == from_file.get_config() == again.get_config()
    assert here.vocab_size == 700
    assert here.id_to_token(4) == "[MASK]"


def test_special_tokens_by_name(tokenizer):
    ids = [getattr(tokenizer, f"{part}_id") for part in ("pad", "unk", "cls", "sep", "mask")]
    assert ids == [0, 1, 2, 3, 4]
    assert tokenizer.bos_id is None
    assert tokenizer.mask_id in tokenizer(TEXTS[2]).numpy()
    assert tokenizer.unk_id not in tokenizer(TEXTS[2]).numpy()
    own = WordPieceTokenizer.train(
        texts=["a b"], vocab_size=6, special_tokens={"unk_token": "<?>", "eos_token": "<.>"}
    )
    assert own.special_tokens == {"unk_token": "<?>", "eos_token": "<.>"}
    assert own("a?<.>").numpy().tolist() == [own.token_to_id("a"), own.unk_id, own.eos_id]


@pytest.mark.filterwarnings("ignore:the text gives")
def test_options_of_training():
    text = "Écoute l'été à 北京"
    plain = WordPieceTokenizer.train(texts=[text] * 2, vocab_size=80)
    assert plain.detokenize(plain(text)).numpy().decode() == "ecoute l ' ete a 北 京"
    cased = WordPieceTokenizer.train(texts=[text] * 2, vocab_size=80, lowercase=False)
    assert cased.detokenize(cased(text)).numpy().decode() == "Écoute l ' été à 北 京"
    accents = WordPieceTokenizer.train(
        texts=[text] * 2, vocab_size=80, strip_accents=False, handle_chinese_chars=False
    )
    assert accents.detokenize(accents(text)).numpy().decode() == "écoute l ' été à 北京"


def test_rare_characters_are_left_out_where_there_is_no_room():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small = WordPieceTokenizer.train(texts=["aaa bb c"] * 3, vocab_size=10)
    tokens = [small.id_to_token(i) for i in range(5, small.vocab_size)]
    assert tokens[:4] == ["a", "b", "##a", "##b"]
    assert len(tokens) == 5
    assert small("c").numpy().tolist() == [small.unk_id]


def test_too_little_text_warns_with_the_size_reached():
    with pytest.warns(UserWarning, match="a vocabulary of 8 tokens only, not vocab_size=500"):
        tokenizer = WordPieceTokenizer.train(texts=["aa aa"], vocab_size=500)
    assert tokenizer.vocab_size == 8
    with pytest.warns(UserWarning, match="of 5 tokens only"):
        WordPieceTokenizer.train(texts=[""], vocab_size=500)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of files and texts"),
        ({"texts": "a text"}, "texts='a text' must be a list"),
        ({"texts": ["a"], "vocab_size": 6}, "vocab_size=6 must be at least 7"),
        ({"texts": ["a"], "special_tokens": {"pad_token": "[PAD]"}}, "must name an unk_token"),
        ({"texts": ["a"], "special_tokens": ["[UNK]"]}, "must name an unk_token"),
        ({"texts": ["a"], "special_tokens": {"unk_token": ""}}, "not empty"),
        ({"texts": ["a"], "special_tokens": {"unknown": "a"}}, "special_tokens has 'unknown'"),
        ({"texts": ["a", 3]}, r"texts\[1\] is of type int"),
    ],
)
def test_bad_training_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        WordPieceTokenizer.train(**{"vocab_size": 300, **arguments})


def test_bad_training_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt"):
        WordPieceTokenizer.train(files=[tmp_path / "nowhere.txt"], vocab_size=300)
    path = tmp_path / "latin.txt"
    path.write_bytes("fine\nnaïve".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.txt', line 2: not UTF-8 at byte 7"):
        WordPieceTokenizer.train(files=[path], vocab_size=300)


# Calling


def test_shapes(tokenizer):
    assert tokenizer(TEXTS).shape.as_list() == [3, None]
    assert tokenizer(TEXTS[0]).shape.rank == 1
    assert tokenizer([]).shape[0] == 0
    ids, spans = tokenizer(TEXTS, sequence_length=6, return_offsets=True)
    assert ids.shape == (3, 6)
    assert spans.shape == (3, 6, 2)
    assert ids[1].numpy().tolist() == [tokenizer.pad_id] * 6
    assert tokenizer("the dog", sequence_length=4).shape == (4,)


def test_in_the_graph(tokenizer):
    data = tf.data.Dataset.from_tensor_slices(TEXTS).batch(2).map(tokenizer).unbatch()
    assert [ids.numpy().tolist() for ids in data] == tokenizer(TEXTS).to_list()
    traces = []

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def there_and_back(texts):
        traces.append(1)
        return tokenizer.detokenize(tokenizer(texts), skip_special_tokens=True)

    texts = [text.decode() for text in there_and_back(TEXTS).numpy()]
    assert texts[2] == "the of the statement, unaffable."
    there_and_back(TEXTS[:1])
    assert len(traces) == 1


# Saving and loading


@pytest.mark.parametrize("kind", [Tokenizer, WordPieceTokenizer])
def test_save_and_load(tokenizer, tmp_path, kind):
    tokenizer.save(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["tokenizer.json", "tokenizer_config.json", "vocab.txt"]
    loaded = kind.load(tmp_path)
    assert type(loaded) is WordPieceTokenizer
    assert loaded.get_config() == tokenizer.get_config()
    reference = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert [reference.encode(text).ids for text in TEXTS] == loaded(TEXTS).to_list()


@pytest.mark.filterwarnings("ignore:the text gives")
@pytest.mark.parametrize("options", [{"lowercase": False, "strip_accents": True}])
def test_vocab_txt_alone(tmp_path, options):
    tokenizer = WordPieceTokenizer.train(texts=TEXTS * 2, vocab_size=90, **options)
    tokenizer.save(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    loaded = Tokenizer.load(tmp_path)
    assert loaded(TEXTS).to_list() == tokenizer(TEXTS).to_list()
    assert loaded.special_tokens == tokenizer.special_tokens
    assert loaded.detokenize(loaded(TEXTS)).numpy().tolist() == (
        tokenizer.detokenize(tokenizer(TEXTS)).numpy().tolist()
    )


def test_vocabulary_that_is_no_list_of_lines(rules, tmp_path):
    """`vocab.txt` is left out where it would tell another vocabulary."""
    for token in ("a\nb", "[gap]"):
        changed = json.loads(json.dumps(rules))
        changed["model"]["vocab"][token] = 2000 + (token == "[gap]")
        WordPieceTokenizer(json.dumps(changed)).save(tmp_path / str(len(token)))
        assert not (tmp_path / str(len(token)) / "vocab.txt").exists()


def test_keras_serialization(tokenizer):
    saved = json.loads(json.dumps(keras.saving.serialize_keras_object(tokenizer)))
    assert keras.saving.deserialize_keras_object(saved).get_config() == tokenizer.get_config()


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
    size = sum(path.stat().st_size for path in (tmp_path / "saved").rglob("*"))
    assert size < 4_000_000
    command = [sys.executable, "-c", FRESH_PROCESS, str(tmp_path / "saved"), json.dumps(TEXTS)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    ids, texts = json.loads(result.stdout.splitlines()[-1])
    assert ids == tokenizer(TEXTS).to_list()
    assert texts == [text.decode() for text in tokenizer.detokenize(ids).numpy()]


def test_without_tensorflow_text(tokenizer, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_text", None)
    with pytest.raises(ImportError, match="pip install tensorflow-text"):
        WordPieceTokenizer.from_config(tokenizer.get_config())


def test_how_it_was_called_last_means_nothing(tokenizer, rules):
    """Transformers saves the truncation and padding of the last call, and does not heed them."""
    rules["truncation"] = {
        "direction": "Right",
        "max_length": 5,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    rules["padding"] = {
        "strategy": {"Fixed": 9},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    other = WordPieceTokenizer.from_config({"definition": json.dumps(rules), "settings": {}})
    wanted = tokenizer(TEXTS).to_list()
    assert max(map(len, wanted)) > 9
    assert other(TEXTS).to_list() == wanted
    assert other.library_encoder()(TEXTS) == wanted


ADDED = {"id": 2000, "content": "<x>", "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": True, "special": False}  # fmt: skip


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("model.type", "Unigram", "model.type = 'Unigram'"),
        ("model.unk_token", "<?>", "model.unk_token = '<\\?>' is not in the vocabulary"),
        ("model.unk_token", None, "model.unk_token = None"),
        ("model.continuing_subword_prefix", "", "continuing_subword_prefix = ''"),
        ("model.continuing_subword_prefix", "▁", "continuing_subword_prefix = '▁'"),
        ("model.max_input_chars_per_word", "many", "max_input_chars_per_word = 'many'"),
        ("model.vocab", {"[UNK]": 0, "a": 0}, "an id of its own"),
        ("model.vocab", {"[UNK]": -1}, "from 0 on"),
        ("model.vocab", {"[UNK]": 0, "é" * 99 + "中" * 50: 1}, "more than 256 bytes"),
        ("model.vocab", None, "model.vocab must map"),
        ("normalizer", {"type": "NFC"}, "normalizer = 'NFC'"),
        ("normalizer.lowercase", None, "normalizer.lowercase = None"),
        ("normalizer.strip_accents", "yes", "normalizer.strip_accents = 'yes'"),
        ("pre_tokenizer", {"type": "Whitespace"}, "pre_tokenizer.type = 'Whitespace'"),
        ("pre_tokenizer", None, "pre_tokenizer.type = None"),
        ("post_processor", {"type": "Sequence"}, "post_processor = 'Sequence'"),
        ("decoder", {"type": "ByteLevel"}, "decoder = 'ByteLevel'"),
        ("added_tokens", [ADDED | {"single_word": True}], "single_word = True"),
        ("added_tokens", [ADDED | {"content": "\u0301"}], "is '' once it is normalized"),
        ("added_tokens", [ADDED, ADDED | {"content": "<X>"}], "is '<x>' once it is normalized"),
        ("added_tokens", [ADDED | {"lstrip": True}, ADDED | {"content": "中"}], "white space"),
    ],
)  # fmt: skip
def test_rules_that_cannot_be_followed(rules, tmp_path, place, value, message):
    *parents, last = place.split(".")
    target = rules
    for parent in parents:
        target = target[parent]
    target[last] = value
    if place == "model.vocab":
        rules["model"]["max_input_chars_per_word"] = 200
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(rules), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as error:
        WordPieceTokenizer.load(path)
    assert path.name in str(error.value)
