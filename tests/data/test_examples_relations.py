import gzip
import os
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from harness_examples import PatternTokenizer, pattern_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lm.data.examples import bucket_plan, entity_relations, example_batches
from keras_lm.data.examples.entity_marks import check_tagged, tagged_texts

SHARED = Path(os.environ.get("KERAS_LM_SHARED") or Path(__file__).parents[3] / "shared")
TAGS = ["<e1>", "</e1>", "<e2>", "</e2>"]


def words_of(tokenizer, store, example):
    """The tokens of a row, and those of its two entities."""
    (rows,) = store.sequences
    ids = rows.columns["token_ids"][slice(*rows.offsets[example : example + 2])]
    words = tokenizer.words(ids)
    return words, *(words[slice(*store.values[name][example])] for name in ("e1", "e2"))


def test_by_hand():
    tokenizer = PatternTokenizer()
    sentences = [
        "The <e1>children</e1> saw a café;<e2> a  house</e2>",
        "<e2>It</e2><e1>is</e1>\n.",
    ]
    store = entity_relations(sentences, ["b", "a"], tokenizer)
    words, e1, e2 = words_of(tokenizer, store, 0)
    expected = "The @ chi ldr en @ saw a caf é ; # a hou se #"
    assert words == ["<1>", *expected.split(), "<2>"]
    assert (e1, e2) == (["chi", "ldr", "en"], ["a", "hou", "se"])
    words, e1, e2 = words_of(tokenizer, store, 1)
    assert words == ["<1>", "#", "It", "#", "@", "is", "@", ".", "<2>"]
    assert (e1, e2) == (["is"], ["It"])
    assert store.values["relation"].tolist() == [1, 0]
    assert store.label_names == ("a", "b")
    x, y, weight = next(iter(example_batches(store, bucket_plan(store.lengths, batch_size=3))))
    assert sorted(x) == ["e1", "e2", "padding_mask", "token_ids"]
    assert x["e1"].numpy().tolist() == [[3, 6], [5, 6], [0, 0]]
    assert {tensor.dtype for tensor in x.values()} == {tf.int32}
    assert (y.numpy().tolist(), weight.numpy().tolist()) == ([1, 0, 0], [1, 1, 0])


@pytest.mark.parametrize("pattern", [r" ?\S{1,2}", r" |\S{1,2}", r"\S{1,2}\s?"])
def test_spaces_belong_to_no_entity_wherever_the_tokenizer_puts_them(pattern):
    tokenizer = PatternTokenizer(pattern)
    store = entity_relations(["a <e1> bcd e </e1> f<e2>gh</e2>."], [0], tokenizer)
    _, e1, e2 = words_of(tokenizer, store, 0)
    assert "".join(e1).strip() == "bcd e"
    assert "".join(e2).strip() == "gh"


texts = st.lists(st.sampled_from(["ab", "éé", "c", ",", "wordy"]), max_size=7).map(" ".join)
names = st.lists(st.sampled_from(["X", "Ypsilon", "ß"]), min_size=1, max_size=3).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(
    before=texts,
    between=texts,
    after=texts,
    one=names,
    other=names,
    turned=st.booleans(),
    room=st.sampled_from([6, 11, 16, 30]),
)
def test_long_sentences_are_cut_around_their_entities(
    before, between, after, one, other, turned, room
):
    tokenizer = pattern_tokenizer(r"\w{1,3}|[^\w\s]")
    order = ("2", "1") if turned else ("1", "2")
    marks = ("#", "@") if turned else ("@", "#")
    pieces = [before, "<e{}>{}</e{}>", between, "<e{}>{}</e{}>", after]
    sentence = " ".join(pieces).format(order[0], one, order[0], order[1], other, order[1])
    core = f"{marks[0]} {one} {marks[0]} {between} {marks[1]} {other} {marks[1]}"
    left, inside, right = (re.findall(r"\w{1,3}|[^\w\s]", part) for part in (before, core, after))
    arguments = ([sentence], [0], tokenizer, room + 2)
    if len(inside) > room:
        with pytest.raises(ValueError, match=r"sentences\[0\] is .* too far apart for max_length="):
            entity_relations(*arguments)
        return
    whole = len(left) + len(inside) + len(right)
    if whole > room:
        with pytest.warns(UserWarning, match="1 of 1 sentences have more tokens than max_length"):
            store = entity_relations(*arguments)
    else:
        store = entity_relations(*arguments)
    words, e1, e2 = words_of(tokenizer, store, 0)
    assert (words[0], words[-1]) == ("<1>", "<2>")
    row = words[1:-1]
    assert len(row) == min(whole, room)
    kept = max(n for n in range(len(left) + 1) if row[n : n + len(inside)] == inside)
    assert row[:kept] == left[len(left) - kept :]
    assert row[kept + len(inside) :] == right[: len(row) - kept - len(inside)]
    spare = room - len(inside)
    if min(len(left), len(right)) > spare // 2:  # there is enough on either side
        assert abs(2 * kept - spare) <= 1
    spelled = ["".join(tokens) for tokens in (e1, e2)]
    expected = [re.sub(r"\s", "", name) for name in (one, other)]
    assert spelled == (expected[::-1] if turned else expected)


def test_an_entity_of_which_the_tokenizer_leaves_nothing_has_no_place():
    tokenizer = PatternTokenizer(r"\w+|[@#]")
    store = entity_relations(["a <e1>!!</e1> b <e2>c</e2>"], [0], tokenizer)
    words, e1, e2 = words_of(tokenizer, store, 0)
    assert (words[1:-1], e1, e2) == (["a", "@", "@", "b", "#", "c", "#"], [], ["c"])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([*TAGS, *TAGS, "a", " ", "\n", "\u3000"]), max_size=12))
def test_the_graph_and_python_know_the_same_sentences(parts):
    check_same_verdict("".join(parts))


@settings(max_examples=100, deadline=None)
@given(st.permutations(TAGS), st.tuples(*[st.sampled_from(["a", "", "\xa0"])] * 5), st.booleans())
def test_the_graph_and_python_know_the_same_orders(tags, words, as_it_should_be):
    tags = TAGS if as_it_should_be else tags
    check_same_verdict(words[0] + "".join(tag + word for tag, word in zip(tags, words[1:])))


def check_same_verdict(sentence):
    is_well = bool(tagged_texts(tf.constant([sentence]))[1][0])
    try:
        check_tagged(sentence, "x")
    except ValueError:
        assert not is_well
    else:
        assert is_well


GOOD = "<e1>A</e1> b <e2>c</e2>"


@pytest.mark.parametrize(
    ("sentence", "fault"),
    [
        ("<e1>A</e1> b c", r"<e2> is missing; it must hold two entities, tagged as <e1>one</e1>"),
        ("A b c", "<e1> is missing"),
        ("<e1>A</e1> b <e2>c", "</e2> is missing"),
        ("<e1>A</e1> <e1>b</e1> <e2>c</e2>", "<e1> stands there 2 times"),
        ("<e1>A <e2>b</e2> c</e1>", "crossed or nested, <e1> <e2> </e2> </e1>"),
        ("<e1>A <e2>b</e1> c</e2>", "crossed or nested, <e1> <e2> </e1> </e2>"),
        ("</e1>A<e1> b <e2>c</e2>", "crossed or nested, </e1> <e1> <e2> </e2>"),
        ("<e1>A</e1> b <e2> </e2>", "<e2> is empty"),
        ("  ", "it is an empty text"),
        ("x" * 300, r"x{79}…': <e1> is missing"),
    ],
)
def test_sentences_that_are_not_tagged_well(sentence, fault):
    with pytest.raises(ValueError, match=rf"^sentences\[1\] is .*{fault}"):
        entity_relations([GOOD, sentence], ["a", "a"], pattern_tokenizer(r"\w+|[@#]"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sentences": GOOD}, "sentences is one str"),
        ({"sentences": []}, "sentences is empty"),
        ({"sentences": [GOOD, 3]}, r"sentences\[1\] is of type int"),
        ({"relations": ["a"]}, "relations has 1 items; sentences has 2"),
        (
            {"relations": ["a", "z"], "label_names": ["a", "b"]},
            r"relations\[1\] \(of '<e1>A</e1> b <e2>c</e2>'\) is 'z'; label_names are 'a', 'b'",
        ),
        ({"relations": [0, 2], "label_names": ["a", "b"]}, r"relations\[1\] .* must be 0 to 1"),
        ({"max_length": 7}, "max_length is 7; it must be an int, at least 8"),
    ],
)
def test_bad_input(changes, message):
    arguments = {"sentences": [GOOD, GOOD], "relations": ["a", "b"], **changes}
    with pytest.raises(ValueError, match=message):
        entity_relations(tokenizer=pattern_tokenizer(r"\w+|[@#]"), **arguments)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the data sets beside the checkout")
def test_every_sentence_of_semeval():
    with gzip.open(SHARED / "data" / "semeval2010-task8" / "train.tsv.gz", "rt", "utf-8") as file:
        rows = [line.split("\t") for line in file][1:]
    tokenizer = pattern_tokenizer(r"\w+|[^\w\s]")
    store = entity_relations([row[0] for row in rows], [row[1] for row in rows], tokenizer)
    assert (len(store), len(store.label_names)) == (7200, 19)
    for example in range(0, 7200, 97):
        _, e1, e2 = words_of(tokenizer, store, example)
        tagged = re.findall(r"<e\d>(.*?)</e\d>", rows[example][0])
        assert [re.findall(r"\w+|[^\w\s]", name) for name in tagged] == [e1, e2]
    assert np.bincount(store.values["relation"])[store.label_names.index("Other")] == 1250
