"""Search by words: terms, BM25 against bm25s and by hand, its index, what is served."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keras_lm.tasks import BM25Retriever
from keras_lm.tasks.retrieval import postings
from keras_lm.tasks.retrieval.terms import TermSplitter

GOLDEN = Path(__file__).parents[1] / "golden" / "ranking.json"
REFERENCE = json.loads(GOLDEN.read_text(encoding="utf-8"))["bm25"]
DOCUMENTS = ["The red, red apple.", "A green apple", "苹果是红色的", "A fast car"]


@pytest.fixture(scope="module")
def splitter() -> TermSplitter:
    return TermSplitter()


@pytest.fixture(scope="module")
def indexed() -> BM25Retriever:
    """A retriever with documents. Tests leave it as it is."""
    retriever = BM25Retriever()
    retriever.index(DOCUMENTS, ids=["red", "green", "zh", "car"])
    return retriever


def terms_of(splitter: TermSplitter, *texts: str) -> list[list[str]]:
    rows = splitter(tf.constant(texts, tf.string, shape=[len(texts)])).to_list()
    return [[term.decode() for term in row] for row in rows]


def ids_of(hits: list[dict[str, Any]]) -> list[Any]:
    return [hit["id"] for hit in hits]


# ---- terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("B-cells don't 3.5", "b cells don t 3 5"),
        ("x_y a+b <p>", "x y a b p"),
        ("２５％ ＷＴＯ ﬁne", "25 wto fine"),
        ("STRASSE straße", "strasse strasse"),
        ("ΣΑΣ σας", "σασ σασ"),
        ("soft\u00adhyphen zero\u200bwidth \ufeffBOM", "softhyphen zero width bom"),
        ("❤\ufe0f !? \u0301 …", ""),
        ("", ""),
        ("猫", "猫"),
        ("北京大学", "北 北京 京 京大 大 大学 学"),
        ("iPhone手机2台", "iphone 手 手机 机 2 台"),
        ("北，京", "北 京"),  # a mark between them parts a pair
        ("漢\U000e0100字", "漢 漢字 字"),  # a variation selector does not
        ("カメラ", "カ カメ メ メラ ラ"),
        ("한국어 사전", "한국어 사전"),
        ("हिन्दी में", "हिन्दी में"),  # marks stay with their letters
        ("😀a😀", "a"),
    ],
)
def test_terms(splitter: TermSplitter, text: str, expected: str) -> None:
    assert terms_of(splitter, text) == [unicodedata.normalize("NFKD", expected).split()]


@pytest.mark.parametrize(
    "same",
    [
        ["naïve", "NAI\u0308VE", "ｎａïｖｅ"],
        ["Vi\u1ec7t", "vi\u00ea\u0323t", "vie\u0302\u0323t", "vie\u0323\u0302t"],
        ["ガス", "ｶﾞｽ", "カ\u3099ス"],
        ["한국", unicodedata.normalize("NFD", "한국")],
        ["金", "\uf90a"],
    ],
)
def test_same_however_it_is_written(splitter: TermSplitter, same: list[str]) -> None:
    rows = terms_of(splitter, *same)
    assert rows[0]
    assert rows == [rows[0]] * len(same)


def test_a_voiced_kana_is_another(splitter: TermSplitter) -> None:
    assert terms_of(splitter, "か") != terms_of(splitter, "が")


def terms_in_python(text: str) -> list[str]:
    """The rules again, on whole strings."""
    shown = [c for c in text if unicodedata.category(c) != "Cf" or c == "\u200b"]
    shown = [c for c in shown if not re.match("[\ufe00-\ufe0f\U000e0100-\U000e01ef]", c)]
    folded = unicodedata.normalize("NFKD", "".join(shown)).casefold()
    kinds, parts, before = [], [], ""
    for character in unicodedata.normalize("NFKD", folded):
        category = unicodedata.category(character)[0]
        if category == "M":
            if before:
                parts[-1] += character
            continue
        is_ideograph = bool(re.match("[々〆〇ぁ-ゖゝ-ゟァ-ヺー-ヿ㐀-䶿一-鿿]", character))
        kind = "ideograph" if is_ideograph else "letter" if category in "LN" else ""
        if kind and kind == before == "letter":
            parts[-1] += character
        else:
            kinds.append(kind)
            parts.append(character)
        before = kind
    found = []
    for number, (kind, part) in enumerate(zip(kinds, parts, strict=True)):
        found += [part] if kind else []
        if kind == "ideograph" and kinds[number + 1 : number + 2] == ["ideograph"]:
            found.append(part + parts[number + 1])
    return found


@settings(max_examples=60)
@given(
    st.lists(
        st.text(st.sampled_from("aB1 é\u0323\u0301漢字カが゛ｶﾞ,ßı\u200d\u00ad½Σ한"), max_size=12)
    )
)
@example(["", ""])
@example([])
def test_terms_of_any_text(splitter: TermSplitter, texts: list[str]) -> None:
    assert terms_of(splitter, *texts) == [terms_in_python(text) for text in texts]


def test_terms_of_every_character(splitter: TermSplitter) -> None:
    texts = [f"a{chr(c)}b字{chr(c)}" for c in range(0x30000) if not 0xD800 <= c < 0xE000]
    blocks = re.compile("[\u3021-\u3029\u3038-\u303b\u31f0-\u31ff\uf900-\ufaff\U0001b000-\U0001b16f"
                        "\U00020000-\U0002ffff]")  # fmt: skip
    texts = [text for text in texts if not blocks.search(text)][::7]
    for text, found in zip(texts, terms_of(splitter, *texts), strict=True):
        assert found == terms_in_python(text), ascii(text)


# ---- scores


@pytest.mark.parametrize("number", range(len(REFERENCE["settings"])))
def test_as_in_bm25s(number: int) -> None:
    retriever = BM25Retriever(*REFERENCE["settings"][number])
    retriever.index(REFERENCE["documents"])
    count = len(REFERENCE["documents"])
    found = retriever.search_documents(REFERENCE["queries"], k=count)
    assert any(len(hits) < count for hits in found)
    for hits, expected in zip(found, REFERENCE["scores"][number], strict=True):
        scores = np.zeros(count)
        scores[ids_of(hits)] = [hit["score"] for hit in hits]
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-7)
        order = np.argsort(-np.float32(expected), kind="stable")
        ordered = [(round(hit["score"], 4), -hit["id"]) for hit in hits]
        assert ordered == sorted(ordered, reverse=True)
        assert hits[0]["id"] == order[0]


def test_by_hand() -> None:
    retriever = BM25Retriever(k1=1.5, b=0.5)
    retriever.index(["one two two", "two", "three four"])  # 6 terms: 2 a document
    found = retriever.search_documents("Two, TWO one?")
    two, one = math.log(1 + 1.5 / 2.5), math.log(1 + 2.5 / 1.5)
    first = 2 * two * 2 / (2 + 1.5 * (0.5 + 0.5 * 3 / 2)) + one / (1 + 1.5 * (0.5 + 0.5 * 3 / 2))
    second = 2 * two * 1 / (1 + 1.5 * (0.5 + 0.5 * 1 / 2))
    assert ids_of(found) == [0, 1]  # the third has none of the words
    assert [hit["score"] for hit in found] == pytest.approx([first, second], rel=1e-6)
    assert found[0]["document"] == "one two two"


def test_k1_and_b() -> None:
    def scores(k1: float, b: float) -> list[float]:
        retriever = BM25Retriever(k1, b)
        retriever.index(["a", "a a", "a x y z", "b"])
        found = {hit["id"]: hit["score"] for hit in retriever.search_documents("a")}
        return [found[number] for number in range(3)]

    assert len(set(scores(0, 1))) == 1  # k1 = 0: neither counts nor lengths
    once, twice, longer = scores(1.2, 0)
    assert once == longer < twice  # b = 0: no lengths
    once, twice, longer = scores(1.2, 1)
    assert longer < once


def test_equal_scores_in_order() -> None:
    retriever = BM25Retriever()
    retriever.index(["x", *["same words"] * 40, "same words more", "y"])
    assert ids_of(retriever.search_documents("words same", k=40)) == list(range(1, 41))


def test_what_is_not_found(indexed: BM25Retriever) -> None:
    assert indexed.search_documents("nothing of it") == []
    assert indexed.search_documents("?!") == []
    assert ids_of(indexed.search_documents("an APPLE, nothing else", k=4)) == ["green", "red"]
    found = indexed.search_documents(["果", "?", "car", "红苹果"], k=1)
    assert [ids_of(hits) for hits in found] == [["zh"], [], ["car"], ["zh"]]


def test_documents_without_terms() -> None:
    retriever = BM25Retriever()
    retriever.index(["?!", "…"])
    assert retriever.search_documents("a ?") == []
    retriever.add(["a ?"])
    assert ids_of(retriever.search_documents("a ?")) == [2]


words = st.text(st.sampled_from("abc 一二"), min_size=1, max_size=9).filter(str.strip)
texts = st.lists(words, min_size=1, max_size=6)


# ---- the index


@pytest.fixture(scope="module")
def two() -> list[BM25Retriever]:
    """Two retrievers, to be indexed again and again."""
    return [BM25Retriever(), BM25Retriever()]


@settings(max_examples=25)
@given(texts, texts, texts)
def test_added_is_as_indexed_at_once(
    two: list[BM25Retriever], first: list[str], second: list[str], third: list[str]
) -> None:
    at_once, added = two
    at_once.index(first + second + third)
    added.index(["dropped words", *third])
    added.index(first)
    added.add(second)
    added.search_documents(third[0])
    added.add(third)
    assert added.ids == at_once.ids
    assert added.documents == at_once.documents
    expected, found = at_once.index_arrays(), added.index_arrays()
    assert list(expected) == list(found)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert added.search_documents(first[0]) == at_once.search_documents(first[0])


def test_batches_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [f"word{n % 7} word{n % 5} 漢{n % 3}字" for n in range(50)]
    whole, parts = BM25Retriever(), BM25Retriever()
    whole.index(documents)
    monkeypatch.setattr(postings, "BATCH", 3)
    parts.index(documents)
    for name, array in whole.index_arrays().items():
        np.testing.assert_array_equal(parts.index_arrays()[name], array)


def test_saved_and_loaded(indexed: BM25Retriever, tmp_path: Path) -> None:
    indexed.save_index(tmp_path / "index")
    loaded = BM25Retriever().load_index(tmp_path / "index")
    for query in ("red apple", "果", "car?"):
        assert loaded.search_documents(query) == indexed.search_documents(query)
    loaded.add(["a red car"], ids=["new"])
    assert ids_of(loaded.search_documents("red car", k=1)) == ["new"]
    # The index holds counts: other settings weigh them anew.
    other = BM25Retriever(k1=0, b=0).load_index(tmp_path / "index")
    fresh = BM25Retriever(k1=0, b=0)
    fresh.index(indexed.documents, ids=indexed.ids)
    assert other.search_documents("red apple") == fresh.search_documents("red apple")
    assert other.search_documents("red apple") != indexed.search_documents("red apple")


DAMAGES: dict[str, Any] = {
    "missing": lambda arrays: arrays.pop("counts"),
    "dtype": lambda arrays: arrays.update(counts=arrays["counts"].astype("int64")),
    "shape": lambda arrays: arrays.update(counts=arrays["counts"][None]),
    "short counts": lambda arrays: arrays.update(counts=arrays["counts"][:-1]),
    "short documents": lambda arrays: arrays.update(documents=arrays["documents"][:-1]),
    "no document": lambda arrays: arrays.update(documents=arrays["documents"] + 4),
    "not rising": lambda arrays: arrays.update(documents=arrays["documents"][::-1].copy()),
    "zero": lambda arrays: arrays.update(counts=arrays["counts"] - 1),
    "splits fall": lambda arrays: arrays.update(splits=arrays["splits"][::-1].copy()),
    "few splits": lambda arrays: arrays.update(splits=np.delete(arrays["splits"], 1)),
    "no splits": lambda arrays: arrays.update(splits=arrays["splits"][:0]),
    "other terms": lambda arrays: arrays.update(terms=arrays["terms"] * 0),
    "short terms": lambda arrays: arrays.update(terms=arrays["terms"][:-1]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_arrays_that_are_no_index(indexed: BM25Retriever, damage: str) -> None:
    retriever = BM25Retriever()
    retriever.index(["old words"])
    arrays = dict(indexed.index_arrays())
    DAMAGES[damage](arrays)
    with pytest.raises(ValueError, match="the index"):
        retriever.take_index(arrays, 4)
    assert ids_of(retriever.search_documents("words")) == [0]


def test_served_in_another_process(indexed: BM25Retriever, tmp_path: Path) -> None:
    indexed.export(tmp_path / "served")
    code = (
        "import json, sys\n"
        "import tensorflow as tf\n"
        "model = tf.saved_model.load(sys.argv[1])\n"
        "search = model.signatures['serving_default']\n"
        "for queries, k in ((['red APPLE', '果', '?'], 2), ([], 10), (['car'], 99)):\n"
        "    text = tf.constant(queries, tf.string, shape=[len(queries)])\n"
        "    found = search(text=text, k=tf.constant(k))\n"
        "    rows = {name: found[name].numpy().tolist() for name in found}\n"
        "    print(json.dumps({name: [[x.decode() if isinstance(x, bytes) else x for x in row]\n"
        "                             for row in rows[name]] for name in sorted(rows)}))\n"
        "assert not {'keras_lm', 'tensorflow_text'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "served")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    several, none, one = map(json.loads, done.stdout.splitlines())
    expected = indexed.search_documents("red APPLE", k=2)
    assert several["id"] == [["red", "green"], ["zh", ""], ["", ""]]
    assert several["document"][0] == [hit["document"] for hit in expected]
    assert several["score"][0] == [hit["score"] for hit in expected]
    assert several["score"][2] == [0, 0]
    assert none == {"document": [], "id": [], "score": []}
    assert one["id"] == [["car", "", "", ""]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k1": -0.1}, "k1 must be a number, 0 or more; got -0.1"),
        ({"k1": math.nan}, "k1 must be"),
        ({"k1": math.inf}, "k1 must be"),
        ({"k1": "1"}, "k1 must be"),
        ({"b": 1.01}, "b must be a number, from 0 to 1; got 1.01"),
        ({"b": -1}, "b must be"),
        ({"b": True}, "b must be"),
    ],
)
def test_bad_settings(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BM25Retriever(**arguments)


def test_export_needs_an_index(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the index is empty; call index\(documents\)"):
        BM25Retriever().export(tmp_path / "served")
