"""Directories and files that are replaced as a whole; links that lead out of a directory."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path


@contextlib.contextmanager
def replace_directory(directory: str | os.PathLike[str], owned: Sequence[str]) -> Iterator[Path]:
    """Yields an empty directory beside `directory` that takes its place when all went well.

    A rename over a directory that is not empty does not exist, so the old one is first moved
    to `.NAME.backup`; `recover_directory` brings it back should the process die between the two
    renames. After an error the old directory stands as it was.

    Args:
        directory: the path to write; its parents are made.
        owned: glob patterns of what the caller writes there. Old entries that match are
            dropped with the old directory, all others (a user's README) are kept.

    Raises:
        ValueError: `directory` is a file, or holds entries of which none is `owned`: it is
            somebody else's.

    Example:

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "model"
    >>> with replace_directory(target, owned=["config.json"]) as new:
    ...     _ = (new / "config.json").write_text("{}")
    >>> sorted(path.name for path in target.iterdir())
    ['config.json']
    """
    target = recover_directory(directory)
    foreign = _foreign_entries(target, owned)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=target.parent))
    try:
        yield fresh
        # mkdtemp and safetensors would lock other users out.
        for path in (fresh, *fresh.rglob("*")):
            path.chmod((0o777 if path.is_dir() else 0o666) & ~_umask())
        for path in foreign:
            if path.is_dir():
                shutil.copytree(path, fresh / path.name, symlinks=True)
            elif not (fresh / path.name).exists():
                shutil.copy2(path, fresh / path.name, follow_symlinks=False)
        _sync(fresh)
        if target.exists():
            shutil.rmtree(_backup(target), ignore_errors=True)
            target.rename(_backup(target))
        fresh.rename(target)
        shutil.rmtree(_backup(target), ignore_errors=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        recover_directory(target)


def _foreign_entries(target: Path, owned: Sequence[str]) -> list[Path]:
    """What stands in `target` and is not the caller's; refuses a directory of another kind."""
    if target.exists() and not target.is_dir():
        raise ValueError(f"directory={str(target)!r} is a file; give the path of a directory")
    entries = sorted(target.iterdir()) if target.exists() else []
    foreign = [e for e in entries if not any(fnmatch.fnmatch(e.name, glob) for glob in owned)]
    if entries and len(foreign) == len(entries):
        raise ValueError(
            f"directory={str(target)!r} is not empty and holds none of {', '.join(owned)}; "
            "give a new or an empty directory, or one that was saved before"
        )
    return foreign


def recover_directory(directory: str | os.PathLike[str]) -> Path:
    """The path of `directory`, put back from its backup if a save died half-way."""
    target = Path(directory).expanduser().resolve()  # a link stays, what it points to is replaced
    backup = _backup(target)
    if backup.is_dir() and not target.exists():
        backup.rename(target)
    return target


@contextlib.contextmanager
def replace_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields the path of a new file that takes the place of `path` when all went well.

    After an error the old file stands as it was.

    Example:

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "table.csv"
    >>> with replace_file(target) as fresh:
    ...     _ = fresh.write_text("1,2")
    >>> target.read_text()
    '1,2'
    """
    target = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.new-", dir=target.parent)
    os.close(handle)
    fresh = Path(name)
    try:
        yield fresh
        fresh.chmod(0o666 & ~_umask())
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)


def refuse_links_out(directory: Path, patterns: Sequence[str]) -> None:
    """Refuses symbolic links that lead out of a directory, among the entries that are read.

    What the Hugging Face hub's library has fetched is a folder of links into `blobs`, two folders
    above; these may be followed.

    Args:
        directory: where.
        patterns: glob patterns of what is read there.

    Raises:
        ValueError: an entry is a link to another place; names both.
    """
    root = directory.resolve()
    allowed = [root]
    for parent in (root, *root.parents):
        if parent.parent.name == "snapshots" and (parent.parent.parent / "blobs").is_dir():
            allowed = [parent, (parent.parent.parent / "blobs").resolve()]
    for entry in sorted(directory.iterdir()):
        if entry.is_symlink() and any(fnmatch.fnmatch(entry.name, glob) for glob in patterns):
            try:
                target = entry.resolve()
            except (OSError, RuntimeError) as error:  # links in a circle
                raise ValueError(f"{str(entry)!r} is a link that leads nowhere") from error
            if not any(target.is_relative_to(place) for place in allowed):
                raise ValueError(
                    f"{str(entry)!r} is a link to {str(target)!r}, outside of its directory; "
                    "copy the file there"
                )


def _backup(target: Path) -> Path:
    return target.with_name(f".{target.name}.backup")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(directory: Path) -> None:
    """Asks the system to put the files on disk before the rename makes them visible."""
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
