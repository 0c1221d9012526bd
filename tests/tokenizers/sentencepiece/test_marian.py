"""Marian's tokenizer against recorded ids and texts of Transformers', and its files both ways."""

import base64
import io
import json
from pathlib import Path

import keras
import pytest
import sentencepiece
from harness_sentencepiece import changed

import keras_lm as klm
from keras_lm.tokenizers import MarianTokenizer, Tokenizer

GOLDEN = Path(__file__).parents[2] / "golden" / "marian_tokenizer.json"
RUBBISH = base64.b64encode(b"rubbish").decode()


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def normalizer():
    """A model of which only how it normalizes is of use."""
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c d"]), model_writer=content, vocab_size=8, minloglevel=2
    )
    return content.getvalue()


def with_pieces(definition, pieces):
    def replace(model):
        del model.pieces[:]
        for piece, score, kind in pieces:
            model.pieces.add(piece=piece, score=score, type=kind)

    return changed(definition, replace)


@pytest.fixture(scope="module")
def directory(golden, normalizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("marian")
    for side in ("source", "target"):
        (folder / f"{side}.spm").write_bytes(with_pieces(normalizer, golden[side]))
    (folder / "vocab.json").write_text(json.dumps(golden["vocab"]))
    return folder


@pytest.fixture(scope="module")
def tokenizer(directory):
    return Tokenizer.load(directory)


def test_ids_are_those_of_transformers(tokenizer, golden):
    assert type(tokenizer) is MarianTokenizer
    assert tokenizer(golden["texts"]).to_list() == golden["source_ids"]
    assert tokenizer.of_targets(golden["texts"]).to_list() == golden["target_ids"]
    assert golden["source_ids"] != golden["target_ids"]
    encode = tokenizer.library_encoder()
    assert encode(golden["texts"]) == golden["source_ids"]


def test_a_batch_without_unknown_pieces_has_the_same_ids(tokenizer, golden):
    for text, ids in zip(golden["texts"], golden["source_ids"], strict=True):
        assert tokenizer(text).numpy().tolist() == ids


def test_decoded_texts_are_those_of_transformers(tokenizer, golden):
    for name, skip in (("decoded", False), ("decoded_plain", True)):
        texts = tokenizer.detokenize(golden["rows"], skip_special_tokens=skip).numpy()
        assert [text.decode() for text in texts] == golden[name]


def test_spans_are_where_the_tokens_stand(tokenizer, golden):
    texts = golden["texts"]
    ids, spans = tokenizer(texts, return_offsets=True)
    assert ids.to_list() == golden["source_ids"]
    for text, row, places in zip(texts, ids.to_list(), spans.to_list(), strict=True):
        found = [text.encode()[begin:end].decode() for begin, end in places]
        assert len(found) == len(row)
        assert [begin for begin, _ in places] == sorted(begin for begin, _ in places)
        tokens = [tokenizer.id_to_token(i).replace("▁", "") for i in row]
        if text.isascii() and tokenizer.unk_id not in row and "\n" not in text:
            assert [part.strip() for part in found] == tokens
    ids, spans = tokenizer(">>deu<< man ☃", return_offsets="characters")
    assert spans.numpy()[0].tolist() == [0, 7]
    assert spans.numpy()[-1].tolist() == [12, 13]


def test_what_the_model_does_not_know_may_be_in_the_vocabulary(tokenizer, golden):
    assert tokenizer("☃").numpy()[-1] == golden["vocab"]["☃"]
    assert tokenizer("§").numpy()[-1] == golden["vocab"]["<unk>"]
    assert "☃" not in [piece for piece, _, _ in golden["source"]]


def test_save_and_load(tokenizer, directory, golden, tmp_path):
    tokenizer.save(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["source.spm", "target.spm", "tokenizer_config.json", "vocab.json"]
    for name in ("source.spm", "target.spm"):
        assert (tmp_path / name).read_bytes() == (directory / name).read_bytes()
    assert json.loads((tmp_path / "vocab.json").read_text()) == golden["vocab"]
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "MarianTokenizer"
    loaded = MarianTokenizer.load(tmp_path)
    assert loaded.get_config() == tokenizer.get_config()
    saved = json.loads(json.dumps(keras.saving.serialize_keras_object(tokenizer)))
    restored = keras.saving.deserialize_keras_object(saved)
    assert restored(golden["texts"]).to_list() == golden["source_ids"]
    assert restored.of_targets(golden["texts"]).to_list() == golden["target_ids"]


def test_a_vocabulary_for_each_language(directory, golden, tmp_path):
    for name in ("source.spm", "target.spm", "vocab.json"):
        (tmp_path / name).write_bytes((directory / name).read_bytes())
    last = len(golden["vocab"]) - 1
    backwards = {name: last - i for name, i in golden["vocab"].items()}
    (tmp_path / "target_vocab.json").write_text(json.dumps(backwards))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer(golden["texts"]).to_list() == golden["source_ids"]
    expected = [[last - i for i in row] for row in golden["target_ids"]]
    assert tokenizer.of_targets(golden["texts"]).to_list() == expected
    assert tokenizer.of_targets.eos_id == last - tokenizer.eos_id
    tokenizer.save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "target_vocab.json").read_text()) == backwards
    settings = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())
    assert settings["separate_vocabs"] is True


def test_a_translator_takes_both(tokenizer, tmp_path, without_xla):
    keras.utils.set_random_seed(0)
    config = klm.EncoderDecoderConfig(
        vocab_size=tokenizer.vocab_size,
        num_layers=1,
        hidden_dim=16,
        num_heads=2,
        max_length=32,
        decoder_start_id=tokenizer.pad_id,
        positions="sinusoidal",
        norm_position="post",
        activation="silu",
        output_bias=True,
        scale_embeddings=True,
        initializer_range=0.5,
    )
    task = klm.tasks.Translator(klm.models.Transformer(config), tokenizer)
    assert task.target_tokenizer is tokenizer.of_targets
    task.save_pretrained(tmp_path)
    assert not (tmp_path / "target_tokenizer").exists()
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "marian"
    loaded = klm.tasks.Translator.from_pretrained(tmp_path)
    texts = [">>deu<< The old man reads a book.", "Why do you ask ☃?"]
    written = task.translate(texts, max_new_tokens=8)
    assert any(written)
    assert loaded.translate(texts, max_new_tokens=8) == written


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model["vocab"].pop("▁the"), "the ids from 0 to 102, each once"),
        (lambda model: model["vocab"].pop("<pad>"), r"special token '<pad>' is not in vocab.json"),
        (lambda model: model["vocab"].update({"▁the": "x"}), "the id 'x' must be a whole number"),
        (lambda model: model.update(source="no base64!"), "source.spm: .* not base64"),
        (lambda model: model.update(target=None), "target.spm: .* not base64"),
        (
            lambda model: model.update(source=RUBBISH),
            "source.spm: .* damaged",
        ),
        (lambda model: model.update(target=RUBBISH), "target.spm: "),
    ],
)
def test_damaged_files_are_refused(tokenizer, change, message):
    rules = json.loads(tokenizer.get_config()["definition"])
    change(rules["model"])
    with pytest.raises(ValueError, match=message):
        MarianTokenizer(json.dumps(rules))
