"""Every notebook runs, from an empty kernel, in the time its reader was promised."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
SECONDS = 45


@pytest.fixture
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A reader runs one notebook at a time, so the suite's processes do as well."""
    with open(tmp_path_factory.getbasetemp().parent / "notebooks.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOKS.parent))
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)  # a reader has all cores
    notebook = nbformat.read(path, as_version=4)
    seconds = seconds_to_run(notebook, tmp_path)
    if seconds >= SECONDS:  # somebody else may have had the machine, which only ever adds
        seconds = seconds_to_run(notebook, tmp_path)
    assert seconds < SECONDS, f"{path.name} took {seconds:.0f} s, twice"


def seconds_to_run(notebook: nbformat.NotebookNode, folder: Path) -> float:
    client = NotebookClient(
        notebook,
        timeout=2 * SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": folder}},
    )
    started = time.monotonic()
    client.execute()  # raises CellExecutionError with the cell and its traceback
    seconds = time.monotonic() - started
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output.output_type == "error"]
    return seconds
