"""The real data sets, where they are at hand: every format loads, with the counts it should."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keras_lm.data.sources import conll, conllu, jsonl, squad, text_files, tsv

SHARED = Path(os.environ.get("KERAS_LM_SHARED", Path(__file__).parents[3] / "shared")) / "data"

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the data sets are not at {SHARED}")


@pytest.mark.parametrize(
    ("name", "count", "columns"),
    [
        ("sst2/train.tsv.gz", 6_917, "sentence label"),
        ("ag-news/train.tsv.gz", 5_600, "label title description"),
        ("trec/train.tsv.gz", 4_941, "question label fine_label"),
        ("tnews/train.tsv.gz", 48_120, "text label"),
        ("cola/train.tsv.gz", 8_039, "sentence label"),
        ("tatoeba-en-zh/train.tsv.gz", 27_055, "en zh attribution"),
        ("wn18rr/valid.tsv.gz", 3_034, "head relation tail"),
        ("word-similarity/wordsim353.tsv", 353, "word1 word2 score"),
    ],
)
def test_tsv(name, count, columns):
    table = tsv(SHARED / name)
    assert list(table) == columns.split()
    assert {len(column) for column in table.values()} == {count}


def test_labels_of_tsv():
    sst2 = tsv(SHARED / "sst2/dev.tsv.gz", labels={"label": ["0", "1"]})
    assert set(sst2["label"]) == {"0", "1"}
    with pytest.raises(ValueError, match=r"dev\.tsv\.gz, line \d+: label is '0', which is not"):
        tsv(SHARED / "sst2/dev.tsv.gz", labels={"label": ["positive", "1"]})


@pytest.mark.parametrize(
    ("name", "count", "fields"),
    [
        ("dialogsum/dev.jsonl.gz", 453, "fname dialogue summary topic"),
        ("dailydialog/dev.jsonl.gz", 937, "turns act emotion"),
        ("scitldr/train.jsonl.gz", 1_990, "paper_id title source target source_labels"),
        ("kdconv/train.jsonl.gz", 400, "domain topic turns knowledge"),
        ("cranfield/docs.jsonl.gz", 1_400, "doc_id title author bib text"),
    ],
)
def test_jsonl(name, count, fields):
    table = jsonl(SHARED / name)
    assert list(table) == fields.split()
    assert {len(column) for column in table.values()} == {count}


@pytest.mark.parametrize(
    ("name", "count", "kinds"), [("wnut17", 3_394, 6), ("weibo-ner", 1_309, 8)]
)
def test_conll(name, count, kinds):
    sentences = conll(SHARED / name / "train.conll.gz")
    assert {len(column) for column in sentences.values()} == {count}
    assert list(map(len, sentences["token"])) == list(map(len, sentences["tag"]))
    tags = {tag for sentence in sentences["tag"] for tag in sentence}
    assert len({tag[2:] for tag in tags - {"O"}}) == kinds


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("ud-english-ewt/dev.conllu.gz", 2_000),
        ("ud-chinese-gsd-1.3/train.conllu.gz", 3_997),
        ("ud-chinese-gsdsimp/dev.conllu.gz", 500),
    ],
)
def test_conllu(name, count):
    words = conllu(SHARED / name)
    assert {len(column) for column in words.values()} == {count}
    assert all(heads.count(0) == 1 for heads in words["head"])


@pytest.mark.parametrize(
    ("name", "count", "passages"),
    [("squad-en/train.json.gz", 7_432, 1_523), ("cmrc2018/train.json.gz", 10_142, 2_403)],
)
def test_squad(name, count, passages):
    questions = squad(SHARED / name)
    assert {len(column) for column in questions.values()} == {count}
    assert len(set(questions["context"])) == passages


@pytest.mark.parametrize(
    ("name", "split", "count"),
    [
        ("multi30k/train.en.gz", "line", 28_991),
        ("multi30k/train.de.gz", "line", 28_991),
        ("tinyshakespeare/train.txt", "document", 1),
        ("glove-6b-50d/glove.6B.50d.part.txt.gz", "line", 20_229),
    ],
)
def test_text(name, split, count):
    assert len(text_files(SHARED / name, split)) == count
