"""Tokens with tags, and questions with spans: conll, conllu and squad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keras_lm.data.sources import conll, conllu, squad

WORDS = """# sent_id = 1
# text = Don't stop me
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tDo\tdo\tAUX\tVB\tMood=Imp\t3\taux\t_\t_
2\tn't\tnot\tPART\tRB\t_\t3\tadvmod\t_\t_
3\tstop\tstop\tVERB\tVB\t_\t0\troot\t_\t_
3.1\t#\t_\t_\t_\t_\t_\t_\t3:x\t_
4\t#\t_\tPRON\t_\t_\t_\t_\t_\tSpaceAfter=No

1\tYes\tyes\tINTJ\tUH\t_\t0\troot\t_\t_
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def test_conll(path):
    path.write_bytes(b"# \tO\r\nAda\tB\r\n\r\n \t\n\nin\tO\n")
    assert conll(path) == {"token": [["# ", "Ada"], ["in"]], "tag": [["O", "B"], ["O"]]}
    path.write_text("EU NNP B-ORG\n\nand CC O\n")
    sentences = conll(path, columns=["word", "pos", "name"], separator=" ")
    assert sentences["pos"] == [["NNP"], ["CC"]]
    path.write_text("EU\n")
    assert conll([path, path], columns=["word"]) == {"word": [["EU"], ["EU"]]}


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("", {}, "file is empty; it must hold at least one sentence"),
        ("\n\n", {}, "file is empty"),
        ("a\tO\nb\n", {}, r"line 2: 1 columns; they must be \['token', 'tag'\]"),
        ("a\tO\n\nb\tO\tO", {}, "line 3: 3 columns"),
        ("a\tO\n\nb\tX", {"labels": {"tag": ["O", "B"]}}, "line 3: tag is 'X', which is not"),
        ("a\tO", {"labels": {"pos": ["O", "B"]}}, "labels names the field 'pos'"),
        ("a\tO", {"columns": "token"}, "is 'token'; it must be a list"),
        ("a\tO", {"columns": []}, "it must name"),
    ],
)
def test_conll_names_what_is_broken(path, content, arguments, message):
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        conll(path, **arguments)


def test_conllu_gives_words_without_ranges_empty_nodes_and_comments(path):
    path.write_text(WORDS)
    words = conllu(path)
    assert words["form"] == [["Do", "n't", "stop", "#"], ["Yes"]]
    assert words["head"] == [[3, 3, 0, -1], [0]]
    assert words["feats"] == [["Mood=Imp", "_", "_", "_"], ["_"]]
    assert words["misc"][0][3] == "SpaceAfter=No"
    assert " ".join(words) == "form lemma upos xpos feats head deprel deps misc"
    assert {tuple(map(len, column)) for column in words.values()} == {(4, 1)}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\tMood=Imp", "", "line 4: 9 columns; CoNLL-U has 10"),
        ("2\tn't", "3\tn't", "line 5: the id is '3'; the next is 2"),
        ("2\tn't", "²\tn't", "line 5: the id is '²'; the next is 2"),
        ("3.1", "2.1", "line 7: the id is '2.1'; the next is 4"),
        ("1-2", "2-3", "line 3: the id is '2-3'; the next is 1"),
        ("1-2", "1-5", "line 8: the sentence ends before the word 5 of a range"),
        ("1-2", f"1-{'9' * 5000}", "line 3: the id is"),
        ("3\taux", "5\taux", "line 4: the head is '5'; it must be 0 to 4, or _"),
        ("3\taux", "-1\taux", "line 4: the head is '-1'"),
        ("3\taux", f"{'9' * 5000}\taux", "line 4: the head is"),
        (WORDS, WORDS.split("1\tDo")[0], "line 3: the sentence has no words"),
        (WORDS, "# a comment\n", "file is empty"),
    ],
)
def test_conllu_names_what_is_broken(path, old, new, message):
    path.write_text(WORDS.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        conllu(path)


def document(**changes: Any) -> dict[str, Any]:
    """A file of one question, with changes to the question."""
    question = {"id": "q7", "question": "Where?", "answers": [{"text": "é", "answer_start": 1}]}
    question |= changes
    passage = {"context": "aéiaé", "qas": [question]}
    return {"version": "2", "data": [{"title": "T", "paragraphs": [passage]}]}


def test_squad(path):
    path.write_text(json.dumps(document()), encoding="utf-8")
    assert squad([path]) == {
        "id": ["q7"],
        "title": ["T"],
        "context": ["aéiaé"],
        "question": ["Where?"],
        "answers": [{"text": ["é"], "answer_start": [1]}],
    }


def test_squad_2_has_questions_without_an_answer(path):
    for changes in ({"answers": []}, {"answers": [], "plausible_answers": [{"text": "a"}]}):
        path.write_text(json.dumps(document(is_impossible=True, **changes)))
        assert squad(path)["answers"] == [{"text": [], "answer_start": []}]
    no_answers = document(is_impossible=True)
    del no_answers["data"][0]["paragraphs"][0]["qas"][0]["answers"]
    path.write_text(json.dumps(no_answers))
    assert squad(path)["answers"] == [{"text": [], "answer_start": []}]
    path.write_text(json.dumps(document(is_impossible=False)))
    assert squad(path)["answers"] == [{"text": ["é"], "answer_start": [1]}]


@pytest.mark.parametrize(("start", "moved"), [(0, 1), (2, 1), (3, 4), (99, 4), (-5, 1)])
def test_a_wrong_offset_is_refused_or_repaired(path, start, moved):
    path.write_text(json.dumps(document(answers=[{"text": "é", "answer_start": start}])))
    with pytest.raises(ValueError, match=rf"file, question 'q7': .* at character {start}; repair"):
        squad(path)
    assert squad(path, repair=True)["answers"] == [{"text": ["é"], "answer_start": [moved]}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "file is empty"),
        ("{", r"file, line 1: not JSON \(Expecting"),
        ("[]", "file: a JSON list where an object must stand"),
        ('{"data": []}', "file is empty; it must hold at least one question"),
        ('{"data": 3}', "file: data is 3; it must be of type list"),
        ('{"data": [3]}', "file: a JSON int where an object"),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', "file: context is missing"),
        (document(id=7), "file: id is 7; it must be of type str"),
        (document(question=None), "question 'q7': question is None"),
        (document(answers=[]), "question 'q7': 0 answers, and is_impossible is false"),
        (document(is_impossible=True), "question 'q7': 1 answers, and is_impossible is true"),
        (document(is_impossible="no"), "question 'q7': is_impossible is 'no'"),
        (document(answers=[{"text": "é"}]), "question 'q7': answer_start is missing"),
        (document(answers=[{"text": "é", "answer_start": True}]), "answer_start is True"),
        (document(answers=[{"text": "", "answer_start": 0}]), "question 'q7': an answer is empty"),
        (document(answers=[{"text": "z", "answer_start": 0}]), "question 'q7': the answer 'z'"),
    ],
)
def test_squad_names_what_is_broken(path, content, message):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=f"files: .*{message}"):
        squad(path)


def test_an_answer_that_stands_nowhere_cannot_be_repaired(path):
    path.write_text(json.dumps(document(answers=[{"text": "z", "answer_start": 0}])))
    with pytest.raises(ValueError, match="character 0 or elsewhere"):
        squad(path, repair=True)


def test_a_syntax_error_in_squad_is_named_with_its_line(path):
    path.write_text('{"data": [\n\n oops]}')
    with pytest.raises(ValueError, match="file, line 3: not JSON"):
        squad(path)
