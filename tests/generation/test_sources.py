"""Generation with a model that reads a source, every probability and attention of it known."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pytest

import keras_lm as klm

generate_ids = functools.partial(klm.generation.generate_ids, jit_compile=False)


def test_a_target_begins_with_the_start_and_ends_with_the_end(source_markov: Any) -> None:
    """0 starts, 1 and 0 follow each other, 2 ends; 6 is padding: all from the config."""
    ids = generate_ids(source_markov, [[3, 4, 5]], max_new_tokens=4)
    assert ids.tolist() == [[0, 1, 2]]
    ids = generate_ids(source_markov, [[3], [4, 4]], max_new_tokens=4, bad_words_ids=[[0, 1, 2]])
    assert ids.tolist() == [[0, 1, 0, 1, 0]] * 2
    ids = generate_ids(source_markov, [[3]], max_new_tokens=4, stop_ids=[])
    assert ids.tolist() == [[0, 1, 2, 0, 1]]
    ids = generate_ids(source_markov, [[3]], max_new_tokens=4, num_return_sequences=2)
    assert ids.tolist() == [[0, 1, 2]] * 2


def test_what_a_target_is_forced_to_begin_with(source_markov: Any) -> None:
    sources = [[3, 4], [5]]
    ids = generate_ids(source_markov, sources, max_new_tokens=3, decoder_input_ids=[0, 5])
    assert ids.tolist() == [[0, 5, *ids[0, 2:]]] * 2
    without_start = generate_ids(source_markov, sources, max_new_tokens=3, decoder_input_ids=[5])
    assert without_start.tolist() == ids.tolist()
    each = generate_ids(
        source_markov, sources, max_new_tokens=2, decoder_input_ids=[[0, 1, 0], [0]]
    )
    assert each.tolist() == [[0, 1, 0, 1, 2], [0, 1, 2, 6, 6]]
    # As there, the forced first token is that behind the start alone.
    forced = functools.partial(generate_ids, source_markov, max_new_tokens=2, forced_bos_token_id=0)
    assert forced([[3]]).tolist() == [[0, 0, 1]]
    assert forced([[3]], decoder_input_ids=[0, 1]).tolist() == [[0, 1, 2]]


def test_padding_of_sources_is_not_read(source_markov: Any) -> None:
    """Coverage shows what was: a third token that is never looked at costs the same to all."""
    common = {"max_new_tokens": 3, "num_beams": 3, "coverage_penalty": 0.5, "return_scores": True}
    lists = generate_ids(source_markov, [[3, 4], [3, 4, 5]], **common)
    array = generate_ids(source_markov, np.array([[3, 4, 6], [3, 4, 5]]), **common)
    for mine, other in zip(lists, array, strict=True):
        assert mine.tolist() == other.tolist()
    assert lists[1][0] > lists[1][1]


def coverage_bonus(model: Any, read: list[int], length: int) -> float:
    """Wu et al. 2016, eq. 14: Σ log min(Σ attention, 1) over the tokens of the source."""
    covered = model.attention[read, :length].sum(axis=0)
    return float(np.log(np.clip(covered, 1e-9, 1.0)).sum())


@pytest.mark.parametrize("penalty", [0.0, 0.2, 3.0])
def test_coverage_is_what_the_paper_says(source_markov: Any, penalty: float) -> None:
    """All targets of up to 3 tokens, by their definition; the attention is that of 2 tokens."""
    table = source_markov.table.astype("float64")
    scored = []
    for length in (1, 2, 3):
        for new in itertools.product(range(3), repeat=length):
            if 2 in new[:-1] or (new[-1] != 2 and length < 3):
                continue
            pairs = itertools.pairwise((0, *new))
            score = sum(table[pair] for pair in pairs) / length
            bonus = coverage_bonus(source_markov, [0, *new[:-1]], 2)
            scored.append((score + penalty * bonus, new))
    scored.sort(reverse=True)
    ids, scores = generate_ids(
        source_markov,
        [[3, 4], [5, 5]],
        max_new_tokens=3,
        num_beams=15,
        num_return_sequences=5,
        coverage_penalty=penalty,
        return_scores=True,
    )
    expected = [score for score, _ in scored[:5]]
    np.testing.assert_allclose(scores, expected * 2, atol=1e-4)
    assert ids[0, 1 : 1 + len(scored[0][1])].tolist() == list(scored[0][1])


BAD: list[tuple[dict[str, Any], str]] = [
    ({"ids": [[7]]}, r"ids\[0\] holds 7; token ids are ints from 0 to 6"),
    ({"ids": [[3] * 6]}, r"a source of 6 tokens.*max_source_length is 5"),
    ({"ids": np.array([[3, 6], [6, 6]])}, r"ids\[1\] is an empty"),
    ({"decoder_input_ids": [[0], [0]]}, r"one for each of the 1 sources; got 2"),
    ({"decoder_input_ids": [0, 9]}, r"decoder_input_ids\[0\] holds 9"),
    ({"decoder_input_ids": []}, r"decoder_input_ids is empty"),
    ({"decoder_input_ids": 3}, r"decoder_input_ids must be \[B, T\] or a list"),
    ({"decoder_input_ids": [0] * 6}, r"6 tokens and max_new_tokens=3 exceed .*max_length=8"),
    ({"max_new_tokens": 8}, r"1 tokens and max_new_tokens=8 exceed .*max_length=8"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_input_is_named(source_markov: Any, arguments: dict[str, Any], message: str) -> None:
    given = {"ids": [[3]], "max_new_tokens": 3, **arguments}
    with pytest.raises(ValueError, match=message):
        generate_ids(source_markov, given.pop("ids"), **given)


def test_a_start_must_be_known(source_markov: Any) -> None:
    config = source_markov.config
    source_markov.config = config.replace(decoder_start_id=None)
    try:
        with pytest.raises(ValueError, match="no decoder_start_id"):
            generate_ids(source_markov, [[3]])
    finally:
        source_markov.config = config
