"""Directories are replaced as a whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from keras_lm.storage import read_json, recover_directory, replace_directory, write_json

OWNED = ("config.json", "*.bin")


def save(target: Path, **files: str) -> None:
    with replace_directory(target, OWNED) as fresh:
        for name, text in files.items():
            (fresh / name.replace("_", ".")).write_text(text)


def content(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(directory.iterdir())}


def nothing_beside(target: Path) -> bool:
    return [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "parent" / "model"


def test_makes_parents_and_a_readable_directory(target: Path) -> None:
    save(target, config_json="1")
    assert content(target) == {"config.json": "1"}
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o777 & ~umask
    assert nothing_beside(target)


def test_files_are_readable_whoever_wrote_them(target: Path) -> None:
    umask = os.umask(0o022)
    try:
        with replace_directory(target, OWNED) as fresh:
            (fresh / "part").mkdir(mode=0o700)
            (fresh / "part" / "weights").touch(mode=0o600)
    finally:
        os.umask(umask)
    assert (target / "part").stat().st_mode & 0o777 == 0o755
    assert (target / "part" / "weights").stat().st_mode & 0o777 == 0o644


def test_drops_what_is_owned_and_keeps_the_rest(target: Path) -> None:
    save(target, config_json="old", a_bin="old", b_bin="old")
    (target / "README.md").write_text("mine")
    (target / "notes").mkdir()
    (target / "notes" / "x").write_text("mine too")
    save(target, config_json="new", a_bin="new")
    assert (target / "notes" / "x").read_text() == "mine too"
    assert sorted(path.name for path in target.iterdir()) == [
        "README.md",
        "a.bin",
        "config.json",
        "notes",
    ]
    assert (target / "config.json").read_text() == "new"
    assert nothing_beside(target)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_in_the_middle_leaves_the_old_directory(
    target: Path, error: type[BaseException]
) -> None:
    save(target, config_json="old", a_bin="old")
    with pytest.raises(error), replace_directory(target, OWNED) as fresh:
        (fresh / "config.json").write_text("half")
        raise error
    assert content(target) == {"config.json": "old", "a.bin": "old"}
    assert nothing_beside(target)


def test_nothing_appears_before_all_is_written(target: Path) -> None:
    with replace_directory(target, OWNED) as fresh:
        (fresh / "config.json").write_text("1")
        assert not target.exists()
    assert target.is_dir()


@pytest.mark.parametrize("renames_done", [0, 1])
def test_dying_between_the_renames_loses_nothing(
    target: Path, renames_done: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed runs no handler: what is on disk then must be enough."""
    save(target, config_json="old")
    rename, done = Path.rename, []

    def dying_rename(self: Path, other: Path) -> Path:
        if len(done) == renames_done:
            raise SystemExit("killed")
        done.append(self)
        return rename(self, other)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", dying_rename)
        patch.setattr("shutil.rmtree", lambda *args, **kwargs: None)
        with pytest.raises(SystemExit):
            save(target, config_json="new")
    assert content(recover_directory(target)) == {"config.json": "old"}
    save(target, config_json="newest")
    assert content(target) == {"config.json": "newest"}


def test_an_error_between_the_renames_puts_the_old_directory_back(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(target, config_json="old")
    rename = Path.rename

    def failing_rename(self: Path, other: Path) -> Path:
        if ".new-" in self.name:
            raise OSError("no space left on device")
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", failing_rename)
    with pytest.raises(OSError, match="no space"):
        save(target, config_json="new")
    assert content(target) == {"config.json": "old"}
    assert nothing_beside(target)


def test_recovery_leaves_a_whole_directory_alone(target: Path) -> None:
    save(target, config_json="new")
    backup = target.with_name(".model.backup")
    backup.mkdir()
    (backup / "config.json").write_text("old")
    assert content(recover_directory(target)) == {"config.json": "new"}
    save(target, config_json="newest")
    assert nothing_beside(target)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    for text in ("1", "2", "3"):
        save(link, config_json=text)
        assert content(link) == content(real) == {"config.json": text}
    assert link.is_symlink()


def test_directories_of_others_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(ValueError, match="directory=.*file' is a file; give the path of a dir"):
        save(file, config_json="1")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match="foreign' is not empty and holds none of config.json"):
        save(foreign, config_json="1")
    assert content(foreign) == {"thesis.tex": "x"}
    empty = tmp_path / "empty"
    empty.mkdir()
    save(empty, config_json="1")
    assert content(empty) == {"config.json": "1"}


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"b": "é", "a": [1, None]})
    assert path.read_text(encoding="utf-8").startswith('{\n  "b": "é",\n  "a"')
    assert read_json(path) == {"b": "é", "a": [1, None]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not valid JSON"),
        (b'{"a": 1', "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b"[1]", "holds a JSON list, not an object"),
        (b"\x80\x04\x95pickle", "is not valid JSON"),
    ],
)
def test_bad_json_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"x.json' {message}"):
        read_json(path)


def test_missing_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file .*nothing.json"):
        read_json(tmp_path / "nothing.json")
