"""Groups of texts: what a batch for contrastive learning holds."""

from __future__ import annotations

import numpy as np
import pytest

import keras_lm as klm
from keras_lm.data import bucket_plan, example_batches, text_groups

GROUPS = [("aa", "bbbb", "c"), ("dd", "bbbb", "aa"), ("eeeeee", "f", "g")]


@pytest.fixture(scope="module")
def tok() -> klm.tokenizers.BytePairTokenizer:
    return klm.tokenizers.BytePairTokenizer.train(texts=["xx"] * 9, vocab_size=258)


def test_a_text_is_stored_once(tok: klm.tokenizers.BytePairTokenizer) -> None:
    groups = text_groups(GROUPS, tok)
    assert groups.members.tolist() == [[0, 1, 2], [3, 1, 0], [4, 5, 6]]
    assert len(groups.texts) == 7
    assert groups.lengths.tolist() == [[4, 6, 3], [4, 6, 4], [8, 3, 3]]


def test_a_batch(tok: klm.tokenizers.BytePairTokenizer) -> None:
    groups = text_groups(GROUPS, tok, prefixes=("?", ""))
    x, y, weights = groups.rows(np.array([1, -1, 2]), widths=(9, 6, 6))
    assert x["numbers"].tolist() == [[3, 1, 4], [-1, -1, -1], [5, 6, 7]]
    assert x["numbers"].dtype == y.dtype == np.int32
    queries, documents, unfit = x["texts"]
    assert [part["token_ids"].shape for part in x["texts"]] == [(3, 9), (3, 6), (3, 6)]
    text = tok.detokenize(queries["token_ids"][0, 1:4]).numpy().decode()
    assert text == "?dd"
    assert queries["padding_mask"].sum(1).tolist() == [5, 1, 9]
    assert documents["padding_mask"].sum(1).tolist() == [6, 1, 3]
    assert not documents["token_ids"][1].any()
    assert tok.detokenize(unfit["token_ids"][0, 1:3]).numpy().decode() == "aa"
    assert y.tolist() == [0, 1, 2]
    assert weights.tolist() == [1, 0, 1]


def test_batches_by_address(tok: klm.tokenizers.BytePairTokenizer) -> None:
    groups = text_groups(GROUPS, tok)
    plan = bucket_plan(groups.lengths, batch_size=2, num_buckets=2)
    batches = list(example_batches(groups, plan, shuffle=True, seed=1, repeat=True).take(6))
    again = example_batches(groups, plan, shuffle=True, seed=1, repeat=True, start=3).take(3)
    for one, other in zip(batches[3:], again, strict=True):
        assert one[0]["numbers"].numpy().tolist() == other[0]["numbers"].numpy().tolist()
    seen = np.concatenate([x["numbers"].numpy() for x, _, _ in batches[: plan.num_batches]])
    assert sorted(seen[seen[:, 0] >= 0].tolist()) == sorted(groups.members.tolist())


def test_a_long_text_is_cut_with_a_warning(tok: klm.tokenizers.BytePairTokenizer) -> None:
    with pytest.warns(UserWarning, match="1 of 7 texts have more tokens than max_length=7"):
        groups = text_groups(GROUPS, tok, max_length=7)
    assert groups.lengths.max() == 7
    last = groups.texts.dense(np.array([4]), 7)["token_ids"][0]
    assert last[-1] == groups.texts.dense(np.array([0]), 4)["token_ids"][0, -1]  # SEP


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([("a", "b"), ("a", "b", "c")], r"x\[1\] has 3 texts.* x\[0\], which has 2"),
        ([("a",)], r"x\[0\] has 1 texts"),
        ([("a", 3)], "every item must be a str"),
        ([("a", "\ud800")], "lone surrogate"),
    ],
)
def test_wrong_groups(
    tok: klm.tokenizers.BytePairTokenizer, groups: list[tuple[str, ...]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        text_groups(groups, tok)
