"""Files that somebody has damaged or tampered with: thousands of them, small ones.

Each is a good file with some bytes changed, cut out or doubled, or a number of it made huge. It may
load as what it now says, or is refused with an error of ours; nothing else: no crash, no hang, no
error from inside a library, no memory beyond what the files have, nothing read from elsewhere.
"""

from __future__ import annotations

import json
import math
import re
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from keras import ops
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

import keras_lm as klm
from keras_lm.checkpoints import Pretrained, save_model
from keras_lm.checkpoints.maps import variables_of, weight_map
from keras_lm.models import Decoder
from keras_lm.tokenizers import BytePairTokenizer, Tokenizer

REFUSALS = (ValueError, FileNotFoundError)
CONFIG = klm.TransformerConfig(
    vocab_size=9, num_layers=1, hidden_dim=8, num_heads=2, max_length=12, feed_forward_dim=8
)
LLAMA = CONFIG.replace(
    norm="rms", activation="swiglu", use_bias=False, positions="rotary", dropout=0.0, attention={}
)
HUGE = (2**16, 2**31, 2**32 - 1, 2**48, 2**63 - 1, 2**63, 2**64 - 1)
MOST_MEMORY = 24 * 2**20
"""Bytes that reading files of a few kB may take, Python's and NumPy's own included."""


class Mutator:
    """Changes files, each time in another way, the same ones in every run.

    Args:
        seed: of the changes.
        values: the share of changes that give a JSON text another value, and leave it JSON.
    """

    def __init__(self, seed: int, values: float) -> None:
        self.random = np.random.default_rng(seed)
        self.values = values

    def __call__(self, data: bytes, head: int) -> bytes:
        """One to three changes, most of them in the first `head` bytes."""
        for _ in range(self.random.integers(1, 4)):
            data = self._changed(bytearray(data), head)
        return data

    def _changed(self, data: bytearray, head: int) -> bytes:
        size = max(min(len(data), head), 1) if self.random.random() < 0.9 else max(len(data), 1)
        place, kind = int(self.random.integers(size)), self.random.integers(6)
        length = int(self.random.integers(1, 9))
        if self.random.random() < self.values:
            return self._other_number(bytes(data), place)
        if kind == 0 and data:
            data[min(place, len(data) - 1)] ^= 1 << int(self.random.integers(8))
        elif kind == 1:
            data[place : place + length] = self.random.bytes(length)
        elif kind == 2:
            del data[place : place + length]
        elif kind == 3:
            data[place:place] = data[place : place + 4 * length]
        elif kind == 4:
            del data[place:]
        else:  # a number written in binary
            value = int(self.random.choice(np.array(HUGE, "uint64")))
            data[place : place + 8] = value.to_bytes(8, "little")
        return bytes(data)

    def _other_number(self, data: bytes, place: int) -> bytes:
        """Another value for a number, a word or a string of a JSON text."""
        values = (b"0", b"-1", b"1e400", b"null", b"true", b'"x"', b"[]", b"{}", b"9" * 5000)
        values += (b"[1,2]", b"1.5", b"NaN", b'"../x"', b'"\\ud800"', *(b"%d" % n for n in HUGE))
        found = list(re.finditer(rb"-?\d+(\.\d+)?|true|false|null|\"[^\"]*\"", data))
        if not found:
            return data
        match = found[min(np.searchsorted([m.start() for m in found], place), len(found) - 1)]
        value = values[self.random.integers(len(values))]
        return data[: match.start()] + value + data[match.end() :]


def outcome(read: Callable[[], Any]) -> Any:
    """What was read, or None where it was refused in the way it should be."""
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    began = time.monotonic()
    try:
        return read()
    except REFUSALS:
        return None
    finally:
        assert time.monotonic() - began < 30
        assert tracemalloc.get_traced_memory()[1] - before < MOST_MEMORY


@pytest.fixture(scope="module", autouse=True)
def _traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("parent") / "model"
    model = Decoder(CONFIG)
    save_model(model, directory)
    return directory


def check_is_what_the_files_say(files: Pretrained, tensors: dict[str, np.ndarray]) -> None:
    """Every weight of the model is the tensor that the format's own library reads."""
    model = files.model()
    variables = variables_of(model)
    for weight in weight_map(model, files.family, None):
        wanted = weight.join([tensors[name] for name in weight.names])
        found = ops.convert_to_numpy(variables[weight.ours])
        np.testing.assert_array_equal(found, wanted.astype(found.dtype))


def test_safetensors(saved: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    (tmp_path / "config.json").write_bytes((saved / "config.json").read_bytes())
    good = (saved / "model.safetensors").read_bytes()
    mutate, read = Mutator(1, 0.3), 0
    head = 8 + int.from_bytes(good[:8], "little")
    for _ in range(1600):
        file.write_bytes(mutate(good, head))
        files = outcome(lambda: Pretrained(tmp_path))
        if files is None:
            continue
        # What we open, the library opens, and finds the same in it.
        tensors = load_file(file)
        assert {name: t.shape for name, t in tensors.items()} == dict(files._source.shapes)
        if outcome(files.model) is not None:
            read += 1
            check_is_what_the_files_say(files, tensors)
    assert 0 < read < 200


def test_what_the_library_refuses_we_refuse(saved: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    (tmp_path / "config.json").write_bytes((saved / "config.json").read_bytes())
    good, mutate = (saved / "model.safetensors").read_bytes(), Mutator(7, 0.3)
    for _ in range(200):
        file.write_bytes(mutate(good, 400))
        try:
            load_file(file)
        except (SafetensorError, ValueError, KeyError):
            with pytest.raises(REFUSALS):
                Pretrained(tmp_path)


def test_index(saved: Path, tmp_path: Path) -> None:
    tensors = load_file(saved / "model.safetensors")
    names = sorted(tensors)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for shard, held in shards.items():
        save_file({name: tensors[name] for name in held}, tmp_path / shard, {"format": "pt"})
    outside = {name: np.full_like(tensor, 7) for name, tensor in tensors.items()}
    save_file(outside, tmp_path.parent / "x", {"format": "pt"})
    (tmp_path / "config.json").write_bytes((saved / "config.json").read_bytes())
    weight_map_ = {name: shard for shard, held in shards.items() for name in held}
    good = json.dumps({"weight_map": weight_map_}, indent=1).encode()
    index, mutate = tmp_path / "model.safetensors.index.json", Mutator(2, 0.5)
    index.write_bytes(good)
    check_is_what_the_files_say(Pretrained(tmp_path), tensors)
    for _ in range(900):
        index.write_bytes(mutate(good, len(good)))
        files = outcome(lambda: Pretrained(tmp_path))
        if files is not None and outcome(files.model) is not None:
            check_is_what_the_files_say(files, tensors)


def test_config(tmp_path: Path) -> None:
    save_model(Decoder(LLAMA), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    good = (tmp_path / "config.json").read_bytes()
    mutate, read = Mutator(3, 0.7), 0
    for _ in range(900):
        (tmp_path / "config.json").write_bytes(mutate(good, len(good)))
        files = outcome(lambda: Pretrained(tmp_path))
        if files is not None and outcome(files.model) is not None:
            read += 1
            if read < 20:
                check_is_what_the_files_say(files, tensors)
    assert 0 < read < 700


def test_gguf(saved: Path, tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="the package gguf is not installed: keras-lm[gguf]")
    from harness_gguf import write_gguf

    tensors = load_file(saved / "model.safetensors")
    config = json.loads((saved / "config.json").read_text())
    path = tmp_path / "model.gguf"
    write_gguf(path, "gpt2", config, tensors)
    good = path.read_bytes()
    head = len(good) - sum(math.prod(t.shape) * 4 for t in tensors.values())
    mutate, read = Mutator(4, 0), 0
    for _ in range(1000):
        path.write_bytes(mutate(good, head))
        files = outcome(lambda: Pretrained(path))
        if files is not None and outcome(files.model) is not None:
            read += 1
    assert 0 < read < 300


def test_tokenizer(tmp_path: Path) -> None:
    tokenizer = BytePairTokenizer.train(texts=["low lower lowest"] * 3, vocab_size=262)
    good = json.dumps(json.loads(tokenizer._definition), indent=1, ensure_ascii=False).encode()
    path, texts = tmp_path / "tokenizer.json", ["low lowest<|endoftext|> x\n\nhéy 12"]
    mutate, read = Mutator(5, 0.7), 0
    for _ in range(400):
        # Half of the changes where the rules are, and not in the long vocabulary.
        head = good.index(b'"vocab"') if mutate.random.random() < 0.5 else len(good)
        changed = mutate(good, head)
        path.write_bytes(changed)
        found = outcome(lambda: Tokenizer.load(path))
        if found is None:
            continue
        read += 1
        try:
            library = tokenizers.Tokenizer.from_str(changed.decode())
        except Exception:  # the library's own strictness; ours need not share it
            continue
        wanted = [library.encode(text, add_special_tokens=False).ids for text in texts]
        assert found(texts).to_list() == wanted
    assert 0 < read < 200
