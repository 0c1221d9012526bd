"""Triples: read in every form, numbered, looked up, and read as batches."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_lm.data.triples import (
    GraphNames,
    KnownTails,
    TripleExamples,
    check_names,
    entity_texts,
    read_triples,
    relation_texts,
    vocabulary,
    with_inverses,
)

SHARED = Path(os.environ.get("KERAS_LM_SHARED", Path(__file__).parents[3] / "shared")) / "data"
TRIPLES = [("naïve café", "serves", "thé"), ("thé", "_is_a", "drink")]
NAMES = GraphNames(("aspirin", "headache", "ibuprofen"), ("treats", "causes"))


def test_every_form_says_the_same(tmp_path: Path) -> None:
    text = "head\trelation\ttail\n" + "".join("\t".join(triple) + "\n" for triple in TRIPLES)
    (tmp_path / "plain.tsv").write_text(text, encoding="utf-8")
    (tmp_path / "small.tsv.gz").write_bytes(gzip.compress(text.encode()))
    columns = tuple(zip(*TRIPLES, strict=True))
    forms: list[Any] = [
        [list(triple) for triple in TRIPLES],
        np.array(TRIPLES),
        columns,
        tuple(list(column) for column in columns),
        str(tmp_path / "plain.tsv"),
        tmp_path / "small.tsv.gz",
    ]
    for form in forms:
        assert read_triples(form) == TRIPLES


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "triples is empty"),
        (3, "triples must be a list of"),
        (("a", "b", "c"), "triples must be a list of"),
        ({"head": ["a"]}, "triples must be a list of"),
        ([("a", "b")], r"triples\[0\] must be \(head, relation, tail\); got \('a', 'b'\)"),
        ([("a", "b", "c"), ("a", "b", "c", "d")], r"triples\[1\] must be"),
        ([("a", "b", 3)], r"triples\[0\], the tail, is of type int"),
        ([("a", " ", "c")], r"triples\[0\] has an empty relation"),
        ([("a", "b\ud800", "c")], r"triples\[0\], the relation, holds a lone surrogate"),
        ((["a", "b"], ["r"], ["c"]), "triples has 2 heads, 1 relations and 1 tails"),
    ],
)
def test_bad_triples(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_triples(given)


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.tsv"):
        read_triples(tmp_path / "none.tsv")
    path = tmp_path / "graph.tsv"
    path.write_text("head\ttail\na\tb\n")
    with pytest.raises(ValueError, match=r"graph\.tsv, line 1: no field 'relation'"):
        read_triples(path)
    path.write_text("head\trelation\ttail\na\tb\n")
    with pytest.raises(ValueError, match=r"graph\.tsv, line 2: 2 fields; the header has 3"):
        read_triples(path)
    path.with_suffix(".tsv.gz").write_bytes(gzip.compress(b"head\trelation\ttail\na\tb\tc\n")[:-9])
    with pytest.raises(ValueError, match=r"graph\.tsv\.gz"):
        read_triples(path.with_suffix(".tsv.gz"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("abc", "entities is one string"),
        ([], "entities is empty"),
        (["a", "b", "a"], "entities has 'a' twice"),
        (["a", ""], r"entities\[1\] is empty"),
        ([1], r"entities\[0\] is of type int"),
    ],
)
def test_bad_names(names: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_names(names, "entities")


def test_names_that_are_not_known_are_told_with_those_near_them() -> None:
    assert NAMES.numbers([("ibuprofen", "treats", "headache")]).tolist() == [[2, 0, 1]]
    wrong = [("asprin", "treats", "headache"), ("aspirin", "treats", "headache"), ("x", "y", "z")]
    with pytest.raises(ValueError, match=r"x has the entity 'asprin' \(and 1 others\).*'aspirin'"):
        NAMES.numbers(wrong, "x")
    with pytest.raises(ValueError, match="triples has the relation 'treat', .* 2 .*near.*'treats'"):
        NAMES.numbers([("aspirin", "treat", "headache")])
    with pytest.raises(ValueError, match="the entity 'qqq', which is none of the 3 [^;]*$"):
        NAMES.find("head", ["qqq"], "head")
    assert NAMES.known_numbers([*wrong, ("aspirin", "cures", "headache")]).tolist() == [[0, 0, 1]]


def test_vocabulary_and_texts() -> None:
    entities, relations = vocabulary(TRIPLES)
    assert entities == ("drink", "naïve café", "thé")
    assert relations == ("_is_a", "serves")
    assert entity_texts(("a_b", "_"), {"_": "dash"}) == ("a b", "dash")
    assert relation_texts(("_is_a",)) == ("is a", "inverse of is a")
    with pytest.raises(ValueError, match=r"texts\['_'\] is empty"):
        entity_texts(("_",))
    with pytest.raises(ValueError, match=r"texts\['a'\] is of type int"):
        entity_texts(("a",), {"a": 3})  # type: ignore[dict-item]


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 4)), min_size=1),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1),
)
def test_known_tails_are_those_of_a_search(triples: Any, questions: Any) -> None:
    known = KnownTails(np.array(triples), num_relations=2)
    rows, tails = known.find(*np.array(questions).T)
    expected = {
        (row, tail)
        for row, question in enumerate(questions)
        for (*asked, tail) in triples
        if tuple(asked) == question
    }
    found = list(zip(rows.tolist(), tails.tolist(), strict=True))
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_an_inverse_of_each() -> None:
    triples = np.array([[1, 0, 2], [3, 1, 4]])
    assert with_inverses(triples, 2).tolist() == [[1, 0, 2], [3, 1, 4], [2, 2, 1], [4, 3, 3]]


@pytest.mark.parametrize("negatives", [None, 5])
def test_batches_are_the_triples_and_hold_each_row_once(negatives: int | None) -> None:
    random = np.random.default_rng(0)
    triples = random.integers(0, 9, (6, 3)).astype(np.int32)
    examples = TripleExamples(triples, 9, negatives)
    numbers = np.array([4, 1, 1, 5, -1])
    x, _, weights = examples.rows(numbers, [1], np.random.default_rng(1))
    assert weights.tolist() == x["weights"].tolist() == [1, 1, 1, 1, 0]
    rows = x.get("entity_rows", np.arange(9))
    found = [rows[x["heads"]], x["relation_rows"][x["relations"]], rows[x["tails"]]]
    np.testing.assert_array_equal(np.stack(found, axis=1)[:4], triples[numbers[:4]])
    for name in ("entity_rows", "relation_rows"):
        if name in x:
            used = {"entity_rows": ["heads", "tails", "negatives"], "relation_rows": ["relations"]}
            places = np.unique(np.concatenate([x[each] for each in used[name]]))
            assert len(set(x[name][places])) == len(places)
    assert {array.dtype for name, array in x.items() if name != "weights"} == {np.dtype("int32")}
    if negatives:
        assert x["negatives"].shape == (negatives,)
        other, *_ = examples.rows(numbers, [1], np.random.default_rng(2))
        drawn, others = (each["entity_rows"][each["negatives"]] for each in (x, other))
        assert not np.array_equal(drawn, others)
        assert {int(n) for n in drawn} <= set(range(9))


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the data sets are not at {SHARED}")
@pytest.mark.parametrize(
    ("name", "count", "entities", "relations"),
    [("umls", 5_216, 135, 46), ("wn18rr", 86_835, 40_714, 11)],
)
def test_real_graphs(name: str, count: int, entities: int, relations: int) -> None:
    triples = read_triples(SHARED / name / "train.tsv.gz")
    assert len(triples) == count
    assert [len(part) for part in vocabulary(triples)] == [entities, relations]
