"""What `pip install` gets: the metadata, and every file of the package."""

from __future__ import annotations

import email
import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest

import keras_lm

ROOT = Path(__file__).parents[1]
CORE = {"tensorflow", "keras", "tensorflow-text", "tensorflow-datasets", "tokenizers"}
CORE |= {"sentencepiece", "safetensors", "numpy", "jinja2", "rich", "typer"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy so that nothing is left in the checkout."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(
        ROOT / "keras_lm", source / "keras_lm", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "."]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    return zipfile.ZipFile(next(source.glob("keras_lm-*.whl")))


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(name))


def test_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    there = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "keras_lm").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == there
    assert "keras_lm/py.typed" in packed


def test_metadata(metadata: Message) -> None:
    assert metadata["Name"] == "keras-lm"
    assert metadata["Version"] == keras_lm.__version__
    assert set(metadata["Requires-Python"].split(",")) == {">=3.11", "<3.14"}
    assert "Apache-2.0" in (metadata["License"], metadata["License-Expression"])


def test_core_dependencies_are_the_ones_that_everybody_needs(metadata: Message) -> None:
    requirements = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    names = {line.split(";")[0].split(">")[0].strip() for line in requirements}
    assert names == CORE
    text = next(line for line in requirements if line.startswith("tensorflow-text"))
    assert "win32" in text  # there are no wheels of it for Windows


def test_extras_that_the_documentation_names_exist(metadata: Message) -> None:
    extras = set(metadata.get_all("Provides-Extra"))
    assert {"hub", "metrics", "plots", "notebooks", "search", "jax", "test", "dev"} <= extras


def test_the_command_is_installed(wheel: zipfile.ZipFile) -> None:
    name = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "keras-lm = keras_lm.cli:app" in wheel.read(name).decode()
