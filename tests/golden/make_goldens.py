"""Records tiny random GPT-2 and Llama models of Transformers, one `.npz` each, next to this file.

Tests compare `keras_lm` with these files, so that they need neither torch nor a network. Run it
again only to add a model; the files are the same on every run:

    pip install torch==2.13.0 transformers==5.23.0
    python tests/golden/make_goldens.py

Every file holds (B rows, T positions, V words of vocabulary, G = 16 generated ids; weights and
outputs are float32, ids and masks int32):

- `config_json`: the text of `config.json` as `save_pretrained` writes it (version 5 spelling);
  `llama.npz` has `config_v4_json` too, the same config as Transformers 4 would have written it.
- `weights/<name>`: every tensor of `model.safetensors` under its name there. Weights are much
  larger than an initialiser would make them, and no bias is 0 and no scale 1, so that a forgotten
  or transposed one shows.
- `token_ids`, `attention_mask` [B, T]: rows of different lengths, padded with 0 on the right.
- `logits` [B, T, V]: the model's output; where the mask is 0 it means nothing.
- `log_probs` [B]: nats, the sum over each row, from its second id on, of log p(id | ids before).
- `continuations` [B, G]: the greedy continuation of each row without its padding; never stopped
  early, no choice closer than `MIN_MARGIN`, at least `MIN_DIFFERENT` different ids in each row.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

HERE = Path(__file__).parent
LENGTHS = (12, 5, 9)
NUM_GENERATED = 16
MIN_MARGIN = 1e-3
MIN_DIFFERENT = 4
MAX_BYTES = 60_000


def gpt2() -> PreTrainedModel:
    config = GPT2Config(
        vocab_size=61,
        n_positions=32,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=60,
        eos_token_id=60,
    )
    return GPT2LMHeadModel(config)


def llama() -> PreTrainedModel:
    """Grouped queries, an output layer of its own, no biases."""
    config = LlamaConfig(
        vocab_size=61,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config)


def llama_tied() -> PreTrainedModel:
    """Tied embeddings, heads wider than hidden / heads, biases in the attention only."""
    config = LlamaConfig(
        vocab_size=61,
        hidden_size=16,
        intermediate_size=20,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=12,
        max_position_embeddings=32,
        rms_norm_eps=1e-3,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        attention_bias=True,
        mlp_bias=False,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config)


def fill_weights(model: PreTrainedModel, seed: int, matrix_spread: float) -> None:
    """Draws every weight with numpy, in the order of the names: the same with any torch.

    Embeddings stay smaller than the other matrices, or else tied models would only repeat an id.
    """
    random = np.random.default_rng(seed)
    for name, weight in sorted(model.named_parameters()):
        is_scale = ("ln_" in name or "norm" in name) and name.endswith("weight")
        is_embedding = "embed_tokens" in name or "wte" in name or "wpe" in name
        spread = matrix_spread if weight.ndim == 2 and not is_embedding else 0.3
        values = random.normal(1.0 if is_scale else 0.0, spread, size=tuple(weight.shape))
        weight.data = torch.from_numpy(values.astype(np.float32))
    model.tie_weights()


def ragged_batch(seed: int, vocab_size: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    attention_mask = (np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]).astype(np.int32)
    token_ids = random.integers(3, vocab_size, attention_mask.shape).astype(np.int32)
    return token_ids * attention_mask, attention_mask


def forward(model: PreTrainedModel, token_ids: np.ndarray, mask: np.ndarray) -> torch.Tensor:
    ids = torch.from_numpy(token_ids).long()
    return model(input_ids=ids, attention_mask=torch.from_numpy(mask).long()).logits


def sequence_log_probs(
    logits: torch.Tensor, token_ids: np.ndarray, mask: np.ndarray
) -> torch.Tensor:
    log_probs = torch.log_softmax(logits.double(), dim=-1)[:, :-1]
    targets = torch.from_numpy(token_ids[:, 1:]).long()
    chosen = torch.gather(log_probs, 2, targets[..., None])[..., 0]
    return (chosen * torch.from_numpy(mask[:, 1:])).sum(dim=1)


def greedy_continuation(
    model: PreTrainedModel, row: np.ndarray, count: int = NUM_GENERATED
) -> tuple[np.ndarray, float]:
    """`model.generate` on one row, and the smallest lead of a chosen id over the runner-up."""
    output = model.generate(
        torch.from_numpy(row).long()[None],
        attention_mask=torch.ones(1, len(row), dtype=torch.long),
        max_new_tokens=count,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
        output_scores=True,
        return_dict_in_generate=True,
    )
    best, second = torch.topk(torch.cat(output.scores), 2).values.T
    return output.sequences[0, len(row) :].numpy(), (best - second).min().item()


def saved_files(model: PreTrainedModel) -> tuple[str, dict[str, np.ndarray]]:
    with tempfile.TemporaryDirectory() as directory:
        model.save_pretrained(directory)
        config = (Path(directory) / "config.json").read_text(encoding="utf-8")
        return config, load_file(Path(directory) / "model.safetensors")


def version_4_spelling(config_json: str) -> str:
    config = json.loads(config_json)
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope["rope_theta"]
    config["rope_scaling"] = None
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.57.1"
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


def record(name: str, model: PreTrainedModel, seed: int, matrix_spread: float) -> None:
    model.eval()
    model.set_attn_implementation("eager")
    fill_weights(model, seed, matrix_spread)
    token_ids, attention_mask = ragged_batch(seed, model.config.vocab_size)
    logits = forward(model, token_ids, attention_mask)
    log_probs = sequence_log_probs(logits, token_ids, attention_mask)
    rows = [row[:length] for row, length in zip(token_ids, LENGTHS, strict=True)]
    continuations, margins = zip(*(greedy_continuation(model, row) for row in rows), strict=True)
    if min(margins) < MIN_MARGIN:
        raise SystemExit(f"{name}: a greedy choice led by {min(margins)} only; take another seed")
    if min(len(set(row.tolist())) for row in continuations) < MIN_DIFFERENT:
        raise SystemExit(f"{name}: a greedy continuation repeats itself; take another seed")
    config_json, weights = saved_files(model)
    arrays: dict[str, Any] = {
        "config_json": np.array(config_json),
        "token_ids": token_ids,
        "attention_mask": attention_mask,
        "logits": logits.numpy(),
        "log_probs": log_probs.numpy().astype(np.float32),
        "continuations": np.stack(continuations).astype(np.int32),
    }
    if name == "llama":
        arrays["config_v4_json"] = np.array(version_4_spelling(config_json))
    path = HERE / f"{name}.npz"
    arrays |= {f"weights/{key}": value for key, value in sorted(weights.items())}
    np.savez_compressed(path, **arrays)
    if path.stat().st_size > MAX_BYTES:
        raise SystemExit(f"{path} has {path.stat().st_size} bytes, more than {MAX_BYTES}")
    exact = forward(model.double(), token_ids, attention_mask)
    real = torch.from_numpy(attention_mask).bool()
    logit_error = (logits - exact)[real].abs().max().item()
    sum_error = (log_probs - sequence_log_probs(exact, token_ids, attention_mask)).abs().max()
    # What float32 loses against float64 is what a right implementation may be off by.
    print(
        f"{path.name}: {path.stat().st_size} bytes, |logits| <= {logits[real].abs().max():.2f}, "
        f"float32 - float64: logits {logit_error:.1e}, log_probs {sum_error.item():.1e}, "
        f"closest greedy choice {min(margins):.3f}"
    )


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    record("gpt2", gpt2(), seed=3, matrix_spread=0.6)
    record("llama", llama(), seed=1, matrix_spread=0.4)
    record("llama_tied", llama_tied(), seed=3, matrix_spread=0.5)
