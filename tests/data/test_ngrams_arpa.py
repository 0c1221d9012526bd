import dataclasses
import gzip
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from harness_ngrams import entries, stream

from keras_lm.data.ngrams import arpa, estimate, read_arpa, table_of_text, write_arpa
from keras_lm.data.ngrams.table import IMPOSSIBLE

GOLDEN = Path(__file__).parents[1] / "golden"
TINY = r"""
\data\
ngram 1=5
ngram 2=4
ngram 3=2

\1-grams:
-0.9	<unk>
0	<s>	-0.3
-0.5	</s>	0
-0.6	a	-0.25
-0.7	b	0.125

\2-grams:
-0.1	<s> a	-0.4
-0.2	a b	-0.5
-0.3	b </s>
-inf	b a

\3-grams:
-0.01	<s> a b
-0.02	a b </s>

\end\
"""


def tiny(tmp_path, content=TINY):
    path = tmp_path / "tiny.arpa"
    path.write_bytes(content.encode(errors="surrogateescape"))
    return path


def spelled(table):
    """Every n-gram in words, with log10 and log10 of the back-off."""
    return {
        " ".join(table.vocabulary[token] for token in ngram): (
            round(log_prob / np.log(10), 5) + 0.0,
            round(backoff / np.log(10), 5) + 0.0,
        )
        for ngram, (log_prob, backoff) in entries(table).items()
    }


def test_numbers_and_ids_of_a_file(tmp_path):
    table = read_arpa(tiny(tmp_path))
    assert table.vocabulary == ("<unk>", "<s>", "</s>", "a", "b")
    assert (table.unk_id, table.begin_id, table.end_id) == (0, 1, 2)
    assert spelled(table) == {
        "<unk>": (-0.9, 0),
        "<s>": (-99, -0.3),
        "</s>": (-0.5, 0),
        "a": (-0.6, -0.25),
        "b": (-0.7, 0.125),
        "<s> a": (-0.1, -0.4),
        "a b": (-0.2, -0.5),
        "b </s>": (-0.3, 0),
        "b a": (-99, 0),
        "<s> a b": (-0.01, 0),
        "a b </s>": (-0.02, 0),
    }
    assert table.training_nats is None


@pytest.mark.parametrize("lines", [1, 3, 1000])
@pytest.mark.parametrize("size", [7, 10_000])
def test_other_ways_to_write_the_same(tmp_path, lines, size):
    """SRILM's text in front, CRLF, spaces, no <unk>, unsorted, no last line feed, gzip, blocks."""
    content = TINY.replace("-0.9\t<unk>\n", "").replace("1=5", "1=4").replace("\t", "  ")
    content = content.replace(
        "-0.1  <s> a  -0.4\n-0.2  a b  -0.5", "-0.2  a b  -0.5\n-0.1  <s> a  -0.4"
    )
    content = "made by hand\n" + content.rstrip().replace("\n", " \r\n")
    path = tmp_path / "tiny.arpa.gz"
    path.write_bytes(gzip.compress(content.encode()))
    with (
        mock.patch.object(arpa, "_LINES_AT_ONCE", lines),
        mock.patch.object(arpa, "_BYTES_AT_ONCE", size),
    ):
        table = read_arpa(path)
    expected = spelled(read_arpa(tiny(tmp_path)))
    del expected["<unk>"]
    assert spelled(table) == expected
    assert table.unk_id is None
    assert (table.begin_id, table.end_id) == (0, 1)


@pytest.mark.parametrize("name", ["ngrams_3", "ngrams_1", "ngrams_small_5"])
def test_what_is_written_is_read_and_written_the_same(tmp_path, name):
    first, second = tmp_path / "first", tmp_path / "second"
    table = read_arpa(GOLDEN / f"{name}.arpa")
    write_arpa(table, first)
    again = read_arpa(first)
    write_arpa(again, second)
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["first", "second"]
    ours, theirs = spelled(again), spelled(table)
    assert ours.keys() == theirs.keys()
    for ngram in ours:
        assert ours[ngram] == pytest.approx(theirs[ngram], abs=1.1e-5)


@pytest.mark.parametrize("smoothing", ["kneser_ney", "mle"])
def test_tables_of_texts_survive(tmp_path, smoothing):
    for name in ("ngrams", "ngrams_small"):
        table = table_of_text(GOLDEN / f"{name}.txt", 3, smoothing=smoothing)
        write_arpa(table, tmp_path / "file")
        again = read_arpa(tmp_path / "file")
        assert again.vocabulary == table.vocabulary
        for kind in ("log_probs", "backoffs"):
            for left, right in zip(getattr(table, kind), getattr(again, kind), strict=True):
                np.testing.assert_allclose(left, right, atol=2e-6, rtol=1e-6)


def test_one_id_that_begins_and_ends_becomes_two_words(tmp_path):
    words = ["<|end|>", "a", "b"]
    table = estimate([stream([[1, 2], [2], []], 0, 0)], 3, 3, 0, 0, vocabulary=words)
    write_arpa(table, tmp_path / "file")
    again = read_arpa(tmp_path / "file")
    assert again.vocabulary == ("<s>", "</s>", "a", "b")
    ours = spelled(table)
    theirs = spelled(again)
    assert theirs.keys() == {
        *("<s>", "</s>", "a", "b", "<s> </s>", "<s> a", "<s> b", "a b", "b </s>"),
        *("<s> a b", "<s> b </s>", "a b </s>"),
    }
    assert theirs["<s>"] == (-99, ours["<|end|>"][1])
    assert theirs["</s>"] == (ours["<|end|>"][0], 0)
    assert theirs["<s> b </s>"] == ours["<|end|> b <|end|>"]
    assert theirs["<s> </s>"] == ours["<|end|> <|end|>"]


def test_numbers_have_seven_digits(tmp_path):
    table = read_arpa(tiny(tmp_path))
    values = [-1.23456789, -9.99999996, -12.3456789, IMPOSSIBLE / np.log(10), -1e-9]
    log_probs = (np.array(values, np.float32) * np.float32(np.log(10)), *table.log_probs[1:])
    write_arpa(dataclasses.replace(table, log_probs=log_probs), tmp_path / "file")
    text = (tmp_path / "file").read_text().split("\n")
    # KenLM's <s> has 0, whatever stands in the table.
    shown = [line.split("\t")[0] for line in text[6:11]]
    assert shown == ["-1.234568", "0", "-12.34568", "-99.00000", "0"]
    assert text[10] == "0\tb\t0.125000"


@pytest.mark.parametrize("length", [8, 9, 64, 65, 500])
def test_long_words_are_written_whole(tmp_path, length):
    long = "x" * length
    table = read_arpa(tiny(tmp_path))
    words = [long if word == "a" else word for word in table.vocabulary]
    write_arpa(dataclasses.replace(table, vocabulary=tuple(words)), tmp_path / "file")
    expected = {
        " ".join(long if word == "a" else word for word in ngram.split()): values
        for ngram, values in spelled(table).items()
    }
    assert spelled(read_arpa(tmp_path / "file")) == expected


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("2=4", "2=5", 18, "the header says that there are 5 2-grams, but 4 stand here"),
        ("2=4", "2=3", 18, "the header says that there are 3 2-grams, but more stand here"),
        ("3=2", "3=0", 5, "there are no 3-grams; leave the order out"),
        ("ngram 2=4\n", "", 4, "this must be 'ngram 2=…', not 'ngram 3=2'"),
        ("ngram 2=4", "2-grams: 4", 4, "this must be 'ngram 2=…'"),
        (r"\data", r"\dta", 24, r"the file stops here, but \data\ must follow"),
        (r"\2-grams:", r"\3-grams:", 14, r"this must be \2-grams:, not '\\3-grams:'"),
        (r"\end" + "\\", "", 24, r"the file stops here, but \end\ must follow"),
        (TINY[TINY.index("b </s>\n-inf") :], "b </s>\n", 17, "but 3 stand here"),
        ("-0.2\ta b\t-0.5", "-0.2\ta b", 16, "this 2-gram begins a 3-gram and lacks its back-off"),
        ("a\t-0.25", "a", 11, "this 1-gram begins a 2-gram and lacks its back-off"),
        ("-0.3\tb </s>", "-0.3\tb", 17, "this line has 2 fields; a 2-gram has"),
        ("-0.3\tb </s>", "-0.3\tb </s> a", 17, "'a' is no number"),
        ("-0.3\tb </s>", "-0.3\tb </s> a 0", 17, "this line has 5 fields"),
        ("-0.01\t<s> a b", "-0.01\t<s> a b\t-1", 21, "the longest n-grams can have no back-off"),
        ("-0.2\ta b", "0.2\ta b", 16, "the log-probability '0.2' is above 0"),
        ("-0.2\ta b", "nan\ta b", 16, "'nan' is no number"),
        ("-0.2\ta b", "x\ta b", 16, "'x' is no number"),
        ("a b\t-0.5", "a b\tinf", 16, "the back-off 'inf' is not finite"),
        ("-0.7\tb\t", "-0.7\ta\t", 12, "the word 'a' is there twice"),
        ("-0.3\tb </s>", "-0.3\ta b", 17, "this 2-gram is there twice"),
        ("-0.3\tb </s>", "-0.3\tc </s>", 17, "the word 'c' is not among the 1-grams"),
        ("-0.02\ta b </s>", "-0.02\ta a </s>", 22, "the first 2 words of this 3-gram are not"),
        ("0\t<s>\t", "0\tc\t", 12, "the 1-grams have no <s>"),
        ("-0.7\tb", "-0.7\t\udce9", 12, "this is not UTF-8"),
    ],
)
def test_bad_files_are_refused_at_their_line(tmp_path, old, new, line, message):
    assert old in TINY
    path = tiny(tmp_path, TINY.replace(old, new, 1))
    with pytest.raises(ValueError, match="tiny") as error:
        read_arpa(path)
    assert f"tiny.arpa, line {line}: " in str(error.value)
    assert message in str(error.value)


def test_files_cut_short_anywhere_are_refused(tmp_path):
    for length in range(len(TINY) - 3):
        with pytest.raises(ValueError, match=r"tiny\.arpa, line \d+: "):
            read_arpa(tiny(tmp_path, TINY[:length]))
    with pytest.raises(FileNotFoundError, match="absent does not exist"):
        read_arpa(tmp_path / "absent")


def test_a_missing_back_off_that_nobody_needs_is_none(tmp_path):
    content = TINY.replace("</s>\t0", "</s>")
    assert spelled(read_arpa(tiny(tmp_path, content))) == spelled(read_arpa(tiny(tmp_path)))


def test_tables_that_cannot_be_written(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    table = read_arpa(tiny(tmp_path))
    for words, message in {
        ("<unk>", "<s>", "</s>", "a", "b c"): r"vocabulary\[4\] is 'b c'",
        ("<unk>", "<s>", "</s>", "", "b"): r"vocabulary\[3\] is ''",
        ("<unk>", "<s>", "</s>", "a", "a"): "vocabulary has the word 'a' twice",
        ("?", "<s>", "</s>", "<unk>", "b"): "vocabulary has the word '<unk>' twice",
        None: "table has no vocabulary",
    }.items():
        with pytest.raises(ValueError, match=message):
            write_arpa(dataclasses.replace(table, vocabulary=words), path)
    documents = [stream([[2, 3]])]
    words = ["<s>", "</s>", "a", "b"]
    added = estimate(documents, 2, 4, 0, 1, smoothing="add_k", vocabulary=words)
    with pytest.raises(ValueError, match="smoothed by 'add_k' and of order 2.*cannot hold it"):
        write_arpa(added, path)
    assert path.read_text() == "old"
    single = estimate(documents, 1, 4, 0, 1, smoothing="add_k", vocabulary=words)
    write_arpa(single, path)
    assert spelled(read_arpa(path)) == spelled(single)
