"""Learning a WordPiece vocabulary."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_lm.tokenizers.corpus import check_vocab_size, distinct_tokens, training_texts
from keras_lm.tokenizers.word_rules import unknown_token

PREFIX = "##"


def learn_wordpiece(
    files: Sequence[str | os.PathLike[str]] | None,
    texts: Iterable[str] | None,
    vocab_size: int,
    special_tokens: Mapping[str, Any],
    normalizer: Mapping[str, Any],
    min_frequency: int,
) -> str:
    """The `tokenizer.json` of a vocabulary learned from files or texts.

    The text is read twice: its characters are counted first. The reference's trainer numbers the
    characters inside of words in an order that differs from run to run, and breaks ties by those
    numbers; so it is given them all beforehand, in order.

    Args:
        files: UTF-8 text files, or
        texts: strings; exactly one of the two.
        vocab_size: ids in all.
        special_tokens: tokens by name.
        normalizer: the options of a `BertNormalizer`.
        min_frequency: how often a pair must occur to become a token.
    """
    from tokenizers import trainers

    unk_token = unknown_token(special_tokens)
    special = distinct_tokens(special_tokens)
    check_vocab_size(
        vocab_size, len(special) + 2, f"{len(special)} special tokens and a letter, in front and on"
    )
    texts = texts if texts is None or isinstance(texts, Sequence) else list(texts)
    learner = _tokenizer({unk_token: 0}, unk_token, normalizer)
    characters, inside = _alphabet(learner, training_texts(files, texts), vocab_size - len(special))
    learner.train_from_iterator(
        training_texts(files, texts),
        trainers.WordPieceTrainer(
            vocab_size=vocab_size,
            min_frequency=min_frequency,
            special_tokens=[*special, *inside],
            initial_alphabet=characters,
            limit_alphabet=len(characters),
            continuing_subword_prefix=PREFIX,
            show_progress=False,
        ),
    )
    learned = learner.get_vocab()
    first = [*special, *characters, *inside]
    merged = sorted(learned.keys() - {*first}, key=learned.__getitem__)
    tokens = dict.fromkeys([*first, *merged])
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = _tokenizer(vocabulary, unk_token, normalizer)
    tokenizer.add_special_tokens(special)
    return tokenizer.to_str()


def _tokenizer(vocabulary: dict[str, int], unk_token: str, normalizer: Mapping[str, Any]) -> Any:
    """The reference's tokenizer of a vocabulary, as BERT has it."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(
            vocabulary, unk_token=unk_token, continuing_subword_prefix=PREFIX
        )
    )
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(**normalizer)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = tokenizers.decoders.WordPiece(PREFIX)
    return tokenizer


def _alphabet(tokenizer: Any, texts: Iterable[str], room: int) -> tuple[list[str], list[str]]:
    """The most frequent characters for which there is room, and those that go on in words.

    A character that is always a word of its own takes one place, every other takes two.
    """
    given: Counter[str] = Counter()
    for text in texts:
        given.update(text)
    counts: Counter[str] = Counter()
    for character, count in given.items():
        for part in tokenizer.normalizer.normalize_str(character).replace(" ", ""):
            counts[part] += count
    characters: list[str] = []
    inside: list[str] = []
    for character in sorted(counts, key=lambda character: (-counts[character], character)):
        word = tokenizer.normalizer.normalize_str(f"a{character}")
        goes_on = len(tokenizer.pre_tokenizer.pre_tokenize_str(word)) == 1
        room -= 1 + goes_on
        if room < 0:
            break
        characters.append(character)
        inside += [PREFIX + character] * goes_on
    return sorted(characters), sorted(inside)
