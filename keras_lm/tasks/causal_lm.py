"""The task of language models: say what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from keras_lm.checkpoints import Pretrained
from keras_lm.generation import SearchSettings
from keras_lm.generation.arguments import check_length, check_sampling
from keras_lm.models.base import LanguageModel
from keras_lm.tasks.counting import CountedTexts, fit_by_counting
from keras_lm.tasks.text_batches import (
    TrainingTexts,
    check_ids,
    evaluation_batches,
    is_texts,
    streams_end_quietly,
    token_batches,
)
from keras_lm.tasks.text_functions import PARAMETERS, TextFunctions
from keras_lm.tasks.token_task import TokenTask
from keras_lm.tokenizers import Tokenizer


@keras.saving.register_keras_serializable("keras_lm")
class CausalLM(TokenTask):
    """A language model that reads and writes strings.

    Args:
        model: a `LanguageModel` such as `Decoder`.
        tokenizer: its tokenizer; None for work on ids alone.
        sequence_length: T, the tokens of a window; default: the model's `max_length`.
        add_bos: prompts of `generate` and `predict` begin with BOS, as documents do in `fit`; None:
            if the tokenizer's files say so, which `from_pretrained` goes by where a directory is
            not of ours. Never twice: a prompt that begins with the token itself has it.

    Example:

    >>> import keras_lm as klm
    >>> texts = ["one two three four five six seven"] * 20
    >>> tok = klm.tokenizers.BytePairTokenizer.train(texts=texts, vocab_size=270)
    >>> config = klm.TransformerConfig(vocab_size=tok.vocab_size, num_layers=1, hidden_dim=16,
    ...                                num_heads=2, max_length=32)
    >>> lm = CausalLM(klm.models.Decoder(config), tok)
    >>> lm.compile()
    >>> history = lm.fit(texts, batch_size=4, verbose=0)
    >>> sorted(lm.evaluate(texts, verbose=0, return_dict=True))
    ['bits_per_byte', 'loss', 'perplexity']
    >>> lm.generate("one two", max_new_tokens=3).startswith("one two")
    True
    >>> len(lm.score(["one two", "two one"]))
    2
    """

    SETTINGS = (*TokenTask.SETTINGS, "add_bos")

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer | None = None,
        sequence_length: int | None = None,
        add_bos: bool | None = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, tokenizer, sequence_length, **kwargs)
        if not isinstance(add_bos, bool | None):
            raise ValueError(f"add_bos must be True, False or None; got {add_bos!r}")
        self.add_bos = tokenizer is not None and tokenizer.adds_bos if add_bos is None else add_bos

    @classmethod
    def saved_settings(cls, files: Pretrained) -> dict[str, Any]:
        return {"add_bos": None if not files.own else True, **super().saved_settings(files)}

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_batch_size: int | None = None,
        seed: int = 0,
        cross_documents: bool = False,
        carry_state: bool = False,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Keras's `fit`, on texts.

        Every text is a document: BOS + its tokens + EOS. Documents are packed into windows of
        `sequence_length` tokens and do not see each other. A task that was not compiled is
        compiled with the defaults.

        Args:
            x: a list of strings, which is tokenized once, packed, and read by address: the order
                is a function of (seed, epoch); or a `TokenStore`, such as `data.prepare` gives;
                or a tf.data set of strings, which is tokenized and packed as it is read; or
                token ids: an int array [n, T + 1] or a data set of
                such, or anything that gives Keras (inputs, targets, weights).
            y: targets, where x is an array of inputs.
            batch_size: B, windows in a batch; default 32.
            validation_split: the share of a list's texts, taken from its end, to validate on.
            validation_data: of the same kinds as x.
            shuffle: gives every epoch an order of its own (lists of strings).
            seed: of that order.
            cross_documents: pack without regard to documents: windows are full, and a token may
                see the end of the document before.
            carry_state: for recurrent models, truncated back-propagation through time: batches go
                on where the last ones ended, and the model with the state that it had there. The
                texts are read in their order, as `batch_size` lanes (`data.lane_windows`).
            **kwargs: as in Keras. For a model that learns by counting, which reads x once whatever
                the epochs and batches, `memory_limit`: bytes that it may take; more go to the disk.

        Raises:
            ValueError: no texts, items that are not strings, or there is no tokenizer.
        """
        batch_size = 32 if batch_size is None else batch_size
        if not self.compiled:
            self.compile()
        is_pair = isinstance(validation_data, tuple) and not is_texts(validation_data)
        if validation_data is not None and not is_pair:
            validation_data = self._evaluation_data(
                validation_data, validation_batch_size or batch_size
            )
        if is_texts(x):
            tokenizer = self.require_tokenizer("fit on texts")
            texts = TrainingTexts(x, validation_split, tokenizer, self.sequence_length, batch_size)
            if texts.held_out and validation_data is None:
                validation_data = self._evaluation_data(
                    texts.held_out, validation_batch_size or batch_size
                )
            if self.model.learns_by_counting:
                counted = CountedTexts(texts.stream_or_store(), tokenizer)
                with self._training():
                    return fit_by_counting(
                        self, counted, validation_data, callbacks, verbose, **kwargs
                    )
            if carry_state:
                x, steps_per_epoch = texts.lanes(initial_epoch, steps_per_epoch)
                self.model.carry_state(batch_size)
            else:
                x, steps_per_epoch = texts.batches(
                    shuffle, seed, initial_epoch, steps_per_epoch, cross_documents
                )
            batch_size, shuffle, validation_split = None, False, 0.0
        elif self.model.learns_by_counting:
            raise ValueError("x must be texts or a TokenStore: this model counts whole documents")
        elif y is None:
            x, y, batch_size = token_batches(x, self.model.config.vocab_size, batch_size)
            shuffle = shuffle and y is not None
        else:
            self._check_arrays(x, y)
        with streams_end_quietly(), self._training():
            return super().fit(
                x,
                y,
                batch_size=batch_size,
                epochs=epochs,
                verbose=verbose,
                callbacks=callbacks,
                validation_split=validation_split,
                validation_data=validation_data,
                shuffle=shuffle,
                initial_epoch=initial_epoch,
                steps_per_epoch=steps_per_epoch,
                validation_batch_size=validation_batch_size,
                **kwargs,
            )

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Keras's `evaluate`, on texts: loss (nats per token), perplexity, bits per byte.

        The figures are sums over all the data, the same for any batch size. A text longer than
        `sequence_length` is read in windows that overlap by half; each token counts once.

        Args:
            x: of the same kinds as in `fit`.
            y: targets, where x is an array of inputs.
            batch_size: windows in a batch; default 32.
            return_dict: a dict of the figures by name; default: a list, the loss first.
            **kwargs: as in Keras.
        """
        batch_size = 32 if batch_size is None else batch_size
        if not self.compiled:
            self.compile()
        if y is None:
            x = self._evaluation_data(x, batch_size)
            if isinstance(x, tuple):
                x, y = x
            else:
                batch_size = None
        else:
            self._check_arrays(x, y)
        with streams_end_quietly():
            results = super().evaluate(x, y, batch_size=batch_size, return_dict=True, **kwargs)
        if return_dict:
            return results
        # Keras's own list has our exact loss twice, in the place of its loss and in its own.
        return [results[name] for name in dict.fromkeys(metric.name for metric in self.metrics)]

    def predict(self, x: Any, batch_size: int | None = None, **kwargs: Any) -> Any:
        """Keras's `predict`: float32 logits [n, T, V]; texts are padded to the longest.

        Args:
            x: a list or a tf.data set of strings, or token ids [n, T].
            batch_size: default 32.
            **kwargs: as in Keras.
        """
        if is_texts(x):
            texts = list(x.as_numpy_iterator()) if isinstance(x, tf.data.Dataset) else list(x)
            ids = self.text_functions.prompts(tf.constant(texts))
            longest = int(tf.reduce_max(ids.row_lengths()))
            check_length(longest, 0, self.model.config.max_length)
            mask = tf.ones_like(ids).to_tensor(0).numpy()
            x = {"token_ids": ids.to_tensor(0).numpy(), "padding_mask": mask}
        return super().predict(x, batch_size=batch_size, **kwargs)

    def _check_arrays(self, x: Any, y: Any) -> None:
        check_ids("x", x, self.model.config.vocab_size)
        if self._has_own_loss:
            check_ids("y", y, self.model.config.vocab_size)

    def _evaluation_data(self, data: Any, batch_size: int) -> Any:
        if not is_texts(data):
            x, y, _ = token_batches(data, self.model.config.vocab_size, batch_size)
            return x if y is None else (x, y)
        tokenizer = self.require_tokenizer("evaluating texts")
        return evaluation_batches(data, tokenizer, self.sequence_length, batch_size)

    def generate(
        self,
        text: str | Sequence[str],
        *,
        max_new_tokens: int | None = None,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        num_return_sequences: int = 1,
        seed: int = 0,
        stop: Sequence[str] = (),
        return_prompt: bool = True,
        num_beams: int = 1,
        length_penalty: float = 1.0,
        early_stopping: bool | Literal["never"] = False,
        num_beam_groups: int = 1,
        diversity_penalty: float = 0.0,
        repetition_penalty: float = 1.0,
        no_repeat_ngram_size: int = 0,
        bad_words_ids: Sequence[Sequence[int]] = (),
        suppress_tokens: Sequence[int] = (),
        min_new_tokens: int = 0,
        forced_bos_token_id: int | None = None,
        forced_eos_token_id: int | None = None,
        renormalize_logits: bool = False,
        return_scores: bool = False,
    ) -> Any:
        """Continues a text.

        Args:
            text: a prompt, or a list of prompts.
            max_new_tokens: tokens to generate at most; fewer where the model ends its text.
                Default: 64, or as many as the model has room for.
            temperature: 0 is greedy; 1 samples from the model's distribution.
            top_k: sample among the k most likely tokens; None or 0: all.
            top_p: sample among the most likely tokens that reach this probability; None: all.
            num_return_sequences: continuations of each prompt; of a beam search the best.
            seed: of the sampling; the same seed gives the same text.
            stop: a continuation ends before the first of these strings.
            return_prompt: give the prompt and its continuation; False: the continuation alone.
            num_beams: above 1 a beam search, which keeps so many candidates. What follows, and
                its defaults, is as in `generation.generate_ids`.
            length_penalty: a continuation of n tokens scores its log-probability / n^this.
            early_stopping: when a beam search ends: True, False or `"never"`.
            num_beam_groups: groups of beams that avoid each other's tokens.
            diversity_penalty: how much they do.
            repetition_penalty: above 1, tokens that were there before become less likely.
            no_repeat_ngram_size: no so many tokens stand in a text twice; 0: they may.
            bad_words_ids: token ids that must not stand one behind the other: a list of lists.
            suppress_tokens: token ids that are never chosen.
            min_new_tokens: a continuation does not end before.
            forced_bos_token_id: the first new token.
            forced_eos_token_id: the last of `max_new_tokens` tokens.
            renormalize_logits: scores are of what the constraints have left, made to sum to 1.
            return_scores: give pairs (string, score) instead of strings.

        Returns:
            A string for a string, a list for a list; with `num_return_sequences` above 1 a list
            of strings for each prompt. A score is of all the tokens, those behind a string of
            `stop` too.

        Raises:
            ValueError: an argument is out of its range, a prompt is empty, or it and the new
                tokens are longer than the model's `max_length`.
        """
        texts = _checked_texts("text", text)
        for row, prompt in enumerate(texts):
            if not prompt:
                raise ValueError(f"text[{row}] is an empty prompt; give at least one character")
        wanted = 1 if max_new_tokens is None else max_new_tokens
        check_sampling(wanted, temperature, top_k, top_p, num_return_sequences, seed)
        settings = SearchSettings(
            num_beams=num_beams,
            length_penalty=length_penalty,
            early_stopping=early_stopping,
            num_beam_groups=num_beam_groups,
            diversity_penalty=diversity_penalty,
            repetition_penalty=repetition_penalty,
            no_repeat_ngram_size=no_repeat_ngram_size,
            bad_words_ids=bad_words_ids,
            suppress_tokens=suppress_tokens,
            min_new_tokens=min_new_tokens,
            forced_bos_token_id=forced_bos_token_id,
            forced_eos_token_id=forced_eos_token_id,
            renormalize_logits=renormalize_logits,
            return_scores=return_scores,
        )
        vocab_size, longest = self.model.config.vocab_size, self.model.config.max_length
        settings.check(vocab_size, max_new_tokens, temperature, num_return_sequences)
        stops = stop if isinstance(stop, Sequence) and not isinstance(stop, str) else [stop]
        if not all(isinstance(s, str) and s for s in stops) or stop is not stops:
            raise ValueError(f"stop must be a list of non-empty strings; got {stop!r}")
        functions = self.text_functions
        prompts = functions.prompts(tf.constant(texts))
        check_length(int(tf.reduce_max(prompts.row_lengths())), wanted, longest)
        given = {
            **settings.arrays(),
            "num_beams": num_beams,
            "num_beam_groups": num_beam_groups,
            "max_new_tokens": -1 if max_new_tokens is None else max_new_tokens,
            "temperature": float(temperature),
            "top_k": top_k or 0,
            "top_p": 1.0 if top_p is None else float(top_p),
            "num_return_sequences": num_return_sequences,
            "seed": seed,
            "stop": tf.constant(list(stop), tf.string, shape=[len(stop)]),
            "return_prompt": return_prompt,
            "return_scores": return_scores,
        }
        generate = functions.by_kind[settings.kind]
        found = generate(tf.constant(texts), *(given[name] for name in PARAMETERS))
        answers = [[value.decode("utf-8") for value in row] for row in found["text"].numpy()]
        if return_scores:
            scores = found["score"].numpy().tolist()
            answers = [list(zip(*pair, strict=True)) for pair in zip(answers, scores, strict=True)]
        answers = answers if num_return_sequences > 1 else [row[0] for row in answers]
        return answers[0] if isinstance(text, str) else answers

    def score(self, text: str | Sequence[str]) -> Any:
        """Log-probability of each whole text, its end included, in nats.

        A text longer than `sequence_length` tokens is read in windows that overlap by half.

        Args:
            text: a string, or a list.

        Returns:
            A float for a string, float32 [n] for a list.
        """
        texts = _checked_texts("text", text)
        scores = self.text_functions.score(tf.constant(texts))["score"].numpy()
        return float(scores[0]) if isinstance(text, str) else scores

    def make_functions(self) -> TextFunctions:
        tokenizer = self.require_tokenizer("working on texts")
        return TextFunctions(self.model, tokenizer, self.sequence_length, self.add_bos)


def _checked_texts(name: str, text: Any) -> list[str]:
    if isinstance(text, bytes) or not isinstance(text, Sequence | np.ndarray):
        raise ValueError(f"{name} must be a string or a list of strings; got {text!r}")
    texts = [text] if isinstance(text, str) else list(text)
    if not texts:
        raise ValueError(f"{name} is an empty list; give at least one string")
    for row, value in enumerate(texts):
        if not isinstance(value, str):
            raise ValueError(f"{name}[{row}] must be a string; got {type(value).__name__}")
    return texts
