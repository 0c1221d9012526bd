"""Models by their id of the Hugging Face hub: what its library is asked, and its links."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import harness
import pytest

import keras_lm as klm
from keras_lm.checkpoints import find_pretrained, load_model
from keras_lm.models import Decoder
from keras_lm.tasks import CausalLM
from keras_lm.tokenizers import BytePairTokenizer

hub = pytest.importorskip("huggingface_hub", reason="not installed: keras-lm[hub]")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def task() -> CausalLM:
    tokenizer = BytePairTokenizer.train(texts=["one two three"] * 2, vocab_size=262)
    config = klm.TransformerConfig(
        vocab_size=tokenizer.vocab_size, num_layers=1, hidden_dim=8, num_heads=2, max_length=16
    )
    return CausalLM(harness.random_model(Decoder, config), tokenizer)


@pytest.fixture
def cache(task: CausalLM, tmp_path: Path) -> Path:
    """The cache of the hub's library, with one model in it, as that library lays it out."""
    repository = tmp_path / "cache" / "models--owner--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    blobs, snapshot = repository / "blobs", repository / "snapshots" / COMMIT
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    task.save_pretrained(tmp_path / "plain")
    for number, file in enumerate(sorted((tmp_path / "plain").iterdir())):
        shutil.move(file, blobs / f"{number:040x}")
        (snapshot / file.name).symlink_to(f"../../blobs/{number:040x}")
    return tmp_path / "cache"


def test_a_model_in_the_cache_is_read_offline(task: CausalLM, cache: Path) -> None:
    model = load_model("owner/tiny", cache_dir=cache, local_files_only=True)
    assert model.config == task.model.config
    found = CausalLM.from_pretrained(
        "owner/tiny", revision="main", cache_dir=cache, local_files_only=True, sequence_length=8
    )
    assert found.sequence_length == 8
    assert found.tokenizer("one two").numpy().tolist() == task.tokenizer("one two").numpy().tolist()


def test_tasks_that_read_more_know_the_hub(cache: Path) -> None:
    """Sentence-Transformers' layout with the encoder in a folder of its own, and links to blobs."""
    snapshot = cache / "models--owner--tiny" / "snapshots" / COMMIT
    encoder = snapshot / "0_Transformer"
    encoder.mkdir()
    for link in [path for path in snapshot.iterdir() if path.is_symlink()]:
        (encoder / link.name).symlink_to(Path("..") / os.readlink(link))
        link.unlink()
    kinds = {"Transformer": "0_Transformer", "Pooling": "1_Pooling"}
    modules = [{"type": f"models.{kind}", "path": path} for kind, path in kinds.items()]
    (snapshot / "modules.json").write_text(json.dumps(modules))
    (snapshot / "1_Pooling").mkdir()
    (snapshot / "1_Pooling" / "config.json").write_text('{"pooling_mode": "lasttoken"}')
    found = klm.tasks.Retriever.from_pretrained(
        "owner/tiny", cache_dir=cache, local_files_only=True, sequence_length=7
    )
    assert (found.pooling, found.normalize, found.sequence_length) == ("last", False, 7)
    with pytest.raises(FileNotFoundError, match="config.json"):
        load_model("owner/tiny", cache_dir=cache, local_files_only=True)


def test_what_is_asked_of_the_library(
    cache: Path, monkeypatch: pytest.MonkeyPatch, task: CausalLM
) -> None:
    asked: dict[str, Any] = {}

    def snapshot_download(name: str, **settings: Any) -> str:
        asked.update(settings, name=name)
        return str(cache / "models--owner--tiny" / "snapshots" / COMMIT)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    assert load_model("owner/tiny", revision="v2", token="t").config == task.model.config
    patterns, never = asked.pop("allow_patterns"), asked.pop("ignore_patterns")
    assert asked == {"name": "owner/tiny", "revision": "v2", "token": "t"}
    names = ["config.json", "model.safetensors", "model-00001-of-00002.safetensors", "vocab.txt"]
    names += ["pytorch_model.bin", "tagger/pytorch_model.bin", "onnx/model.onnx", "model.h5"]
    names += ["fp16/model.safetensors", "training_args.bin", "tokenizer.json", "tf_model.h5"]
    fetched = hub.utils.filter_repo_objects(names, allow_patterns=patterns, ignore_patterns=never)
    assert sorted(fetched) == [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model.safetensors",
        "tokenizer.json",
        "vocab.txt",
    ]


def test_a_directory_goes_before_an_id(
    task: CausalLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "snapshot_download", lambda *args, **kwargs: pytest.fail("was asked"))
    monkeypatch.chdir(tmp_path)
    task.save_pretrained("owner/tiny")
    assert load_model("owner/tiny").config == task.model.config
    with pytest.raises(ValueError, match="revision='v2' is for the Hugging Face hub"):
        load_model("owner/tiny", revision="v2")
    for no_id in ("./nothing", "/nothing", "a/b/c", "../x", Path("owner/other"), "~/x", ""):
        with pytest.raises((FileNotFoundError, ValueError), match="no directory|no config.json"):
            find_pretrained(no_id)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("GatedRepoError", "gated: accept its terms"),
        ("RepositoryNotFoundError", "there is no such repository, or it is private"),
        ("RevisionNotFoundError", "it has no revision='v9'"),
        ("LocalEntryNotFoundError", "not in the cache"),
        ("HFValidationError", "what the library says"),
    ],
)
def test_the_hubs_refusals_say_what_to_do(
    kind: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        error = getattr(hub.errors, kind)
        raised = error.__new__(error)
        raised.args = ("what the library says",)
        raise raised

    monkeypatch.setattr(hub, "snapshot_download", refuse)
    with pytest.raises(FileNotFoundError, match=f"no directory 'owner/tiny' here.*{message}"):
        load_model("owner/tiny", revision="v9")


def test_offline_and_not_in_the_cache(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="not in the cache, and the hub was not asked"):
        CausalLM.from_pretrained("owner/other", cache_dir=tmp_path, local_files_only=True)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"no directory 'gpt2' here; .* keras-lm\[hub\]"):
        load_model("gpt2")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_links_out_of_a_directory_are_refused(name: str, task: CausalLM, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    task.save_pretrained(directory)
    shutil.move(directory / name, tmp_path / "elsewhere")
    (directory / name).symlink_to("../elsewhere")
    with pytest.raises(ValueError, match=f"{name}' is a link to .*elsewhere', outside"):
        CausalLM.from_pretrained(directory)
    # Within the directory a link may be, and so may the directory itself; a user's file is his.
    (directory / name).unlink()
    shutil.move(tmp_path / "elsewhere", directory / "inside")
    (directory / name).symlink_to("inside")
    os.symlink("/etc/hostname", directory / "README.md")
    (tmp_path / "link").symlink_to("model")
    assert CausalLM.from_pretrained(tmp_path / "link").model.config == task.model.config


def test_links_of_a_snapshot_lead_to_its_own_blobs_alone(cache: Path, tmp_path: Path) -> None:
    snapshot = cache / "models--owner--tiny" / "snapshots" / COMMIT
    file = snapshot / "model.safetensors"
    shutil.copy(file, tmp_path / "elsewhere")
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is a link to"):
        load_model(snapshot)


def test_links_in_a_circle(task: CausalLM, tmp_path: Path) -> None:
    task.save_pretrained(tmp_path / "model")
    file = tmp_path / "model" / "vocab.txt"
    file.symlink_to("vocab.txt")
    with pytest.raises(ValueError, match=r"vocab.txt' is a link"):
        CausalLM.from_pretrained(tmp_path / "model")
