"""The README tells the truth: its quick start runs, its file tree is the checkout's."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INIT = Path("keras_lm/__init__.py")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def fenced(language: str) -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    return [block for name, block in blocks if name == language]


def tree_paths() -> set[str]:
    """The paths of the README's file tree; two spaces further in is one folder further down."""
    (tree,) = (block for block in fenced("") if "keras_lm/" in block)
    paths: set[str] = set()
    folders: list[str] = []
    for line in tree.splitlines():
        name, _, description = line.strip().partition(" ")
        assert description.strip(), f"{name} has no description"
        folders[(len(line) - len(line.lstrip())) // 2 :] = [name]
        paths.add("".join(folders).rstrip("/"))
    return paths


def tracked_files() -> list[Path]:
    """The files of the checkout: what git knows, and what it does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [Path(name) for name in done.stdout.splitlines() if (ROOT / name).exists()]


def test_quick_start_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in fenced("python"):
        lines = [line for line in block.splitlines() if "import" not in line and line.strip()]
        assert len(lines) <= 10
        exec(compile(block, "README.md", "exec"), names)  # our own README
    assert names["clf"].classify("simply superb")["label"] == "positive"  # type: ignore[attr-defined]


def test_tree_names_what_there_is_and_nothing_else() -> None:
    files = tracked_files()
    package = [path for path in files if path.parts[0] == "keras_lm" and path != INIT]
    expected = {path.parts[0] for path in files} | {INIT.as_posix()}
    expected |= {path.as_posix() for path in package if path.name != "__init__.py"}
    expected |= {path.parent.as_posix() for path in package}
    assert tree_paths() == expected
