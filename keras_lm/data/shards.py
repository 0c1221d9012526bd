"""Token shards: a token store on disk, read by address through memory maps.

    out/index.json                    what the shards hold, and where the next one would begin
    out/shard-00000.tokens.npy        ids, uint16 or int32 [n]
    out/shard-00000.documents.npy     int64 [documents, 2]: ids and UTF-8 bytes of each document

A shard counts once the index names it, and the index is replaced as a whole: a run that is killed
leaves the shards before, and `keras_lm.data.prepare` goes on behind them.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_lm.storage import read_json, write_json

if TYPE_CHECKING:
    from keras_lm.tokenizers.base import Tokenizer

INDEX = "index.json"
FORMAT = 1
_READS_BETWEEN_RELEASES = 8


class ShardedTokens:
    """Arrays that lie one after the other, read as if they were one.

    Args:
        shards: int arrays [n] of one dtype, memory maps as a rule.

    Example:

    >>> tokens = ShardedTokens([np.array([5, 6], "int32"), np.array([7], "int32")])
    >>> len(tokens), tokens[np.array([2, 0])].tolist()
    (3, [7, 5])
    """

    ndim = 1

    def __init__(self, shards: Sequence[np.ndarray]) -> None:
        self._shards = list(shards)
        self._reads = 0
        self._starts = np.cumsum([0, *(len(shard) for shard in shards)])
        self.dtype = self._shards[0].dtype

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        shard = np.searchsorted(self._starts, places, side="right") - 1
        values = np.empty(places.shape, self.dtype)
        for number in np.unique(shard):
            here = shard == number
            values[here] = self._shards[number][places[here] - self._starts[number]]
        self._reads += 1
        if self._reads % _READS_BETWEEN_RELEASES == 0:
            self._release()
        return values

    def _release(self) -> None:
        """Takes the pages read so far out of this process; the system still has them at hand.

        Otherwise an epoch would map all of the files, two megabytes at a time, and the process
        would look as large as they are.
        """
        for shard in self._shards:
            if isinstance(shard, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):
                mapped: Any = shard
                mapped._mmap.madvise(mmap.MADV_DONTNEED)


def fingerprint(tokenizer: Tokenizer) -> str:
    """A short digest of what decides a tokenizer's ids and the ends of documents."""
    definition = tokenizer.get_config()["definition"]
    content = definition if isinstance(definition, bytes) else definition.encode()
    return hashlib.sha256(repr(tokenizer.document_ends).encode() + content).hexdigest()[:16]


def read_index(directory: Path) -> dict[str, Any]:
    """The index of a directory of shards.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged or of another format.
    """
    if not (directory / INDEX).is_file():
        raise FileNotFoundError(f"{str(directory)!r} holds no {INDEX}; make it with prepare")
    index = read_json(directory / INDEX)
    keys = {"format", "source", "shards", "finished"}
    if index.get("format") != FORMAT or not keys <= index.keys():
        raise ValueError(f"{str(directory / INDEX)!r} is no index of token shards")
    return index


def write_index(directory: Path, index: dict[str, Any]) -> None:
    """Replaces the index as a whole."""
    fresh = directory / f".{INDEX}.new"
    write_json(fresh, index)
    _to_disk(fresh)
    os.replace(fresh, directory / INDEX)


def write_shard(directory: Path, number: int, tokens: np.ndarray, documents: np.ndarray) -> None:
    """Writes the two files of a shard; they count once the index names them."""
    for part, array in (("tokens", tokens), ("documents", documents)):
        path = directory / f"shard-{number:05}.{part}.npy"
        np.save(path, array, allow_pickle=False)
        _to_disk(path)


def read_shards(directory: Path, index: dict[str, Any]) -> tuple[ShardedTokens, np.ndarray]:
    """The tokens of all shards, as memory maps, and int64 [documents, 2]: ids and bytes of each.

    Raises:
        ValueError: a file is missing, damaged, or not what the index says.
    """
    tokens, documents = [], []
    for number, entry in enumerate(index["shards"]):
        tokens.append(_array(directory, number, "tokens", "r", (entry["tokens"],)))
        documents.append(_array(directory, number, "documents", None, (entry["documents"], 2)))
        if documents[-1][:, 0].sum() != entry["tokens"]:
            raise ValueError(f"{str(directory)!r}: shard {number} is damaged; prepare it anew")
    if not tokens:
        raise ValueError(f"{str(directory)!r} holds no shard yet; let prepare finish")
    return ShardedTokens(tokens), np.concatenate(documents)


def _array(
    directory: Path, number: int, part: str, mode: Any, shape: tuple[int, ...]
) -> np.ndarray:
    path = directory / f"shard-{number:05}.{part}.npy"
    try:
        array: np.ndarray = np.load(path, mmap_mode=mode, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{str(path)!r} is missing or damaged: {error}") from error
    if array.shape != shape or array.dtype not in (np.uint16, np.int32, np.int64):
        raise ValueError(
            f"{str(path)!r} holds {array.dtype} of shape {array.shape}, not {shape} as the index "
            "says; prepare it anew"
        )
    return array


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
