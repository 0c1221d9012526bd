import types

import numpy as np
import pytest
import tensorflow as tf

from keras_lm.data.preview import preview

TOKENS = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "##s", "你好", " on", "\n", "é"]
SPECIAL = 4


def id_to_token(i):
    if not 0 <= i < len(TOKENS):
        raise ValueError("no such token")
    return TOKENS[i]


@pytest.fixture
def words():
    """A stand-in for a tokenizer: the texts of its tokens are their names."""
    return types.SimpleNamespace(
        byte_lengths=np.array([0] * SPECIAL + [len(t.encode()) for t in TOKENS[SPECIAL:]]),
        id_to_token=id_to_token,
        detokenize=lambda ids: tf.constant(TOKENS[ids[0]].encode()),
    )


@pytest.fixture
def shown(words, capsys):
    """What `preview` prints, line by line, but for the heading."""

    def show(batch, **options):
        assert preview(batch, words, **options) is None
        lines = capsys.readouterr().out.split("\n")
        assert lines[-1] == ""
        return [line for line in lines[1:-1] if line]

    return show


def ints(*rows):
    return np.array(rows, np.int32)


def floats(*rows):
    return np.array(rows, np.float32)


def test_next_tokens_in_segments(shown):
    x = {
        "num_bytes": ints(6)[:1, ...].reshape(1),
        "positions": ints([0, 1, 2, 0, 0, 0]),
        "segment_ids": ints([1, 1, 1, 2, 0, 0]),
        "token_ids": ints([1, 4, 5, 1, 0, 0]),
    }
    assert shown((x, ints([4, 5, 2, 8, 0, 0]), floats([1, 1, 1, 0.5, 0, 0]))) == [
        "row 0",
        "  num_bytes 6",
        "  token_ids    [CLS]  the  cat    [CLS]  · × 2",
        "  positions    0      1    2      0",
        "  segment_ids  1      1    1      2",
        "  target       the    cat  [SEP]  你好",
        "  weight       1      1    1      0.5",
    ]


def test_masked_tokens_stand_below_their_places(shown):
    x = {"token_ids": ints([3, 4, 3, 6], [1, 3, 4, 5]), "masked_positions": ints([0, 2], [1, 0])}
    assert shown((x, ints([5, 7], [6, 0]), floats([1, 1], [1, 0]))) == [
        "row 0",
        "  token_ids  [MASK]  the  [MASK]  sat",
        "  target     cat          ##s",
        "  weight     1            1",
        "row 1",
        "  token_ids  [CLS]  [MASK]  the  cat",
        "  target            sat",
        "  weight            1",
    ]


def test_pairs_with_a_label_and_masked_tokens(shown):
    x = {"token_ids": ints([1, 3, 2]), "masked_positions": ints([1, 0])}
    y = {"label": ints(1).reshape(1), "masked_tokens": ints([5, 0])}
    weight = {"label": floats(1).reshape(1), "masked_tokens": floats([1, 0])}
    assert shown((x, y, weight), label_names=["other", "next"]) == [
        "row 0",
        "  label next   weight of label 1",
        "  token_ids                [CLS]  [MASK]  [SEP]",
        "  masked_tokens                   cat",
        "  weight of masked_tokens         1",
    ]


def test_an_encoder_and_a_decoder(shown):
    x = {
        "decoder_padding_mask": ints([1, 1, 0]),
        "decoder_token_ids": ints([1, 4, 0]),
        "padding_mask": ints([1, 1, 1, 0, 0]),
        "token_ids": ints([4, 5, 6, 0, 0]),
    }
    assert shown((x, ints([4, 5, 0]), floats([1, 1, 0]))) == [
        "row 0",
        "  token_ids     the  cat  sat  · × 2",
        "  padding_mask  1    1    1",
        "  decoder_padding_mask  1      1    · × 1",
        "  decoder_token_ids     [CLS]  the",
        "  target                the    cat",
        "  weight                1      1",
    ]


@pytest.mark.parametrize(("names", "label"), [(None, "1"), (["bad", "good"], "good")])
def test_labels_of_texts(shown, names, label):
    x = {"token_ids": ints([4, 5]), "padding_mask": ints([1, 1])}
    batch = tf.data.Dataset.from_tensors((x, [1], [1.0]))
    assert shown(batch, label_names=names) == [
        "row 0",
        f"  label {label}   weight 1",
        "  token_ids     the  cat",
        "  padding_mask  1    1",
    ]


def test_labels_of_tokens_are_not_taken_for_tokens(shown):
    x = {"token_ids": ints([1, 4, 5, 7, 2])}
    lines = shown(
        (x, ints([0, 0, 1, 0, 0]), floats([0, 1, 1, 0, 0])), label_names=["O", "B-animal"]
    )
    assert lines == [
        "row 0",
        "  token_ids  [CLS]  the  cat       ##s  [SEP]",
        "  label      O      O    B-animal  O    O",
        "  weight     0      1    1         0    0",
    ]


def test_answer_spans(shown):
    x = {"token_ids": ints([1, 4, 5, 7, 2])}
    y = {"start": ints(2).reshape(1), "end": ints(3).reshape(1)}
    assert shown((x, y)) == [
        "row 0",
        "  start 2   end 3",
        "  answer cat ##s",
        "  token_ids  [CLS]  the  cat  ##s  [SEP]",
    ]


def test_neighbours(shown):
    x = {"target": ints(5, 6).reshape(2), "context": ints([4, 6, 8], [5, 4, 4])}
    y = ints([1, 0, 0], [1, 0, 0])
    assert shown((x, y, floats(1, 0).reshape(2)), rows=1) == [
        "row 0",
        "  target cat   weight 1",
        "  context  the  sat  你好",
        "  label    1    0    0",
    ]
    bag = {"context": ints([4, 0]), "context_mask": ints([1, 0]), "target": ints([5, 6])}
    assert shown((bag, ints([1, 0]))) == [
        "row 0",
        "  context       the  · × 1",
        "  context_mask  1",
        "  target        cat",
        "  label         1",
    ]


def test_characters_without_a_picture_and_unknown_ids(shown):
    assert shown(ints([9, 10, 11, 12, -1])) == ["row 0", r"  token_ids  ▁on  \n  é  #12  #-1"]


def test_wide_batches_are_cut(shown):
    x = {"token_ids": np.full((1, 512), 8), "segment_ids": np.ones((1, 512), int)}
    row, tokens, segments = shown(x, width=40)
    assert row == "row 0"
    assert tokens == "  token_ids    你好  你好  你好  你好  …"
    assert segments == "  segment_ids  1     1     1     1     …"
    # A line that fits is not cut: nothing is left out at just the width of the line.
    line = "  token_ids  the  cat"
    assert shown(ints([4, 5]), width=len(line))[1] == line
    assert shown(ints([4, 5]), width=len(line) - 1)[1] == "  token_ids  the  …"


def test_what_it_does_not_know_is_shown_by_its_first_values(shown, capsys, words):
    x = {
        "token_ids": ints([4, 5]),
        "text": np.array([b"the cat"]),
        "scores": np.arange(8.0).reshape(2, 2, 2) / 3,
        "scale": np.float32(0.5),
        "nested": {"more": ints([7])},
        "ragged": tf.ragged.constant([[1, 2, 3]]),
    }
    assert shown(x) == [
        "row 0",
        "  text the▁cat",
        "  token_ids  the  cat",
        "  more  7",
        "  ragged  1  2  3",
        "scores float64 [2, 2, 2]: 0 0.3333 0.6667 1 1.333 1.667 …",
        "scale float32 []: 0.5",
    ]
    preview((ints([4, 5]), ints([5, 6])), words)
    heading = capsys.readouterr().out.split("\n")[0]
    assert heading == "1 row: token_ids int32 [1, 2] | y int32 [1, 2]"


def test_no_more_rows_than_there_are(shown):
    lines = shown(ints([4], [5], [6]), rows=2)
    assert [line for line in lines if line.startswith("row")] == ["row 0", "row 1"]
    assert shown(ints([4], [5], [6]), rows=9)[-1] == "  token_ids  sat"
    padded = {"token_ids": ints([0, 0]), "padding_mask": ints([0, 0])}
    assert shown(padded)[1:] == ["  token_ids     · × 2", "  padding_mask"]


def test_bad_arguments_are_named(words):
    with pytest.raises(ValueError, match="dataset is empty"):
        preview(tf.data.Dataset.range(0), words)
    with pytest.raises(ValueError, match="rows is 0; it must be at least 1"):
        preview(ints([4]), words, rows=0)
