"""From strings to strings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import harness
import harness_files
import numpy as np
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


def test_beams_are_those_of_the_engine(trained: CausalLM) -> None:
    tokenizer: Any = trained.tokenizer
    prompt = "My naïve friend"
    ids = [tokenizer.bos_id, *tokenizer(prompt).numpy().tolist()]
    search: dict[str, Any] = {
        "max_new_tokens": 8,
        "num_beams": 3,
        "num_return_sequences": 2,
        "early_stopping": "never",
        "no_repeat_ngram_size": 3,
        "return_scores": True,
    }
    found, scores = klm.generation.generate_ids(
        trained.model, [ids], stop_ids=[tokenizer.eos_id], pad_id=tokenizer.pad_id, **search
    )
    new = tokenizer.detokenize(found[:, len(ids) :], skip_special_tokens=True).numpy()
    answers = trained.generate(prompt, **search)
    assert [text for text, _ in answers] == [prompt + part.decode() for part in new]
    assert [score for _, score in answers] == pytest.approx(scores.tolist(), abs=1e-5)
    assert trained.generate([prompt], **search) == [answers]


def test_scores_are_the_models_own(trained: CausalLM) -> None:
    """A text that ends by itself: its score is what its prompt lacks of the whole one's."""
    text, score = trained.generate("The cat sat on the mat", return_scores=True, length_penalty=0.0)
    assert text == trained.generate("The cat sat on the mat")
    tokenizer: Any = trained.tokenizer
    ids = np.array([[tokenizer.bos_id, *tokenizer("The cat sat on the mat").numpy()]])
    of_prompt = np.sum(trained.model.log_probs(ids[:, :-1], ids[:, 1:]))
    assert score == pytest.approx(trained.score(text) - of_prompt, abs=1e-3)


def test_constraints_are_obeyed(trained: CausalLM) -> None:
    plain = trained.generate("The cat sat", max_new_tokens=12, return_prompt=False)
    tokenizer: Any = trained.tokenizer
    first, second = tokenizer(plain).numpy()[:2].tolist()
    for rule in ({"bad_words_ids": [[first]]}, {"suppress_tokens": [first]}):
        other = trained.generate("The cat sat", max_new_tokens=12, return_prompt=False, **rule)
        assert first not in tokenizer(other).numpy().tolist()
    pair = {"bad_words_ids": [[first, second]]}
    other = trained.generate("The cat sat", max_new_tokens=12, return_prompt=False, **pair)
    assert tokenizer(other).numpy().tolist()[0] == first
    assert not other.startswith(plain[:3])


def test_bad_searches_are_named(trained: CausalLM) -> None:
    for arguments, message in (
        ({"num_beams": 0}, "num_beams must be an int, 1 or more; got 0"),
        ({"num_beams": 2, "temperature": 1.0}, "temperature must be 0 with num_beams=2"),
        ({"num_beams": 2, "num_return_sequences": 3}, "num_return_sequences must be at most"),
        ({"min_new_tokens": 9, "max_new_tokens": 4}, "min_new_tokens must be an int from 0 to 4"),
        ({"bad_words_ids": [[10**6]]}, r"bad_words_ids\[0\] holds 1000000"),
    ):
        with pytest.raises(ValueError, match=message):
            trained.generate("The cat", **arguments)


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
    {"max_new_tokens": 7, "num_beams": 3, "num_return_sequences": 2, "length_penalty": 0.5},
    {
        "max_new_tokens": 9,
        "repetition_penalty": 1.5,
        "no_repeat_ngram_size": 2,
        "bad_words_ids": [[97, 98], [99, 100]],
        "min_new_tokens": 9,
    },
]


@pytest.mark.usefixtures("without_xla")
def test_the_saved_model_answers_as_python_does(trained: CausalLM, tmp_path: Path) -> None:
    texts = ["The cat", "My naïve friend looked at a café 🙂", "中"]
    task = CausalLM(trained.model, trained.tokenizer, sequence_length=trained.sequence_length)
    harness_files.check_export_equals_python(task, texts, SAMPLING, tmp_path / "served")


@pytest.mark.parametrize(
    ("add_bos", "text", "has_bos"),
    [
        (True, "The cat", True),
        (False, "The cat", False),
        (None, "The cat", False),  # a tokenizer trained here does not say it
        (True, f"{END}The cat", False),
    ],
)
def test_prompts_begin_with_bos_once(
    trained: CausalLM, add_bos: bool | None, text: str, has_bos: bool
) -> None:
    tokenizer: Any = trained.tokenizer
    task = CausalLM(trained.model, tokenizer, 24, add_bos=add_bos)
    ids = tokenizer(text).numpy().tolist()
    prompt = [tokenizer.bos_id, *ids] if has_bos else ids
    assert task.text_functions.prompts([text, "A"])[0].numpy().tolist() == prompt
    new = klm.generation.generate_ids(trained.model, [prompt], max_new_tokens=4)
    expected = tokenizer.detokenize(new[0, len(prompt) :]).numpy().decode()
    assert task.generate(text, max_new_tokens=4, return_prompt=False) == expected
    assert task.score(text) == trained.score(text)


def test_a_prompt_without_tokens_is_bos(config: klm.TransformerConfig) -> None:
    words = klm.tokenizers.WordTokenizer.train(texts=["one two three"], vocab_size=7)
    model = klm.models.Decoder(config.replace(vocab_size=words.vocab_size))
    task = CausalLM(model, words, add_bos=False)
    begin = words.document_ends[0]
    assert task.text_functions.prompts([" ", "one", ""]).to_list() == [
        [begin],
        words("one").numpy().tolist(),
        [begin],
    ]


def test_whether_prompts_begin_with_bos_is_saved(trained: CausalLM, tmp_path: Path) -> None:
    """A directory of others says it in the tokenizer's files."""
    for add_bos in (True, False):
        CausalLM(trained.model, trained.tokenizer, 24, add_bos=add_bos).save_pretrained(tmp_path)
        assert CausalLM.from_pretrained(tmp_path).add_bos is add_bos
    config, tokenizer = tmp_path / "config.json", tmp_path / "tokenizer_config.json"
    others = {k: v for k, v in json.loads(config.read_text()).items() if k != "keras_lm"}
    config.write_text(json.dumps(others))
    settings = json.loads(tokenizer.read_text())
    for said in (True, False):
        tokenizer.write_text(json.dumps({**settings, "add_bos_token": said}))
        assert CausalLM.from_pretrained(tmp_path).add_bos is said


def test_add_bos_is_a_bool(trained: CausalLM) -> None:
    with pytest.raises(ValueError, match="add_bos must be True, False or None; got 'yes'"):
        CausalLM(trained.model, trained.tokenizer, add_bos="yes")
