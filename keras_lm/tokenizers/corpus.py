"""What tokenizers learn from: files or texts, checked, and what is common to all training."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_lm.tokenizers.files import SPECIAL_PARTS

CHUNK_BYTES = 1 << 20
ADDITIONAL = "additional_special_tokens"


def training_texts(
    files: Sequence[str | os.PathLike[str]] | None, texts: Iterable[str] | None
) -> Iterator[str]:
    """The text of files, in pieces of about a megabyte that end with a line, or the texts.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: both or none are given, one is a bare string, or, as they are read: a file is
            not UTF-8 (with its line), a text is no string.
    """
    if (files is None) == (texts is None):
        raise ValueError("train needs exactly one of files and texts")
    for name, value in (("files", files), ("texts", texts)):
        if isinstance(value, str | bytes | os.PathLike):
            raise ValueError(f"{name}={value!r} must be a list, not one string")
    return _read_texts(texts or ()) if files is None else _read_files(files)


def _read_texts(texts: Iterable[str]) -> Iterator[str]:
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"texts[{position}] is of type {type(text).__name__}, not a string")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"texts[{position}] holds a lone surrogate at character {error.start}; "
                "it must be valid Unicode"
            ) from None
        yield text


def _read_files(files: Sequence[str | os.PathLike[str]]) -> Iterator[str]:
    for file in files:
        if not Path(file).is_file():
            raise FileNotFoundError(f"files: no file {str(file)!r}")
        read = num_lines = 0
        with Path(file).open("rb") as lines:
            while chunk := b"".join(lines.readlines(CHUNK_BYTES)):
                try:
                    yield chunk.decode("utf-8")
                except UnicodeDecodeError as error:
                    line = num_lines + chunk.count(b"\n", 0, error.start) + 1
                    raise ValueError(
                        f"{str(file)!r}, line {line}: not UTF-8 at byte {read + error.start}"
                    ) from error
                read += len(chunk)
                num_lines += chunk.count(b"\n")


def named_special_tokens(
    special_tokens: Sequence[str] | Mapping[str, Any], parts_of_first: Sequence[str] = ()
) -> dict[str, Any]:
    """Which token plays which part: of a mapping, itself; the first of a list plays those given.

    A mapping may list tokens that play no part under `additional_special_tokens`.

    Raises:
        ValueError: a token is empty or repeated in a list, or a part is unknown.

    Example:

    >>> named_special_tokens(["<|end|>", "<|x|>"], ["bos_token", "eos_token"])
    {'bos_token': '<|end|>', 'eos_token': '<|end|>'}
    """
    names = distinct_tokens(special_tokens)
    if isinstance(special_tokens, str) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"special_tokens={special_tokens!r} must be strings, or a part to each")
    is_mapping = isinstance(special_tokens, Mapping)
    if "" in names or not (is_mapping or len(names) == len(special_tokens)):
        raise ValueError(f"special_tokens={special_tokens!r} must be distinct and not empty")
    if not isinstance(special_tokens, Mapping):
        return dict.fromkeys(parts_of_first, names[0]) if names else {}
    for part in special_tokens:
        if part not in (*SPECIAL_PARTS, ADDITIONAL):
            raise ValueError(
                f"special_tokens has {part!r}; parts are {', '.join(SPECIAL_PARTS)}, {ADDITIONAL}"
            )
    return dict(special_tokens)


def distinct_tokens(special_tokens: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """The special tokens, each once, in order: a mapping may give two parts to one token.

    Example:

    >>> distinct_tokens({"bos_token": "<s>", "eos_token": "<s>", ADDITIONAL: ["<a>", "<b>"]})
    ['<s>', '<a>', '<b>']
    """
    tokens: list[str] = []
    if isinstance(special_tokens, Mapping):
        for part, given in special_tokens.items():
            tokens += given if part == ADDITIONAL else [given]
    else:
        tokens += special_tokens
    return list(dict.fromkeys(tokens))


def check_vocab_size(vocab_size: int, least: int, what: str) -> None:
    """ValueError where a vocabulary has no room for what it must hold."""
    if not isinstance(vocab_size, int) or isinstance(vocab_size, bool) or vocab_size < least:
        raise ValueError(f"vocab_size={vocab_size!r} must be at least {least}: {what}")


def warn_if_smaller(reached: int, vocab_size: int) -> None:
    """Says so where the text gave fewer tokens than were asked for."""
    if reached < vocab_size:
        warnings.warn(
            f"the text gives a vocabulary of {reached} tokens only, not vocab_size={vocab_size}",
            stacklevel=3,
        )
