import itertools
import math
import tracemalloc
from collections import Counter
from unittest import mock

import numpy as np
import pytest
from harness_ngrams import assert_same, entries, kneser_ney, log_prob, nats_of, stream
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lm.data.ngrams import counting, estimate, estimation
from keras_lm.data.ngrams.keys import KeyLayout
from keras_lm.data.ngrams.smoothing import FALLBACK_DISCOUNTS
from keras_lm.data.ngrams.table import IMPOSSIBLE

SMOOTHINGS = ("kneser_ney", "mle", "add_k")
V = 6
corpora = st.lists(st.lists(st.integers(2, V - 1), max_size=8), min_size=1, max_size=12)


def table_of(documents, order=3, begin=0, end=1, vocab_size=V, pieces=None, **options):
    pieces = pieces or [stream(documents, begin, end)]
    return estimate(pieces, order, vocab_size, begin, end, progress=False, **options)


def probs_of(table):
    return {ngram: math.exp(value) for ngram, (value, _) in entries(table).items()}


def test_the_documents_example_ten_of_a_hundred():
    # "A B C" stands a hundred times in the text, and ten times "D" follows it.
    table = table_of([[2, 3, 4, 5]] * 10 + [[2, 3, 4, 2]] * 90, order=4, smoothing="mle")
    assert entries(table)[2, 3, 4, 5][0] == np.float32(np.log(np.float32(0.1)))


def test_maximum_likelihood_by_hand():
    table = table_of([[2, 3], [2, 2]], order=2, smoothing="mle")
    expected = {(0, 2): 1, (2, 1): 1 / 3, (2, 2): 1 / 3, (2, 3): 1 / 3, (3, 1): 1}
    expected |= {(1,): 2 / 6, (2,): 3 / 6, (3,): 1 / 6}
    expected |= {(token,): math.exp(IMPOSSIBLE) for token in (0, 4, 5)}
    assert probs_of(table) == pytest.approx(expected, rel=1e-6)
    # A context that was seen gives the rest nothing; one that was not leaves the shorter alone.
    backoffs = np.array([1, 0, 1, 1, 0, 0]) * IMPOSSIBLE
    np.testing.assert_allclose(table.backoffs[0], backoffs, rtol=1e-6)


def test_add_k_by_hand():
    # Five tokens can be predicted: all but 0.
    table = table_of([[2, 3], [2, 2]], order=2, smoothing="add_k", k=0.5)
    expected = {(0, 2): 2.5 / 4.5, (3, 1): 1.5 / 3.5}
    expected |= {(2, token): 1.5 / 5.5 for token in (1, 2, 3)}
    expected |= {
        (1,): 2.5 / 8.5,
        (2,): 3.5 / 8.5,
        (3,): 1.5 / 8.5,
        (4,): 0.5 / 8.5,
        (5,): 0.5 / 8.5,
    }
    expected[0,] = math.exp(IMPOSSIBLE)
    assert probs_of(table) == pytest.approx(expected, rel=1e-6)
    floors = np.array([0.5 / 4.5, 1, 0.5 / 5.5, 0.5 / 3.5, 1, 1])
    np.testing.assert_allclose(np.exp(table.backoffs[0]), floors, rtol=1e-6)


@given(corpora, st.integers(1, 4), st.booleans())
@settings(max_examples=40)
def test_kneser_ney_is_its_definition(documents, order, one_end):
    order = min(order, max(map(len, documents)) + 2)
    begin, end = (1, 1) if one_end else (0, 1)
    # Which discounts KenLM takes is compared with KenLM's own files.
    with mock.patch.object(estimation, "estimated_discounts", return_value=FALLBACK_DISCOUNTS):
        table = table_of(documents, order, begin, end)
    found = entries(table)
    prob = kneser_ney(documents, order, V, begin, end)
    contexts = {(begin, *document)[:stop] for document in documents for stop in range(10)}
    for context in {context[max(0, len(context) - order + 1) :] for context in contexts}:
        for token in range(1 - one_end, V):
            if token != begin or one_end:
                ours = math.exp(log_prob(table, found, context, token))
                assert ours == pytest.approx(prob(context, token), rel=1e-5)


@given(
    corpora,
    st.integers(1, 4),
    st.booleans(),
    st.sampled_from(SMOOTHINGS),
    st.lists(st.integers(2, V - 1), max_size=4),
)
@settings(max_examples=60)
def test_what_can_follow_sums_to_one(documents, order, one_end, smoothing, context):
    order = min(order, max(map(len, documents)) + 2)
    begin, end = (1, 1) if one_end else (0, 1)
    table = table_of(documents, order, begin, end, smoothing=smoothing, k=0.3)
    found = entries(table)
    for before in (tuple(context), (begin, *context)):
        probs = [math.exp(log_prob(table, found, before, token)) for token in range(V)]
        assert sum(probs) == pytest.approx(1, abs=1e-5)
        assert one_end or probs[begin] < 1e-90


@given(corpora, st.integers(1, 4), st.booleans(), st.sampled_from(SMOOTHINGS), st.data())
@settings(max_examples=60)
def test_cuts_and_memory_change_nothing(documents, order, one_end, smoothing, data):
    order = min(order, max(map(len, documents)) + 2)
    begin, end = (1, 1) if one_end else (0, 1)
    whole = table_of(documents, order, begin, end, smoothing=smoothing)
    tokens, is_begin = stream(documents, begin, end)
    cuts = data.draw(st.lists(st.integers(0, len(tokens)), max_size=6))
    bounds = [0, *sorted(cuts), len(tokens)]
    pieces = [(tokens[a:b], is_begin[a:b]) for a, b in itertools.pairwise(bounds)]
    with mock.patch.object(counting, "_MIN_ROWS", data.draw(st.integers(1, 9))):
        cut = table_of(
            documents, order, begin, end, pieces=pieces, smoothing=smoothing, memory_limit=1
        )
    assert_same(whole, cut)


@pytest.mark.parametrize("vocab_size", [50, 5_000, 3_000_000])
@pytest.mark.parametrize("memory_limit", [1, 8_000_000, None])
def test_large_keys_and_spilled_runs(vocab_size, memory_limit, tmp_path):
    """Keys of one, two and more words; nothing, something and all on disk."""
    draw = np.random.default_rng(0)
    ids = (vocab_size * draw.random(30_000) ** 4).astype(np.int32)
    is_begin = (draw.random(30_000) < 0.1) | (np.arange(30_000) == 0)
    ids = np.where(is_begin, 0, np.maximum(ids, 1))
    limit = counting.default_memory_limit() if memory_limit is None else memory_limit
    counter = counting.NGramCounter(5, vocab_size, 0, 1, limit, tmp_path)
    for _ in counter.add_all([(ids, is_begin)]):
        pass
    assert (counter.num_spilled > 0) == (memory_limit == 1)
    counted = {}
    for keys, counts in counter.merged():
        rows = np.stack(counter.layout.unpack(keys)[::-1], axis=1).tolist()
        assert [row[::-1] for row in rows] == sorted(row[::-1] for row in rows)
        new = dict(zip(map(tuple, rows), counts.tolist(), strict=True))
        assert not counted.keys() & new.keys()
        counted |= new
    expected = Counter()
    for place in np.flatnonzero(~is_begin):
        start = place - np.argmax(is_begin[place::-1])
        ngram = ids[max(start, place - 4) : place + 1].tolist()
        expected[tuple([0] * (5 - len(ngram)) + ngram)] += 1
    assert counted == expected
    assert counter.num_tokens == expected.total()


def test_keys_without_room_for_a_rank_are_counted_all_the_same():
    layout = KeyLayout(order=3, vocab_size=1 << 31)
    columns = [np.array([5, 5, 4, 5, 5], "int32") for _ in range(3)]
    columns[2][3] = 3
    keys = layout.pack(columns)
    by_rank = layout.count(keys)
    layout.word_bits = (62, 64)
    anyhow = layout.count(keys)
    weighted = layout.count(keys, np.array([1, 1, 1, 1, 1]))
    for other in (anyhow, weighted):
        assert other[1].tolist() == by_rank[1].tolist() == [1, 1, 3]
        for one, word in zip(by_rank[0], other[0], strict=True):
            np.testing.assert_array_equal(one, word)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("order", [1, 2, 4])
def test_the_training_nats_are_those_of_the_text(smoothing, order):
    documents = [[2, 3, 4, 2, 3], [2, 2], [], [3, 4, 2, 3, 5, 5, 2]] * 3
    for begin, end in ((0, 1), (1, 1)):
        table = table_of(documents, order, begin, end, smoothing=smoothing)
        assert table.training_nats == pytest.approx(nats_of(table, documents), rel=1e-6)
        assert table.training_tokens == sum(map(len, documents)) + len(documents)


def test_arrays_are_as_documented():
    table = table_of([[2, 3, 4]], order=3)
    assert table.order == 3
    assert table.vocab_size == V
    assert table.num_ngrams == (V, 4, 3)
    for level in range(3):
        assert table.tokens[level].dtype == np.int32
        assert table.log_probs[level].dtype == np.float32
    for level in range(2):
        assert table.backoffs[level].dtype == np.float32
        assert table.first_child[level].dtype == np.int32
        assert len(table.first_child[level]) == table.num_ngrams[level] + 1
    assert table.log_probs[0][0] == np.float32(IMPOSSIBLE)


def test_one_id_that_begins_and_ends():
    """In the middle of a document it ends one and begins the next."""
    joined = table_of([[2, 3, 1, 2, 4]], begin=1, end=1)
    apart = table_of([[2, 3], [2, 4]], begin=1, end=1)
    assert_same(joined, apart)
    found = entries(apart)
    assert {(1, 2), (1, 2, 3), (2, 3, 1), (3, 1)} < found.keys()
    assert not any(1 in ngram[1:-1] for ngram in found)


def test_documents_of_one_token_and_of_none():
    table = table_of([[2]], order=3)
    assert set(entries(table)) == {*((i,) for i in range(V)), (0, 2), (2, 1), (0, 2, 1)}
    assert set(entries(table_of([[]], order=2))) == {*((i,) for i in range(V)), (0, 1)}


def test_bad_documents_are_refused():
    tokens, is_begin = stream([[2, 3]])
    bad = {
        "order is 5, but the longest document has 4 tokens with its beginning and end": (5, tokens),
        r"token 2 is 6; ids must lie in \[0, 6\)": (2, np.array([0, 2, 6, 1])),
        r"token 1 is -1; ids must lie": (2, np.array([0, -1, 3, 1])),
        "token 2 is 0; begin_id may stand": (2, np.array([0, 2, 0, 1])),
        "token 0 is 3; every document must begin with begin_id, 0": (2, np.array([3, 2, 2, 1])),
        "must be pairs of an int array and a bool array.*float64 and bool": (2, tokens + 0.5),
        r"tokens is \(3,\) and is_begin \(4,\)": (2, tokens[:3]),
    }
    for message, (order, ids) in bad.items():
        with pytest.raises(ValueError, match=message):
            table_of([], order, pieces=[(ids, is_begin)])
    with pytest.raises(ValueError, match="is_begin is False for the first token"):
        table_of([], pieces=[(tokens, ~is_begin)])
    for empty in ([], [(tokens[:1], is_begin[:1])], [(tokens[:0], is_begin[:0])]):
        with pytest.raises(ValueError, match="pieces hold no token"):
            estimate(empty, 2, V, 0, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order": 0}, "order is 0; it must be a positive int"),
        ({"order": 2.0}, "order is 2.0"),
        ({"vocab_size": True}, "vocab_size is True"),
        ({"memory_limit": -5}, "memory_limit is -5"),
        ({"begin_id": 6}, r"begin_id is 6; it must be an id in \[0, 6\)"),
        ({"end_id": None}, "end_id is None"),
        ({"unk_id": -1}, "unk_id is -1"),
        (
            {"smoothing": "laplace"},
            "smoothing is 'laplace'; it must be one of kneser_ney, mle, add_k",
        ),
        ({"k": 0}, "k is 0; it must be a number above 0"),
        ({"k": math.nan}, "k is nan"),
        ({"vocabulary": ["a"]}, "vocabulary has 1 words; it must have vocab_size, 6"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {"order": 2, "vocab_size": V, "begin_id": 0, "end_id": 1} | change
    with pytest.raises(ValueError, match=message):
        estimate([stream([[2]])], **arguments)


def test_counting_stays_within_its_memory(tmp_path):
    limit = 16_000_000
    draw = np.random.default_rng(0)

    def pieces():
        for _ in range(100):
            ids = draw.integers(1, 60_000, 10_000, dtype=np.int32)
            ids[0] = 0
            yield ids, ids == 0

    counter = counting.NGramCounter(5, 60_000, 0, 1, limit, tmp_path)
    tracemalloc.start()
    try:
        for _ in counter.add_all(pieces()):
            pass
        rows = sum(len(counts) for _, counts in counter.merged())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows == counter.num_tokens == 999_900
    assert counter.num_spilled > 2
    assert peak < limit  # the different n-grams alone take 24 MB
