import numpy as np
import pytest
from harness_examples import PatternTokenizer

from keras_lm.data.examples import bucket_plan, example_batches, sequence_pairs


@pytest.fixture
def tokenizer() -> PatternTokenizer:
    return PatternTokenizer(r"\S")


def rows(store):
    """Source, decoder input and targets of every example."""
    return [
        [
            sequence.columns[name][sequence.offsets[i] : sequence.offsets[i + 1]].tolist()
            for sequence in store.sequences
            for name in sequence.columns
        ]
        for i in range(len(store))
    ]


def test_pairs_by_hand(tokenizer):
    a, b, c, d = tokenizer.ids("abcd")
    store = sequence_pairs(["ab", "c"], ["d", "ca"], tokenizer)
    assert rows(store) == [[[a, b, 4], [3, d], [d, 4]], [[c, 4], [3, c, a], [c, a, 4]]]
    assert store.lengths.tolist() == [[3, 2], [2, 3]]
    ((x, y, weight),) = example_batches(store, bucket_plan(store.lengths, batch_size=3))
    assert x["token_ids"].numpy().tolist() == [[a, b, 4], [c, 4, 0], [0, 0, 0]]
    assert x["padding_mask"].numpy().tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0]]
    assert x["decoder_token_ids"].numpy().tolist() == [[3, d, 0], [3, c, a], [0, 0, 0]]
    assert x["decoder_padding_mask"].numpy().tolist() == [[1, 1, 0], [1, 1, 1], [1, 0, 0]]
    assert y.numpy().tolist() == [[d, 4, 0], [c, a, 4], [0, 0, 0]]
    assert weight.numpy().tolist() == [[1, 1, 0], [1, 1, 1], [0, 0, 0]]


def test_families_begin_and_end_in_their_own_way(tokenizer):
    a, b = tokenizer.ids("ab")
    bart = sequence_pairs(
        ["a"], ["b"], tokenizer, source_bos=True, decoder_start_id=4, target_bos=True
    )
    assert rows(bart) == [[[3, a, 4], [4, 3, b], [3, b, 4]]]
    t5 = sequence_pairs(["a"], ["b"], tokenizer, decoder_start_id=0)
    assert rows(t5) == [[[a, 4], [0, b], [b, 4]]]
    plain = sequence_pairs(["a"], ["b"], tokenizer, source_eos=False)
    assert rows(plain) == [[[a], [3, b], [b, 4]]]


def test_long_ones_are_cut_and_do_not_learn_to_stop(tokenizer):
    a, b, c, d = tokenizer.ids("abcd")
    with pytest.warns(UserWarning, match="cut at their end") as warned:
        store = sequence_pairs(
            ["abcd", "ab"], ["abcd", "ab"], tokenizer, max_source_length=3, max_target_length=3
        )
    assert [str(warning.message) for warning in warned] == [
        f"1 of 2 {name}s have more tokens than max_{name}_length=3 leaves room for, and are cut "
        "at their end"
        for name in ("source", "target")
    ]
    assert rows(store) == [[[a, b, 4], [3, a, b], [a, b, c]], [[a, b, 4], [3, a, b], [a, b, 4]]]
    assert d not in np.concatenate([v for s in store.sequences for v in s.columns.values()])


def test_a_target_that_loses_its_eos_alone_is_warned_of(tokenizer):
    a, b = tokenizer.ids("ab")
    with pytest.warns(UserWarning, match="1 of 2 targets have more tokens than max_target_length"):
        store = sequence_pairs(
            ["a", "a"], ["ab", "a"], tokenizer, max_target_length=3, target_bos=True
        )
    assert rows(store) == [[[a, 4], [3, 3, a], [3, a, b]], [[a, 4], [3, 3, a], [3, a, 4]]]


def test_two_vocabularies(tokenizer):
    other = PatternTokenizer(r"\S\S")
    other.bos_id, other.eos_id = 7, 8
    store = sequence_pairs(["ab"], ["ab"], tokenizer, other)
    (ab,) = other.ids("ab")
    assert rows(store) == [[[*tokenizer.ids("ab"), 4], [7, ab], [ab, 8]]]


@pytest.mark.parametrize(
    ("sources", "targets", "options", "message"),
    [
        (["a", "b"], ["a"], {}, "targets has 1 items; sources has 2"),
        (["a", "b"], ["a", " "], {}, r"targets\[1\] holds no tokens, 1 of 2 in all"),
        (["", ""], ["a", "b"], {}, r"sources\[0\] holds no tokens, 2 of 2 in all"),
        (["a", None], ["a", "b"], {}, r"sources\[1\] is of type NoneType"),
        ([], [], {}, "sources is empty"),
        (["a"], ["a"], {"max_source_length": 1}, "max_source_length is 1; .* at least 2"),
        (["a"], ["a"], {"max_target_length": 0}, "max_target_length is 0"),
        (["a"], ["a"], {"max_target_length": 1, "target_bos": True}, "max_.* is 1; .* at least 2"),
    ],
)
def test_bad_input_is_named(tokenizer, sources, targets, options, message):
    with pytest.raises(ValueError, match=message):
        sequence_pairs(sources, targets, tokenizer, **options)


def test_special_tokens_that_are_missing_are_named(tokenizer):
    tokenizer.bos_id = None
    with pytest.raises(ValueError, match=r"target_tokenizer\.bos_id is None"):
        sequence_pairs(["a"], ["b"], tokenizer)
    assert len(sequence_pairs(["a"], ["b"], tokenizer, decoder_start_id=0)) == 1
    with pytest.raises(ValueError, match=r"target_tokenizer\.bos_id is None"):
        sequence_pairs(["a"], ["b"], tokenizer, decoder_start_id=0, target_bos=True)
    tokenizer.eos_id = None
    with pytest.raises(ValueError, match=r"source_tokenizer\.eos_id is None"):
        sequence_pairs(["a"], ["b"], tokenizer)
