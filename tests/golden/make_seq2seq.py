"""Records tiny random encoder–decoders of Transformers, one `.npz` each, next to this file.

Tests compare `keras_lm` with these files, so that they need neither torch nor a network. The files
are the same on every run:

    pip install torch==2.13.0 transformers==5.23.0
    python tests/golden/make_seq2seq.py

With arguments it records nothing, and compares what Transformers reads in directories that
`keras_lm` wrote with what is recorded: `python tests/golden/make_seq2seq.py t5=DIRECTORY …`

A file (`t5`, `t5_v1_1`, `bart`, `marian`, `marian_two`: one with two vocabularies) holds B sources
of S tokens, targets of T tokens, D = 12, V target words; weights and outputs are float32, ids and
masks int32:

- `config_json`: the text of `config.json` as `save_pretrained` writes it.
- `weights/<name>`: every tensor of `model.safetensors` under its name there. No bias is 0 and no
  scale 1, and weights are much larger than an initialiser makes them, so that a forgotten or
  transposed one shows.
- `token_ids`, `attention_mask` [B, S]: sources of different lengths, padded on the right.
- `decoder_token_ids` [B, T]: what stands before each token of the targets.
- `encoder_output` [B, S, D] and `logits` [B, T, V]; where the mask is 0 the former means nothing.
- `searches`: a JSON list of arguments of `generate`, and for the i-th of them
  `search/<i>/sequences`, as `generate` returns them, and with beams `search/<i>/scores`, its
  `sequences_scores`. The sequences are the same in float64. `eos_token_id` is an id at which the
  greedy ones end after different numbers of tokens.
- `buckets/<buckets>_<distance>_<both or before>` (T5 alone): the kinds of the distances −300 … 300.
"""

import json
import sys
from typing import Any

import numpy as np
import torch
from make_encoders import MAX_ERROR, Arrays
from make_goldens import HERE, MAX_BYTES, saved_files
from transformers import (
    AutoModelForSeq2SeqLM,
    BartConfig,
    BartForConditionalGeneration,
    GenerationConfig,
    MarianConfig,
    MarianMTModel,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.models.t5.modeling_t5 import T5Attention

LENGTHS = (12, 5, 9, 2)
TARGET_LENGTH = 7
NEW_TOKENS = 12
MIN_MARGIN = 1e-3
SEARCHES: tuple[dict[str, Any], ...] = (
    {},
    {"num_beams": 4, "num_return_sequences": 4},
    {"num_beams": 4, "num_return_sequences": 2, "length_penalty": 2.0},
    {"num_beams": 4, "length_penalty": 0.5, "early_stopping": True},
    {"num_beams": 4, "length_penalty": -1.0, "early_stopping": "never"},
    {"no_repeat_ngram_size": 2, "repetition_penalty": 1.3, "min_new_tokens": 4},
    {
        "num_beams": 4,
        "num_return_sequences": 3,
        "no_repeat_ngram_size": 2,
        "repetition_penalty": 1.2,
        "forced_bos_token_id": 7,
        "forced_eos_token_id": 9,
    },
)
BUCKETS = ((32, 128), (8, 10), (32, 250))
BART_SIZES = {
    "vocab_size": 41,
    "d_model": 12,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 20,
    "decoder_ffn_dim": 20,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "max_position_embeddings": 20,
}


def t5(decoder_layers: int = 2, **others: Any) -> PreTrainedModel:
    """Heads that are not hidden / heads wide, and distances of all kinds in short texts."""
    config = T5Config(
        vocab_size=41,
        d_model=12,
        d_kv=5,
        d_ff=20,
        num_layers=2,
        num_decoder_layers=decoder_layers,
        num_heads=2,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=10,
        decoder_start_token_id=0,
        **others,
    )
    return T5ForConditionalGeneration(config)


def t5_v1_1() -> PreTrainedModel:
    # Transformers 5.23 cannot generate with more layers in the decoder than in the encoder.
    model = t5(1, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    # Transformers 5 ties them until a file says otherwise.
    model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.shared.weight))
    return model


def bart() -> PreTrainedModel:
    return BartForConditionalGeneration(BartConfig(**BART_SIZES, activation_dropout=0.2))


def marian(**others: Any) -> PreTrainedModel:
    config = MarianConfig(
        **BART_SIZES,
        activation_function="swish",
        scale_embedding=True,
        pad_token_id=40,
        decoder_start_token_id=40,
        **others,
    )
    return MarianMTModel(config)


def marian_two() -> PreTrainedModel:
    """Two vocabularies; the smaller one is that of the targets."""
    ids = {"pad_token_id": 36, "decoder_start_token_id": 36}
    config = MarianConfig(
        **BART_SIZES | ids,
        activation_function="relu",
        decoder_vocab_size=37,
        share_encoder_decoder_embeddings=False,
        tie_word_embeddings=False,
    )
    return MarianMTModel(config)


def fill_weights(model: PreTrainedModel, seed: int, matrix_spread: float) -> None:
    """Draws every weight with numpy, in the order of the names: the same with any torch."""
    random = np.random.default_rng(seed)
    weights = dict(model.named_parameters()) | dict(model.named_buffers())
    for name, weight in sorted(weights.items()):
        if isinstance(model, MarianMTModel) and "embed_positions" in name:
            continue
        is_scale = "norm" in name and name.endswith("weight")
        spread = matrix_spread if weight.ndim == 2 and min(weight.shape) > 1 else 0.3
        values = random.normal(1.0 if is_scale else 0.0, spread, size=tuple(weight.shape))
        weight.data = torch.from_numpy(values.astype(np.float32))


def batch(model: PreTrainedModel, seed: int) -> Arrays:
    config, random = model.config, np.random.default_rng(seed)
    mask = np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]
    sizes = config.vocab_size, getattr(config, "decoder_vocab_size", config.vocab_size)
    low = 3  # no special token of any of them stands above, but Marian's padding, the last
    token_ids = random.integers(low, sizes[0] - 5, mask.shape)
    targets = random.integers(low, sizes[1] - 1, (len(LENGTHS), TARGET_LENGTH))
    targets[:, 0] = config.decoder_start_token_id
    arrays = {
        "token_ids": np.where(mask, token_ids, config.pad_token_id),
        "attention_mask": mask,
        "decoder_token_ids": targets,
    }
    return {name: rows.astype(np.int32) for name, rows in arrays.items()}


def outputs(model: PreTrainedModel, inputs: Arrays) -> Arrays:
    """The encoder's and the model's output."""
    ids, mask, targets = (torch.from_numpy(rows).long() for rows in inputs.values())
    found = model(input_ids=ids, attention_mask=mask, decoder_input_ids=targets)
    return {
        "encoder_output": found.encoder_last_hidden_state.numpy(),
        "logits": found.logits.numpy(),
    }


def generate(model: PreTrainedModel, inputs: Arrays, **arguments: Any) -> Any:
    special = {
        name: getattr(model.config, name) for name in ("pad_token_id", "decoder_start_token_id")
    }
    model.generation_config = GenerationConfig(**special)
    ids, mask, _ = (torch.from_numpy(rows).long() for rows in inputs.values())
    return model.generate(
        ids,
        attention_mask=mask,
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        output_scores=True,
        return_dict_in_generate=True,
        **arguments,
    )


def end_of_text(model: PreTrainedModel, inputs: Arrays) -> int:
    """The id that most greedy sequences have, each after another number of tokens."""
    free = generate(model, inputs, eos_token_id=None)
    best, second = torch.topk(torch.stack(free.scores), 2).values.unbind(-1)
    if (best - second).min() < MIN_MARGIN:
        return -1
    rows = free.sequences[:, 1:].tolist()
    ends = {
        token: {row.index(token) for row in rows if token in row}
        for token in {token for row in rows for token in row}
    }
    token = max(ends, key=lambda token: (len(ends[token]), token))
    return token if len(ends[token] - {0}) >= 3 else -1


def searches(model: PreTrainedModel, inputs: Arrays, eos: int) -> Arrays | None:
    """What `generate` finds; None where float64 finds something else."""
    arrays: Arrays = {}
    told = []
    for number, search in enumerate(SEARCHES):
        arguments = {"eos_token_id": eos, **search}
        told.append(arguments)
        single = generate(model, inputs, **arguments)
        double = generate(model.double(), inputs, **arguments)
        model.float()
        if not torch.equal(single.sequences, double.sequences):
            return None
        arrays[f"search/{number}/sequences"] = single.sequences.numpy().astype(np.int32)
        if "num_beams" in search:
            arrays[f"search/{number}/scores"] = single.sequences_scores.numpy()
    return {"searches": np.array(json.dumps(told)), **arrays}


def buckets() -> Arrays:
    distances = torch.arange(-300, 301)
    return {
        f"buckets/{count}_{farthest}_{'both' if both else 'before'}": (
            T5Attention._relative_position_bucket(distances, both, count, farthest).numpy()
        ).astype(np.int32)
        for count, farthest in BUCKETS
        for both in (True, False)
    }


def record(name: str, model: PreTrainedModel, matrix_spread: float) -> None:
    model.eval()
    model.set_attn_implementation("eager")
    for seed in range(1000):
        fill_weights(model, seed, matrix_spread)
        inputs = batch(model, seed)
        eos = end_of_text(model, inputs)
        found = searches(model, inputs, eos) if eos > 0 else None
        if found is not None:
            break
    else:
        raise SystemExit(f"{name}: no seed will do")
    model.config.eos_token_id = eos
    config_json, weights = saved_files(model)
    results = outputs(model, inputs)
    exact = outputs(model.double(), inputs)
    mask = inputs["attention_mask"].astype(bool)
    errors = [np.abs(results[part] - exact[part]) for part in ("encoder_output", "logits")]
    if max(errors[0][mask].max(), errors[1].max()) > MAX_ERROR:
        raise SystemExit(f"{name}: float32 is off by {errors[0][mask].max()}, {errors[1].max()}")
    arrays = {"config_json": np.array(config_json), **inputs, **results, **found}
    if name == "t5":
        arrays |= buckets()
    arrays |= {f"weights/{key}": value for key, value in sorted(weights.items())}
    path = HERE / f"{name}.npz"
    np.savez_compressed(path, **arrays)
    if path.stat().st_size > MAX_BYTES:
        raise SystemExit(f"{path} has {path.stat().st_size} bytes, more than {MAX_BYTES}")
    ends = [row.index(eos) if eos in row else "-" for row in found["search/0/sequences"].tolist()]
    print(
        f"{path.name}: {path.stat().st_size} bytes, seed {seed}, eos {eos} at {ends}, "
        f"|logits| <= {np.abs(results['logits']).max():.1f}"
    )


def check(name: str, directory: str) -> None:
    """Transformers reads a directory of ours and computes what is recorded."""
    recorded = dict(np.load(HERE / f"{name}.npz"))
    model, report = AutoModelForSeq2SeqLM.from_pretrained(directory, output_loading_info=True)
    model.eval().set_attn_implementation("eager")
    inputs = ("token_ids", "attention_mask", "decoder_token_ids")
    found = outputs(model, {part: recorded[part] for part in inputs})
    error = np.abs(found["logits"] - recorded["logits"]).max()
    print(f"{name}: {directory}: logits off by {error:.1e}; {report}")
    if error > 0 or any(report.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    for argument in sys.argv[1:]:
        check(*argument.split("=", 1))
    if not sys.argv[1:]:
        record("t5", t5(), matrix_spread=0.4)
        record("t5_v1_1", t5_v1_1(), matrix_spread=0.25)
        record("bart", bart(), matrix_spread=0.35)
        record("marian", marian(), matrix_spread=0.3)
        record("marian_two", marian_two(), matrix_spread=0.35)
