"""The task of masked language models: say what stood behind a mask, from both sides."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_lm import data
from keras_lm.checkpoints import Pretrained
from keras_lm.layers.masked_lm_head import MaskedLMHead
from keras_lm.layers.output import linear_cross_entropy
from keras_lm.metrics import CrossEntropy, Perplexity
from keras_lm.models import Encoder
from keras_lm.tasks.base import Task
from keras_lm.tasks.mask_functions import MaskFunctions
from keras_lm.tasks.masked_batches import MaskedTexts
from keras_lm.tasks.reading import check_texts, rows_of
from keras_lm.tasks.text_batches import streams_end_quietly
from keras_lm.tokenizers import Tokenizer
from keras_lm.training import MaskedTokenLoss, default_optimizer
from keras_lm.training.losses import scaled_for_replicas


@keras.saving.register_keras_serializable("keras_lm")
class MaskedLM(Task):
    """BERT's pretraining: an encoder that is to tell masked tokens, and what follows a text.

        hidden states [B, T, D] at masked positions → transform → token embeddingsᵀ → [B, M, V]
        first token's state → pooler → does the second text follow the first? [B, 2]

    Args:
        model: an `Encoder`.
        tokenizer: its tokenizer, with a mask token; None for work on ids alone.
        next_sentence: whether to learn from pairs of passages too which follow each other
            (BERT's next-sentence prediction); the encoder needs a pooler.
        mask_rate: the share of tokens to predict.
        whole_words: mask all tokens of a word or none.
        sequence_length: T, the tokens of a window; default: the model's `max_length`.

    Example:

    >>> import keras_lm as klm
    >>> texts = ["one two three four five six seven eight"] * 40
    >>> tok = klm.tokenizers.WordPieceTokenizer.train(texts=texts, vocab_size=56)
    >>> config = klm.EncoderConfig(vocab_size=tok.vocab_size, num_layers=1, hidden_dim=32,
    ...                            num_heads=2, max_length=16, dropout=0.0)
    >>> mlm = MaskedLM(klm.models.Encoder(config), tok)
    >>> mlm.compile(klm.training.default_optimizer(1e-2))
    >>> history = mlm.fit(texts, batch_size=4, epochs=8, verbose=0)
    >>> sorted(history.history)
    ['loss', 'masked_accuracy', 'perplexity']
    >>> mlm.fill_mask("one two [MASK] four five six seven eight", top_k=1)[0]["text"]
    'one two three four five six seven eight'
    """

    SETTINGS = (*Task.SETTINGS, "next_sentence", "mask_rate", "whole_words")
    model_class = Encoder
    own_loss = MaskedTokenLoss

    def __init__(
        self,
        model: Encoder,
        tokenizer: Tokenizer | None = None,
        next_sentence: bool = False,
        mask_rate: float = 0.15,
        whole_words: bool = False,
        sequence_length: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, tokenizer, sequence_length, **kwargs)
        if next_sentence and model.config.pooler is None:
            raise ValueError("next_sentence needs a pooler; make EncoderConfig(pooler='tanh')")
        if tokenizer is not None and tokenizer.mask_id is None:
            raise ValueError("tokenizer has no mask_token; train or load one that has, as [MASK]")
        self.next_sentence, self.mask_rate = next_sentence, mask_rate
        self.whole_words = whole_words
        self.head = MaskedLMHead(model.config, dtype=model.dtype_policy, name="head")
        self.head.build((None, None, model.config.hidden_dim))
        if next_sentence:
            self.next_sentence_head = keras.layers.Dense(
                2,
                kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
                dtype=model.dtype_policy,
                name="next_sentence",
            )
            self.next_sentence_head.build((None, model.config.hidden_dim))
            self._next_accuracy = keras.metrics.SparseCategoricalAccuracy("next_sentence_accuracy")
        self._exact_loss = CrossEntropy(name="loss")
        self._perplexity = Perplexity()
        self._accuracy = keras.metrics.Mean("masked_accuracy")

    @property
    def head_kind(self) -> str | None:
        return "pretraining" if self.next_sentence else "masked_lm"

    @classmethod
    def wants_pooler(cls, settings: Mapping[str, Any]) -> bool | None:
        return bool(settings.get("next_sentence"))

    @classmethod
    def saved_settings(cls, files: Pretrained) -> dict[str, Any]:
        found = super().saved_settings(files)
        if "next_sentence" not in found and files.has_head("pretraining", cls.__name__):
            found["next_sentence"] = True
        return found

    def finds_its_head(self, files: Pretrained) -> bool:
        found = super().finds_its_head(files)
        if not found:
            warnings.warn(
                f"{str(files.path)!r} holds an encoder alone: the head that tells masked tokens "
                "starts afresh, and knows nothing before it is trained",
                stacklevel=3,
            )
        return found

    @property
    def unread_variables(self) -> list[keras.Variable]:
        return [] if self.next_sentence else self.model.output_variables

    def compile(
        self, optimizer: Any = "auto", loss: Any = "auto", metrics: Any = None, **kwargs: Any
    ) -> None:
        """Keras's `compile`.

        Args:
            optimizer: default: `keras_lm.training.default_optimizer()`, AdamW.
            loss: default: `keras_lm.training.MaskedTokenLoss()`, with perplexity and accuracy as
                metrics. Any other loss sees the logits.
            metrics: see the logits too, which then are computed.
            **kwargs: as in Keras.
        """
        super().compile(
            optimizer=default_optimizer() if optimizer == "auto" else optimizer,
            loss=MaskedTokenLoss() if loss == "auto" else loss,
            metrics=metrics,
            **kwargs,
        )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Logits float32 [B, M, V] at `masked_positions` [B, M]; without such, [B, T, V] of all.

        With `next_sentence` a dict of them as `masked_tokens` and of `label`, logits [B, 2] of
        "follows" and "does not follow".
        """
        inputs = inputs if isinstance(inputs, dict) else {"token_ids": inputs}
        hidden = self.model.hidden_states(inputs, training=training)
        read = hidden
        if (positions := inputs.get("masked_positions")) is not None:
            read = ops.take_along_axis(hidden, positions[:, :, None], axis=1)
        tokens = self.head(read)
        if not self._stops_before_logits:
            tokens = self.head.logits(tokens, self.model.token_embedding.embeddings)
        if not self.next_sentence:
            return tokens
        follows = self.next_sentence_head(self.model.pooled(hidden))
        return {"masked_tokens": tokens, "label": ops.cast(follows, "float32")}

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
        if not self.next_sentence:
            y, y_pred = {"masked_tokens": y}, {"masked_tokens": y_pred}
            sample_weight = {"masked_tokens": sample_weight}
        targets, weights = y["masked_tokens"], (sample_weight or {}).get("masked_tokens")
        weights = ops.ones_like(targets) if weights is None else weights
        weights = ops.cast(weights, "float32")
        loss, nats, hits = self._masked_loss(y_pred["masked_tokens"], targets, weights)
        self._exact_loss.update_nats(nats, weights)
        self._perplexity.update_nats(nats, weights)
        self._accuracy.update_state(hits, weights)
        if self.next_sentence:
            rows = ops.cast(sample_weight["label"], "float32")
            loss = loss + self._next_loss(y["label"], y_pred["label"], rows)
        for extra in self.losses:
            loss = loss + ops.sum(ops.cast(extra, "float32"))
        return scaled_for_replicas(loss)

    def _masked_loss(self, tokens: Any, targets: Any, weights: Any) -> tuple[Any, Any, Any]:
        """Mean nats, the nats and the hits float32 [B, M]."""
        shares = weights / ops.maximum(ops.sum(weights), 1e-9)
        if self._stops_before_logits:
            kernel = self.head.output_kernel(self.model.token_embedding.embeddings)
            return linear_cross_entropy(tokens, kernel, targets, shares, self.head.bias)
        nats = self.loss.call(targets, tokens)
        hits = ops.cast(ops.argmax(tokens, axis=-1), "int32") == ops.cast(targets, "int32")
        return ops.sum(shares * nats), nats, ops.cast(hits, "float32")

    def _next_loss(self, follows: Any, logits: Any, weights: Any) -> Any:
        # BERT's first class is "follows", and so is ours: its weights can be read and written.
        targets = 1 - ops.cast(follows, "int32")
        self._next_accuracy.update_state(targets, logits, weights)
        nats = ops.sparse_categorical_crossentropy(targets, logits, from_logits=True)
        return ops.sum(weights * nats) / ops.maximum(ops.sum(weights), 1e-9)

    @property
    def metrics(self) -> list[Any]:
        """Keras's metrics; our own only where our own loss counts them."""
        found = super().metrics
        own: list[Any] = [self._exact_loss, self._perplexity, self._accuracy]
        if self.next_sentence:  # whose loss is more than that of the tokens
            found = [metric for metric in found if metric is not self._exact_loss]
            own.append(self._next_accuracy)
        keep = self.compiled and self._has_own_loss
        return [m for m in found if keep or not any(m is metric for metric in own)]

    def fit(
        self,
        x: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_data: Any = None,
        shuffle: bool = True,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_batch_size: int | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Keras's `fit`, on texts; which tokens are masked follows from (seed, epoch, batch).

        Without `next_sentence` every text is a document, packed with others into windows of
        `sequence_length` tokens in which documents do not see each other. With it, texts are cut
        into sentences, and passages of sentences make pairs, afresh in every epoch.

        Args:
            x: a list of strings, a `TokenStore`, a tf.data set of strings; with `next_sentence`
                a list of documents, each a string or a list of its sentences. Or batches as
                `call` reads them, with targets and weights.
            batch_size: B, windows in a batch; default 32.
            validation_data: of the same kinds as x.
            shuffle: gives every epoch an order of its own.
            seed: of order and masks.
            **kwargs: as in Keras.

        Raises:
            ValueError: no texts, items that are not strings, or there is no tokenizer.
        """
        if not self.compiled:
            self.compile()
        batch_size = batch_size or 32
        if validation_data is not None:
            many = validation_batch_size or batch_size
            validation_data = self._texts(validation_data, many).once()
        texts = self._texts(x, batch_size, progress=bool(verbose))
        batches, steps = texts.endless(shuffle, seed, initial_epoch, steps_per_epoch)
        with streams_end_quietly(), self._training():
            return super().fit(
                batches,
                epochs=epochs,
                verbose=verbose,
                callbacks=callbacks,
                validation_data=validation_data,
                shuffle=False,
                initial_epoch=initial_epoch,
                steps_per_epoch=steps,
                **kwargs,
            )

    def evaluate(
        self,
        x: Any = None,
        batch_size: int | None = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Keras's `evaluate`, on texts: loss (nats per masked token), perplexity, accuracy.

        The same tokens are masked at every call.

        Args:
            x: of the same kinds as in `fit`.
            batch_size: default 32.
            return_dict: a dict of the figures by name; default: a list, the loss first.
            **kwargs: as in Keras.
        """
        if not self.compiled:
            self.compile()
        with streams_end_quietly():
            batches = self._texts(x, batch_size or 32).once()
            results = super().evaluate(batches, return_dict=True, **kwargs)
        return results if return_dict else [results.pop("loss"), *results.values()]

    def _texts(self, x: Any, batch_size: int, progress: bool = False) -> MaskedTexts:
        objective = None
        if self.tokenizer is not None:
            objective = data.MaskedLM.for_tokenizer(
                self.tokenizer, self.mask_rate, self.whole_words
            )
        return MaskedTexts(
            x,
            self.tokenizer,
            objective,
            self.sequence_length,
            batch_size,
            self.next_sentence,
            progress,
        )

    def fill_mask(self, text: str | Sequence[str], top_k: int = 5) -> Any:
        """Says what may stand where a text has the mask token, such as `[MASK]`.

        Args:
            text: a string with one mask or more, or a list of such.
            top_k: how many tokens to give.

        Returns:
            For a text with one mask a list of `top_k` dicts: `token`; `score`, its probability;
            `text`, the text with the token in the mask's place. For several masks a list of such
            lists, in which the other masks stay. For a list of texts a list of these.

        Raises:
            ValueError: a text has no mask or is too long, or `top_k` is not from 1 to V.
        """
        texts = check_texts("text", text)
        functions = self.text_functions
        if not isinstance(top_k, int) or not 0 < top_k <= self.model.config.vocab_size:
            raise ValueError(f"top_k must be from 1 to {self.model.config.vocab_size}; got {top_k}")
        for row, value in enumerate(texts):
            if functions.mask_token not in value:
                raise ValueError(f"text[{row}] has no {functions.mask_token}: {value!r:.80}")
        rows = rows_of(lambda part: functions.fill_mask(part, tf.constant(top_k)), texts)
        answers = [
            functions.python_answer(value, row) for value, row in zip(texts, rows, strict=True)
        ]
        return answers[0] if isinstance(text, str) else answers

    def score(self, text: str | Sequence[str]) -> Any:
        """Pseudo-log-likelihood of each text, in nats: the sum of ln p of every token, told from
        all others (Salazar et al. 2020, https://arxiv.org/abs/1910.14659).

        A text longer than `sequence_length` is read in windows that overlap by half.

        Args:
            text: a string, or a list.

        Returns:
            A float for a string, a list of floats for a list.
        """
        rows = rows_of(self.text_functions.score, check_texts("text", text))
        scores = [float(row["score"]) for row in rows]
        return scores[0] if isinstance(text, str) else scores

    def make_functions(self) -> MaskFunctions:
        tokenizer = self.require_tokenizer("filling masks")
        return MaskFunctions(self, self.model, self.head, tokenizer, self.sequence_length)
