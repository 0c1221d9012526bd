"""From strings to strings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import harness
import harness_files
import pytest

import keras_lm as klm
from keras_lm.tasks import CausalLM

END = "<|endoftext|>"


def test_a_string_gives_a_string_and_a_list_a_list(trained: CausalLM) -> None:
    one = trained.generate("The cat", max_new_tokens=8)
    assert isinstance(one, str)
    assert one.startswith("The cat")
    assert len(one) > len("The cat")
    several = trained.generate(["The cat", "A dog"], max_new_tokens=8)
    assert isinstance(several, list)
    assert several[0] == one
    assert several[1].startswith("A dog")
    assert trained.generate(("The cat",), max_new_tokens=8) == [one]


def test_what_it_generates_is_what_the_engine_generates(trained: CausalLM) -> None:
    tokenizer: Any = trained.tokenizer
    prompt = "My naïve friend"
    ids = [tokenizer.bos_id, *tokenizer(prompt).numpy().tolist()]
    new = klm.generation.generate_ids(
        trained.model, [ids], max_new_tokens=12, stop_ids=[tokenizer.eos_id]
    )[0, len(ids) :]
    expected = tokenizer.detokenize(new, skip_special_tokens=True).numpy().decode()
    answer = trained.generate(prompt, max_new_tokens=12, return_prompt=False)
    assert answer == expected
    assert trained.generate(prompt, max_new_tokens=12) == prompt + expected


def test_it_has_learned_its_texts_and_ends_them(trained: CausalLM, texts: list[str]) -> None:
    answer = trained.generate("The cat sat on the mat")
    assert answer.endswith(("Then it slept.", "Why not?"))
    assert len(answer) < 2 * len(texts[0])
    assert END not in answer


def test_return_sequences(trained: CausalLM) -> None:
    sampling = {"max_new_tokens": 12, "temperature": 1.5, "num_return_sequences": 3, "seed": 1}
    one = trained.generate("A dog", **sampling)
    assert len(set(one)) > 1
    assert all(answer.startswith("A dog") for answer in one)
    assert trained.generate(["A dog", "Everyone"], **sampling)[0] == one
    assert trained.generate("A dog", **sampling) == one
    assert trained.generate("A dog", **{**sampling, "seed": 2}) != one


def test_stop_strings_cut_before_the_first(trained: CausalLM) -> None:
    whole = trained.generate("The cat", return_prompt=False)
    middle = whole[len(whole) // 2 : len(whole) // 2 + 3]
    for stop in ([middle], ["not there", middle], [whole[-2:], middle]):
        expected = min((whole.split(s)[0] for s in stop), key=len)
        assert trained.generate("The cat", stop=stop, return_prompt=False) == expected
        assert trained.generate("The cat", stop=stop) == "The cat" + expected
    assert trained.generate("The cat", stop=["not there"], return_prompt=False) == whole
    assert trained.generate("The cat", stop=["cat"]).startswith("The cat ")


@pytest.mark.parametrize("prompt", ["café 🙂", "中文\n\n", " \t leading", f"A {END} B", "\0"])
def test_prompts_come_back_as_they_were(trained: CausalLM, prompt: str) -> None:
    answer = trained.generate(prompt, max_new_tokens=6, temperature=2.0, seed=3)
    assert answer.startswith(prompt)
    assert END not in answer.removeprefix(prompt)


def test_number_of_new_tokens(trained: CausalLM) -> None:
    assert trained.generate("The cat", max_new_tokens=0) == "The cat"
    tokenizer: Any = trained.tokenizer
    long = "The cat " * 5
    room = 48 - 1 - len(tokenizer(long))
    assert 0 < room < 48
    everything = trained.generate(long, temperature=5.0)  # as much as there is room for
    assert len(everything) > len(long)
    assert trained.generate(long, temperature=5.0, max_new_tokens=room) == everything


def test_a_second_call_of_the_bucket_traces_nothing(trained: CausalLM) -> None:
    trained.generate("The cat", max_new_tokens=5)
    with harness.count_traces(trained.model, "step") as step:
        trained.generate("Everyone", max_new_tokens=9, temperature=0.7, top_k=5, top_p=0.9, seed=4)
        trained.generate("Everyone!", max_new_tokens=3, stop=["a", "b"])
    assert step.call_count == 0


def test_new_weights_speak_at_once(fresh: CausalLM) -> None:
    before = fresh.generate("The cat", max_new_tokens=8), fresh.score("The cat")
    harness.randomize(fresh.model, seed=5)
    assert (fresh.generate("The cat", max_new_tokens=8), fresh.score("The cat")) != before


SAMPLING: list[dict[str, Any]] = [
    {
        "max_new_tokens": 12,
        "temperature": 0.9,
        "top_k": 20,
        "top_p": 0.95,
        "num_return_sequences": 2,
        "seed": 7,
        "stop": ["\n", "x"],
        "return_prompt": True,
    },
    {
        "max_new_tokens": 5,
        "temperature": 0.0,
        "top_k": 0,
        "top_p": 1.0,
        "num_return_sequences": 1,
        "seed": 0,
        "stop": [],
        "return_prompt": False,
    },
]


def test_the_saved_model_answers_as_python_does(trained: CausalLM, tmp_path: Path) -> None:
    texts = ["The cat", "My naïve friend looked at a café 🙂", "中"]
    harness_files.check_export_equals_python(trained, texts, SAMPLING, tmp_path / "served")
