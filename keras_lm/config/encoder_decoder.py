"""Hyper-parameters of models that read a source and write a target."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, Self

from keras_lm.config.base import Config, derived, require
from keras_lm.config.recurrent import RecurrentConfig, RecurrentEncoderConfig
from keras_lm.config.transformer import TransformerConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceConfig(Config):
    """What encoder–decoders have besides the hyper-parameters of their decoder.

    Args:
        source_vocab_size: the number of token ids of sources; default `vocab_size`, that of
            targets.
        share_embeddings: sources and targets have one table of token vectors; default: whether
            they have one vocabulary size, which is right where they have one tokenizer.
        encoder_layers: layers of the encoder; default `num_layers`, those of the decoder.
        max_source_length: the longest source, in tokens; default `max_length`.
        decoder_start_id: what the decoder reads before the first token of a target. Left open it
            is the tokenizer's beginning of a text, or its padding where it has none.
        eos_id: what ends a target; left open it is the tokenizer's.
        pad_id: padding, of no meaning to the model; left open it is the tokenizer's.
    """

    source_vocab_size: int = derived()
    share_embeddings: bool = derived()
    encoder_layers: int = derived()
    max_source_length: int | None = None
    decoder_start_id: int | None = None
    eos_id: int | None = None
    pad_id: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        target: Any = self  # the fields of the other base
        for name, value in (
            ("source_vocab_size", target.vocab_size),
            ("encoder_layers", target.num_layers),
            ("max_source_length", target.max_length),
        ):
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for name in ("source_vocab_size", "encoder_layers"):
            require(getattr(self, name) > 0, name, getattr(self, name), "positive")
        limit = self.max_source_length
        require(limit is None or limit > 0, "max_source_length", limit, "positive, or None")
        is_same = self.source_vocab_size == target.vocab_size
        if self.share_embeddings is None:
            object.__setattr__(self, "share_embeddings", is_same)
        require(
            is_same or not self.share_embeddings,
            "share_embeddings",
            self.share_embeddings,
            f"False with source_vocab_size={self.source_vocab_size} and "
            f"vocab_size={target.vocab_size}",
        )
        for name in ("decoder_start_id", "eos_id", "pad_id"):
            number = getattr(self, name)
            require(
                number is None or 0 <= number < target.vocab_size,
                name,
                number,
                f"from 0 to {target.vocab_size - 1}, or None",
            )

    @classmethod
    def of(cls, config: Any) -> Self:
        """A config of this class; one of the decoder's alone gets the defaults.

        Raises:
            ValueError: it is of neither class.
        """
        decoder: type[Config] = cls.__mro__[1]
        if type(config) is cls:
            return config
        if type(config) is decoder:
            return cls.from_config(config.get_config())
        wanted = f"one of {decoder.__name__}, {cls.__name__}"
        raise ValueError(f"config must be {wanted}; got {config!r:.200}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig(TransformerConfig, SourceConfig):
    """The hyper-parameters of an encoder–decoder Transformer.

    The fields of `TransformerConfig`, which are those of both halves, `residual` always
    `"sequential"` and no norms `"sandwich"`; and these:

    Args:
        source_vocab_size: the number of token ids of sources; default `vocab_size`.
        share_embeddings: sources and targets have one table of token vectors; default: whether
            they have one vocabulary size.
        encoder_layers: layers of the encoder; default `num_layers`, those of the decoder.
        max_source_length: the longest source, in tokens; default `max_length`.
        decoder_start_id: what the decoder reads first; left open it is the tokenizer's beginning
            of a text, or its padding where it has none.
        eos_id: what ends a target; left open it is the tokenizer's.
        pad_id: padding; left open it is the tokenizer's.
        scale_outputs: what the output layer reads is multiplied by 1 / √D, as in T5.
        embedding_norm: normalise the sum of the embeddings, as in BART.
        output_bias: the logits have a bias, which is not trained, as in BART and Marian.

    Raises:
        ValueError: a field has a wrong type or value; the message names it.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.EncoderDecoderConfig(vocab_size=90, num_layers=2, hidden_dim=32, num_heads=4)
    >>> config.encoder_layers, config.source_vocab_size, config.share_embeddings
    (2, 90, True)
    """

    norm_position: Literal["pre", "post"] = "pre"
    residual: Literal["sequential"] = "sequential"
    scale_outputs: bool = False
    embedding_norm: bool = False
    output_bias: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.positions.kind != "rotary",
            "positions.kind",
            self.positions.kind,
            "'learned', 'sinusoidal', 'relative' or 'none' in an encoder–decoder",
        )
        require(
            self.attention.sliding_window is None,
            "attention.sliding_window",
            self.attention.sliding_window,
            "None in an encoder–decoder",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecurrentSeq2SeqConfig(RecurrentConfig, SourceConfig):
    """The hyper-parameters of a recurrent encoder–decoder.

    The fields of `RecurrentConfig`, which are those of the decoder, and of the encoder as far as
    widths, dropout and initial weights go; and these:

    Args:
        source_vocab_size: the number of token ids of sources; default `vocab_size`.
        share_embeddings: sources and targets have one table of token vectors; default: whether
            they have one vocabulary size.
        encoder_layers: layers of the encoder; default `num_layers`, those of the decoder.
        max_source_length: the longest source, in tokens; default `max_length`.
        decoder_start_id: what the decoder reads first; left open it is the tokenizer's beginning
            of a text, or its padding where it has none.
        eos_id: what ends a target; left open it is the tokenizer's.
        pad_id: padding; left open it is the tokenizer's.
        encoder: `"rnn"`, `"lstm"`, `"gru"` or `"cnn"`, a stack of convolutions; default `cell`.
            `activation` and `reset_after` are the encoder's too if it is of the decoder's kind.
        bidirectional: the encoder reads in both directions, with half of `hidden_dim` each. Of no
            consequence to `"cnn"`.
        input_feeding: the decoder reads its last attentional vector beside the next token
            (https://arxiv.org/abs/1508.04025, section 3.3), which makes training slower.

    Raises:
        ValueError: a field has a wrong type or value; the message names it.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.RecurrentSeq2SeqConfig(vocab_size=90, num_layers=1, hidden_dim=32)
    >>> config.encoder, config.bidirectional, config.attention
    ('lstm', True, None)
    """

    encoder: Literal["rnn", "lstm", "gru", "cnn"] = derived()
    bidirectional: bool = True
    input_feeding: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder is None:
            object.__setattr__(self, "encoder", self.cell)
        require(
            self.hidden_dim % 2 == 0 or not self.bidirectional or self.encoder == "cnn",
            "hidden_dim",
            self.hidden_dim,
            "even with a bidirectional encoder",
        )
        require(
            self.attention is not None or not self.input_feeding,
            "input_feeding",
            self.input_feeding,
            "False without attention",
        )

    def decoder_config(self) -> RecurrentConfig:
        """What the decoder's layers are made from."""
        return RecurrentConfig(**self._fields_of(RecurrentConfig))

    def encoder_config(self) -> RecurrentEncoderConfig:
        """What a recurrent encoder is made from.

        Raises:
            ValueError: `encoder` is `"cnn"`.
        """
        require(self.encoder != "cnn", "encoder", self.encoder, "recurrent")
        fields = self._fields_of(RecurrentEncoderConfig)
        if self.encoder != self.cell:
            del fields["activation"], fields["reset_after"]
        return RecurrentEncoderConfig(
            **{
                **fields,
                "vocab_size": self.source_vocab_size,
                "num_layers": self.encoder_layers,
                "max_length": self.max_source_length,
                "cell": self.encoder,
            }
        )

    def _fields_of(self, config_class: type[Config]) -> dict[str, Any]:
        """The fields that another class of configs has as well."""
        names = {field.name for field in dataclasses.fields(config_class)}
        return {name: value for name, value in self.get_config().items() if name in names}
