"""Tokenizers from GGUF files: the same ids as from the files that they were made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from keras_lm.tokenizers import BytePairTokenizer, SentencePieceTokenizer, Tokenizer

gguf = pytest.importorskip("gguf", reason="the package gguf is not installed: keras-lm[gguf]")

TEXTS = [
    "The lower the lowest, 1234 of them: don't!",
    "  two  spaces\n\n and\ttabs \r\n",
    "<|im_start|>user\nhello <|im_end|>, <tool>x</tool> é 日本 🙂",
    "",
]
CORPUS = ["the lower the lowest of them don't two spaces and tabs user hello 1234"] * 4
SPECIAL = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|pad|>"}


def write(path: Path, metadata: dict[str, Any]) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in metadata.items():
        if isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        else:
            writer.add_string(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def of_byte_pairs(tokenizer: BytePairTokenizer, named: str) -> dict[str, Any]:
    rules = json.loads(str(tokenizer._definition))
    tokens = [tokenizer.id_to_token(i) for i in range(tokenizer.vocab_size)]
    added = {entry["content"] for entry in rules["added_tokens"]}
    merges = rules["model"]["merges"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": named,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token in added else 1 for token in tokens],
        "tokenizer.ggml.merges": [m if isinstance(m, str) else " ".join(m) for m in merges],
        "tokenizer.ggml.bos_token_id": tokenizer.bos_id,
        "tokenizer.ggml.eos_token_id": tokenizer.eos_id,
        "tokenizer.ggml.padding_token_id": tokenizer.pad_id,
        "tokenizer.chat_template": "{% for m in messages %}{{ bos_token + m.content }}{% endfor %}",
    }


@pytest.mark.parametrize(
    ("pattern", "named"),
    [("gpt2", "gpt-2"), ("llama3", "llama-bpe"), ("qwen2", "qwen2"), ("smollm", "smollm")],
)
def test_byte_level_pairs(pattern: str, named: str, tmp_path: Path) -> None:
    tokenizer = BytePairTokenizer.train(
        texts=CORPUS, vocab_size=290, special_tokens=SPECIAL, pattern=pattern
    )
    loaded = Tokenizer.load(write(tmp_path / "x.gguf", of_byte_pairs(tokenizer, named)))
    assert isinstance(loaded, BytePairTokenizer)
    assert loaded(TEXTS).to_list() == tokenizer(TEXTS).to_list()
    assert dict(loaded.special_tokens) == SPECIAL
    ids = tokenizer(TEXTS)
    for skip in (False, True):
        wanted = tokenizer.detokenize(ids, skip_special_tokens=skip).numpy().tolist()
        assert loaded.detokenize(ids, skip_special_tokens=skip).numpy().tolist() == wanted
    assert loaded.library_encoder()(TEXTS) == tokenizer(TEXTS).to_list()
    assert loaded.apply_chat_template([{"role": "user", "content": "hi"}]) == "<|im_start|>hi"
    # Saved as Hugging Face's files, it is the same again.
    loaded.save(tmp_path)
    assert Tokenizer.load(tmp_path)(TEXTS).to_list() == tokenizer(TEXTS).to_list()
    assert not loaded.adds_bos
    metadata = of_byte_pairs(tokenizer, named) | {"tokenizer.ggml.add_bos_token": True}
    begins = Tokenizer.load(write(tmp_path / "x.gguf", metadata))
    assert begins.adds_bos
    assert begins.library_encoder()(TEXTS) == tokenizer(TEXTS).to_list()


def test_user_defined_tokens_are_found_and_not_hidden(tmp_path: Path) -> None:
    tokenizer = BytePairTokenizer.train(texts=CORPUS, vocab_size=290, special_tokens=SPECIAL)
    metadata = of_byte_pairs(tokenizer, "gpt-2")
    metadata["tokenizer.ggml.tokens"] += ["<tool>", "[unused]"]
    metadata["tokenizer.ggml.token_type"] += [4, 5]
    loaded = Tokenizer.load(write(tmp_path / "x.gguf", metadata))
    ids = loaded("<tool><|im_end|>[unused]").numpy().tolist()
    assert ids[:2] == [290, loaded.eos_id]
    assert 291 not in ids
    text = loaded.detokenize([290, loaded.eos_id], skip_special_tokens=True)
    assert text.numpy() == b"<tool>"


def of_pieces(tokenizer: SentencePieceTokenizer) -> dict[str, Any]:
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    model.ParseFromString(tokenizer._definition)
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": [piece.piece for piece in model.pieces],
        "tokenizer.ggml.scores": [piece.score for piece in model.pieces],
        "tokenizer.ggml.token_type": [piece.type for piece in model.pieces],
        "tokenizer.ggml.unknown_token_id": tokenizer.unk_id,
        "tokenizer.ggml.bos_token_id": tokenizer.bos_id,
        "tokenizer.ggml.eos_token_id": tokenizer.eos_id,
        "tokenizer.ggml.add_space_prefix": model.normalizer_spec.add_dummy_prefix,
    }


@pytest.fixture(scope="module")
def pieces() -> SentencePieceTokenizer:
    return SentencePieceTokenizer.train(
        texts=CORPUS,
        vocab_size=300,
        model_type="bpe",
        byte_fallback=True,
        normalization="identity",
        special_tokens={"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"},
    )


def test_sentence_pieces(pieces: SentencePieceTokenizer, tmp_path: Path) -> None:
    loaded = Tokenizer.load(write(tmp_path / "x.gguf", of_pieces(pieces)))
    assert isinstance(loaded, SentencePieceTokenizer)
    assert dict(loaded.special_tokens) == dict(pieces.special_tokens)
    assert loaded(TEXTS).to_list() == pieces(TEXTS).to_list()
    ids = pieces(TEXTS)
    assert loaded.detokenize(ids).numpy().tolist() == pieces.detokenize(ids).numpy().tolist()
    loaded.save(tmp_path)
    assert Tokenizer.load(tmp_path)(TEXTS).to_list() == pieces(TEXTS).to_list()


def test_tokens_after_the_pieces_are_found_in_texts(
    pieces: SentencePieceTokenizer, tmp_path: Path
) -> None:
    metadata = of_pieces(pieces)
    size = pieces.vocab_size
    metadata["tokenizer.ggml.tokens"] += ["<|user|>", "<tool>", "<unused>"]
    metadata["tokenizer.ggml.scores"] += [-1000.0] * 3
    metadata["tokenizer.ggml.token_type"] += [3, 4, 5]
    loaded = Tokenizer.load(write(tmp_path / "x.gguf", metadata))
    hello = pieces("hello").numpy().tolist()
    found = loaded("<|user|>hello<tool>").numpy().tolist()
    assert found == [size, *hello, size + 1]
    assert loaded.detokenize(found, skip_special_tokens=True).numpy().endswith(b"hello<tool>")


def test_control_tokens_among_the_pieces(pieces: SentencePieceTokenizer, tmp_path: Path) -> None:
    metadata = of_pieces(pieces)
    metadata["tokenizer.ggml.tokens"][3:3] = ["<start_of_turn>"]
    metadata["tokenizer.ggml.scores"][3:3] = [0.0]
    metadata["tokenizer.ggml.token_type"][3:3] = [3]
    path = tmp_path / "x.gguf"
    with pytest.raises(ValueError, match="control token '<start_of_turn>' among the pieces"):
        Tokenizer.load(write(path, metadata))
    metadata["tokenizer.ggml.add_space_prefix"] = False  # as Gemma's
    assert 3 in Tokenizer.load(write(path, metadata))("hello<start_of_turn>").numpy()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokenizer.ggml.model": "bert"}, "tokenizer.ggml.model='bert' is not supported"),
        ({"tokenizer.ggml.pre": "tekken"}, "tokenizer.ggml.pre='tekken' is not supported; gpt-2"),
        ({"tokenizer.ggml.tokens": ["a", "a"]}, "token_type must have"),
        ({"tokenizer.ggml.token_type": [1, 2]}, "token_type must have a kind from 1 to 6"),
        ({"tokenizer.ggml.eos_token_id": 10**6}, "eos_token_id=1000000 is the id of no token"),
        ({"tokenizer.ggml.merges": ["a b c"]}, "'c'.* is not a pair"),
        ({"tokenizer.ggml.merges": ["q z"]}, "'qz' is not in the vocab"),
        ({"tokenizer.ggml.add_space_prefix": True}, "add_space_prefix is not supported"),
    ],
)
def test_what_cannot_be_followed_is_named(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    tokenizer = BytePairTokenizer.train(texts=CORPUS, vocab_size=290, special_tokens=SPECIAL)
    metadata = of_byte_pairs(tokenizer, "gpt-2") | change
    with pytest.raises(ValueError, match=f"x.gguf'.*{message}"):
        Tokenizer.load(write(tmp_path / "x.gguf", metadata))


def test_a_subclass_takes_its_own_kind(pieces: SentencePieceTokenizer, tmp_path: Path) -> None:
    path = write(tmp_path / "x.gguf", of_pieces(pieces))
    assert SentencePieceTokenizer.load(path)("hello").numpy().tolist()
    with pytest.raises(ValueError, match="is no BytePairTokenizer"):
        BytePairTokenizer.load(path)


def test_bytes_that_a_vocabulary_lacks_are_dropped_as_by_the_reference(tmp_path: Path) -> None:
    """SmolLM's vocabulary lacks some control characters, and bytes that begin no character."""
    tokenizer = BytePairTokenizer.train(texts=["a!!b c"] * 4, vocab_size=259, pattern="smollm")
    rules = json.loads(str(tokenizer._definition))
    lacking = [token for token in ("Ą", "ñ") if rules["model"]["vocab"].pop(token, None)]
    assert lacking == ["Ą", "ñ"]
    fewer = BytePairTokenizer(json.dumps(rules))
    texts = ["a\x04b", "!\x04! \x04", "\x04", "a\U00040000b", "plain a!!b c"]
    assert fewer(texts).to_list() == fewer.library_encoder()(texts)
    spans = fewer(texts[-1:], return_offsets=True)[1].to_list()
    assert spans == tokenizer(texts[-1:], return_offsets=True)[1].to_list()
    with pytest.raises(tf.errors.InvalidArgumentError, match="offsets of texts with characters"):
        fewer(texts, return_offsets=True)
