"""Writes beams.json: what Transformers' beam search and constraints answer.

Not a test and not needed at run time; run it with torch and transformers installed:

    python tests/golden/make_beams.py

The models are those of `gpt2.npz` and `llama.npz`, and their prompts. The file holds `prompts`,
lists of ids by model, and `cases`, a list of dicts:

- `model`: `"gpt2"` or `"llama"`;
- `arguments`: of `generate`, under their names there, but `stop_ids` for `eos_token_id`;
- `new`: for each prompt its continuations, each with the stop id that ended it;
- `scores`: for each prompt those of the continuations; null where the case has neither beams nor
  `renormalize_logits`. Without beams it is the mean of `compute_transition_scores`.

Prompts of several lengths go to Transformers padded on the left, except where padding would count
as tokens that were there before. A case whose answers are others in float64 is refused.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM, PreTrainedModel

HERE = Path(__file__).parent
MAX_BYTES = 60_000
NEW_TOKENS = 12
# Ids that end hypotheses at many different steps.
STOPS = {"gpt2": [9], "llama": [44]}
MORE_STOPS = {"gpt2": [9, 38, 12], "llama": [44, 53]}
READS_HISTORY = ("repetition_penalty", "no_repeat_ngram_size", "bad_words_ids")


def read_golden(name: str) -> tuple[PreTrainedModel, list[list[int]]]:
    golden = np.load(HERE / f"{name}.npz")
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "config.json").write_text(str(golden["config_json"]), encoding="utf-8")
        weights = {
            key.removeprefix("weights/"): np.ascontiguousarray(golden[key])
            for key in golden
            if key.startswith("weights/")
        }
        save_file(weights, Path(directory) / "model.safetensors", {"format": "pt"})
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    lengths = golden["attention_mask"].sum(axis=1)
    rows = zip(golden["token_ids"], lengths, strict=True)
    return model.eval(), [row[:length].tolist() for row, length in rows]


def settings(name: str) -> list[dict[str, Any]]:
    stops = {"stop_ids": STOPS[name], "max_new_tokens": NEW_TOKENS}
    four = {**stops, "num_beams": 4, "num_return_sequences": 4}
    three = {**stops, "num_beams": 3, "num_return_sequences": 2}
    cases = [
        {**four, "early_stopping": early, "length_penalty": penalty}
        for early in (False, True, "never")
        for penalty in (1.0, 0.5, 2.0, -1.0)
    ]
    return [
        *cases,
        {**four, "length_penalty": 0.0, "early_stopping": "never"},
        {**four, "stop_ids": MORE_STOPS[name]},
        {**four, "stop_ids": MORE_STOPS[name], "early_stopping": True},
        {**four, "stop_ids": []},
        {**stops, "num_beams": 7, "num_return_sequences": 3},
        {**stops, "num_beams": 2, "num_return_sequences": 1, "max_new_tokens": 1},
        {**four, "no_repeat_ngram_size": 2},
        {**three, "no_repeat_ngram_size": 3},
        {**three, "no_repeat_ngram_size": 1},
        {**four, "repetition_penalty": 1.3},
        {**three, "repetition_penalty": 0.8},
        {**four, "min_new_tokens": 6},
        {**three, "forced_eos_token_id": STOPS[name][0]},
        {**three, "suppress_tokens": [0, 9, 44, 13, 27]},
        {**three, "repetition_penalty": 1.2, "no_repeat_ngram_size": 2, "min_new_tokens": 4},
        {**stops, "no_repeat_ngram_size": 2},
        {**stops, "repetition_penalty": 1.3},
        {**stops, "repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "min_new_tokens": 9},
        {**stops, "forced_eos_token_id": STOPS[name][0]},
    ]


def bad_words(found: list[list[list[int]]]) -> list[list[int]]:
    """Words of one to four tokens, three of them out of what was found without them."""
    first, second, *_ = sorted({tuple(row) for rows in found for row in rows}, key=len)[::-1]
    return [[first[0]], list(second[1:3]), list(first[4:7]), [1, 2, 3, 4]]


def generate(
    model: PreTrainedModel, prompts: list[list[int]], arguments: dict[str, Any]
) -> tuple[list[list[list[int]]], list[list[float]] | None]:
    """The continuations and scores of prompts that are padded on the left."""
    width = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    own = dict(arguments)
    stops = own.pop("stop_ids")
    output = model.generate(
        ids,
        attention_mask=torch.tensor(mask),
        do_sample=False,
        eos_token_id=stops or None,
        pad_token_id=0,
        output_scores=True,
        return_dict_in_generate=True,
        **own,
    )
    each = arguments.get("num_return_sequences", 1)
    new = [cut(row[width:], stops) for row in output.sequences.tolist()]
    new = [new[start : start + each] for start in range(0, len(new), each)]
    if own.get("num_beams", 1) > 1:
        return new, output.sequences_scores.double().reshape(-1, each).tolist()
    if not own.get("renormalize_logits"):
        return new, None
    steps = model.compute_transition_scores(output.sequences, output.scores).double()
    return new, [
        [row[: len(found)].mean().item()] for row, (found,) in zip(steps, new, strict=True)
    ]


def cut(row: list[int], stops: list[int]) -> list[int]:
    ends = [row.index(stop) + 1 for stop in stops if stop in row]
    return row[: min(ends, default=len(row))]


def answer(
    model: PreTrainedModel, prompts: list[list[int]], arguments: dict[str, Any]
) -> tuple[list[list[list[int]]], list[list[float]] | None]:
    if not any(name in arguments for name in READS_HISTORY):
        return generate(model, prompts, arguments)
    each = [generate(model, [prompt], arguments) for prompt in prompts]
    new = [found[0][0] for found in each]
    return new, None if each[0][1] is None else [found[1][0] for found in each]


def record(name: str) -> tuple[list[list[int]], list[dict[str, Any]]]:
    model, prompts = read_golden(name)
    exact = read_golden(name)[0].double()
    cases = settings(name)
    plain = answer(model, prompts, cases[0])[0]
    base = {"num_beams": 4, "num_return_sequences": 2, **cases[-1]}
    del base["forced_eos_token_id"]
    words = {**base, "bad_words_ids": bad_words(plain)}
    greedy = {"num_beams": 1, "num_return_sequences": 1}
    cases += [words, {**words, **greedy}]
    cases += [{**case, "renormalize_logits": True} for case in cases[-2:]]
    cases += [{**words, "repetition_penalty": 1.3, "renormalize_logits": True}]
    recorded = []
    for arguments in cases:
        new, scores = answer(model, prompts, arguments)
        if answer(exact, prompts, arguments)[0] != new:
            print(f"{name}: {arguments} is too close to call; left out")
            continue
        if scores is not None:
            scores = np.round(scores, 5).tolist()
        recorded.append({"model": name, "arguments": arguments, "new": new, "scores": scores})
    return prompts, recorded


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    written: dict[str, Any] = {"prompts": {}, "cases": []}
    for name in STOPS:
        written["prompts"][name], cases = record(name)
        written["cases"] += cases
    path = HERE / "beams.json"
    path.write_text(json.dumps(written, separators=(",", ":")) + "\n", encoding="utf-8")
    lengths = {len(row) for case in written["cases"] for rows in case["new"] for row in rows}
    print(f"{len(written['cases'])} cases, {path.stat().st_size} bytes, lengths {sorted(lengths)}")
    if path.stat().st_size > MAX_BYTES:
        raise SystemExit(f"{path} has more than {MAX_BYTES} bytes")
