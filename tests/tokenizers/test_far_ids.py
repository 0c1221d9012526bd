"""Ids far beyond what a file can number: tables are made for all ids, so they are refused."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from keras_lm.tokenizers import BytePairTokenizer, SentencePieceTokenizer, Tokenizer

FAR = [2**24, 2**31, 2**62, 2**80, -1, 1.5, "7", None, True]


@pytest.mark.parametrize("far", FAR)
@pytest.mark.parametrize("place", ["vocab", "added"])
def test_in_a_tokenizer_json(far: object, place: str, tmp_path: Path) -> None:
    tokenizer = BytePairTokenizer.train(texts=["low lower"] * 2, vocab_size=258)
    rules = json.loads(str(tokenizer._definition))
    if place == "vocab":
        rules["model"]["vocab"]["lo"] = far
    else:
        rules["added_tokens"].append({"id": far, "content": "<x>", "special": True})
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(rules))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"tokenizer.json'.*(from 0 on, below|to integers)"):
        Tokenizer.load(path)
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()


@pytest.mark.parametrize(
    "settings",
    [
        {"added_tokens_decoder": {str(2**40): {"content": "<x>"}}},
        {"added_tokens_decoder": {"-5": {"content": "<x>"}}},
        {"added_tokens_decoder": {"x": {"content": "<x>"}}},
        {"added_tokens_decoder": {"300": "<x>"}},
        {"extra_ids": 2**40},
        {"extra_ids": "many"},
    ],
)
def test_beside_sentence_pieces(settings: dict[str, object], tmp_path: Path) -> None:
    tokenizer = SentencePieceTokenizer.train(
        texts=["the cat sat on the mat and the dog sat on the cat"], vocab_size=24, model_type="bpe"
    )
    tokenizer.save(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    with pytest.raises(ValueError, match=str(tmp_path)):
        Tokenizer.load(tmp_path)
