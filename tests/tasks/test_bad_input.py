"""Wrong arguments: an error that names the argument, the value and what would be right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import keras_lm as klm
from keras_lm.tasks import CausalLM

Call = Callable[[CausalLM], Any]

BAD: dict[str, tuple[Call, str]] = {
    # fit
    "no texts": (lambda lm: lm.fit([]), "x is empty"),
    "no x": (lambda lm: lm.fit(), "x is None; give texts or token ids"),
    "one string": (lambda lm: lm.fit("text"), "x is one string; give a list of strings"),
    "not a string": (lambda lm: lm.fit(["a", 3]), r"(\[1\]|position 1|item 1|1 is).*int"),
    "float ids": (lambda lm: lm.fit(np.ones((2, 3))), r"ints \[n, T \+ 1\].*float64"),
    "flat ids": (lambda lm: lm.fit(np.ones(3, int)), r"ints \[n, T \+ 1\].*\(3,\)"),
    "no rows": (lambda lm: lm.fit(np.ones((0, 3), int)), r"ints \[n, T \+ 1\].*\(0, 3\)"),
    "wide id": (lambda lm: lm.fit([[1, 300]]), "holds the id 300; ids must be from 0 to 299"),
    "negative id": (lambda lm: lm.fit([[1, -1]]), "holds the id -1; ids must be from 0 to 299"),
    "wide input": (
        lambda lm: lm.fit(np.array([[1, 300]]), np.array([[1, 1]])),
        "holds the id 300; ids must be from 0 to 299",
    ),
    "wide target": (
        lambda lm: lm.fit(np.array([[1, 1]]), np.array([[1, -7]])),
        "holds the id -7; ids must be from 0 to 299",
    ),
    "wide evaluated target": (
        lambda lm: lm.evaluate(np.array([[1, 1]]), np.array([[1, 999]])),
        "holds the id 999; ids must be from 0 to 299",
    ),
    "empty stream": (
        lambda lm: lm.fit(tf.data.Dataset.from_tensor_slices(tf.constant([], tf.string))),
        "is empty",
    ),
    "split of 1.5": (lambda lm: lm.fit(["a", "b"], validation_split=1.5), "validation_split=1.5"),
    "split of one": (
        lambda lm: lm.fit(["a"], validation_split=0.5),
        "validation_split=0.5 of 1 texts",
    ),
    "split of a stream": (
        lambda lm: lm.fit(tf.data.Dataset.from_tensors("a"), validation_split=0.5),
        "validation_split=0.5.*a list of texts",
    ),
    "no batch": (lambda lm: lm.fit(["a"], batch_size=0), "batch_size is 0"),
    "no validation texts": (lambda lm: lm.fit(["a"], validation_data=[]), "x is empty"),
    "evaluate nothing": (lambda lm: lm.evaluate([]), "x is empty"),
    "predict beyond the model": (lambda lm: lm.predict(["a b c d " * 30]), "max_length=48"),
    # generate and score
    "empty prompt": (lambda lm: lm.generate(["a", ""]), r"text\[1\] is an empty prompt"),
    "no prompts": (lambda lm: lm.generate([]), "text is an empty list"),
    "a number": (lambda lm: lm.generate(5), "text must be a string or a list.*got 5"),
    "nothing": (lambda lm: lm.generate(None), "text must be a string or a list.*got None"),
    "bytes": (lambda lm: lm.generate(b"a"), "text must be a string or a list.*got b'a'"),
    "numbers": (lambda lm: lm.generate(["a", 5]), r"text\[1\] must be a string; got int"),
    "long prompt": (
        lambda lm: lm.generate("a b c d " * 30),
        r"a prompt of \d+ tokens.*max_length=48",
    ),
    "many tokens": (
        lambda lm: lm.generate("a", max_new_tokens=47),
        r"2 tokens and max_new_tokens=47 .*max_length=48.* at most 46",
    ),
    "negative tokens": (lambda lm: lm.generate("a", max_new_tokens=-1), "max_new_tokens must.*-1"),
    "temperature": (lambda lm: lm.generate("a", temperature=-1), "temperature must be.*-1"),
    "top_k": (lambda lm: lm.generate("a", top_k="all"), "top_k must be.*'all'"),
    "top_p": (lambda lm: lm.generate("a", top_p=2), r"top_p must be a number in \(0, 1\].*2"),
    "sequences": (lambda lm: lm.generate("a", num_return_sequences=0), "num_return_sequences must"),
    "seed": (lambda lm: lm.generate("a", seed=None), "seed must be an int.*None"),
    "stop": (
        lambda lm: lm.generate("a", stop="x"),
        "stop must be a list of non-empty strings.*'x'",
    ),
    "empty stop": (lambda lm: lm.generate("a", stop=[""]), "stop must be a list of non-empty"),
    "no stop": (lambda lm: lm.generate("a", stop=None), "stop must be a list of non-empty.*None"),
    "score nothing": (lambda lm: lm.score([]), "text is an empty list"),
    "score a number": (lambda lm: lm.score(5), "text must be a string or a list.*got 5"),
    # made wrongly
    "no model": (
        lambda lm: CausalLM("gpt2"),
        "model must be a keras_lm.models.LanguageModel.*gpt2",
    ),
    "no tokenizer": (
        lambda lm: CausalLM(lm.model, "gpt2"),
        "tokenizer must be a keras_lm Tokenizer",
    ),
    "no window": (lambda lm: CausalLM(lm.model, None, 0), "sequence_length must.*48; got 0"),
    "wide window": (lambda lm: CausalLM(lm.model, None, 49), "sequence_length must.*48; got 49"),
    "a window of words": (
        lambda lm: CausalLM(lm.model, None, "9"),
        "sequence_length must.*got '9'",
    ),
    "few embeddings": (
        lambda lm: CausalLM(
            klm.models.Decoder(lm.model.config.replace(vocab_size=299)), lm.tokenizer
        ),
        "tokenizer has 300 tokens, more than the model's vocab_size=299",
    ),
    "texts without a tokenizer": (
        lambda lm: CausalLM(lm.model).generate("a"),
        "needs a tokenizer, and this task was made without one",
    ),
    "export options": (lambda lm: lm.export("x", format="onnx"), "export takes a directory alone"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_input_is_named(trained: CausalLM, name: str) -> None:
    call, message = BAD[name]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        call(trained)


def test_fit_on_texts_needs_a_tokenizer(trained: CausalLM) -> None:
    task = CausalLM(trained.model)
    task.compile()
    with pytest.raises(ValueError, match="fit on texts needs a tokenizer"):
        task.fit(["a"])


def test_export_overwrites_nobody(trained: CausalLM, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match="holds none of saved_model.pb"):
        trained.export(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "x"


@pytest.mark.parametrize(
    ("file", "content", "error", "message"),
    [
        (None, None, FileNotFoundError, "no directory .*nowhere"),
        ("config.json", None, FileNotFoundError, "not a pretrained directory.*no config.json"),
        ("config.json", "{", ValueError, "config.json' is not valid JSON"),
        ("config.json", '{"model_type": "bloom"}', ValueError, "'bloom' is not a family"),
        ("model.safetensors", None, FileNotFoundError, "no weights.*model.safetensors"),
        ("model.safetensors", "{}", ValueError, "is not a whole safetensors file"),
        ("tokenizer.json", None, FileNotFoundError, "tokenizer"),
        ("tokenizer.json", "{", ValueError, "tokenizer.json"),
    ],
)
def test_damaged_directories_are_named(
    trained: CausalLM,
    tmp_path: Path,
    file: str | None,
    content: str | None,
    error: Any,
    message: str,
) -> None:
    directory = tmp_path / "model"
    trained.save_pretrained(directory)
    if file is None:
        directory = tmp_path / "nowhere"
    elif content is None:
        (directory / file).unlink()
    else:
        (directory / file).write_text(content)
    with pytest.raises(error, match=message):
        CausalLM.from_pretrained(directory)


@pytest.mark.parametrize("own", [5, [], {"sequence_length": "x"}, {"sequence_length": 99}])
def test_our_own_part_of_a_config_is_checked(trained: CausalLM, tmp_path: Path, own: Any) -> None:
    trained.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "keras_lm": own}))
    with pytest.raises(ValueError, match="keras_lm|sequence_length"):
        CausalLM.from_pretrained(tmp_path)
