"""Records tiny random encoders of Transformers, one `.npz` each, next to this file.

Tests compare `keras_lm` with these files, so that they need neither torch nor a network. The files
are the same on every run:

    pip install torch==2.13.0 transformers==5.23.0
    python tests/golden/make_encoders.py

A file (`bert.npz`, `roberta.npz`, `distilbert.npz`, `electra.npz`) holds one trunk with all its
heads: what two architectures of a family both have (the pooler, say) is equal in both. B rows, T
positions, D = 16, V words of vocabulary; weights and outputs are float32, ids and masks int32:

- `config_json`: the text of the base architecture's `config.json` as `save_pretrained` writes it:
  `BertForMaskedLM`, `RobertaForMaskedLM`, `DistilBertForMaskedLM`; `ElectraModel` for ELECTRA.
- `weights/<name>`: every tensor of its `model.safetensors` under its name there. No bias is 0 and
  no scale 1, and weights are much larger than an initialiser makes them, so that a forgotten or
  transposed one shows.
- `token_ids`, `attention_mask` [B, T], for BERT and ELECTRA `token_type_ids` [B, T]: rows of
  different lengths, padded on the right with the config's `pad_token_id` (RoBERTa: 1). Where the
  mask is 0, outputs [B, T, …] mean nothing.
- `hidden` [B, T, D]: `last_hidden_state` of the trunk.
- `mlm_logits` [B, T, V]: logits of the base architecture (not ELECTRA).
- `left/token_ids`, `left/attention_mask`, `left/hidden` (RoBERTa alone): the same rows padded on
  the left; its positions count the ids that are not padding, from `pad_token_id` + 1.

And for every other architecture A, such as `BertForSequenceClassification`:

- `configs/A`: the text of its `config.json`; three labels have names.
- `heads/A/<name>`: what its `model.safetensors` has and `weights` lacks, under its name there.
  The rest of that file is the trunk of `weights`, under the same names; `BertModel`'s names have
  no `bert.` before them, those of the masked language model's head are in no file but its own and
  `BertForPreTraining`'s.
- `outputs/A/<field>`: its outputs under the fields' names in Transformers: `pooler_output` [B, D],
  `seq_relationship_logits` [B, 2], `logits` [B, 3] or [B, T, 3], `start_logits`, `end_logits`
  [B, T]. Positions that are padding are not masked away in them.
"""

import zlib

import numpy as np
import torch
import transformers
from make_goldens import HERE, LENGTHS, MAX_BYTES, saved_files
from transformers import PreTrainedConfig, PreTrainedModel

LABELS = ("negative", "neutral", "positive")
SIZES = {
    "vocab_size": 53,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 24,
}
HEADS = {
    "Bert": {
        "Model": ("pooler_output",),
        "ForPreTraining": ("seq_relationship_logits",),
        "ForSequenceClassification": ("logits",),
        "ForTokenClassification": ("logits",),
        "ForQuestionAnswering": ("start_logits", "end_logits"),
    },
    "Roberta": {
        "ForSequenceClassification": ("logits",),
        "ForTokenClassification": ("logits",),
        "ForQuestionAnswering": ("start_logits", "end_logits"),
    },
    "DistilBert": {
        "ForSequenceClassification": ("logits",),
        "ForTokenClassification": ("logits",),
        "ForQuestionAnswering": ("start_logits", "end_logits"),
    },
    "Electra": {},
}

INPUTS = ("token_ids", "attention_mask", "token_type_ids")
# What float32 may lose against float64: a right implementation is compared at 2e-5.
MAX_ERROR = 5e-6

Arrays = dict[str, np.ndarray]


def config_of(family: str) -> PreTrainedConfig:
    if family == "Bert":
        return transformers.BertConfig(**SIZES)
    if family == "Roberta":
        # Positions start at pad_token_id + 1 = 2: two more rows for the same longest text.
        sizes = SIZES | {"max_position_embeddings": 26, "type_vocab_size": 1}
        return transformers.RobertaConfig(**sizes, layer_norm_eps=1e-5)
    if family == "Electra":
        return transformers.ElectraConfig(**SIZES, embedding_size=8)
    return transformers.DistilBertConfig(
        vocab_size=53, dim=16, hidden_dim=24, n_layers=2, n_heads=2, max_position_embeddings=24
    )


def fill_weights(model: PreTrainedModel, seed: int) -> None:
    """Draws every weight from its name, so that architectures agree on what they share."""
    for name, weight in model.named_parameters():
        own_name = name.removeprefix(f"{model.base_model_prefix}.")
        random = np.random.default_rng([seed, zlib.crc32(own_name.encode())])
        is_scale = "norm" in name.lower() and name.endswith("weight")
        spread = 0.4 if weight.ndim == 2 and "embedding" not in name else 0.3
        values = random.normal(1.0 if is_scale else 0.0, spread, size=tuple(weight.shape))
        weight.data = torch.from_numpy(values.astype(np.float32))
    model.tie_weights()


def ragged_inputs(config: PreTrainedConfig, seed: int, left: bool = False) -> Arrays:
    random = np.random.default_rng(seed)
    places = np.arange(max(LENGTHS))
    mask = places < np.array(LENGTHS)[:, None]
    # Token 4 and above: no special token of any of the families.
    token_ids = np.where(
        mask, random.integers(4, config.vocab_size, mask.shape), config.pad_token_id
    )
    if left:
        token_ids, mask = (
            np.stack([np.roll(row, -n) for row, n in zip(rows, LENGTHS, strict=True)])
            for rows in (token_ids, mask)
        )
    arrays = {"token_ids": token_ids, "attention_mask": mask}
    if getattr(config, "type_vocab_size", 1) > 1:
        # The second text of a pair begins in the middle of each row; padding has type 0.
        arrays["token_type_ids"] = mask & (places >= np.array(LENGTHS)[:, None] // 2)
    return {name: rows.astype(np.int32) for name, rows in arrays.items()}


def outputs(model: PreTrainedModel, inputs: Arrays, fields: tuple[str, ...]) -> list[np.ndarray]:
    """Some of a model's outputs; complains when float32 itself is too far from float64."""
    tensors = {name: torch.from_numpy(rows).long() for name, rows in inputs.items()}
    tensors["input_ids"] = tensors.pop("token_ids")
    single, double = model(**tensors), model.double()(**tensors)
    model.float()
    for field in fields:
        error = (single[field] - double[field]).abs().max().item()
        if error > MAX_ERROR:
            raise SystemExit(f"{type(model).__name__} {field}: float32 is off by {error:.1e}")
    return [single[field].numpy() for field in fields]


def filled_model(architecture: str, config: PreTrainedConfig, seed: int) -> PreTrainedModel:
    model = getattr(transformers, architecture)(config).eval()
    model.set_attn_implementation("eager")
    fill_weights(model, seed)
    return model


def base_arrays(model: PreTrainedModel, seed: int) -> Arrays:
    inputs = ragged_inputs(model.config, seed)
    config_json, weights = saved_files(model)
    (hidden,) = outputs(model.base_model, inputs, ("last_hidden_state",))
    arrays = {"config_json": np.array(config_json), **inputs, "hidden": hidden}
    if model.base_model is not model:
        (arrays["mlm_logits"],) = outputs(model, inputs, ("logits",))
    if model.config.model_type == "roberta":
        inputs = ragged_inputs(model.config, seed, left=True)
        (inputs["hidden"],) = outputs(model.base_model, inputs, ("last_hidden_state",))
        arrays |= {f"left/{name}": rows for name, rows in inputs.items()}
    return arrays | {f"weights/{name}": weight for name, weight in sorted(weights.items())}


def head_arrays(model: PreTrainedModel, base: Arrays, fields: tuple[str, ...]) -> Arrays:
    name = type(model).__name__
    config_json, weights = saved_files(model)
    inputs = {key: base[key] for key in INPUTS if key in base}
    arrays = {f"configs/{name}": np.array(config_json)}
    results = outputs(model, inputs, fields)
    arrays |= {f"outputs/{name}/{field}": r for field, r in zip(fields, results, strict=True)}
    prefix = "" if model.base_model is not model else f"{model.base_model_prefix}."
    for key, weight in sorted(weights.items()):
        shared = base.get(f"weights/{prefix}{key}")
        if shared is None:
            arrays[f"heads/{name}/{key}"] = weight
        elif not np.array_equal(shared, weight):
            raise SystemExit(f"{name}: {key} is not the trunk's")
    return arrays


def record(family: str, seed: int) -> None:
    base_name = family + ("Model" if family == "Electra" else "ForMaskedLM")
    arrays = base_arrays(filled_model(base_name, config_of(family), seed), seed)
    for architecture, fields in HEADS[family].items():
        config = config_of(family)
        config.id2label = dict(enumerate(LABELS))
        config.label2id = {label: index for index, label in enumerate(LABELS)}
        if architecture == "ForQuestionAnswering":
            config.num_labels = 2
        model = filled_model(family + architecture, config, seed)
        arrays |= head_arrays(model, arrays, fields)
    path = HERE / f"{family.lower()}.npz"
    np.savez_compressed(path, **arrays)
    if path.stat().st_size > MAX_BYTES:
        raise SystemExit(f"{path} has {path.stat().st_size} bytes, more than {MAX_BYTES}")
    print(f"{path.name}: {path.stat().st_size} bytes, {len(arrays)} arrays")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    record("Bert", seed=1)
    record("Roberta", seed=2)
    record("DistilBert", seed=3)
    record("Electra", seed=4)
