"""Parity with recorded encoder–decoders of Transformers, and the way back to their files."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import harness
import keras
import numpy as np
import pytest
from harness_files import load_golden, write_golden
from safetensors.numpy import load_file, save_file

import keras_lm as klm
from keras_lm.checkpoints import load_model, save_model
from keras_lm.families import family_for, family_named
from keras_lm.generation import generate_ids
from keras_lm.layers.positions import RelativePositions

Golden = Mapping[str, Any]
NAMES = ("t5", "t5_v1_1", "bart", "marian", "marian_two")
TOLERANCE = 2e-5
SEARCHED = {
    "t5": (1, 2, 3, 4, 6),
    "t5_v1_1": (0,),
    "bart": (1, 2, 3, 4, 5, 6),
    "marian": (1, 2, 3, 4, 6),
}
"""Which of the recorded searches are made again; greedy ones, beams and constraints each take
seconds to trace.
"""


@pytest.fixture(scope="module", params=NAMES)
def golden(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {**load_golden(request.param), "name": request.param}


@pytest.fixture(scope="module")
def model(golden: Golden, tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("golden")
    write_golden(golden, directory)
    return load_model(directory)


def config_of(golden: Golden, **changes: Any) -> dict[str, Any]:
    return {**json.loads(str(golden["config_json"])), **changes}


def read(hf_config: Mapping[str, Any]) -> Any:
    return family_named(hf_config).read_config(hf_config)


def logits_gap(model: Any, golden: Golden) -> float:
    inputs = {
        "token_ids": golden["token_ids"],
        "padding_mask": golden["attention_mask"],
        "decoder_token_ids": golden["decoder_token_ids"],
    }
    return float(np.abs(harness.logits_of(model, inputs) - golden["logits"]).max())


def test_encoder_output_and_logits(golden: Golden, model: Any) -> None:
    source = {"token_ids": golden["token_ids"], "padding_mask": golden["attention_mask"]}
    real = golden["attention_mask"].astype(bool)
    memory = keras.ops.convert_to_numpy(model.encode(source))
    assert np.abs(memory - golden["encoder_output"])[real].max() < TOLERANCE
    assert logits_gap(model, golden) < TOLERANCE
    by_id = {name: golden[name] for name in ("token_ids", "decoder_token_ids")}
    assert np.abs(harness.logits_of(model, by_id) - golden["logits"]).max() < TOLERANCE


def test_saved_files_are_the_same_again(golden: Golden, model: Any, tmp_path: Path) -> None:
    save_model(model, tmp_path)
    ours = load_file(tmp_path / "model.safetensors")
    theirs = {n.removeprefix("weights/"): golden[n] for n in golden if n.startswith("weights/")}
    assert sorted(ours) == sorted(theirs)
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype
        assert ours[name].tobytes() == tensor.tobytes(), name
    assert load_model(tmp_path).config == model.config


def test_every_field_we_write_is_theirs(golden: Golden, model: Any, tmp_path: Path) -> None:
    save_model(model, tmp_path)
    theirs = config_of(golden)
    ours = json.loads((tmp_path / "config.json").read_text())
    # Transformers 5 says of every T5 that it is tied; version 4 needs to know.
    differ = {"tie_word_embeddings"} if golden["name"] == "t5_v1_1" else set()
    for name in set(ours) & set(theirs) - differ:
        assert ours[name] == theirs[name], name
    needed = {"architectures", "model_type", "dtype", "pad_token_id", "eos_token_id"}
    assert needed | {"decoder_start_token_id", "is_encoder_decoder"} < set(ours) & set(theirs)
    assert ours["tie_word_embeddings"] == model.config.tie_embeddings


def test_searches(golden: Golden, model: Any) -> None:
    """Greedy decoding, beams and constraints find what Transformers' `generate` does."""
    told = json.loads(str(golden["searches"]))
    sources = [
        row[mask > 0].tolist()
        for row, mask in zip(golden["token_ids"], golden["attention_mask"], strict=True)
    ]
    for number in SEARCHED.get(golden["name"], ()):
        arguments = dict(told[number])
        stop_id, recorded = arguments.pop("eos_token_id"), golden[f"search/{number}/sequences"]
        sequences, scores = generate_ids(
            model,
            sources,
            stop_ids=[stop_id],
            max_new_tokens=12,
            return_scores=True,
            jit_compile=False,
            **arguments,
        )
        ended = np.cumsum(recorded == stop_id, axis=1) - (recorded == stop_id) > 0
        # Behind the end, a beam search of theirs has not the padding where its id is 0.
        expected = np.where(ended, model.config.pad_id, recorded)
        assert sequences.tolist() == expected.tolist(), arguments
        if "num_beams" in arguments:
            np.testing.assert_allclose(
                scores, golden[f"search/{number}/scores"], rtol=1e-5, err_msg=str(arguments)
            )


def test_greedy_sequences(golden: Golden, model: Any) -> None:
    """Each token is the likeliest; and they end after several numbers of tokens, or else the
    searches would prove little.
    """
    sequences, eos = golden["search/0/sequences"], model.config.eos_id
    assert json.loads(str(golden["searches"]))[0] == {"eos_token_id": eos}
    ends = {row.index(eos) for row in sequences.tolist() if eos in row}
    assert len(ends) >= 3
    inputs = {
        "token_ids": golden["token_ids"],
        "padding_mask": golden["attention_mask"],
        "decoder_token_ids": sequences[:, :-1],
    }
    chosen = harness.logits_of(model, inputs).argmax(-1)
    running = np.cumsum(sequences == eos, axis=1)[:, :-1] == 0
    assert (chosen == sequences[:, 1:])[running].all()


def test_the_ids_of_the_config_are_the_defaults(tmp_path: Path) -> None:
    golden = load_golden("marian_two")
    write_golden(golden, tmp_path)
    padded = golden["token_ids"]
    ours = generate_ids(load_model(tmp_path), padded, max_new_tokens=12, jit_compile=False)
    assert ours.tolist() == golden["search/0/sequences"].tolist()


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (8, 10), (32, 250)])
def test_kinds_of_distances(buckets: int, distance: int, both: bool) -> None:
    positions = {
        "kind": "relative",
        "relative_buckets": buckets,
        "relative_distance": distance,
    }
    config = klm.TransformerConfig(
        vocab_size=9, num_layers=1, hidden_dim=8, num_heads=2, positions=positions
    )
    kinds = RelativePositions(config, bidirectional=both).kinds(np.arange(-300, 301))
    recorded = load_golden("t5")[f"buckets/{buckets}_{distance}_{'both' if both else 'before'}"]
    assert keras.ops.convert_to_numpy(kinds).tolist() == recorded.tolist()


def test_version_4_spelling_of_t5(tmp_path: Path) -> None:
    """As google/t5-v1_1 has it: untied is said, scaled is not."""
    golden = load_golden("t5_v1_1")
    new = config_of(golden)
    assert new["tie_word_embeddings"] is True
    old = {name: value for name, value in new.items() if name not in ("scale_decoder_outputs",)}
    old |= {"tie_word_embeddings": False, "n_positions": 512, "torch_dtype": old.pop("dtype")}
    write_golden({**golden, "config_json": json.dumps(old)}, tmp_path)
    assert logits_gap(load_model(tmp_path), golden) < TOLERANCE
    assert not read(old).scale_outputs
    oldest = config_of(load_golden("t5"))
    for name in ("scale_decoder_outputs", "tie_word_embeddings", "feed_forward_proj"):
        del oldest[name]
    assert read(oldest) == read(config_of(load_golden("t5")))


def test_an_output_layer_stored_beside_the_embeddings_it_repeats(tmp_path: Path) -> None:
    golden = load_golden("t5")
    table = golden["weights/shared.weight"]
    repeats = ("lm_head", "encoder.embed_tokens", "decoder.embed_tokens")
    again = {f"weights/{name}.weight": table for name in repeats}
    write_golden({**golden, **again}, tmp_path)
    model = load_model(tmp_path)
    assert model.config.tie_embeddings
    assert logits_gap(model, golden) < TOLERANCE


def test_a_bart_without_a_head_for_text(tmp_path: Path) -> None:
    """The files of facebook/bart-base: no prefix, no bias of the logits."""
    golden = load_golden("bart")
    write_golden(golden, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    bias = tensors.pop("final_logits_bias")
    tensors["model.encoder.embed_tokens.weight"] = tensors["model.shared.weight"]
    bare = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    save_file(bare, tmp_path / "model.safetensors", {"format": "pt"})
    model = load_model(tmp_path)
    assert logits_gap(model, {**golden, "logits": golden["logits"] - bias}) < TOLERANCE
    save_model(model, tmp_path / "again")
    assert not load_file(tmp_path / "again" / "model.safetensors")["final_logits_bias"].any()


def test_old_files_of_marian(tmp_path: Path) -> None:
    """Their positions are in the file, their config has fields of all of fairseq."""
    golden = load_golden("marian")
    positions = {
        f"weights/model.{half}.embed_positions.weight": np.zeros((20, 12), "float32")
        for half in ("encoder", "decoder")
    }
    old = config_of(
        golden,
        add_bias_logits=False,
        add_final_layer_norm=False,
        bad_words_ids=[[40]],
        classif_dropout=0.0,
        normalize_before=False,
        normalize_embedding=False,
        num_beams=6,
        static_position_embeddings=True,
    )
    for name in ("decoder_vocab_size", "share_encoder_decoder_embeddings", "tie_word_embeddings"):
        del old[name]
    write_golden({**golden, **positions, "config_json": json.dumps(old)}, tmp_path)
    assert logits_gap(load_model(tmp_path), golden) < TOLERANCE


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("t5", {"feed_forward_proj": "gated-relu"}, "feed_forward_proj='gated-relu'; supported: relu"),
    ("t5", {"is_encoder_decoder": False}, "is_encoder_decoder=False; keras_lm supports True only"),
    ("t5", {"d_kv": None}, "lacks 'd_kv'"),
    ("t5", {"relative_attention_num_buckets": 30}, "relative_buckets must be a multiple of 4"),
    ("t5", {"pad_token_id": 41}, "pad_id must be from 0 to 40"),
    ("bart", {"tie_word_embeddings": False}, "tie_word_embeddings=False"),
    ("bart", {"decoder_ffn_dim": 24}, "decoder_ffn_dim=24; keras_lm supports 20 only"),
    ("bart", {"encoder_attention_heads": 4}, "decoder_attention_heads=2; keras_lm supports 4"),
    ("bart", {"encoder_layerdrop": 0.1}, "encoder_layerdrop=0.1"),
    ("bart", {"normalize_before": True}, "normalize_before=True"),
    ("bart", {"normalize_embedding": False}, "normalize_embedding=False"),
    ("bart", {"static_position_embeddings": True}, "static_position_embeddings=True"),
    ("bart", {"activation_function": "mish"}, "activation_function='mish'; supported: gelu"),
    ("marian", {"add_final_layer_norm": True}, "add_final_layer_norm=True"),
    ("marian", {"normalize_embedding": True}, "normalize_embedding=True"),
    ("marian", {"decoder_layerdrop": 0.5}, "decoder_layerdrop=0.5"),
    ("marian", {"tie_word_embeddings": False}, "tie_word_embeddings=False"),
    ("marian", {"decoder_vocab_size": 30}, "share_embeddings must be False"),
]


@pytest.mark.parametrize(
    ("name", "changes", "message"), REFUSED, ids=[str(i) for i in range(len(REFUSED))]
)
def test_what_we_cannot_compute_is_refused_by_name(
    name: str, changes: dict[str, Any], message: str
) -> None:
    config = config_of(load_golden(name))
    read(config)
    with pytest.raises(ValueError, match=message):
        read({**config, **changes})


@pytest.mark.parametrize("wrong", [None, "x", -1, 0, 2.5, [], {}, True])
def test_no_value_of_a_config_gives_another_error(golden: Golden, wrong: Any) -> None:
    for name in config_of(golden):
        config = config_of(golden, **{name: wrong})
        with contextlib.suppress(ValueError):
            assert isinstance(read(config), klm.EncoderDecoderConfig)


def test_special_ids(golden: Golden) -> None:
    config = read(config_of(golden))
    stored = config_of(golden)
    assert config.decoder_start_id == stored["decoder_start_token_id"]
    assert (config.eos_id, config.pad_id) == (stored["eos_token_id"], stored["pad_token_id"])
    several = config_of(golden, eos_token_id=[5, 6], pad_token_id=None)
    assert (read(several).eos_id, read(several).pad_id) == (5, None)
    assert read(config_of(golden, eos_token_id=[])).eos_id is None


@pytest.mark.parametrize("name", NAMES)
def test_no_field_is_lost_whatever_the_family(name: str) -> None:
    """What no family can say is written as our own; changed or not, the config comes back."""
    config = read(config_of(load_golden(name)))
    assert family_for(config).model_type == name.partition("_")[0]
    unshared = config.replace(share_embeddings=False)
    families = set()
    fixed = {"attention.sliding_window", "residual"}  # no encoder–decoder has another
    if not config.share_embeddings:  # two vocabularies cannot share
        fixed |= {"share_embeddings"}
    for field in [field for field in harness.leaf_fields(config) if field not in fixed]:
        base = unshared if field in ("vocab_size", "source_vocab_size") else config
        for changed in harness.perturbed(base, field):
            family = family_for(changed)
            families.add(family.model_type)
            written = json.loads(json.dumps(family.write_config(changed)))
            assert family.read_config(written) == changed
    assert "keras_lm_encoder_decoder" in families


@pytest.mark.parametrize("name", NAMES)
def test_the_weight_map_names_every_weight_once(name: str) -> None:
    config = read(config_of(load_golden(name)))
    family = family_for(config)
    assert family.weights is not None
    for changed in (config, config.replace(num_layers=3, tie_embeddings=not config.tie_embeddings)):
        if family_for(changed) is not family:
            continue
        weights = family.weights(changed)
        ours = sorted(w.path.split("/", 1)[1] for w in klm.models.Transformer(changed).weights)
        assert sorted(weight.ours for weight in weights) == ours
        theirs = [name for weight in weights for name in weight.names]
        assert len(set(theirs)) == len(theirs)


@pytest.mark.parametrize("kind", ["encoder_decoder", "recurrent_seq2seq"])
def test_models_of_our_own(kind: str, tmp_path: Path) -> None:
    """The paper's architecture with a norm before each branch, which no family has; and LSTMs."""
    sizes = {"vocab_size": 9, "num_layers": 1, "hidden_dim": 8, "pad_id": 0}
    if kind == "encoder_decoder":
        config = klm.EncoderDecoderConfig(**sizes, num_heads=2, positions="sinusoidal")
        model = harness.random_model(klm.models.Transformer, config)
    else:
        config = klm.RecurrentSeq2SeqConfig(**sizes, attention="additive")
        model = harness.random_model(klm.models.RecurrentSeq2Seq, config)
    save_model(model, tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["model_type"] == f"keras_lm_{kind}"
    assert saved["architectures"] == [type(model).__name__]
    again = load_model(tmp_path)
    assert type(again) is type(model)
    assert again.config == config
    for ours, theirs in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
