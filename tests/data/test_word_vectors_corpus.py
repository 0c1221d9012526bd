"""Words, neighbours and co-occurrences: exact by hand, and of the right frequency."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from keras_lm.data.word_vectors import cooccurrences
from keras_lm.data.word_vectors.cooccurrences import PairBatches, count_cooccurrences
from keras_lm.data.word_vectors.corpus import read_corpus, words_of
from keras_lm.data.word_vectors.neighbours import NeighbourBlocks
from keras_lm.data.word_vectors.questions import analogy_questions, similarity_pairs

TEXTS = st.lists(st.lists(st.sampled_from("abcde"), max_size=12), min_size=1, max_size=6).filter(
    any
)


def test_words() -> None:
    assert words_of("Größe, 2nd_try — it's 北京!") == ["größe", "2nd", "try", "it", "s", "北京"]
    assert words_of("") == []


def test_strings_lists_generators_and_data_sets_are_one() -> None:
    texts = ["The cat, the dog.", "", "THE END"]
    lists = [words_of(text) for text in texts]
    dataset = tf.data.Dataset.from_tensor_slices(texts)
    kinds = [texts, lists, iter(texts), (tuple(x) for x in lists), dataset, dataset.batch(2)]
    for kind in kinds:
        corpus = read_corpus(kind)
        assert corpus.words == ("the", "cat", "dog", "end")
        assert corpus.counts.tolist() == [3, 1, 1, 1]
        assert corpus.ids.tolist() == [0, 1, 0, 2, 0, 3]
        assert corpus.num_raw == 6
    assert read_corpus(texts).offsets.tolist() == [0, 4, 4, 6]


def test_rare_words_are_as_if_not_there() -> None:
    corpus = read_corpus([["a", "rare", "a"], ["b", "b", "a"]], min_count=2)
    assert corpus.words == ("a", "b")
    assert corpus.ids.tolist() == [0, 0, 1, 1, 0]
    assert corpus.text_numbers.tolist() == [0, 0, 1, 1, 1]
    assert corpus.num_raw == 6


def test_words_that_are_given_keep_their_numbers() -> None:
    corpus = read_corpus([["new", "b", "a", "b"]], words=["a", "absent", "b"])
    assert corpus.words == ("a", "absent", "b")
    assert corpus.counts.tolist() == [1, 0, 2]
    assert corpus.ids.tolist() == [2, 0, 2]
    with pytest.raises(ValueError, match="texts has none of the 1 words"):
        read_corpus(["x y"], words=["a"])


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one string", "texts is 'one string'"),
        (7, "texts is 7"),
        ([["a"], 7], r"texts\[1\] is 7; it must be a string or a list of words"),
        ([["a", 7]], r"texts\[0\] is \['a', 7\]"),
        ([], "texts has no word that occurs min_count=2 times; it has none"),
        (["a b"], "min_count=2 times; the most frequent, 1 times"),
    ],
)
def test_texts_that_are_none(texts: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_corpus(texts, min_count=2)


# ---- neighbours


def plan_of(texts: list[list[str]], **arguments: object) -> NeighbourBlocks:
    settings = {"window": 2, "subsample": 0.0, "seed": 3, "block_words": 4, "num_noise": 8}
    return NeighbourBlocks(read_corpus(texts), **settings | arguments)


def pairs_within_reach(plan: NeighbourBlocks, epoch: int) -> Counter:
    """(word, neighbour, distance) of all blocks of an epoch, read by hand."""
    found: Counter = Counter()
    for step in range(epoch * plan.num_steps, (epoch + 1) * plan.num_steps):
        batch = plan.batch(step)
        for words, texts, reach in zip(batch["words"], batch["texts"], batch["reach"]):
            for place, far in enumerate(reach, start=plan.window):
                for other in range(place - far, place + far + 1):
                    if other != place and texts[other] == texts[place]:
                        found[words[place], words[other], abs(place - other)] += 1
    return found


@given(texts=TEXTS, epoch=st.integers(0, 2))
def test_every_word_once_with_its_neighbours(texts: list[list[str]], epoch: int) -> None:
    """Every word of the corpus is in one block of an epoch; all neighbours at distance 1 are seen,
    and no others than the text has."""
    plan = plan_of(texts)
    corpus = plan.corpus
    seen = Counter()
    for step in range(epoch * plan.num_steps, (epoch + 1) * plan.num_steps):
        batch = plan.batch(step)
        inside = batch["words"][:, 2:6][batch["texts"][:, 2:6] >= 0]
        assert np.array_equal(batch["texts"][:, 2:6] >= 0, batch["reach"] > 0)
        seen.update(inside.tolist())
    assert seen == Counter(corpus.ids.tolist())
    true = Counter()
    for one in range(len(corpus.ids)):
        for other in range(max(0, one - 2), min(len(corpus.ids), one + 3)):
            if one != other and corpus.text_numbers[one] == corpus.text_numbers[other]:
                true[corpus.ids[one], corpus.ids[other], abs(one - other)] += 1
    found = pairs_within_reach(plan, epoch)
    assert found <= true
    assert {k: n for k, n in found.items() if k[2] == 1} == {
        k: n for k, n in true.items() if k[2] == 1
    }


def test_a_batch_has_an_address() -> None:
    texts = [list("abcdefgh") * 20]
    one, other = plan_of(texts, subsample=0.1), plan_of(texts, subsample=0.1)
    wanted = [one.batch(step) for step in range(2 * one.num_steps)]
    for step in reversed(range(2 * one.num_steps)):
        again = other.batch(step)
        assert all(np.array_equal(wanted[step][name], again[name]) for name in again)
    assert not np.array_equal(wanted[0]["words"], wanted[one.num_steps]["words"])
    steps = one.num_steps + 2
    batches = list(one.batches(start=steps - 3, steps_per_epoch=steps).take(4))
    np.testing.assert_array_equal(batches[0]["words"], wanted[one.num_steps - 1]["words"])
    assert (batches[1]["reach"].numpy() == 0).all(), "beyond the steps that an epoch needs"
    np.testing.assert_array_equal(batches[3]["noise"], wanted[one.num_steps]["noise"])


def test_frequent_words_are_thinned_out() -> None:
    texts = [["the"] * 3000 + ["a"] * 900 + ["b"] * 100]
    plan = plan_of(texts, subsample=0.05, window=1, block_words=16)
    ratio = 0.05 / np.array([0.75, 0.225, 0.025])
    np.testing.assert_allclose(plan.keep, np.minimum(1, np.sqrt(ratio) + ratio), rtol=1e-6)
    seen = np.zeros(3)
    for step in range(20 * plan.num_steps):
        batch = plan.batch(step)
        seen += np.bincount(batch["words"][:, 1:-1][batch["reach"] > 0], minlength=3)
    np.testing.assert_allclose(seen / 20, plan.keep * [3000, 900, 100], rtol=0.02)


def test_noise_and_reach_have_their_distributions() -> None:
    plan = plan_of([["a"] * 160 + ["b"] * 10] * 10, window=5, num_noise=64)
    noise = np.concatenate([plan.batch(step)["noise"].ravel() for step in range(300)])
    share = 16**0.75 / (16**0.75 + 1)
    assert abs((noise == 0).mean() - share) < 4 * np.sqrt(share * (1 - share) / noise.size)
    reach = np.concatenate([plan.batch(step)["reach"].ravel() for step in range(plan.num_steps)])
    np.testing.assert_allclose(np.bincount(reach[reach > 0])[1:] / 1700, 0.2, atol=0.05)


def test_no_word_is_often_in_a_step() -> None:
    rare = plan_of([[f"w{i}" for i in range(9000)]], block_words=32)
    assert rare.num_blocks == 32
    common = plan_of([["a", "b", "c", "d"] * 2000], block_words=32, most_repeats=32)
    assert common.num_blocks == 4
    assert plan_of([["a", "b"] * 500], block_words=32, most_repeats=16).num_blocks == 1
    assert plan_of([["a", "b", "c", "d"] * 500], shares_rows=True, most_repeats=8).num_blocks == 2


# ---- co-occurrences


def counted(texts: list[list[str]], window: int) -> dict[tuple[int, int], float]:
    """Both orders, as the paper's program counts them, one place after the other."""
    corpus = read_corpus(texts)
    found: dict[tuple[int, int], float] = {}
    for one in range(len(corpus.ids)):
        for other in range(max(0, one - window), one):
            if corpus.text_numbers[one] == corpus.text_numbers[other]:
                pair = int(corpus.ids[one]), int(corpus.ids[other])
                for key in (pair, pair[::-1]):
                    found[key] = found.get(key, 0) + 1 / (one - other)
    return found


@pytest.mark.parametrize("room", [5, 40, 10**6])
@given(texts=TEXTS, window=st.integers(1, 5))
def test_cooccurrences(room: int, texts: list[list[str]], window: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cooccurrences, "_WORDS_AT_ONCE", 7)
        found = count_cooccurrences(read_corpus(texts), window, pairs_in_memory=room)
    first, second, weight = found.pair(np.arange(len(found.keys)))
    assert (np.diff(found.keys.astype(np.int64)) > 0).all()
    ours = dict(zip(zip(first.tolist(), second.tolist()), weight.tolist()))
    wanted = {pair: x for pair, x in counted(texts, window).items() if pair[0] <= pair[1]}
    assert ours.keys() == wanted.keys()
    assert all(abs(ours[pair] - wanted[pair]) < 1e-5 for pair in wanted)


def test_cooccurrences_by_hand() -> None:
    """a b a | a c: a a at distance 2, in both orders at once; a b twice at 1; a c at 1."""
    found = count_cooccurrences(read_corpus([["a", "b", "a"], ["a", "c"]]), window=2)
    assert [x.tolist() for x in found.pair(np.arange(3))] == [[0, 0, 0], [0, 1, 2], [1, 2, 1]]


def test_runs_on_disk_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    texts = [[f"w{i}" for i in random.zipf(1.3, 3000) % 400] for _ in range(4)]
    corpus = read_corpus(texts)
    stored = []
    store = cooccurrences._store
    monkeypatch.setattr(cooccurrences, "_WORDS_AT_ONCE", 500)
    monkeypatch.setattr(
        cooccurrences, "_store", lambda path, run: stored.append(len(run[0])) or store(path, run)
    )
    monkeypatch.setattr(cooccurrences.tempfile, "tempdir", str(tmp_path))
    small = count_cooccurrences(corpus, 5, pairs_in_memory=4000)
    assert len(stored) > 3
    assert max(stored) <= 4000 + 500
    assert not list(tmp_path.iterdir()), "nothing is left on disk"
    large = count_cooccurrences(corpus, 5)
    np.testing.assert_array_equal(small.keys, large.keys)
    np.testing.assert_allclose(small.weights, large.weights, rtol=1e-5)


def test_pairs_of_an_epoch() -> None:
    found = count_cooccurrences(read_corpus([list("abcdefg")]), window=3)
    plan = PairBatches(found, seed=0, num_rows=4)
    epochs = [[plan.batch(step, 5) for step in range(5 * e, 5 * e + 5)] for e in (0, 1, 0)]
    for batches in epochs:
        for words, first, second, _ in batches:
            held = np.unique([words[first], words[second]])
            assert words.tolist() == [*held, *[0] * (7 - len(held))]
        rows = [(words[first], words[second], count) for words, first, second, count in batches]
        first, second, count = map(np.concatenate, zip(*rows))
        assert len(first) == 20
        kept = sorted(zip(first[count > 0], second[count > 0], count[count > 0]))
        assert kept == sorted(zip(*found.pair(np.arange(15))))
    for one, again in zip(epochs[0], epochs[2]):
        assert all(map(np.array_equal, one, again))
    assert not all(map(np.array_equal, epochs[0][0], epochs[1][0]))


# ---- files of questions


def test_similarity_pairs(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("note\tword2\tscore\tword1\nx\tcat\t7.5\tTiger\n")
    assert similarity_pairs(path) == [("Tiger", "cat", 7.5)]
    path.write_text("word1\tword2\tscore\na\tb\t1\nc\td\tmuch\n")
    with pytest.raises(ValueError, match=r"pairs\.tsv, line 3: score is 'much'"):
        similarity_pairs(path)
    path.write_text("word1\tword2\tscore\na\tb\tnan\n")
    with pytest.raises(ValueError, match=r"pairs\.tsv, line 2: score is 'nan'"):
        similarity_pairs(path)
    path.write_text("word1\tscore\na\t1\n")
    with pytest.raises(ValueError, match="word2"):
        similarity_pairs(path)
    path.write_text("word1\tword2\tscore\n")
    with pytest.raises(ValueError, match="no pairs|empty"):
        similarity_pairs(path)


def test_analogy_questions(tmp_path: Path) -> None:
    path = tmp_path / "questions.txt"
    path.write_text(": one\na b c d\n\n: two words\ne f g h\n: one\ni j k l\n")
    assert analogy_questions(path) == {
        "one": [tuple("abcd"), tuple("ijkl")],
        "two words": [tuple("efgh")],
    }
    for content, message in (
        ("a b c d\n", "line 1: a question before the first section"),
        (": one\na b c\n", "line 2: 3 words; a question has four"),
        (": one\n", "there are no questions"),
        ("", "there are no questions"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=rf"questions\.txt.*{message}"):
            analogy_questions(path)
