"""Marian (https://arxiv.org/abs/1804.00344), the opus-mt translators: the paper's Transformer.

Sinusoidal positions, post-norm, biased logits; the two languages may have a vocabulary each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_lm.config import EncoderDecoderConfig
from keras_lm.families.bart import layer_weights, read_both_halves, write_both_halves
from keras_lm.families.base import Family, HFConfig, Weight, refuse_unless, required, special_id


def _read_config(hf: Mapping[str, Any]) -> EncoderDecoderConfig:
    refuse_unless(hf, static_position_embeddings=True, normalize_embedding=False)
    shared = hf.get("share_encoder_decoder_embeddings", True)
    if shared:
        refuse_unless(hf, tie_word_embeddings=True)
    source_vocab_size, vocab_size = required(hf, "vocab_size"), hf.get("decoder_vocab_size")
    return read_both_halves(
        hf,
        vocab_size=source_vocab_size if vocab_size is None else vocab_size,
        source_vocab_size=source_vocab_size,
        share_embeddings=shared,
        tie_embeddings=hf.get("tie_word_embeddings", True),
        positions="sinusoidal",
        decoder_start_id=special_id(hf, "decoder_start_token_id"),
        eos_id=special_id(hf, "eos_token_id", 0),
        pad_id=special_id(hf, "pad_token_id"),
    )


def _write_config(config: EncoderDecoderConfig) -> HFConfig:
    if config.decoder_start_id is None:
        raise ValueError("decoder_start_id must be given; Marian has no default for it")
    return {
        **write_both_halves(config, silu="swish"),
        "vocab_size": config.source_vocab_size,
        "decoder_vocab_size": config.vocab_size,
        "share_encoder_decoder_embeddings": config.share_embeddings,
    }


def _weights(config: EncoderDecoderConfig) -> list[Weight]:
    names = {"token_embedding": "model.shared.weight"}
    if not config.share_embeddings:
        names = {
            "source_embedding": "model.encoder.embed_tokens.weight",
            "token_embedding": "model.decoder.embed_tokens.weight",
        }
    weights = [Weight(f"{ours}/embeddings", theirs) for ours, theirs in names.items()]
    if not config.tie_embeddings:
        weights.append(Weight("token_embedding/reverse_embeddings", "lm_head.weight", True))
    return weights + layer_weights(config)


MARIAN = Family(
    model_type="marian",
    architecture="MarianMTModel",
    title="Marian, opus-mt",
    read_config=_read_config,
    write_config=_write_config,
    weights=_weights,
    prefix="model.",
    # Sinusoids, and repeats of the embeddings.
    ignored=(r"model\.(encoder|decoder)\.(embed_positions|embed_tokens)\.weight",),
    config_class=EncoderDecoderConfig,
)
