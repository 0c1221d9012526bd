"""Rows to columns: tsv, csv and jsonl."""

from __future__ import annotations

from pathlib import Path

import pytest

from keras_lm.data.sources import csv, jsonl, tsv
from keras_lm.data.sources.json_lines import parsed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows"


def test_tsv_takes_everything_literally(path):
    path.write_bytes(b'text\tlabel\r\n"a\t1\r\n\nb "c"\\\t\n')
    assert tsv(path) == {"text": ['"a', 'b "c"\\'], "label": ["1", ""]}
    assert list(tsv(path, fields=["label", "text"])) == ["label", "text"]
    assert tsv(path, fields=["label"]) == {"label": ["1", ""]}


def test_csv_has_the_standard_quoting(path):
    path.write_bytes(b'text,label\r\n"a, ""b""\nc",1\r\n\r\n"",2\n')
    assert csv(path) == {"text": ['a, "b"\nc', ""], "label": ["1", "2"]}


def test_jsonl_keeps_the_types(path):
    path.write_text('{"a": [1, 2.5, null], "b": "é\\u00e9"}\n \n{"b": "", "a": {"c": true}}')
    assert jsonl(path) == {"a": [[1, 2.5, None], {"c": True}], "b": ["éé", ""]}
    path.write_text('{"a": 1, "z": 1}\n{"a": 2}')
    assert jsonl(path, fields=["a"]) == {"a": [1, 2]}


def test_several_files_are_one_table_whatever_the_order_of_their_fields(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("a\tb\n1\t2\n")
    two.write_text("b\ta\n3\t4\n")
    assert tsv([one, two]) == {"a": ["1", "4"], "b": ["2", "3"]}
    two.write_text("b\ta\tc\n3\t4\t5\n")
    assert tsv([one, two], fields=["b"]) == {"b": ["2", "3"]}
    with pytest.raises(ValueError, match=r"two, line 1: has \['c'\], unlike what stands before"):
        tsv([one, two])
    two.write_text("b\n3\n")
    with pytest.raises(ValueError, match=r"two, line 1: no field 'a'; it has \['b'\]"):
        tsv([one, two])
    two.write_text("a\tb\n")
    with pytest.raises(ValueError, match="two is empty; it must hold at least one row"):
        tsv([one, two])


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (tsv, "", "rows is empty; its first line must name the fields"),
        (tsv, "a\tb\n", "rows is empty; it must hold at least one row"),
        (tsv, "a\tb\n1\t2\n1\n", "line 3: 1 fields; the header has 2"),
        (tsv, "a\tb\n1\t2\t3\n", "line 2: 3 fields; the header has 2"),
        (tsv, "a\ta\n1\t2\n", "line 1: names a field twice"),
        (csv, "", "rows is empty"),
        (csv, 'a,b\n"1\n2",3\n4\n', "line 4: 1 fields; the header has 2"),
        (csv, 'a,b\n1,2\n"3,4\n5,6\n', "line 3: not a row of CSV"),
        (csv, 'a,b\n"1"x,2\n', "line 2: not a row of CSV"),
        (csv, "a,b\n1\r2,3\n", "line 2: not a row of CSV"),
        (jsonl, "", "rows is empty"),
        (jsonl, " \n\n", "rows is empty"),
        (jsonl, '{"a": 1}\n{"a": 1\n', r"line 2: not JSON \(Expecting"),
        (jsonl, '{"a": 1}\n[1]\n', "line 2: a JSON list; it must be an object"),
        (jsonl, "{}", "line 1: has no fields"),
        (jsonl, '{"a": 1}\n\n{"b": 1}\n', "line 3: no field 'a'; it has"),
        (jsonl, '{"a": 1}\n{"a": 1, "b": 1}\n', r"line 2: has \['b'\], unlike"),
        (jsonl, "[" * 100_000, "line 1: JSON that is nested too deeply"),
        (jsonl, f'{{"a": {"9" * 5000}}}', "line 1: Exceeds the limit"),
        (jsonl, '{"a": "\\ud83d"}', "line 1: an escape that is half of a surrogate pair"),
        (jsonl, '{"a": "x\0"}', "line 1: not JSON"),
    ],
)
def test_what_is_broken_is_named_with_file_and_line(path, read, content, message):
    path.write_text(content, newline="")
    with pytest.raises(ValueError, match=f"files: .*{message}"):
        read(path)


@pytest.mark.parametrize("read", [tsv, csv, jsonl])
def test_fields_and_labels(path, read):
    if read is jsonl:
        path.write_text('{"text": "x", "label": "0"}\n{"text": "y", "label": "2"}\n')
    else:
        path.write_text("text,label\nx,0\ny,2\n".replace(",", "\t" if read is tsv else ","))
    last = 2 if read is jsonl else 3
    assert read(path, labels={"label": ["0", "2"]}) == {"text": ["x", "y"], "label": ["0", "2"]}
    for arguments, message in [
        ({"labels": {"label": ["0", "1"]}}, f"line {last}: label is '2', .* labels: '0', '1'"),
        ({"labels": {"lable": ["0"]}}, "labels names the field 'lable'; the fields are"),
        ({"labels": {"label": ["0"]}, "fields": ["text"]}, "labels names the field 'label'"),
        ({"labels": {"label": "012"}}, "it must be a list of labels"),
        ({"fields": ["text", "score"]}, "line 1: no field 'score'; it has"),
        ({"fields": "text"}, "fields is 'text'; it must be a list of names"),
        ({"fields": []}, "it must name fields"),
        ({"fields": ["text", "text"]}, "each of them once"),
    ]:
        with pytest.raises(ValueError, match=message):
            read(path, **arguments)


def test_labels_of_json_may_be_of_any_type(path):
    path.write_text('{"label": 1}\n{"label": [1]}')
    with pytest.raises(ValueError, match=r"line 2: label is \[1\], which is not among labels: 1"):
        jsonl(path, labels={"label": [1]})


def test_halves_of_surrogate_pairs_are_replaced_on_request():
    text = r'["\ud83d\ude00", "\ud83d", "a\ude00b", "\\ud83d", {"\ud83d!": "\ud83d\ud83d"}]'
    replaced = ["😀", "\ufffd", "a\ufffdb", r"\ud83d", {"\ufffd!": "\ufffd\ufffd"}]
    assert parsed(text, Path("file"), 1, "replace") == replaced
