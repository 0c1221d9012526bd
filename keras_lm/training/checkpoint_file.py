"""Checkpoints of a training run: each one file, whole or not there, the newest few kept."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_NAME = re.compile(r"step-(\d+)\.safetensors")
_FORMAT = "1"
_UNFINISHED = ".writing-"


@dataclass(frozen=True)
class Checkpoint:
    """What a run is at one step.

    Args:
        arrays: by name; any dtype of numpy's, and bfloat16.
        state: JSON values.
    """

    arrays: dict[str, np.ndarray]
    state: dict[str, Any]


class CheckpointFiles:
    """The files `step-000000120.safetensors` of one run in a directory.

    A file is written under another name, put on disk, and renamed: whatever happens to the
    process or the machine, each file that carries the name is whole.

    Args:
        directory: where. Files of other names in it are left alone.
        keep: how many to keep.

    Example:

    >>> import tempfile
    >>> files = CheckpointFiles(Path(tempfile.mkdtemp()), keep=1)
    >>> for step in (5, 10):
    ...     files.write(step, Checkpoint({"a": np.arange(3)}, {"epoch": step // 5}))
    >>> [path.name for path in files.paths()]
    ['step-000000010.safetensors']
    >>> files.newest().state
    {'epoch': 2}
    """

    def __init__(self, directory: Path, keep: int) -> None:
        self.directory, self.keep = directory, keep

    def prepare(self) -> None:
        """Makes the directory, and clears away what a process left that died while writing."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for left in self.directory.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left, ignore_errors=True)

    def paths(self) -> list[Path]:
        """The checkpoints, the newest last."""
        found = [path for path in self.directory.iterdir() if _NAME.fullmatch(path.name)]
        return sorted(found, key=_step_of)

    def write(self, step: int, checkpoint: Checkpoint) -> None:
        """Writes a checkpoint, then removes those that are one too many.

        Raises:
            OSError: it could not be written, for want of room for instance. The ones before
                stand as they were.
        """
        path = self.directory / f"step-{step:09d}.safetensors"
        try:
            with self._unfinished(path.name) as unfinished:
                _write(unfinished, checkpoint)
                os.replace(unfinished, path)
            _sync(self.directory)
        except OSError as error:
            good = self.paths()
            kept = f"{str(good[-1])!r} is whole" if good else "there is none from before"
            raise OSError(
                error.errno,
                f"the checkpoint {str(path)!r} could not be written: {error.strerror or error}. "
                f"Training stops; of the checkpoints before, {kept}. Make room, or find what "
                "else is wrong, and start the same command again",
            ) from error
        # One with a later number than this is damaged, and will be written anew.
        for old in [found for found in self.paths() if _step_of(found) <= step][: -self.keep]:
            old.unlink(missing_ok=True)

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole; None where there is no checkpoint.

        Warns:
            UserWarning: a file was damaged after it was written, and is passed over.

        Raises:
            ValueError: all are damaged, or written by another version of keras_lm.
        """
        paths = self.paths()
        for path in reversed(paths):
            try:
                return _read(path)
            except _DamagedError as error:
                message = f"the checkpoint {str(path)!r} is damaged ({error}) and passed over"
                warnings.warn(message, stacklevel=2)
        if paths:
            raise ValueError(
                f"directory={str(self.directory)!r} holds no checkpoint that is whole; delete it "
                "to begin anew"
            )
        return None

    @contextlib.contextmanager
    def _unfinished(self, name: str) -> Iterator[Path]:
        """A path to write to, in a directory of its own: the library makes files beside it."""
        scratch = self.directory / f"{_UNFINISHED}{os.getpid()}"
        scratch.mkdir(exist_ok=True)
        try:
            yield scratch / name
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


class _DamagedError(Exception):
    """A file is not what was written."""


def _step_of(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else -1


def _write(path: Path, checkpoint: Checkpoint) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path.touch()
    mode = path.stat().st_mode  # the library's own would lock other users out
    state = json.dumps(checkpoint.state)
    metadata = {"format": _FORMAT, "state": state, "crc32": _checksum(state, checkpoint.arrays)}
    try:
        save_file(checkpoint.arrays, path, metadata)
    except SafetensorError as error:
        raise OSError(_error_number(error), str(error)) from error
    path.chmod(mode)
    _sync(path)


def _read(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise _DamagedError(str(error)) from error
    if metadata.get("format") != _FORMAT:
        raise ValueError(
            f"{str(path)!r} was not written by this version of keras_lm; finish the run with the "
            "version that wrote it, or delete the directory to begin anew"
        )
    if metadata["crc32"] != _checksum(metadata["state"], arrays):
        raise _DamagedError("it does not hold what was written")
    return Checkpoint(arrays, json.loads(metadata["state"]))


def _checksum(state: str, arrays: dict[str, np.ndarray]) -> str:
    checksum = zlib.crc32(state.encode())
    for name in sorted(arrays):
        content: Any = arrays[name].reshape(-1).view(np.uint8)
        checksum = zlib.crc32(content, checksum)
    return f"{checksum:08x}"


def _error_number(error: Exception) -> int | None:
    """The system's number in "… No space left on device (os error 28)"."""
    match = re.search(r"os error (\d+)", str(error))
    return int(match[1]) if match else None


def _sync(path: Path) -> None:
    """Asks the system to put a file, or the names in a directory, on disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no directories
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
