import numpy as np
import pytest
import tensorflow as tf
from harness_examples import PatternTokenizer, pattern_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lm.data.examples import SentencePairs, bucket_plan, example_batches
from keras_lm.data.objectives import MaskedLM


def make_documents(sizes):
    """Documents whose words tell the document, the sentence and the place: d0s1w2."""
    return [
        [" ".join(f"d{d}s{s}w{w}" for w in range(length)) for s, length in enumerate(lengths)]
        for d, lengths in enumerate(sizes)
    ]


def draw(pairs, seed, numbers=None):
    numbers = np.arange(len(pairs)) if numbers is None else numbers
    return pairs.rows(numbers, [pairs.max_length], np.random.default_rng(seed))


def passages(tokenizer, x):
    """The words of both passages of every row."""
    for ids, mask, types in zip(x["token_ids"], x["padding_mask"], x["token_types"], strict=True):
        ids, types = ids[mask == 1], types[mask == 1]
        first, second = tokenizer.words(ids[types == 0]), tokenizer.words(ids[types == 1])
        assert first[0] == "<1>"
        assert first[-1] == second[-1] == "<2>"
        yield first[1:-1], second[:-1]


def test_pairs_by_hand():
    tokenizer = PatternTokenizer(r"\S+")
    pairs = SentencePairs([["a b", "c"], ["x", "y z"], ["q"]], tokenizer, max_length=8)
    assert len(pairs) == 2  # a document of one sentence only lends it
    seen = set()
    for seed in range(100):
        x, y, weight = draw(pairs, seed, np.array([0, 1, -1]))
        assert weight.tolist() == [1, 1, 0]
        assert y[2] == 0
        for row, (first, second) in enumerate(
            passages(tokenizer, {name: array[:2] for name, array in x.items()})
        ):
            seen.add((row, "".join(first), "".join(second), int(y[row])))
        assert not x["token_ids"][2].any()
    assert seen == {
        (0, "ab", "c", 1),
        *((0, "ab", other, 0) for other in ("xyz", "yz", "q")),
        (1, "x", "yz", 1),
        *((1, "x", other, 0) for other in ("abc", "c", "q")),
    }


sizes = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), min_size=2, max_size=5)


@given(sizes, st.integers(7, 20), st.integers(0, 1000))
@settings(max_examples=60)
def test_what_follows_follows_and_what_does_not_is_from_elsewhere(sizes, max_length, seed):
    kept = [[n for n in lengths if n] for lengths in sizes]
    if len([1 for lengths in kept if lengths]) < 2 or max(map(len, kept)) < 2:
        return
    tokenizer = pattern_tokenizer(r"\S+")
    documents = make_documents(sizes)
    texts = [" ".join(document).split() for document in documents]
    sentence_ends = {
        sentence.split()[-1] for document in documents for sentence in document if sentence
    }
    pairs = SentencePairs(documents, tokenizer, max_length)
    x, y, weight = draw(pairs, seed)
    assert weight.all()
    for (first, second), is_next in zip(passages(tokenizer, x), y, strict=True):
        assert first
        assert second
        document = texts[int(first[0][1 : first[0].index("s")])]
        begin = document.index(first[0])
        assert document[begin : begin + len(first)] == first
        assert first[-1] in sentence_ends
        following = document[begin + len(first) :]
        if is_next:
            assert following[: len(second)] == second
        else:
            other = texts[int(second[0][1 : second[0].index("s")])]
            assert other is not document
            place = other.index(second[0])
            assert other[place : place + len(second)] == second
            following = other[place:]
            assert second[0].endswith("w0")
        # Filled with whole sentences: the next one would not have fitted.
        whole = second[-1] in sentence_ends
        assert whole or len(first) + len(second) == max_length - 3
        if whole and len(following) > len(second):
            rest = following[len(second) :]
            sentence = next(i + 1 for i, word in enumerate(rest) if word in sentence_ends)
            assert len(first) + len(second) + sentence > max_length - 3


def test_every_sentence_has_its_turn_and_half_of_the_pairs_are_true():
    tokenizer = PatternTokenizer(r"\S+")
    rng = np.random.default_rng(0)
    sizes = [rng.integers(1, 9, rng.integers(1, 30)).tolist() for _ in range(60)]
    pairs = SentencePairs(make_documents(sizes), tokenizer, max_length=32)
    seen, true, short = set(), [], {0: [], 1: []}
    for seed in range(12):
        x, y, _ = draw(pairs, seed)
        true += y.tolist()
        for number, (first, second) in enumerate(passages(tokenizer, x)):
            seen |= {*first, *second}
            short[y[number]].append(len(first) + len(second))
    words = {
        word for document in make_documents(sizes) for text in document for word in text.split()
    }
    assert len(seen) > 0.99 * len(words)
    assert abs(np.mean(true) - 0.5) < 0.03
    # The length of a pair does not give the answer away.
    assert abs(np.mean(short[0]) - np.mean(short[1])) < 1.5


def test_an_epoch_is_drawn_afresh_by_its_address_and_masking_composes():
    tokenizer = PatternTokenizer(r"\S+")
    pairs = SentencePairs(make_documents([[3] * 9, [2] * 8, [4] * 7]), tokenizer, max_length=16)
    plan = bucket_plan(pairs.lengths, batch_size=4)
    assert plan.shapes == ((4, 16),)

    objective = MaskedLM(tokenizer.mask_id, tokenizer.vocab_size, special_ids=range(10))

    def mask(batch, rng):
        x, is_next, weight = batch
        ids, positions, tokens, counts = objective.mask(x["token_ids"], x["padding_mask"], rng)
        y = {"is_next": is_next, "tokens": tokens}
        weights = {"is_next": weight, "tokens": counts * weight[:, np.newaxis]}
        return {**x, "token_ids": ids, "masked_positions": positions}, y, weights

    dataset = example_batches(pairs, plan, shuffle=True, seed=3, repeat=True, change=mask)
    x, y, _ = dataset.element_spec
    assert x["token_types"] == tf.TensorSpec([4, 16], tf.int32)
    assert y["is_next"] == tf.TensorSpec([4], tf.int32)
    for x, y, weight in dataset.take(plan.num_batches):
        there = np.take_along_axis(x["token_ids"].numpy(), x["masked_positions"].numpy(), axis=1)
        hidden = weight["tokens"].numpy() > 0
        assert np.isin(hidden.sum(axis=1), [1, 2]).all() or 0 in weight["is_next"]
        assert (there[hidden] == tokenizer.mask_id).mean() > 0.3
        assert (y["tokens"].numpy()[hidden] > 9).all()
    n = plan.num_batches
    whole = [x["token_ids"].numpy() for x, _, _ in dataset.take(3 * n)]
    late = example_batches(pairs, plan, shuffle=True, seed=3, repeat=True, start=n + 1, change=mask)
    for (x, _, _), expected in zip(late.take(2 * n - 1), whole[n + 1 :], strict=True):
        np.testing.assert_array_equal(x["token_ids"], expected)
    epochs = [np.concatenate(whole[i : i + n]) for i in (0, n, 2 * n)]
    rows = [{tuple(row) for row in epoch.tolist()} for epoch in epochs]
    assert len(rows[0] & rows[1]) < len(rows[0]) / 2


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([["a", "b"]], "documents has 1 with text"),
        ([["a"], ["b"]], "of at most 1 sentences"),
        ([[" "], [""]], "documents has 0 with text, of at most 0"),
        ([], "documents is empty"),
        ([["a"], []], r"documents\[1\] is empty"),
        ([["a"], "b c"], r"documents\[1\] is one str"),
        ([["a"], ["b", 3]], r"documents\[1\]\[1\] is of type int"),
    ],
)
def test_bad_documents_are_named(documents, message):
    with pytest.raises(ValueError, match=message):
        SentencePairs(documents, PatternTokenizer(), max_length=16)


def test_room_for_both_passages_is_needed():
    with pytest.raises(ValueError, match="max_length is 4; it must be an int, at least 5"):
        SentencePairs([["a", "b"], ["c"]], PatternTokenizer(), max_length=4)
