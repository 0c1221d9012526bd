"""The task of language models: say what comes next."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_lm.export import export_functions
from keras_lm.generation.api import check_length, check_sampling
from keras_lm.metrics import BitsPerByte, CrossEntropy, Perplexity
from keras_lm.models.base import LanguageModel
from keras_lm.tasks.base import Task
from keras_lm.tasks.text_batches import TrainingTexts, evaluation_batches, is_texts, token_batches
from keras_lm.tasks.text_functions import TextFunctions
from keras_lm.tokenizers import Tokenizer
from keras_lm.training import NextTokenLoss, default_optimizer
from keras_lm.training.losses import scaled_for_replicas


@keras.saving.register_keras_serializable("keras_lm")
class CausalLM(Task):
    """A language model that reads and writes strings.

    Args:
        model: a `LanguageModel` such as `Decoder`.
        tokenizer: its tokenizer; None for work on ids alone.
        sequence_length: T, the tokens of a window; default: the model's `max_length`.

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

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer | None = None,
        sequence_length: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, tokenizer, sequence_length, **kwargs)
        self._exact_loss = CrossEntropy(name="loss")
        self._perplexity = Perplexity()
        self._bits_per_byte = None if tokenizer is None else BitsPerByte()
        self._calls_give_hidden = False
        self._text_functions: TextFunctions | None = None

    # ---- training and evaluation

    def compile(
        self,
        optimizer: Any = "auto",
        loss: Any = "auto",
        metrics: Any = None,
        **kwargs: Any,
    ) -> None:
        """Keras's `compile`.

        Args:
            optimizer: default: `keras_lm.training.default_optimizer()`, AdamW.
            loss: default: `keras_lm.training.NextTokenLoss()`, with perplexity and bits per
                byte as metrics. Any other loss sees the full logits [B, T, V].
            metrics: see the full logits too, which then are computed.
            **kwargs: as in Keras: `weighted_metrics`, `jit_compile`, `steps_per_execution`, …
        """
        super().compile(
            optimizer=default_optimizer() if optimizer == "auto" else optimizer,
            loss=NextTokenLoss() if loss == "auto" else loss,
            metrics=metrics,
            **kwargs,
        )

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
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Keras's `fit`, on texts.

        Every text is a document: BOS + its tokens + EOS. Documents are packed into windows of
        `sequence_length` tokens and do not see each other.

        Args:
            x: a list of strings, which is tokenized once, packed, and read by address: the order
                is a function of (seed, epoch); or a tf.data set of strings, which is tokenized
                and packed as it is read; or token ids: an int array [n, T + 1] or a data set of
                such, or anything that gives Keras (inputs, targets, weights).
            y: targets, where x is an array of inputs.
            batch_size: B, windows in a batch; default 32.
            validation_split: the share of a list's texts, taken from its end, to validate on.
            validation_data: of the same kinds as x.
            shuffle: gives every epoch an order of its own (lists of strings).
            seed: of that order.
            cross_documents: pack without regard to documents: windows are full, and a token may
                see the end of the document before.
            **kwargs: as in Keras.

        Raises:
            ValueError: no texts, items that are not strings, or there is no tokenizer.
        """
        batch_size = 32 if batch_size is None else batch_size
        if validation_data is not None and not isinstance(validation_data, tuple):
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
            x, steps = texts.batches(shuffle, seed, initial_epoch, steps_per_epoch, cross_documents)
            steps_per_epoch = steps if steps_per_epoch is None else steps_per_epoch
            batch_size, shuffle, validation_split = None, False, 0.0
        elif y is None:
            x, y, batch_size = token_batches(x, self.model.config.vocab_size, batch_size)
            shuffle = shuffle and y is not None
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
        self, x: Any = None, y: Any = None, batch_size: int | None = None, **kwargs: Any
    ) -> Any:
        """Keras's `evaluate`, on texts: loss (nats per token), perplexity, bits per byte.

        The figures are sums over all the data, the same for any batch size. A text longer than
        `sequence_length` is read in windows that overlap by half; each token counts once.

        Args:
            x: of the same kinds as in `fit`.
            y: targets, where x is an array of inputs.
            batch_size: windows in a batch; default 32.
            **kwargs: as in Keras; `return_dict=True` gives names.
        """
        batch_size = 32 if batch_size is None else batch_size
        if y is None:
            x = self._evaluation_data(x, batch_size)
            if isinstance(x, tuple):
                x, y = x
            else:
                batch_size = None
        return super().evaluate(x, y, batch_size=batch_size, **kwargs)

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

    def _evaluation_data(self, data: Any, batch_size: int) -> Any:
        if not is_texts(data):
            x, y, _ = token_batches(data, self.model.config.vocab_size, batch_size)
            return x if y is None else (x, y)
        tokenizer = self.require_tokenizer("evaluating texts")
        return evaluation_batches(data, tokenizer, self.sequence_length, batch_size)

    # ---- what Keras's training loop calls, on every backend

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Logits float32 [B, T, V] of token ids [B, T] or a dict of them."""
        if self._calls_give_hidden:
            return self.model.hidden_states(inputs, training=training)
        return self.model(inputs, training=training)

    def train_step(self, *args: Any) -> Any:
        with self._hidden_states_if_enough():
            return super().train_step(*args)

    def test_step(self, *args: Any) -> Any:
        with self._hidden_states_if_enough():
            return super().test_step(*args)

    @contextlib.contextmanager
    def _hidden_states_if_enough(self) -> Iterator[None]:
        """Lets `call` stop before the output layer where only our own loss reads it."""
        self._calls_give_hidden = self._has_own_loss and self._compile_metrics is None
        try:
            yield
        finally:
            self._calls_give_hidden = False

    @property
    def _has_own_loss(self) -> bool:
        return isinstance(self.loss, NextTokenLoss)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        if not self._has_own_loss:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        weights = _token_weights(y, sample_weight)
        total = ops.maximum(ops.sum(weights), 1e-9)
        if not self._calls_give_hidden:
            nats = self.loss.call(y, y_pred)
            loss = ops.sum(weights * nats) / total
        elif training:
            loss, nats = self.model.hidden_cross_entropy(y_pred, y, weights / total)
        else:
            nats = -self.model.hidden_log_probs(y_pred, y)
            loss = ops.sum(weights * nats) / total
        self._exact_loss.update_nats(nats, weights)
        self._perplexity.update_nats(nats, weights)
        if self._bits_per_byte is not None:
            self._bits_per_byte.update_nats(nats, weights, self._num_bytes(x, y, weights))
        for extra in self.losses:
            loss = loss + ops.sum(ops.cast(extra, "float32"))
        return scaled_for_replicas(loss)

    def _num_bytes(self, x: Any, y: Any, weights: Any) -> Any:
        """The bytes of the texts in each row [B]; of bare ids, the bytes their tokens spell."""
        if isinstance(x, dict) and "num_bytes" in x:
            return x["num_bytes"]
        lengths = ops.take(ops.convert_to_tensor(self.tokenizer.byte_lengths), y)
        return ops.sum(ops.where(weights > 0, lengths, 0), axis=-1)

    @property
    def metrics(self) -> list[Any]:
        """Keras's metrics; perplexity and bits per byte only where our own loss counts them."""
        own = (self._exact_loss, self._perplexity, self._bits_per_byte)
        keep = self.compiled and self._has_own_loss
        return [m for m in super().metrics if keep or not any(m is metric for metric in own)]

    # ---- strings in, strings out

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
    ) -> Any:
        """Continues a text.

        Args:
            text: a prompt, or a list of prompts.
            max_new_tokens: tokens to generate at most; fewer where the model ends its text.
                Default: 64, or as many as the model has room for.
            temperature: 0 is greedy; 1 samples from the model's distribution.
            top_k: sample among the k most likely tokens; None or 0: all.
            top_p: sample among the most likely tokens that reach this probability; None: all.
            num_return_sequences: continuations of each prompt.
            seed: of the sampling; the same seed gives the same text.
            stop: a continuation ends before the first of these strings.
            return_prompt: give the prompt and its continuation; False: the continuation alone.

        Returns:
            A string for a string, a list for a list; with `num_return_sequences` above 1 a list
            of strings for each prompt.

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
        if isinstance(stop, str) or not all(isinstance(s, str) and s for s in stop):
            raise ValueError(f"stop must be a list of non-empty strings; got {stop!r}")
        functions = self.text_functions
        longest = int(tf.reduce_max(functions.prompts(tf.constant(texts)).row_lengths()))
        check_length(longest, wanted, self.model.config.max_length)
        arguments = {
            "max_new_tokens": -1 if max_new_tokens is None else max_new_tokens,
            "temperature": float(temperature),
            "top_k": top_k or 0,
            "top_p": 1.0 if top_p is None else float(top_p),
            "num_return_sequences": num_return_sequences,
            "seed": seed,
            "stop": tf.constant(list(stop), tf.string, shape=[len(stop)]),
            "return_prompt": return_prompt,
        }
        results = functions.generate(tf.constant(texts), **arguments)["text"].numpy()
        decoded = [[value.decode("utf-8") for value in row] for row in results]
        answers = decoded if num_return_sequences > 1 else [row[0] for row in decoded]
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

    @property
    def text_functions(self) -> TextFunctions:
        """The graph functions from strings to strings, which `export` writes."""
        tokenizer = self.require_tokenizer("working on texts")
        if self._text_functions is None or self._text_functions.is_stale():
            self._text_functions = TextFunctions(self.model, tokenizer, self.sequence_length)
        return self._text_functions

    def export(self, directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Writes a SavedModel that takes and gives strings, with TensorFlow alone.

        Signatures: `serving_default` (`text` → `text`, greedy, `DEFAULT_NEW_TOKENS` at most),
        `generate` (text and every sampling parameter), `score` (`text` → `score`). The restored
        object has the methods `generate` and `score` as well, with default arguments.

        Args:
            directory: where; an earlier SavedModel there is replaced as a whole.

        Raises:
            ValueError: the backend is not TensorFlow, or `directory` is something else.
        """
        if kwargs:
            raise ValueError(f"export takes a directory alone; got {', '.join(kwargs)}")
        if keras.backend.backend() != "tensorflow":
            raise ValueError("export needs the TensorFlow backend; set KERAS_BACKEND=tensorflow")
        functions = TextFunctions(
            self.model, self.require_tokenizer("export"), self.sequence_length
        )
        export_functions(directory, functions, functions.signatures())


def _token_weights(targets: Any, sample_weight: Any) -> Any:
    """Weights float32 [B, T]; Keras gives those of rows as [B]."""
    weights = ops.ones(ops.shape(targets), "float32")
    if sample_weight is None:
        return weights
    given = ops.cast(sample_weight, "float32")
    return weights * (given[:, None] if len(given.shape) == 1 else given)


def _checked_texts(name: str, text: Any) -> list[str]:
    texts = [text] if isinstance(text, str) else list(text)
    if not texts:
        raise ValueError(f"{name} is an empty list; give at least one string")
    for row, value in enumerate(texts):
        if not isinstance(value, str):
            raise ValueError(f"{name}[{row}] must be a string; got {type(value).__name__}")
    return texts
