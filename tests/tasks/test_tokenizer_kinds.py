"""A language model works with any kind of tokenizer, and takes it along."""

from pathlib import Path
from pydoc_data.topics import topics

import keras
import pytest

import keras_lm as klm
from keras_lm.tasks import CausalLM

TEXTS = [text[:400] for text in topics.values()][:20]
KINDS = {
    "byte": klm.tokenizers.ByteTokenizer,
    "byte pair": klm.tokenizers.BytePairTokenizer,
    "character": klm.tokenizers.CharacterTokenizer,
    "sentencepiece": klm.tokenizers.SentencePieceTokenizer,
    "word": klm.tokenizers.WordTokenizer,
    "wordpiece": klm.tokenizers.WordPieceTokenizer,
}
SIZES = {"byte": {}, "character": {"vocab_size": 50}, "word": {"vocab_size": 300}}


def task(name: str) -> CausalLM:
    keras.utils.set_random_seed(0)
    tokenizer = KINDS[name].train(texts=TEXTS, **SIZES.get(name, {"vocab_size": 400}))
    config = klm.TransformerConfig(
        vocab_size=tokenizer.vocab_size, num_layers=1, hidden_dim=8, num_heads=2, max_length=24
    )
    return CausalLM(klm.models.Decoder(config), tokenizer)


@pytest.mark.parametrize("name", KINDS)
def test_a_saved_task_brings_its_tokenizer(name: str, tmp_path: Path) -> None:
    lm = task(name)
    lm.save_pretrained(tmp_path / "saved")
    loaded = CausalLM.from_pretrained(tmp_path / "saved")
    assert type(loaded.tokenizer) is KINDS[name]
    assert loaded.tokenizer.get_config() == lm.tokenizer.get_config()
    assert loaded.score("The value of it") == lm.score("The value of it")
    lm.save(tmp_path / "task.keras")
    again = keras.saving.load_model(tmp_path / "task.keras")
    assert again.tokenizer.get_config() == lm.tokenizer.get_config()


@pytest.mark.parametrize("name", ["byte pair", "sentencepiece", "word", "wordpiece"])
def test_words_stand_apart_from_the_prompt(name: str) -> None:
    lm = task(name)
    tokenizer = lm.tokenizer
    prompt = tokenizer.detokenize(tokenizer("the value")).numpy().decode()
    ids = [tokenizer.document_ends[0], *tokenizer(prompt).numpy().tolist()]
    new = klm.generation.generate_ids(
        lm.model, [ids], max_new_tokens=6, stop_ids=[tokenizer.document_ends[1]]
    )[0]
    expected = tokenizer.detokenize(new, skip_special_tokens=True).numpy().decode()
    assert lm.generate(prompt, max_new_tokens=6) == expected
