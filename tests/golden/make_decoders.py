"""Records tiny random decoders of Transformers, one `.npz` each, next to this file.

Tests compare `keras_lm` with these files, so that they need neither torch nor a network. The files
are the same on every run:

    pip install torch==2.13.0 transformers==5.23.0
    python tests/golden/make_decoders.py

With arguments it records nothing, and compares what Transformers reads in directories that
`keras_lm` wrote with what is recorded: `python tests/golden/make_decoders.py opt=DIRECTORY …`

A file holds what those of `make_goldens.py` hold, with G = 64 generated ids; its weights are drawn
with the first seed whose continuations are clear and of which float32 loses little, and Gemma's
norms, which come back by way of a sum, have 8 bits. `rotary.json` holds, for some `config` of
rotary positions with heads of width `head_dim`, the `frequencies` of Transformers and the
`magnitude` of sines and cosines, for texts beyond the original length if `is_long`.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from make_goldens import (
    HERE,
    LENGTHS,
    MAX_BYTES,
    MIN_DIFFERENT,
    MIN_MARGIN,
    forward,
    greedy_continuation,
    ragged_batch,
    saved_files,
    sequence_log_probs,
)
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    Gemma3TextConfig,
    GemmaConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    Starcoder2Config,
)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

NUM_GENERATED = 64
# What float32 may lose against float64: a right implementation is compared at 2e-5.
MAX_ERROR = 5e-6
SIZES = {
    "vocab_size": 61,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 96,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GATED = {**SIZES, "intermediate_size": 24, "num_key_value_heads": 2, "head_dim": 6}
ROPE = {"rope_theta": 500.0}


CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "mistral": lambda: MistralConfig(
        **GATED,
        sliding_window=5,
        rope_parameters={"rope_type": "linear", "factor": 2.0, **ROPE},
    ),
    "qwen2": lambda: Qwen2Config(
        **GATED,
        tie_word_embeddings=True,
        rope_parameters={
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 24,
            "beta_fast": 2.0,
            **ROPE,
        },
    ),
    "qwen3": lambda: Qwen3Config(
        **GATED,
        rope_parameters={
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
            **ROPE,
        },
    ),
    "phi3": lambda: Phi3Config(
        **{
            **GATED,
            "max_position_embeddings": 384,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
        },
        original_max_position_embeddings=96,
        sliding_window=7,
        rms_norm_eps=1e-5,
        rope_parameters={
            "rope_type": "longrope",
            "short_factor": [1.0, 1.5, 2.5],
            "long_factor": [2.0, 5.0, 9.0],
            "partial_rotary_factor": 0.75,
            **ROPE,
        },
    ),
    "gpt_neox": lambda: GPTNeoXConfig(
        **{**SIZES, "num_attention_heads": 2},
        intermediate_size=24,
        rope_parameters={
            "rope_type": "default",
            "partial_rotary_factor": 0.5,
            **ROPE,
        },
    ),
    "opt": lambda: OPTConfig(**SIZES, ffn_dim=24),
    "falcon": lambda: FalconConfig(**SIZES, rope_parameters={"rope_type": "default", **ROPE}),
    "falcon_groups": lambda: FalconConfig(
        **{**SIZES, "num_attention_heads": 4},
        num_kv_heads=2,
        new_decoder_architecture=True,
        ffn_hidden_size=24,
        tie_word_embeddings=False,
    ),
    "falcon_old": lambda: FalconConfig(
        **SIZES, multi_query=False, parallel_attn=False, ffn_hidden_size=24
    ),
    "gemma3": lambda: Gemma3TextConfig(
        **{**GATED, "num_hidden_layers": 3},
        query_pre_attn_scalar=6,
        sliding_window=5,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 9000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
        },
    ),
    "gemma": lambda: GemmaConfig(**GATED, rope_parameters={"rope_type": "default", **ROPE}),
    "starcoder2": lambda: Starcoder2Config(
        **{**GATED, "head_dim": 4},
        hidden_act="gelu_pytorch_tanh",
        sliding_window=6,
        rope_parameters={"rope_type": "default", **ROPE},
    ),
}
"""Each has what is peculiar to its family."""


def fill_weights(model: PreTrainedModel, seed: int) -> None:
    """Draws every weight with numpy, in the order of the names: the same with any torch."""
    random = np.random.default_rng(seed)
    is_gemma = "gemma" in model.config.model_type
    for name, weight in sorted(model.named_parameters()):
        is_scale = ("ln_" in name or "norm" in name) and name.endswith("weight")
        spread = 0.4 if weight.ndim == 2 else 0.3
        if "embed" in name:  # smaller, or else tied models would only repeat an id
            spread = 0.1 if is_gemma else 0.3
        mean = 1.0 if is_scale and not is_gemma else 0.0
        values = random.normal(mean, spread, size=tuple(weight.shape)).astype(np.float32)
        if is_scale and is_gemma:  # exact in 8 bits, and with 1 added
            values = np.round(values * 128).clip(-127, 127) / np.float32(128) + 0.0  # no -0
        weight.data = torch.from_numpy(values.astype(np.float32))
    model.tie_weights()


def record(name: str) -> None:
    config = CONFIGS[name]()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    for seed in range(100):
        fill_weights(model, seed)
        token_ids, attention_mask = ragged_batch(seed, model.config.vocab_size)
        rows = [row[:length] for row, length in zip(token_ids, LENGTHS, strict=True)]
        found = [greedy_continuation(model, row, NUM_GENERATED) for row in rows]
        continuations, margins = zip(*found, strict=True)
        different = min(len(set(row.tolist())) for row in continuations)
        if min(margins) < MIN_MARGIN or different < MIN_DIFFERENT:
            continue
        logits = forward(model, token_ids, attention_mask)
        # Row by row: in float64 their mask of a padded query is minus infinity everywhere.
        exact = [forward(model.double(), row[None], np.ones_like(row[None]))[0] for row in rows]
        error = max((kept[: len(e)] - e).abs().max().item() for kept, e in zip(logits, exact))
        model.float()
        if error < MAX_ERROR:
            break
    else:
        raise SystemExit(f"{name}: no seed has clear continuations")
    log_probs = sequence_log_probs(logits, token_ids, attention_mask)
    config_json, weights = saved_files(model)
    arrays: dict[str, Any] = {
        "config_json": np.array(config_json),
        "token_ids": token_ids,
        "attention_mask": attention_mask,
        "logits": logits.numpy(),
        "log_probs": log_probs.numpy().astype(np.float32),
        "continuations": np.stack(continuations).astype(np.int32),
    }
    path = HERE / f"{name}.npz"
    arrays |= {f"weights/{key}": value for key, value in sorted(weights.items())}
    np.savez_compressed(path, **arrays)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise SystemExit(f"{path} has {size} bytes, more than {MAX_BYTES}")
    print(
        f"{path.name}: seed {seed}, {size} bytes, |logits| <= {logits.abs().max():.2f}, "
        f"float32 - float64 {error:.1e}, closest greedy choice {min(margins):.4f}"
    )


LONG = {"rope_theta": 10000.0, "original_max_position_embeddings": 64}
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
FACTORS = {
    "short_factor": [1.0, 1.1, 1.3, 1.7, 2.0, 2.4, 3.0, 5.0],
    "long_factor": [1.0, 2.0, 4.0, 6.0, 9.0, 11.0, 20.0, 30.0],
}
ROTARY: list[dict[str, Any]] = [
    {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0},
    {"rope_type": "linear", "factor": 2.5, "rope_theta": 700.0, "partial_rotary_factor": 0.5},
    {"rope_type": "llama3", "factor": 8.0, **LLAMA3, **LONG},
    {"rope_type": "llama3", "factor": 32.0, **LLAMA3, **LONG, "high_freq_factor": 9.0},
    {"rope_type": "yarn", "factor": 4.0, **LONG},
    {"rope_type": "yarn", "factor": 16.0, **LONG, "beta_fast": 5.0, "beta_slow": 0.5},
    {"rope_type": "yarn", "factor": 4.0, **LONG, "partial_rotary_factor": 0.5},
    {"rope_type": "yarn", "factor": 4.0, **LONG, "attention_factor": 0.7},
    {"rope_type": "yarn", "factor": 4.0, **LONG, "mscale": 0.8, "mscale_all_dim": 1.2},
    {"rope_type": "yarn", "factor": None, **LONG},
    {"rope_type": "longrope", **FACTORS, **LONG},
    {"rope_type": "longrope", **FACTORS, **LONG, "factor": 3.0},
    {"rope_type": "longrope", **FACTORS, **LONG, "attention_factor": 1.4},
]


def record_rotary() -> None:
    """Heads of 16; 256 positions."""
    cases = []
    for rope in ROTARY:
        config = LlamaConfig(
            hidden_size=32, num_attention_heads=2, max_position_embeddings=256, rope_parameters=rope
        )
        written = json.loads(config.to_json_string())["rope_parameters"]
        function = ROPE_INIT_FUNCTIONS[rope["rope_type"]]
        for length in (None, 200) if rope["rope_type"] == "longrope" else (None,):
            frequencies, magnitude = function(config, "cpu", seq_len=length)
            case = {"config": written, "head_dim": 16, "max_position_embeddings": 256}
            case |= {"is_long": length is not None, "frequencies": frequencies.tolist()}
            cases.append({**case, "magnitude": magnitude})
    (HERE / "rotary.json").write_text(json.dumps(cases, indent=1) + "\n", encoding="utf-8")
    print(f"rotary.json: {len(cases)} cases")


def compare(name: str, directory: str) -> None:
    """Whether Transformers computes from a directory of ours what is recorded."""
    golden = dict(np.load(HERE / f"{name}.npz"))
    # A bare model says nothing of special tokens, and Phi's default is beyond a tiny vocabulary.
    model, report = AutoModelForCausalLM.from_pretrained(
        directory, attn_implementation="eager", output_loading_info=True, pad_token_id=0
    )
    faults = {key: sorted(value) for key, value in report.items() if value}
    logits = forward(model.eval(), golden["token_ids"], golden["attention_mask"]).numpy()
    real = golden["attention_mask"].astype(bool)
    difference = np.abs(logits - golden["logits"])[real].max()
    print(f"{name}: {type(model).__name__}, off by {difference:.1e}, faults {faults}")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    if len(sys.argv) > 1:
        for argument in sys.argv[1:]:
            compare(*argument.split("=", 1))
    else:
        record_rotary()
        for model_name in CONFIGS:
            record(model_name)
