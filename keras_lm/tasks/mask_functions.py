"""Masked texts to answers as graph functions: what Python calls is what is served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_lm.data import overlapping_windows
from keras_lm.generation.compiled import compiled
from keras_lm.layers.masked_lm_head import MaskedLMHead
from keras_lm.models import Encoder
from keras_lm.tasks.in_graph import in_graph
from keras_lm.tasks.reading import INPUTS, TEXT, Reader, dense
from keras_lm.tokenizers import Tokenizer

SCORED_ROWS = 32
"""Texts with one token masked that `score` gives to the model at once."""

_TOP_K = 5


class MaskFunctions(tf.Module):
    """`fill_mask` and `score` on string tensors.

    Args:
        owner: the task, on which the compiled functions are kept.
        model: the encoder.
        head: its output layer.
        tokenizer: its tokenizer, with a mask token.
        window: T, the longest stretch that is read at once.
    """

    def __init__(
        self,
        owner: keras.Model,
        model: Encoder,
        head: MaskedLMHead,
        tokenizer: Tokenizer,
        window: int,
    ) -> None:
        super().__init__()
        self.parts = [model, head]
        self.tokenizer, self.reader = tokenizer, Reader(tokenizer, window)
        self._window, self._mask_id = window, tokenizer.mask_id
        self.mask_token = tokenizer.special_tokens["mask_token"]
        with tf.init_scope():
            every = tf.range(tokenizer.vocab_size)[:, tf.newaxis]
            self._spellings = tf.strings.strip(tokenizer.detokenize(every))

        def log_probs(
            token_ids: Any, token_types: Any, padding_mask: Any, masked_positions: Any
        ) -> Any:
            hidden = model.hidden_states(
                {"token_ids": token_ids, "token_types": token_types, "padding_mask": padding_mask},
                training=False,
            )
            read = ops.take_along_axis(hidden, masked_positions[:, :, None], axis=1)
            logits = head.logits(head(read), model.token_embedding.embeddings)
            return ops.log_softmax(logits[..., : tokenizer.vocab_size])

        positions = tf.TensorSpec([None, None], tf.int32, "masked_positions")
        outputs = tf.TensorSpec([None, None, tokenizer.vocab_size], tf.float32)
        function = compiled(owner, "log_probs", log_probs, jit_compile=False)
        self._log_probs = in_graph(function, (*INPUTS, positions), outputs)

    @tf.function(input_signature=[TEXT, tf.TensorSpec([], tf.int32, "top_k")], autograph=False)
    def fill_mask(
        self, text: tf.Tensor, top_k: tf.Tensor = tf.constant(_TOP_K)
    ) -> dict[str, tf.Tensor]:
        """Texts [B] → `tokens` and `scores` [B, M, top_k] for each mask, `text` [B] filled.

        Where a text has fewer than M masks, tokens are "" and scores 0; M is 1 at least.
        """
        inputs, _ = self.reader(text)
        is_mask = tf.equal(inputs[0], self._mask_id)
        places = tf.ragged.boolean_mask(
            tf.broadcast_to(tf.range(tf.shape(is_mask)[1]), tf.shape(is_mask)), is_mask
        )
        positions = dense(places)
        real = tf.sequence_mask(places.row_lengths(), tf.shape(positions)[1])[:, :, tf.newaxis]
        scores, ids = tf.math.top_k(tf.exp(self._log_probs(*inputs, positions)), top_k)
        tokens = tf.where(real, tf.gather(self._spellings, ids), "")
        return {
            "tokens": tokens,
            "scores": tf.where(real, scores, 0.0),
            "text": self._filled(text, tokens[:, :, 0], places.row_lengths()),
        }

    def _filled(self, text: tf.Tensor, tokens: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        """Texts with the tokens [B, M] in the places of their masks; those cut off stay."""
        pieces = tf.strings.split(text, self.mask_token)
        parts = pieces.to_tensor("")
        missing = tf.maximum(tf.shape(parts)[1] - tf.shape(tokens)[1], 0)
        between = tf.pad(tokens, [[0, 0], [0, missing]], constant_values="")
        between = between[:, : tf.shape(parts)[1]]
        place = tf.range(tf.shape(parts)[1], dtype=tf.int64)[tf.newaxis]
        is_end = place >= pieces.row_lengths()[:, tf.newaxis] - 1
        is_lost = tf.logical_and(place >= counts[:, tf.newaxis], tf.logical_not(is_end))
        between = tf.where(is_lost, self.mask_token, tf.where(is_end, "", between))
        return tf.strings.reduce_join(parts + between, axis=1)

    @tf.function(input_signature=[TEXT], autograph=False)
    def score(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Texts [B] → {"score": pseudo-log-likelihood float32 [B], in nats}."""
        ids: Any = self.tokenizer(text)
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        document, start, counted_from = overlapping_windows(
            tf.maximum(lengths, 1), self._window - 2
        )
        count = tf.minimum(tf.gather(lengths, document) - start, self._window - 2)
        rows = self._rows(tf.ragged.range(start, start + count), ids, document)
        # One item for each token that a window counts: its window, and its place in the row.
        items = tf.ragged.range(counted_from + 1, tf.maximum(count, counted_from) + 1)
        window, place = tf.cast(items.value_rowids(), tf.int32), items.flat_values
        log_probs = self._masked_one_by_one(rows, window, place)
        item_document = tf.gather(document, window)
        return {"score": tf.math.unsorted_segment_sum(log_probs, item_document, tf.size(lengths))}

    def _rows(
        self, places: tf.RaggedTensor, ids: tf.RaggedTensor, document: tf.Tensor
    ) -> tf.RaggedTensor:
        """The windows' ids, between CLS and SEP."""
        first = tf.gather(tf.cast(ids.row_starts(), tf.int32), document)
        flat = tf.gather(first, places.value_rowids()) + places.flat_values
        cut = places.with_values(tf.gather(ids.flat_values, flat))
        column = tf.ones([tf.size(document), 1], tf.int32)
        ends = self.reader.ends
        return tf.concat([column * ends[0], cut, column * ends[1]], axis=1)

    def _masked_one_by_one(
        self, rows: tf.RaggedTensor, window: tf.Tensor, place: tf.Tensor
    ) -> tf.Tensor:
        """ln p of the token at each place of its window, which the model reads masked there."""
        dense = rows.to_tensor(0)
        mask = tf.sequence_mask(rows.row_lengths(), tf.shape(dense)[1], tf.int32)
        count = tf.size(place)
        chunks = (count + SCORED_ROWS - 1) // SCORED_ROWS

        def chunk(number: tf.Tensor) -> tf.Tensor:
            item = tf.minimum(number * SCORED_ROWS + tf.range(SCORED_ROWS), count - 1)
            here, chosen = tf.gather(window, item), tf.gather(place, item)[:, tf.newaxis]
            ids = tf.gather(dense, here)
            masked = tf.where(tf.range(tf.shape(ids)[1]) == chosen, self._mask_id, ids)
            inputs = masked, tf.zeros_like(masked), tf.gather(mask, here)
            log_probs = self._log_probs(*inputs, chosen)[:, 0]
            target = tf.gather(ids, chosen, batch_dims=1)
            return tf.gather(log_probs, target, batch_dims=1)[:, 0]

        signature = tf.TensorSpec([SCORED_ROWS], tf.float32)
        log_probs = tf.map_fn(chunk, tf.range(chunks), fn_output_signature=signature)
        return tf.reshape(log_probs, [-1])[:count]

    def python_answer(self, text: str, row: Mapping[str, Any]) -> list[Any]:
        """What `MaskedLM.fill_mask` gives for a text."""
        pieces = text.split(self.mask_token)
        masks = []
        for place in range(len(pieces) - 1):
            if place >= len(row["tokens"]) or row["scores"][place][0] == 0:
                raise ValueError(
                    f"text is longer than sequence_length={self._window}: its mask number "
                    f"{place + 1} is cut off; shorten {text!r:.60}"
                )
            before = self.mask_token.join(pieces[: place + 1])
            after = self.mask_token.join(pieces[place + 1 :])
            masks.append(
                [
                    {
                        "token": token.decode(),
                        "score": float(score),
                        "text": before + token.decode() + after,
                    }
                    for token, score in zip(row["tokens"][place], row["scores"][place], strict=True)
                ]
            )
        return masks[0] if len(masks) == 1 else masks

    def signatures(self) -> dict[str, Any]:
        """What a server calls."""

        @tf.function(input_signature=[TEXT], autograph=False)
        def serving_default(text: tf.Tensor) -> dict[str, tf.Tensor]:
            return self.fill_mask(text)

        return {
            "serving_default": serving_default,
            "fill_mask": self.fill_mask,
            "score": self.score,
        }
