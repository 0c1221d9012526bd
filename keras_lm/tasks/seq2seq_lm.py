"""Tasks of encoder–decoders: a text in, another text out."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_lm import data
from keras_lm.checkpoints import Pretrained
from keras_lm.generation.api import check_coverage
from keras_lm.generation.arguments import check_length, check_sampling
from keras_lm.generation.settings import SearchSettings
from keras_lm.models.base import EncoderDecoder
from keras_lm.storage import read_json
from keras_lm.tasks.base import DEFAULT_LENGTH, Task
from keras_lm.tasks.decoding import OPTIONS
from keras_lm.tasks.example_task import ExampleTask
from keras_lm.tasks.reading import check_texts, rows_of
from keras_lm.tasks.seq2seq_functions import Seq2SeqFunctions
from keras_lm.tasks.token_task import TokenTask
from keras_lm.tokenizers import Tokenizer
from keras_lm.training import NextTokenLoss

TARGET = "target_tokenizer"
"""The folder of a pretrained directory that holds the tokenizer of targets, if it is another."""

_SEARCH = ("num_return_sequences", "temperature", "top_k", "top_p", "seed", "max_new_tokens")


@keras.saving.register_keras_serializable("keras_lm")
class Seq2SeqLM(ExampleTask, TokenTask):
    """An encoder–decoder that reads strings and writes strings.

        encoder reads        (BOS) prefix source EOS
        decoder reads        start (BOS) target
        decoder predicts     (BOS) target EOS

    Args:
        model: an `EncoderDecoder`: `models.Transformer`, `models.RecurrentSeq2Seq`.
        tokenizer: of the sources.
        target_tokenizer: of the targets; default: that of the sources, or the other one of its
            files (Marian's).
        sequence_length: the most tokens that the decoder reads; default: the model's `max_length`.
        source_length: the most tokens of a source, EOS included; default: the model's
            `max_source_length`. Longer ones are cut at their end in training.
        add_bos: whether sources and targets begin with BOS, as BART's do; default: whether the
            tokenizer of the sources says so.
        prefix: stands before every source, as T5's `"summarize: "`.
        generation: what `generate` takes where a call does not say otherwise, such as
            `{"num_beams": 4}`.

    Raises:
        ValueError: an argument is of a wrong kind, or a tokenizer lacks EOS.

    Example:

    >>> import keras_lm as klm
    >>> words, numbers = ["one", "two", "six"] * 8, ["1", "2", "6"] * 8
    >>> tok = klm.tokenizers.BytePairTokenizer.train(texts=words + numbers, vocab_size=262)
    >>> config = klm.TransformerConfig(vocab_size=tok.vocab_size, num_layers=1, hidden_dim=32,
    ...                                num_heads=2, max_length=16, initializer_range=0.1)
    >>> lm = Seq2SeqLM(klm.models.Transformer(config), tok)
    >>> lm.compile(klm.training.default_optimizer(1e-2))
    >>> history = lm.fit(words, numbers, epochs=40, verbose=0)
    >>> lm.generate("two"), lm.generate(["one", "six"], num_beams=2)
    ('2', ['1', '6'])
    """

    PARTS = (*Task.PARTS, TARGET)
    SETTINGS = (*Task.SETTINGS, "source_length", "add_bos", "prefix", "generation")
    model_class = EncoderDecoder

    def __init__(
        self,
        model: EncoderDecoder,
        tokenizer: Tokenizer | None = None,
        target_tokenizer: Tokenizer | None = None,
        sequence_length: int | None = None,
        source_length: int | None = None,
        add_bos: bool | None = None,
        prefix: str = "",
        generation: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if target_tokenizer is None and tokenizer is not None:
            target_tokenizer = tokenizer.of_targets
        if target_tokenizer is not None and isinstance(model, EncoderDecoder):
            _check_vocabulary(target_tokenizer, model.config.vocab_size)
            model.adopt(target_tokenizer)
        super().__init__(model, tokenizer, sequence_length, **kwargs)
        self.target_tokenizer = target_tokenizer
        for name in ("decoder_start_id", "eos_id"):
            if getattr(model.config, name) is None:
                raise ValueError(
                    f"the model's config has {name}=None, and the targets' tokenizer has no token "
                    f"for it; give {type(model.config).__name__}({name}=…)"
                )
        longest = model.config.max_source_length
        self.source_length = source_length or longest or DEFAULT_LENGTH
        if not isinstance(self.source_length, int) or not 2 < self.source_length <= (
            longest or self.source_length
        ):
            raise ValueError(
                f"source_length is {source_length!r}; it must be an int from 3 to the model's "
                f"max_source_length={longest}"
            )
        if not isinstance(prefix, str):
            raise ValueError(f"prefix must be a string; got {prefix!r}")
        self.add_bos = tokenizer is not None and tokenizer.adds_bos if add_bos is None else add_bos
        self.prefix = prefix
        self.generation = dict(generation or {})
        self.search_options({})

    @property
    def output_tokenizer(self) -> Tokenizer | None:
        return self.tokenizer if self.target_tokenizer is None else self.target_tokenizer

    @classmethod
    def input_vocab_size(cls, model: Any) -> int:
        return model.config.source_vocab_size

    @classmethod
    def saved_settings(cls, files: Pretrained) -> dict[str, Any]:
        found = super().saved_settings(files)
        if (files.path / TARGET).is_dir():
            found[TARGET] = Tokenizer.load(files.path / TARGET)
        if "generation" not in found and (files.path / "generation_config.json").is_file():
            stored = read_json(files.path / "generation_config.json")
            known = {field: value for field, value in stored.items() if value is not None}
            found["generation"] = {
                name: value for name, value in known.items() if name in _SETTINGS_OF_SEARCH
            }
        return found

    def hf_generation(self) -> dict[str, Any]:
        config = self.model.config
        special = {
            "decoder_start_token_id": config.decoder_start_id,
            "eos_token_id": config.eos_id,
            "pad_token_id": config.pad_id,
        }
        known = {name: number for name, number in special.items() if number is not None}
        # Left out it would be what Transformers' class of the model forces.
        return {**known, "forced_eos_token_id": None, **self.generation}

    def write_more(self, directory: Path) -> None:
        source, target = self.tokenizer, self.target_tokenizer
        if target is not None and not (source and target is source.of_targets):
            target.save(directory / TARGET)

    def compile(
        self, optimizer: Any = "auto", loss: Any = "auto", metrics: Any = None, **kwargs: Any
    ) -> None:
        """Keras's `compile`.

        Args:
            optimizer: default: `keras_lm.training.default_optimizer()`, AdamW.
            loss: default: `keras_lm.training.NextTokenLoss(label_smoothing=0.1)`
                (https://arxiv.org/abs/1706.03762, section 5.4).
            metrics: see the full logits [B, T, V], which then are computed.
            **kwargs: as in Keras.
        """
        loss = NextTokenLoss(label_smoothing=0.1) if loss == "auto" else loss
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)

    def examples(self, x: list[Any], y: list[Any] | None, progress: bool) -> data.ExampleStore:
        tokenizer = self.require_tokenizer("fit on texts")
        sources = [self.prefix + text for text in x] if self.prefix else x
        return data.sequence_pairs(
            sources,
            y or [],
            tokenizer,
            self.target_tokenizer,
            self.source_length,
            self.sequence_length,
            source_bos=self.add_bos,
            target_bos=self.add_bos,
            decoder_start_id=self.model.config.decoder_start_id,
            progress=progress,
        )

    def generate(
        self,
        text: str | Sequence[str],
        *,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        num_return_sequences: int | None = None,
        seed: int | None = None,
        truncation: bool = False,
        batch_size: int = 32,
        **search: Any,
    ) -> Any:
        """Writes what the model answers to a text.

        What is not given is as in the task's `generation`, or else as here.

        Args:
            text: a source, or a list of sources.
            max_new_tokens: tokens to write at most; default: as many as `sequence_length` allows.
            temperature: 0, the default, is greedy, or a search with `num_beams`.
            top_k: sample among the k most likely tokens; default: all.
            top_p: sample among the most likely tokens that reach this probability; default: all.
            num_return_sequences: answers to each text, the best first; default 1.
            seed: of the sampling.
            truncation: read the first `source_length` tokens of a longer text, instead of refusing.
            batch_size: texts that are read at once.
            **search: `num_beams`, `length_penalty`, `early_stopping`, `no_repeat_ngram_size`,
                `return_scores` and the others of `generation.SearchSettings`.

        Returns:
            A string for a string, a list for a list; with `num_return_sequences` above 1 a list of
            strings for each text. With `return_scores` pairs (string, score) take their place.

        Raises:
            ValueError: an argument is out of its range, or a text is empty or too long.
        """
        texts = check_texts("text", text)
        given = {
            "max_new_tokens": max_new_tokens,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "num_return_sequences": num_return_sequences,
            "seed": seed,
            **search,
        }
        asked = {name: value for name, value in given.items() if value is not None}
        settings, options = self.search_options(asked)
        limit = {**self.generation, **asked}.get("max_new_tokens", -1)
        functions = self.text_functions
        function = functions.by_kind[settings.kind]
        values = [tf.constant(limit), *map(tf.constant, options.values())]
        rows = rows_of(lambda part: function(part, *values), texts, batch_size=batch_size)
        for number, row in enumerate(rows):
            if row["truncated"] and not truncation:
                raise ValueError(
                    f"text[{number}] is longer than source_length={self.source_length} tokens; "
                    "shorten it, or give truncation=True to have its beginning read"
                )
        answers: list[Any] = [[value.decode() for value in row["text"]] for row in rows]
        if settings.return_scores:
            scores = (row["score"].tolist() for row in rows)
            answers = [list(zip(*pair, strict=True)) for pair in zip(answers, scores, strict=True)]
        if options["num_return_sequences"] == 1:
            answers = [row[0] for row in answers]
        return answers[0] if isinstance(text, str) else answers

    def search_options(self, asked: Mapping[str, Any]) -> tuple[SearchSettings, dict[str, Any]]:
        """What a call of `generate` asks for, checked; and as values for `OPTIONS`.

        Args:
            asked: parameters of `generate` by name, before which the task's own stand back.

        Raises:
            ValueError: one is unknown or out of its range.
        """
        options = {**self.generation, **asked}
        for name in options:
            if name not in (*_SETTINGS_OF_SEARCH, *_SEARCH):
                near = difflib.get_close_matches(name, _SETTINGS_OF_SEARCH, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"generate has no parameter {name!r}{hint}")
        drawn = {name: options.pop(name, None) for name in _SEARCH}
        limit = drawn.pop("max_new_tokens")
        drawn = {n: OPTIONS[n][1] if value is None else value for n, value in drawn.items()}
        check_sampling(1 if limit is None else limit, **drawn)
        if limit is not None:
            check_length(1, limit, self.sequence_length)
        settings = SearchSettings(**options)
        settings.check(
            self.model.config.vocab_size,
            limit,
            drawn["temperature"],
            drawn["num_return_sequences"],
        )
        check_coverage(self.model, settings.coverage_penalty)
        found = {
            **drawn,
            **settings.arrays(),
            "num_beams": settings.num_beams,
            "num_beam_groups": settings.num_beam_groups,
            "temperature": float(drawn["temperature"]),
            "top_p": float(drawn["top_p"]),
        }
        return settings, {name: found[name] for name in OPTIONS}

    def make_functions(self) -> Seq2SeqFunctions:
        return Seq2SeqFunctions(self)


@keras.saving.register_keras_serializable("keras_lm")
class Translator(Seq2SeqLM):
    """Translates texts; `translate` is its `generate`, and all else is as in `Seq2SeqLM`."""

    def translate(self, text: str | Sequence[str], **options: Any) -> Any:
        """Translates a text.

        Args:
            text: a string, or a list of strings.
            **options: as in `Seq2SeqLM.generate`: `num_beams`, `length_penalty`, …

        Returns:
            A string for a string, a list for a list; see `Seq2SeqLM.generate`.
        """
        return self.generate(text, **options)


@keras.saving.register_keras_serializable("keras_lm")
class Summarizer(Seq2SeqLM):
    """Summarizes texts; `summarize` is its `generate`, and all else is as in `Seq2SeqLM`."""

    def summarize(self, text: str | Sequence[str], **options: Any) -> Any:
        """Says a text in few words.

        Args:
            text: a string, or a list of strings.
            **options: as in `Seq2SeqLM.generate`: `num_beams`, `no_repeat_ngram_size`, …

        Returns:
            A string for a string, a list for a list; see `Seq2SeqLM.generate`.
        """
        return self.generate(text, **options)


_SETTINGS_OF_SEARCH = tuple(SearchSettings.__dataclass_fields__)


def _check_vocabulary(tokenizer: Any, vocab_size: int) -> None:
    if not isinstance(tokenizer, Tokenizer):
        raise ValueError(f"target_tokenizer must be a keras_lm Tokenizer; got {tokenizer!r}")
    if tokenizer.vocab_size > vocab_size:
        raise ValueError(
            f"target_tokenizer has {tokenizer.vocab_size} tokens, more than the model's "
            f"vocab_size={vocab_size}; make the model with at least that many"
        )
