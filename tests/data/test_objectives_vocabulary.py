import types

import numpy as np
import pytest
import tensorflow as tf

from keras_lm.data import objectives
from keras_lm.data.objectives import (
    MaskedLM,
    ReplacedTokens,
    SpanCorruption,
    special_ids,
    unigram_counts,
    word_starts,
)
from keras_lm.data.objectives.vocabulary import check_ids
from keras_lm.data.shards import ShardedTokens
from keras_lm.data.store import TokenStore
from keras_lm.tokenizers import BytePairTokenizer


def spelled(*tokens, **parts):
    """A stand-in for a tokenizer whose tokens decode to themselves; None is a hole."""

    def id_to_token(i):
        if tokens[i] is None:
            raise ValueError("no token")
        return tokens[i]

    ids = {token: i for i, token in enumerate(tokens)}
    special = {f"{part}_token": tokens[i] for part, i in parts.items()}
    return types.SimpleNamespace(
        vocab_size=len(tokens),
        special_tokens=special,
        byte_lengths=np.array([0 if t in special.values() else len(t or "") for t in tokens]),
        id_to_token=id_to_token,
        token_to_id=lambda token: tokens.index(token),
        detokenize=lambda rows: tf.constant([tokens[row[0]] or "" for row in rows]),
        **{f"{part}_id": parts.get(part) for part in ("bos", "eos", "pad", "mask")},
        ids=ids,
    )


def test_words_of_a_vocabulary_with_continuations():
    tokenizer = spelled("[CLS]", "un", "##believ", "##able", ",", "你", None)
    assert word_starts(tokenizer).tolist() == [True, True, False, False, True, True, True]


def test_words_of_a_vocabulary_that_carries_its_white_space():
    tokenizer = spelled(
        "<s>", "▁un", "believ", "able", ",", "你好", "▁", "é", "7", "한", None, "の"
    )
    assert word_starts(tokenizer).tolist() == [
        *(True, True, False, False, True, True, True, False, False, False, True, True)
    ]


def test_words_of_a_vocabulary_of_words():
    assert word_starts(spelled("[UNK]", "the", "cat", "7")).all()


@pytest.mark.parametrize("vocab_size", [258, 275])
def test_words_of_byte_level_pairs(vocab_size):
    tokenizer = BytePairTokenizer.train(
        texts=["the cat, the cats 你好 it's 2 22\n"] * 9, vocab_size=vocab_size
    )
    starts = word_starts(tokenizer)
    ids = tokenizer("the cat, the cats it's 22").numpy()
    pieces = [tokenizer.detokenize([i]).numpy().decode() for i in ids]
    marked = "".join(("|" if starts[i] else "") + piece for i, piece in zip(ids, pieces))
    assert marked.lstrip("|") == "the| cat|,| the| cats| it|'s| 22"
    assert not starts[tokenizer.token_to_id("b")]
    assert not starts[tokenizer.token_to_id("½")]  # a byte in the middle of a character


def test_special_ids_are_those_without_text_and_those_that_play_a_part():
    tokenizer = spelled("<s>", "a", "<unk>", "", "b", bos=0, unk=2)
    tokenizer.byte_lengths[2] = 5  # an unknown token that decodes to something
    assert special_ids(tokenizer) == (0, 2, 3)


def test_counts_are_taken_in_parts_and_from_shards(monkeypatch):
    monkeypatch.setattr(objectives.vocabulary, "_TOKENS_COUNTED_AT_ONCE", 7)
    random = np.random.default_rng(0)
    tokens = random.integers(0, 9, 100).astype(np.uint16)
    shards = ShardedTokens([tokens[:30], tokens[30:]])
    store = TokenStore(shards, np.array([0, 50, 100]), np.array([1, 1]))
    assert unigram_counts(store, 12).tolist() == np.bincount(tokens, minlength=12).tolist()
    with pytest.raises(ValueError, match="vocab_size is 8, but the store holds the id 8"):
        unigram_counts(store, 8)
    with pytest.raises(ValueError, match="the store holds the id -1"):
        check_ids(np.array([3, -1]), 8)


def test_objectives_take_what_they_need_from_a_tokenizer():
    tokenizer = spelled("<s>", "</s>", "<pad>", "[MASK]", "a", "##b", bos=0, eos=1, pad=2, mask=3)
    masked = MaskedLM.for_tokenizer(tokenizer, rate=0.3, whole_words=True)
    assert (masked.mask_id, masked.vocab_size, masked.rate) == (3, 6, 0.3)
    assert masked.special_ids == (0, 1, 2, 3)
    assert masked.word_starts.tolist() == [True] * 5 + [False]
    assert MaskedLM.for_tokenizer(tokenizer).word_starts is None
    replaced = ReplacedTokens.for_tokenizer(tokenizer)
    assert (replaced.vocab_size, replaced.special_ids) == (6, (0, 1, 2, 3))
    with pytest.raises(ValueError, match=r"tokenizer\.mask_id is None"):
        MaskedLM.for_tokenizer(spelled("<s>", "a", bos=0))


def test_sentinels_are_found_by_name():
    tokenizer = BytePairTokenizer.train(
        texts=["a"],
        vocab_size=260,
        special_tokens=["</s>", "<extra_id_1>", "<extra_id_0>", "<extra_id_3>"],
    )
    objective = SpanCorruption.for_tokenizer(tokenizer, noise_density=0.2)
    assert objective.sentinel_ids == (2, 1)
    assert (objective.eos_id, objective.start_id, objective.dropped_ids) == (0, 0, (0,))
    assert objective.noise_density == 0.2
    with pytest.raises(ValueError, match="eos_id None and pad_id None"):
        SpanCorruption.for_tokenizer(spelled("a", "b"))
    with pytest.raises(ValueError, match="is not in the vocabulary"):
        SpanCorruption.for_tokenizer(BytePairTokenizer.train(texts=["a"], vocab_size=257))
