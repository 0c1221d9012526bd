"""Large corpora into token shards: in parallel, with a progress bar, resumable."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_lm.data import shards
from keras_lm.data.progress import LateBar
from keras_lm.data.sources.files import Content, Files, check_errors, opened, sized_paths, wrong
from keras_lm.data.store import TokenStore

if TYPE_CHECKING:
    from keras_lm.tokenizers.base import Tokenizer

SPLITS = ("document", "paragraph", "line")
SHARD_BYTES = 1 << 26  # of text; some 16 million ids, and what a killed run does again
_BATCH_BYTES = 1 << 22
_BLANK = b" \t\r\n"


class _Document(NamedTuple):
    text: str
    num_bytes: int
    file: int
    end: int  # the byte of the file's content behind it
    read: int  # bytes of all files on the disk that have been read by then


def prepare(
    files: Files,
    tokenizer: Tokenizer,
    out: str | os.PathLike[str],
    split: str = "document",
    field: str = "text",
    errors: str = "strict",
    progress: bool = True,
) -> TokenStore:
    r"""Tokenizes files of any size into shards on disk, and opens them as a token store.

    The Rust library of the tokenizer does the work on all cores (the C++ one for SentencePiece);
    the ids are those of `TokenStore.from_texts`. A run that was killed goes on behind its last
    complete shard when it is started again with the same arguments; a finished one does nothing.
    Memory is bounded by a shard (64 MB of text) and the longest document.

    Args:
        files: UTF-8 text files, or `.jsonl` files with a document in each line's `field`; either
            may be gzipped. Documents come in their order.
        tokenizer: any tokenizer with `document_ends`.
        out: a directory, made if need be.
        split: what a document of a text file is: the whole file, a paragraph, which ends at a
            blank line, or a line. What is empty or only white space is left out.
        field: the key of the text in `.jsonl` files.
        errors: `"strict"` (default) refuses a file that is not UTF-8; `"replace"` puts U+FFFD
            where it is not.
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
    check_errors(errors)
    paths, sizes = sized_paths(files)
    directory = Path(out)
    source = {
        "tokenizer": shards.fingerprint(tokenizer),
        "split": split,
        "field": field,
        "errors": errors,
        "files": [[path.name, size] for path, size in zip(paths, sizes)],
    }
    index = _index_of(directory, source)
    if not index["finished"]:
        encode = tokenizer.library_encoder()
        with LateBar("tokenizing", sum(sizes)) if progress else nullcontext() as bar:
            documents = _documents(paths, sizes, split, field, errors, *_behind(index))
            _write_shards(directory, index, _batches(documents, bar), encode, tokenizer)
    return TokenStore.load(directory, tokenizer)


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


def _behind(index: dict[str, Any]) -> tuple[int, int]:
    """The file, by number, and the byte in it where the next shard begins."""
    file, end = index["shards"][-1]["behind"] if index["shards"] else (0, 0)
    return file, end


def _write_shards(
    directory: Path,
    index: dict[str, Any],
    batches: Iterator[list[_Document]],
    encode: Callable[[list[str]], list[list[int]]],
    tokenizer: Tokenizer,
) -> None:
    begin, last = ((id,) for id in tokenizer.document_ends)
    small = tokenizer.vocab_size <= 1 << 16
    file, end = _behind(index)
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
    for batch in batches:
        encoded = encode([document.text for document in batch])
        rows = chain.from_iterable(chain(begin, row, last) for row in encoded)
        ids.append(np.fromiter(rows, np.int32))
        sizes += [(len(row) + 2, document.num_bytes) for row, document in zip(encoded, batch)]
        file, end = batch[-1].file, batch[-1].end
        num_bytes += sum(document.num_bytes for document in batch)
        if num_bytes >= SHARD_BYTES:
            finish_shard()
            num_bytes = 0
    if ids:
        finish_shard()
    if not index["shards"]:
        raise ValueError("files hold no text")
    index["finished"] = True
    shards.write_index(directory, index)


def _batches(documents: Iterator[_Document], bar: LateBar | None) -> Iterator[list[_Document]]:
    batch: list[_Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += document.num_bytes
        if size >= _BATCH_BYTES:
            yield batch
            if bar:
                bar.advance_to(document.read)
            batch, size = [], 0
    if batch:
        yield batch


def _documents(
    paths: Sequence[Path],
    sizes: Sequence[int],
    split: str,
    field: str,
    errors: str,
    file: int,
    start: int,
) -> Iterator[_Document]:
    """The documents of files, from byte `start` of file number `file` on."""
    for number in range(file, len(paths)):
        path = paths[number]
        is_jsonl = ".jsonl" in path.suffixes[-2:]
        with opened(path) as (raw, lines):
            lines.seek(start)
            for content, begin, end in _pieces(lines, "line" if is_jsonl else split, start):
                if begin == 0:
                    content = content.removeprefix(codecs.BOM_UTF8)
                try:
                    text = content.decode("utf-8", errors)
                    if is_jsonl:
                        text = _field_of(text, field)
                    num_bytes = len(text.encode("utf-8"))
                except ValueError as error:
                    place = begin + (error.start if isinstance(error, UnicodeDecodeError) else 0)
                    raise wrong(path, _line_at(path, place), str(error)) from None
                if text.strip():
                    read = sum(sizes[:number]) + raw.tell()
                    yield _Document(text, num_bytes, number, end, read)
        start = 0


def _pieces(content: Content, split: str, place: int) -> Iterator[tuple[bytes, int, int]]:
    """What stands in a file by a split, with the bytes where it begins and behind it."""
    if split == "document":
        whole = content.read()
        yield whole, place, place + len(whole)
        return
    lines: list[bytes] = []
    begin = place
    for line in content:
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
    """The number, from 1, of the line in which a byte of a file's content lies."""
    with opened(path) as (_, content):
        return content.read(place).count(b"\n") + 1


def _field_of(line: str, field: str) -> str:
    if not line.strip():
        return ""
    value = json.loads(line)
    text = value.get(field) if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise ValueError(f"no JSON object with a string in its field {field!r}")
    return text
