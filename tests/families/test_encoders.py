"""Parity with recorded encoders of Transformers and their heads, and the way back to files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from harness_files import load_golden
from safetensors.numpy import load_file, save_file

import keras_lm as klm
from keras_lm.checkpoints import load_model, save_model

Golden = Mapping[str, Any]
TOLERANCE = 2e-5
PREFIX = {"bert": "bert.", "roberta": "roberta.", "distilbert": "distilbert.", "electra": ""}
WITH_HEADS = ("bert", "roberta", "distilbert")
# What a masked language model's file has besides the encoder.
LM_HEAD = ("cls.", "lm_head.", "vocab_")


@pytest.fixture(scope="module", params=list(PREFIX))
def golden(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {**load_golden(request.param), "family": request.param}


@pytest.fixture(scope="module", params=WITH_HEADS)
def headed(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {**load_golden(request.param), "family": request.param}


def architectures(golden: Golden, ending: str) -> str:
    """The recorded architecture of that ending, such as BertForTokenClassification."""
    return next(n.split("/")[1] for n in golden if n.startswith("configs/") and ending in n)


def write(golden: Golden, directory: Path, architecture: str | None = None) -> dict[str, Any]:
    """Lays out the pretrained directory of an architecture; its tensors."""
    tensors = {
        name.removeprefix("weights/"): golden[name] for name in golden if name[:8] == "weights/"
    }
    config = str(golden["config_json"])
    if architecture is not None:
        keeps_lm = architecture.endswith("ForPreTraining")
        tensors = {n: t for n, t in tensors.items() if keeps_lm or not n.startswith(LM_HEAD)}
        if architecture == "BertModel":
            tensors = {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}
        start = f"heads/{architecture}/"
        tensors |= {n.removeprefix(start): golden[n] for n in golden if n.startswith(start)}
        config = str(golden[f"configs/{architecture}"])
    (directory / "config.json").write_text(config, encoding="utf-8")
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(48))]
    (directory / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    return tensors


def inputs(golden: Golden) -> dict[str, Any]:
    found = {"token_ids": golden["token_ids"], "padding_mask": golden["attention_mask"]}
    if "token_type_ids" in golden:
        found["token_types"] = golden["token_type_ids"]
    return found


def difference(golden: Golden, ours: Any, theirs: Any) -> float:
    """The largest difference where there are tokens."""
    gaps = np.abs(keras.ops.convert_to_numpy(ours) - theirs)
    if gaps.shape[:2] == golden["attention_mask"].shape:
        gaps = gaps[golden["attention_mask"].astype(bool)]
    return float(gaps.max())


def check_same_files(golden: Golden, directory: Path, tensors: Mapping[str, Any]) -> None:
    """What we wrote has the tensors that we read, bit for bit, and a config that says the same."""
    ours = load_file(directory / "model.safetensors")
    assert sorted(ours) == sorted(tensors)
    for name, tensor in tensors.items():
        assert ours[name].tobytes() == tensor.tobytes(), name


def test_hidden_states(golden: Golden, tmp_path: Path) -> None:
    write(golden, tmp_path)
    model = load_model(tmp_path)
    assert isinstance(model, klm.models.Encoder)
    assert difference(golden, model(inputs(golden)), golden["hidden"]) < TOLERANCE


def test_a_bare_model_is_the_same_again(golden: Golden, tmp_path: Path) -> None:
    write(golden, tmp_path)
    model = load_model(tmp_path)
    save_model(model, tmp_path / "again")
    again = load_model(tmp_path / "again")
    assert again.config == model.config
    assert difference(golden, again(inputs(golden)), golden["hidden"]) < TOLERANCE
    names = load_file(tmp_path / "again" / "model.safetensors")
    assert not any(name.startswith(golden["family"]) for name in names)
    saved = json.loads((tmp_path / "again" / "config.json").read_text())
    theirs = json.loads(str(golden["config_json"]))
    for name in set(saved) & set(theirs) - {"architectures"}:
        assert saved[name] == theirs[name], name


def test_left_padding(tmp_path: Path) -> None:
    golden = load_golden("roberta")
    write(golden, tmp_path)
    mask = golden["left/attention_mask"]
    read = {"token_ids": golden["left/token_ids"], "padding_mask": mask}
    gaps = np.abs(keras.ops.convert_to_numpy(load_model(tmp_path)(read)) - golden["left/hidden"])
    assert gaps[mask.astype(bool)].max() < TOLERANCE


def test_masked_language_model(headed: Golden, tmp_path: Path) -> None:
    tensors = write(headed, tmp_path)
    task = klm.tasks.MaskedLM.from_pretrained(tmp_path)
    assert difference(headed, task(inputs(headed)), headed["mlm_logits"]) < TOLERANCE
    task.save_pretrained(tmp_path / "again")
    check_same_files(headed, tmp_path / "again", tensors)
    again = klm.tasks.MaskedLM.from_pretrained(tmp_path / "again")
    assert difference(headed, again(inputs(headed)), headed["mlm_logits"]) < TOLERANCE


def test_pooled_output(tmp_path: Path) -> None:
    golden = load_golden("bert")
    tensors = write(golden, tmp_path, "BertModel")
    model = load_model(tmp_path)
    pooled = model.pooled(model(inputs(golden)))
    assert difference(golden, pooled, golden["outputs/BertModel/pooler_output"]) < TOLERANCE
    save_model(model, tmp_path / "again")
    check_same_files(golden, tmp_path / "again", tensors)


def test_next_sentence(tmp_path: Path) -> None:
    golden = load_golden("bert")
    tensors = write(golden, tmp_path, "BertForPreTraining")
    task = klm.tasks.MaskedLM.from_pretrained(tmp_path)
    assert task.next_sentence
    outputs = task(inputs(golden))
    theirs = golden["outputs/BertForPreTraining/seq_relationship_logits"]
    assert difference(golden, outputs["label"], theirs) < TOLERANCE
    assert difference(golden, outputs["masked_tokens"], golden["mlm_logits"]) < TOLERANCE
    task.save_pretrained(tmp_path / "again")
    check_same_files(golden, tmp_path / "again", tensors)


def test_text_classifier(headed: Golden, tmp_path: Path) -> None:
    name = architectures(headed, "SequenceClassification")
    tensors = write(headed, tmp_path, name)
    task = klm.tasks.TextClassifier.from_pretrained(tmp_path)
    assert task.labels == ("negative", "neutral", "positive")
    logits = headed[f"outputs/{name}/logits"]
    assert difference(headed, task(inputs(headed)), logits) < TOLERANCE
    task.save_pretrained(tmp_path / "again")
    check_same_files(headed, tmp_path / "again", tensors)
    saved = json.loads((tmp_path / "again" / "config.json").read_text())
    assert saved["architectures"] == [name]
    assert saved["id2label"] == {"0": "negative", "1": "neutral", "2": "positive"}


def test_token_classifier(headed: Golden, tmp_path: Path) -> None:
    name = architectures(headed, "TokenClassification")
    tensors = write(headed, tmp_path, name)
    task = klm.tasks.TokenClassifier.from_pretrained(tmp_path)
    assert task.labels == ("negative", "neutral", "positive")
    logits = headed[f"outputs/{name}/logits"]
    assert difference(headed, task(inputs(headed)), logits) < TOLERANCE
    task.save_pretrained(tmp_path / "again")
    check_same_files(headed, tmp_path / "again", tensors)


def test_question_answerer(headed: Golden, tmp_path: Path) -> None:
    name = architectures(headed, "QuestionAnswering")
    tensors = write(headed, tmp_path, name)
    task = klm.tasks.QuestionAnswerer.from_pretrained(
        tmp_path, sequence_length=20, max_question_length=8, doc_stride=4
    )
    outputs = task(inputs(headed))
    for ours, theirs in (("start", "start_logits"), ("end", "end_logits")):
        recorded = headed[f"outputs/{name}/{theirs}"]
        assert difference(headed, outputs[ours], recorded) < TOLERANCE
    task.save_pretrained(tmp_path / "again")
    check_same_files(headed, tmp_path / "again", tensors)


def test_a_head_of_another_kind_starts_afresh(headed: Golden, tmp_path: Path) -> None:
    """A token classifier's `classifier.weight` is no text classifier's."""
    name = architectures(headed, "TokenClassification")
    write(headed, tmp_path, name)
    task = klm.tasks.TextClassifier.from_pretrained(tmp_path, labels=3)
    recorded = headed[f"heads/{name}/classifier.weight"]
    assert np.abs(keras.ops.convert_to_numpy(task.head.kernel) - recorded.T).max() > 0.1
    hidden = task.model(inputs(headed))
    assert difference(headed, hidden, headed["hidden"]) < TOLERANCE


def test_other_labels_start_afresh_and_the_same_number_does_not(tmp_path: Path) -> None:
    golden = load_golden("bert")
    write(golden, tmp_path, "BertForSequenceClassification")
    load = klm.tasks.TextClassifier.from_pretrained
    recorded = golden["heads/BertForSequenceClassification/classifier.weight"].T
    assert np.array_equal(load(tmp_path).head.kernel, recorded)
    assert load(tmp_path, labels=5).head.kernel.shape == (16, 5)
    fresh = load(tmp_path, labels=["one", "two", "three"])
    assert not np.array_equal(fresh.head.kernel, recorded)


def test_faults_of_a_checkpoint_are_listed_by_name(tmp_path: Path) -> None:
    golden = load_golden("bert")
    tensors = write(golden, tmp_path, "BertForSequenceClassification")
    del tensors["classifier.bias"], tensors["bert.encoder.layer.1.output.dense.bias"]
    tensors["classifier.weight"] = np.zeros((4, 16), "float32")
    tensors["bert.encoder.layer.9.output.dense.bias"] = np.zeros(16, "float32")
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="do not fit a bert model") as raised:
        klm.tasks.TextClassifier.from_pretrained(tmp_path)
    assert str(raised.value).splitlines()[1:] == [
        "  missing: bert.encoder.layer.1.output.dense.bias",
        "  not expected: bert.encoder.layer.9.output.dense.bias",
    ]
    tensors["bert.encoder.layer.1.output.dense.bias"] = np.zeros(16, "float32")
    del tensors["bert.encoder.layer.9.output.dense.bias"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="do not fit a bert model") as raised:
        klm.tasks.TextClassifier.from_pretrained(tmp_path)
    assert str(raised.value).splitlines()[1:] == [
        "  missing: classifier.bias",
        "  classifier.weight: shape (4, 16), the config asks for (3, 16)",
    ]


def test_old_names_of_norms(tmp_path: Path) -> None:
    """As in the files of bert-base-uncased."""
    golden = load_golden("bert")
    tensors = write(golden, tmp_path)
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in tensors.items()
    }
    assert old.keys() != tensors.keys()
    save_file(old, tmp_path / "model.safetensors")
    task = klm.tasks.MaskedLM.from_pretrained(tmp_path)
    assert difference(golden, task(inputs(golden)), golden["mlm_logits"]) < TOLERANCE
