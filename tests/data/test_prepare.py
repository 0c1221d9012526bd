"""Token shards: the same tokens as in memory, from any kind of file, and after any interruption."""

import gzip
import json
import shutil

import numpy as np
import pytest

from keras_lm.data import (
    TokenStore,
    gather_windows,
    preparation,
    prepare,
    shards,
    text_files,
    training_windows,
)
from keras_lm.tokenizers import BytePairTokenizer

PARAGRAPHS = [f"paragraph {i}\nof 数 lines" + " more" * (i % 5) for i in range(200)]


@pytest.fixture(scope="module")
def pairs() -> BytePairTokenizer:
    return BytePairTokenizer.train(texts=PARAGRAPHS, vocab_size=290)


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of 2,000 bytes of text, read in batches of 500."""
    monkeypatch.setattr(preparation, "SHARD_BYTES", 2000)
    monkeypatch.setattr(preparation, "_BATCH_BYTES", 500)


def write(path, paragraphs=PARAGRAPHS):
    path.write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")
    return path


def check_equal(store, other):
    everything = np.arange(store.num_tokens)
    np.testing.assert_array_equal(store.tokens[everything], other.tokens[everything])
    np.testing.assert_array_equal(store.offsets, other.offsets)
    np.testing.assert_array_equal(store.num_bytes, other.num_bytes)


@pytest.mark.parametrize("zipped", [False, True])
def test_paragraphs_are_those_in_memory(pairs, small_shards, tmp_path, zipped):
    file = write(tmp_path / "text.txt")
    if zipped:
        file = tmp_path / "text.txt.gz"
        file.write_bytes(gzip.compress((tmp_path / "text.txt").read_bytes()))
    out = tmp_path / "out"
    store = prepare(file, pairs, out, split="paragraph", progress=False)
    assert len(list(out.glob("shard-*.tokens.npy"))) > 2
    check_equal(store, TokenStore.from_texts(PARAGRAPHS, pairs))
    check_equal(TokenStore.load(out, pairs), store)
    assert store.tokens.dtype == np.uint16


def test_lines_documents_and_jsonl(pairs, small_shards, tmp_path):
    files = [write(tmp_path / "a.txt"), write(tmp_path / "b.txt", ["only one"])]
    lines = [line for file in files for line in file.read_text("utf-8").split("\n") if line]
    store = prepare(files, pairs, tmp_path / "lines", split="line", progress=False)
    check_equal(store, TokenStore.from_texts(lines, pairs))
    store = prepare(files, pairs, tmp_path / "documents", progress=False)
    check_equal(store, TokenStore.from_texts([f.read_text("utf-8") for f in files], pairs))
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps({"body": text}) for text in PARAGRAPHS), "utf-8")
    store = prepare(rows, pairs, tmp_path / "rows", field="body", progress=False)
    check_equal(store, TokenStore.from_texts(PARAGRAPHS, pairs))


def test_byte_order_mark_and_windows_line_ends(pairs, tmp_path):
    file = tmp_path / "windows.txt"
    file.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n \r\n\r\nthree\r\n")
    store = prepare(file, pairs, tmp_path / "out", split="paragraph", progress=False)
    check_equal(store, TokenStore.from_texts(["one\r\ntwo", "three"], pairs))


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("failing_call", [1, 3, 5])
def test_a_run_that_was_killed_goes_on(
    pairs, small_shards, tmp_path, monkeypatch, zipped, failing_call
):
    files = [write(tmp_path / "a.txt"), write(tmp_path / "b.txt", PARAGRAPHS[::-1])]
    if zipped:
        for file in files:
            file.write_bytes(gzip.compress(file.read_bytes()))
            file.rename(file.with_suffix(".txt.gz"))
        files = [file.with_suffix(".txt.gz") for file in files]
    out = tmp_path / "out"
    replace, calls = shards.os.replace, []

    def killed(*paths):
        calls.append(paths)
        if len(calls) == failing_call:
            raise KeyboardInterrupt
        replace(*paths)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shards.os, "replace", killed)
        prepare(files, pairs, out, split="paragraph", progress=False)
    with pytest.raises((ValueError, FileNotFoundError), match="not complete|holds no index"):
        TokenStore.load(out, pairs)
    done = sorted(out.glob("shard-*"))[: 2 * (failing_call - 1)]
    times = [path.stat().st_mtime_ns for path in done]
    store = prepare(files, pairs, out, split="paragraph", progress=False)
    check_equal(store, TokenStore.from_texts(PARAGRAPHS + PARAGRAPHS[::-1], pairs))
    assert [path.stat().st_mtime_ns for path in done] == times, "complete shards are kept"


def test_a_finished_run_does_nothing(pairs, tmp_path, monkeypatch):
    file = write(tmp_path / "a.txt")
    prepare(file, pairs, tmp_path / "out", progress=False)
    monkeypatch.setattr(shards, "write_shard", None)
    prepare(file, pairs, tmp_path / "out", progress=False)


def test_windows_cross_shards(pairs, small_shards, tmp_path):
    store = prepare(
        write(tmp_path / "a.txt"), pairs, tmp_path / "out", split="paragraph", progress=False
    )
    other = TokenStore.from_texts(PARAGRAPHS, pairs)
    plan = training_windows(store, 256, cross_documents=True)
    rows = gather_windows(store, plan, np.arange(len(plan)))
    for ours, expected in zip(rows, gather_windows(other, plan, np.arange(len(plan)))):
        np.testing.assert_array_equal(ours, expected)


def test_other_arguments_are_refused(pairs, tmp_path):
    file, out = write(tmp_path / "a.txt"), tmp_path / "out"
    prepare(file, pairs, out, progress=False)
    with pytest.raises(ValueError, match="made with split = 'document', not 'line'"):
        prepare(file, pairs, out, split="line", progress=False)
    other = BytePairTokenizer.train(texts=PARAGRAPHS, vocab_size=280)
    with pytest.raises(ValueError, match="made with tokenizer"):
        prepare(file, other, out, progress=False)
    with pytest.raises(ValueError, match="another tokenizer"):
        TokenStore.load(out, other)
    with file.open("a") as grown:
        grown.write("more")
    with pytest.raises(ValueError, match="made with files"):
        prepare(file, pairs, out, progress=False)
    with pytest.raises(ValueError, match="holds 'out'; give a new directory"):
        prepare(file, pairs, tmp_path, progress=False)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("bad.txt", b"fine\n" * 3 + b"na\xefve\n", r"bad\.txt, line 4: .*utf-8"),
        ("bad.jsonl", b'{"text": "a"}\n{"text"\n', r"bad\.jsonl, line 2: "),
        ("bad.jsonl", b'{"text": "a"}\n\n{"body": "a"}', r"line 3: no JSON object with .*'text'"),
        ("bad.jsonl", b'["text"]', r"line 1: no JSON object"),
        ("empty.txt", b" \n\n ", "hold no text"),
    ],
)
@pytest.mark.parametrize("split", ["document", "paragraph", "line"])
def test_bad_files(pairs, tmp_path, name, content, message, split):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path / name, pairs, tmp_path / "out", split=split, progress=False)


def test_bad_arguments(pairs, tmp_path):
    with pytest.raises(ValueError, match="split is 'word'"):
        prepare([], pairs, tmp_path, split="word")
    with pytest.raises(ValueError, match="files is empty"):
        prepare([], pairs, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt"):
        prepare(tmp_path / "nowhere.txt", pairs, tmp_path)
    plain = BytePairTokenizer.train(texts=["aa"] * 2, vocab_size=257, special_tokens=())
    with pytest.raises(ValueError, match="eos_id and sep_id are None"):
        prepare(write(tmp_path / "a.txt"), plain, tmp_path / "out", progress=False)


@pytest.mark.parametrize("damage", ["cut", "swap", "lost"])
def test_damaged_shards(pairs, small_shards, tmp_path, damage):
    out = tmp_path / "out"
    prepare(write(tmp_path / "a.txt"), pairs, out, split="paragraph", progress=False)
    path = out / "shard-00001.tokens.npy"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    elif damage == "swap":
        shutil.copy(out / "shard-00000.tokens.npy", path)
    else:
        path.unlink()
    with pytest.raises(ValueError, match=r"shard-00001\.tokens\.npy"):
        TokenStore.load(out, pairs)


def test_progress_bar(pairs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("keras_lm.data.progress.SECONDS_BEFORE_BAR", 0)
    monkeypatch.setattr(preparation, "_BATCH_BYTES", 500)
    prepare(write(tmp_path / "a.txt"), pairs, tmp_path / "out", split="line")
    assert "tokenizing" in capsys.readouterr().err
    prepare(write(tmp_path / "a.txt"), pairs, tmp_path / "quiet", split="line", progress=False)
    assert not capsys.readouterr().err


def test_invalid_utf8_is_replaced_on_request(pairs, tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"one\nna\xefve\n")
    arguments = {"split": "line", "progress": False}
    store = prepare(tmp_path / "bad.txt", pairs, tmp_path / "out", errors="replace", **arguments)
    check_equal(store, TokenStore.from_texts(["one", "na\ufffdve"], pairs))


@pytest.mark.parametrize("split", ["document", "paragraph", "line"])
def test_documents_are_those_of_text_files(pairs, tmp_path, split):
    texts = ["a\n\nb\n", "\n\na\n \t\n\nb c\nd", "a\r\n\r\nb\r\n", " x \n", "\ufeffa\n\n \n"]
    files = [tmp_path / f"{number}.txt" for number in range(len(texts))]
    for file, text in zip(files, texts):
        file.write_bytes(text.encode())
    store = prepare(files, pairs, tmp_path / "out", split=split, progress=False)
    check_equal(store, TokenStore.from_texts(text_files(files, split=split), pairs))
