"""The command `keras-lm`, run as a user runs it: in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import keras_lm
from keras_lm.data import TokenStore
from keras_lm.tokenizers import BytePairTokenizer

ROOT = Path(__file__).parents[1]
RUN = "from keras_lm.cli import app; app(prog_name='keras-lm')"


def keras_lm_command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN, *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"},
    )


def own_text(directory: Path) -> Path:
    """A Chinese text of 30 kB in which every line is another one."""
    file = directory / "数.txt"
    digits = "零一二三四五六七八九"
    lines = ("第" + "".join(digits[int(d)] for d in str(n)) + "行。\n" for n in range(2000))
    file.write_text("".join(lines), encoding="utf-8")
    return file


def demo(directory: Path, text: Path) -> str:
    """Standard output of the whole demo on a tiny model."""
    arguments = ("--size", "tiny", "--steps", "30", "--seed", "3", "--out", directory)
    done = keras_lm_command("demo", "--text", text, *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    directory = tmp_path_factory.mktemp("demo")
    text = own_text(directory)
    return directory / "out", text, demo(directory / "out", text)


def test_demo_learns_and_serves_the_same_strings(first_run: tuple[Path, Path, str]) -> None:
    _, _, output = first_run
    bits = {
        name: float(value)
        for name, value in re.findall(r"(1-gram|3-gram|5-gram|GPT)\D+?(\d\.\d+)", output)
    }
    assert bits["GPT"] < bits["1-gram"]
    assert "The generated strings are the same." in output


def test_demo_writes_what_it_says(first_run: tuple[Path, Path, str]) -> None:
    import keras_lm as klm

    out, _, _ = first_run
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert list((out / "tensorboard").rglob("events.out.tfevents.*"))
    assert (out / "savedmodel" / "saved_model.pb").is_file()
    lm = klm.tasks.CausalLM.from_pretrained(out / "pretrained")
    assert lm.generate("第", max_new_tokens=5).startswith("第")


def test_demo_gives_the_same_numbers_again(first_run: tuple[Path, Path, str]) -> None:
    out, text, output = first_run

    def without_times(output: str) -> list[str]:
        # The bar of a slow tokenization is shown or not as the machine is slow or not.
        lines = [line for line in output.splitlines() if "tokenizing" not in line]
        return [re.sub(r"\b[\d.]+ ?m?s(/step)?\b", "", line) for line in lines]

    again = demo(out, text)
    assert without_times(again) == without_times(output)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"caf\xe9 " * 9000, "is not UTF-8 at byte 3"),
        (b"Too short.", "is too short to train on"),
    ],
)
def test_demo_on_a_bad_file_says_so_in_one_line(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    file = tmp_path / "mine.txt"
    if content is not None:
        file.write_bytes(content)
    done = keras_lm_command("demo", "--text", file, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert re.fullmatch(rf"keras-lm demo: .*{re.escape(str(file))} {reason}.*\n", done.stderr)
    assert not (tmp_path / "out").exists()


def test_demo_that_cannot_write_says_so_in_one_line(tmp_path: Path) -> None:
    done = keras_lm_command("demo", "--text", own_text(tmp_path), "--out", own_text(tmp_path))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert str(own_text(tmp_path)) in done.stderr


@pytest.mark.parametrize("option", ["--steps=0", "--seed=-1", "--size=huge"])
def test_bad_options_are_refused(option: str) -> None:
    done = keras_lm_command("demo", option)
    assert done.returncode == 2
    assert option.split("=")[0] in done.stderr


def test_version() -> None:
    assert keras_lm_command("--version").stdout == f"keras-lm {keras_lm.__version__}\n"


def test_prepare_writes_shards_and_goes_on(tmp_path: Path) -> None:
    text = own_text(tmp_path)
    tokenizer = BytePairTokenizer.train(files=[text], vocab_size=300)
    tokenizer.save(tmp_path / "tokenizer")
    arguments = ("--tokenizer", tmp_path / "tokenizer", "--out", tmp_path / "out")
    done = keras_lm_command("prepare", text, *arguments, "--split", "line")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "tokens of 2,000 documents in" in done.stdout
    assert TokenStore.load(tmp_path / "out", tokenizer).num_documents == 2000
    done = keras_lm_command("prepare", text, *arguments)
    assert done.returncode == 2
    assert "made with split = 'line', not 'document'" in done.stderr
