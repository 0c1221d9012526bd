"""Large corpora into token shards: in parallel, with a progress bar, resumable."""

from __future__ import annotations

import codecs
import gzip
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from keras_lm.data import shards
from keras_lm.data.store import TokenStore

if TYPE_CHECKING:
    from keras_lm.tokenizers.base import Tokenizer

SPLITS = ("document", "paragraph", "line")
SHARD_BYTES = 1 << 26  # of text; some 16 million ids, and what a killed run does again
_BATCH_BYTES = 1 << 22
_BLANK = b" \t\r\n"

Encoder = Callable[[list[str]], list[Any]]


class _Document(NamedTuple):
    text: str
    num_bytes: int
    file: int
    end: int  # the byte of the file behind it


def prepare(
    files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    tokenizer: Tokenizer,
    out: str | os.PathLike[str],
    split: str = "document",
    field: str = "text",
    progress: bool = True,
) -> TokenStore:
    r"""Tokenizes files of any size into shards on disk, and opens them as a token store.

    The Rust library of the tokenizer does the work on all cores (the C++ one for SentencePiece);
    the ids are those of `TokenStore.from_texts`. A run that was killed goes on behind its last
    complete shard when it is started again with the same arguments; a finished one does nothing.
    Memory is bounded by a shard (64 MB of text) and the longest document.

    Args:
        files: UTF-8 text files, or `.jsonl` files with a document in each line's `field`; either
            may be gzipped (`.gz`). Documents come in their order.
        tokenizer: with `bos_id` and `eos_id`.
        out: a directory, made if need be.
        split: what a document of a text file is: the whole file, a paragraph, which ends at a
            blank line, or a line. What is empty or only white space is left out.
        field: the key of the text in `.jsonl` files.
        progress: whether to show a bar with the time left.

    Returns:
        The store: its tokens stay on disk and are read by address.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: `split` is none of the three; `out` holds something else, or shards of other
            files or another tokenizer; a file is not UTF-8, or a line is no JSON object with that
            field (the message names file and line); there is no document at all.

    Example:

    >>> import pathlib, tempfile, keras_lm as klm
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.txt").write_text("one\ntwo three\n", encoding="utf-8")
    >>> tok = klm.tokenizers.BytePairTokenizer.train(texts=["aa"] * 9, vocab_size=258)
    >>> store = prepare(folder / "a.txt", tok, folder / "out", split="line", progress=False)
    >>> store.num_documents, store.num_bytes.tolist()
    (2, [3, 9])
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(map(repr, SPLITS))}")
    paths = [Path(files)] if isinstance(files, str | os.PathLike) else [Path(f) for f in files]
    if not paths:
        raise ValueError("files is empty; give at least one file")
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"files: no file {str(path)!r}")
    directory = Path(out)
    index = _index_of(directory, _source(paths, tokenizer, split, field))
    if not index["finished"]:
        with ExitStack() as stack:
            report = _progress(stack, paths) if progress else None
            _write_shards(directory, index, paths, tokenizer, split, field, report)
    return TokenStore.load(directory, tokenizer)


def _source(paths: Sequence[Path], tokenizer: Tokenizer, split: str, field: str) -> dict[str, Any]:
    """What the shards are made of; they are gone on with only if it is the same."""
    return {
        "tokenizer": shards.fingerprint(tokenizer),
        "split": split,
        "field": field,
        "files": [[path.name, path.stat().st_size] for path in paths],
    }


def _index_of(directory: Path, source: dict[str, Any]) -> dict[str, Any]:
    """The index of a run that is to be gone on with, or of a new one."""
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / shards.INDEX).exists():
        foreign = [p.name for p in directory.iterdir() if not p.name.startswith(("shard-", "."))]
        if foreign:
            raise ValueError(f"out={str(directory)!r} holds {foreign[0]!r}; give a new directory")
        return {"format": shards.FORMAT, "source": source, "shards": [], "finished": False}
    index = shards.read_index(directory)
    for key, value in source.items():
        if index["source"].get(key) != value:
            raise ValueError(
                f"out={str(directory)!r} holds shards made with {key} = "
                f"{index['source'].get(key)!r}, not {value!r}; give a new directory"
            )
    return index


def _write_shards(
    directory: Path,
    index: dict[str, Any],
    paths: Sequence[Path],
    tokenizer: Tokenizer,
    split: str,
    field: str,
    report: Callable[[int, int], None] | None,
) -> None:
    encode = _library_encoder(tokenizer)
    bos, eos = (tokenizer.bos_id,), (tokenizer.eos_id,)
    small = tokenizer.vocab_size <= 1 << 16
    file, end = index["shards"][-1]["behind"] if index["shards"] else (0, 0)
    ids: list[np.ndarray] = []
    sizes: list[tuple[int, int]] = []

    def finish_shard() -> None:
        number = len(index["shards"])
        tokens = np.concatenate(ids).astype(np.uint16 if small else np.int32)
        shards.write_shard(directory, number, tokens, np.array(sizes, np.int64))
        index["shards"].append(
            {"tokens": len(tokens), "documents": len(sizes), "behind": [file, end]}
        )
        shards.write_index(directory, index)
        ids.clear()
        sizes.clear()

    num_bytes = 0
    for batch in _batches(_documents(paths, split, field, file, end)):
        encoded = encode([document.text for document in batch])
        rows = chain.from_iterable(chain(bos, row, eos) for row in encoded)
        ids.append(np.fromiter(rows, np.int32))
        sizes += [(len(row) + 2, document.num_bytes) for row, document in zip(encoded, batch)]
        file, end = batch[-1].file, batch[-1].end
        if report:
            report(file, end)
        num_bytes += sum(document.num_bytes for document in batch)
        if num_bytes >= SHARD_BYTES:
            finish_shard()
            num_bytes = 0
    if ids:
        finish_shard()
    if not index["shards"]:
        raise ValueError(f"files: {', '.join(str(p) for p in paths)} hold no text")
    index["finished"] = True
    shards.write_index(directory, index)


def _library_encoder(tokenizer: Tokenizer) -> Encoder:
    """The tokenizer's reference library: strings to a list of ids each, on all cores."""
    for name in ("bos_id", "eos_id"):
        if getattr(tokenizer, name) is None:
            raise ValueError(
                f"tokenizer.{name} is None; a document begins with BOS and ends with EOS, "
                "so the tokenizer must have both"
            )
    return tokenizer.library_encoder()


def _batches(documents: Iterator[_Document]) -> Iterator[list[_Document]]:
    batch: list[_Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += document.num_bytes
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _documents(
    paths: Sequence[Path], split: str, field: str, file: int, start: int
) -> Iterator[_Document]:
    """The documents of files, from byte `start` of file number `file` on."""
    for number in range(file, len(paths)):
        path = paths[number]
        is_jsonl = ".jsonl" in path.suffixes[-2:]
        with _opened(path) as opened:
            opened.seek(start)
            for content, begin, end in _pieces(opened, "line" if is_jsonl else split, start):
                if begin == 0:
                    content = content.removeprefix(codecs.BOM_UTF8)
                try:
                    text = content.decode("utf-8")
                    if is_jsonl:
                        text = _field_of(text, field)
                except ValueError as error:
                    wrong = begin + (error.start if isinstance(error, UnicodeDecodeError) else 0)
                    line = _line_at(path, wrong)
                    raise ValueError(f"{str(path)!r}, line {line}: {error}") from None
                if text.strip():
                    yield _Document(text, len(text.encode()), number, end)
        start = 0


def _pieces(opened: IO[bytes], split: str, place: int) -> Iterator[tuple[bytes, int, int]]:
    """What stands in a file by a split, with the bytes where it begins and behind it."""
    if split == "document":
        content = opened.read()
        yield content, place, place + len(content)
        return
    lines: list[bytes] = []
    begin = place
    for line in opened:
        place += len(line)
        if split == "paragraph" and line.strip(_BLANK):
            lines.append(line)
            continue
        if split == "line":
            lines = [line]
        if lines:
            yield b"".join(lines).rstrip(b"\r\n"), begin, place
        lines, begin = [], place
    if lines:
        yield b"".join(lines).rstrip(b"\r\n"), begin, place


def _line_at(path: Path, place: int) -> int:
    """The number, from 1, of the line in which a byte of a file lies."""
    with _opened(path) as file:
        return file.read(place).count(b"\n") + 1


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _field_of(line: str, field: str) -> str:
    if not line.strip():
        return ""
    value = json.loads(line)
    text = value.get(field) if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise ValueError(f"no JSON object with a string in its field {field!r}")
    return text


def _progress(stack: ExitStack, paths: Sequence[Path]) -> Callable[[int, int], None]:
    """A bar over the bytes of all files; a gzipped one counts once it is done."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    sizes = [path.stat().st_size for path in paths]
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    bar = stack.enter_context(Progress(TextColumn("tokenizing"), *columns))
    task = bar.add_task("", total=sum(sizes))

    def report(file: int, end: int) -> None:
        within = 0 if paths[file].suffix == ".gz" else end
        bar.update(task, completed=sum(sizes[:file]) + within)

    return report
