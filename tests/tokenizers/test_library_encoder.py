"""The library's encoder, which `data.prepare` uses, gives the ids of the graph."""

from pydoc_data.topics import topics

import pytest

from keras_lm import tokenizers

TEXTS = list(topics.values())[:12]
SIZES = {"ByteTokenizer": {}, "CharacterTokenizer": {"vocab_size": 60}}
# Marian's reads files alone, and its encoder is the graph itself.
KINDS = [name for name in tokenizers.__all__ if name not in ("Tokenizer", "MarianTokenizer")]


@pytest.mark.parametrize("name", KINDS)
def test_it_is_the_graphs_equal(name, unicode_strings):
    kind = getattr(tokenizers, name)
    tokenizer = kind.train(texts=TEXTS, **SIZES.get(name, {"vocab_size": 400}))
    texts = [*TEXTS[:3], *unicode_strings(7, 300)]
    assert tokenizer.library_encoder()(texts) == tokenizer(texts).to_list()


def test_sentencepiece_with_tokens_beside_the_model():
    plain = tokenizers.SentencePieceTokenizer.train(texts=TEXTS, vocab_size=400)
    config = plain.get_config()
    config["settings"] |= {"added_tokens_decoder": {"400": {"content": "<x>", "special": True}}}
    tokenizer = tokenizers.SentencePieceTokenizer.from_config(config)
    texts = ["the <x> value", "<x>"]
    encoded = tokenizer.library_encoder()(texts)
    assert encoded == tokenizer(texts).to_list()
    assert encoded[1] == [400]
