"""`compare`: one table for all language models."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner

import keras_lm as klm
from keras_lm.cli import app
from keras_lm.tasks import CausalLM
from keras_lm.tokenizers import ByteTokenizer

TEXTS = ["one two three four", "four three two one", "one one two"] * 12
HELD_OUT = ["two three one", "four"]


@pytest.fixture(scope="module")
def tasks() -> dict[str, CausalLM]:
    tokenizer = ByteTokenizer.create()
    sizes = {"vocab_size": tokenizer.vocab_size, "num_layers": 1, "hidden_dim": 8}
    bigram = CausalLM(klm.models.NGramLM(order=2), tokenizer)
    bigram.fit(TEXTS, verbose=0)
    lstm = CausalLM(klm.models.RecurrentLM(klm.RecurrentConfig(**sizes)), tokenizer)
    gpt = klm.models.Decoder(klm.TransformerConfig(**sizes, num_heads=2, max_length=32))
    return {"LSTM": lstm, "2-gram": bigram, "GPT": CausalLM(gpt, tokenizer)}


def test_rows_say_what_evaluate_says(
    tasks: dict[str, CausalLM], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    rows = klm.compare(tasks, HELD_OUT, plot=tmp_path / "new" / "scale.png")
    assert rows[0]["name"] == "2-gram"
    bits = [row["bits_per_byte"] for row in rows]
    assert bits == sorted(bits)
    for row in rows:
        task = tasks[row["name"]]
        results = task.evaluate(HELD_OUT, verbose=0, return_dict=True)
        assert row["bits_per_byte"] == pytest.approx(results["bits_per_byte"])
        assert row["perplexity"] == pytest.approx(results["perplexity"])
        assert row["tokens"] == sum(len(text) + 1 for text in HELD_OUT)
        assert row["training_seconds"] == task.training_seconds
        assert row["tokens_per_second"] > 0
        task.save_pretrained(tmp_path / row["name"])
        files = (tmp_path / row["name"]).iterdir()
        assert row["bytes_on_disk"] == sum(path.stat().st_size for path in files)
    lstm = next(row for row in rows if row["name"] == "LSTM")
    assert lstm["parameters"] == tasks["LSTM"].model.count_params()
    assert lstm["training_seconds"] is None
    printed = capsys.readouterr().out
    assert all(name in printed for name in tasks)
    assert (tmp_path / "new" / "scale.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "new" / "scale.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["name"] for row in table] == [row["name"] for row in rows]
    assert float(table[0]["bits_per_byte"]) == rows[0]["bits_per_byte"]


def test_a_list_is_named_after_the_models(tasks: dict[str, CausalLM]) -> None:
    rows = klm.compare([tasks["LSTM"], tasks["2-gram"], tasks["LSTM"]], HELD_OUT)
    assert {row["name"] for row in rows} == {"RecurrentLM 1", "RecurrentLM 2", "NGramLM"}


def test_what_the_user_compiled_stays(tasks: dict[str, CausalLM]) -> None:
    task = CausalLM(tasks["GPT"].model, tasks["GPT"].tokenizer)
    task.compile("sgd", "mse")
    klm.compare([task], HELD_OUT)
    assert task.loss == "mse"


def test_bad_input(tasks: dict[str, CausalLM], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tasks is empty"):
        klm.compare({}, HELD_OUT)
    with pytest.raises(ValueError, match=r"tasks\['x'\] must be a CausalLM; got NGramLM"):
        klm.compare({"x": tasks["2-gram"].model}, HELD_OUT)
    with pytest.raises(ValueError, match="comparing models on texts needs a tokenizer"):
        klm.compare([CausalLM(tasks["GPT"].model)], HELD_OUT)
    with pytest.raises(ValueError, match=r"plot must end in \.png; got 'scale.pdf'"):
        klm.compare(tasks, HELD_OUT, plot="scale.pdf")


def test_command(tasks: dict[str, CausalLM], tmp_path: Path) -> None:
    (tmp_path / "text").write_text(HELD_OUT[0], encoding="utf-8")
    for name in ("2-gram", "GPT"):
        tasks[name].save_pretrained(tmp_path / name)
    arguments = ["compare", str(tmp_path / "2-gram"), str(tmp_path / "GPT"), "--text"]
    good = CliRunner().invoke(app, [*arguments, str(tmp_path / "text")])
    assert good.exit_code == 0, good.output
    assert "bits/byte" in good.output
    bad = CliRunner().invoke(app, [*arguments, str(tmp_path / "none")])
    assert bad.exit_code == 2
    assert "keras-lm compare:" in bad.output
    assert len(bad.output.splitlines()) == 1
