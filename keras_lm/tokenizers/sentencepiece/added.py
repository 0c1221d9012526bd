"""Tokens that stand beside a SentencePiece model: found in the text before it is cut."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from keras_lm.tokenizers.rules import AddedToken, added_tokens
from keras_lm.tokenizers.sentencepiece.encoding import Encoder
from keras_lm.tokenizers.sentencepiece.model import ModelProto
from keras_lm.tokenizers.sentencepiece.stretches import in_order
from keras_lm.tokenizers.tensors import checked_utf8

BREAK = b"\xff"  # a byte that no UTF-8 text holds
MOST_ADDED = 2**20
"""Tokens beyond a model's own; a table is made for all of them."""


def added_tokens_of(settings: Mapping[str, Any], model: ModelProto) -> list[AddedToken]:
    """The tokens whose ids follow the model's, as `tokenizer_config.json` gives them.

    Raises:
        ValueError: one has the id of another piece, or a rule that cannot be followed exactly.
    """
    size = len(model.pieces)
    entries = []
    decoder = settings.get("added_tokens_decoder") or _sentinels(settings, size)
    for number, entry in sorted(decoder.items(), key=lambda item: int(item[0])):
        i, content = int(number), entry["content"]
        if not 0 <= i < size + MOST_ADDED:
            raise ValueError(f"added_tokens_decoder gives {content!r} the id {i}, out of all range")
        if i >= size:
            entries.append({**entry, "id": i})
        elif content != model.pieces[i].piece:
            raise ValueError(
                f"added_tokens_decoder gives {content!r} the id {i}, which is "
                f"{model.pieces[i].piece!r} in the SentencePiece model"
            )
    pieces = {piece.piece for piece in model.pieces}
    for entry in entries:
        if entry["content"] in pieces:
            raise ValueError(
                f"added_tokens_decoder gives {entry['content']!r} the id {entry['id']}, yet it is "
                "a piece of the SentencePiece model"
            )
    tokens = added_tokens(entries)
    if not model.normalizer_spec.remove_extra_whitespaces:
        for token in tokens:
            if token.lstrip or token.rstrip:
                raise ValueError(
                    f"added token {token.content!r}: lstrip and rstrip are not supported where "
                    "the SentencePiece model keeps white space"
                )
    return tokens


def _sentinels(settings: Mapping[str, Any], size: int) -> dict[str, dict[str, Any]]:
    """T5's sentinels, which count backwards from the end, where the settings only number them."""
    count = settings.get("extra_ids", 0)
    if type(count) is not int or not 0 <= count <= MOST_ADDED:
        raise ValueError(f"extra_ids={count!r} must be a whole number from 0 to {MOST_ADDED}")
    return {
        str(size + count - 1 - n): {"content": f"<extra_id_{n}>", "special": True}
        for n in range(count)
    }


class AddedTokens(tf.Module):
    """Finds tokens in texts, and has the stretches between them encoded.

    The leftmost token is taken, then the longest.

    Args:
        tokens: what is looked for.
        encoder: gives the ids of a stretch.
        later: gives those of a stretch that does not begin its text; default: the same.
    """

    def __init__(
        self, tokens: Sequence[AddedToken], encoder: Encoder, later: Encoder | None = None
    ) -> None:
        super().__init__(name=None)
        self._first, self._later = encoder, later
        longest_first = sorted(tokens, key=lambda token: -len(token.content.encode()))
        self._pattern = "|".join(re.escape(token.content) for token in longest_first)
        with tf.init_scope(), tf.device("CPU:0"):
            self._ids = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    tf.constant([token.content for token in tokens], tf.string),
                    tf.constant([token.id for token in tokens], tf.int64),
                ),
                -1,
            )

    def ids(self, texts: tf.Tensor) -> tf.RaggedTensor:
        stretches = self._split(texts)
        added = self._ids.lookup(stretches.values)
        encoded = [
            (places, encoder.ids(tf.gather(stretches.values, places)))
            for encoder, places in self._shared_out(stretches, added)
        ]
        return in_order(stretches, added, encoded)[0]

    def ids_and_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        stretches = self._split(texts)
        added = self._ids.lookup(stretches.values)
        size = tf.strings.length(stretches.values)
        spans = [tf.stack([tf.zeros_like(size), size], axis=1)]
        encoded = []
        for encoder, places in self._shared_out(stretches, added):
            ids, inside = encoder.ids_and_spans(tf.gather(stretches.values, places))
            encoded.append((places, ids))
            spans.append(inside)
        ids, order, stretch = in_order(stretches, added, encoded)
        before = tf.cumsum(tf.concat([[0], size], 0))
        begins = before[:-1] - tf.gather(
            tf.gather(before, stretches.row_starts()), stretches.value_rowids()
        )
        moved = tf.gather(begins, stretch)[:, tf.newaxis]
        return ids, tf.gather(tf.concat(spans, 0), order) + moved

    def _split(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Stretches [B, None] of texts [B]: tokens and what stands between them."""
        texts = tf.strings.regex_replace(checked_utf8(texts), self._pattern, BREAK + rb"\0" + BREAK)
        # The older op can leave out the empty stretches.
        indices, stretches, shape = tf.raw_ops.StringSplit(
            input=texts, delimiter=BREAK, skip_empty=True
        )
        return tf.RaggedTensor.from_value_rowids(stretches, indices[:, 0], shape[0], validate=False)

    def _shared_out(
        self, stretches: tf.RaggedTensor, added: tf.Tensor
    ) -> list[tuple[Encoder, tf.Tensor]]:
        """Which encoder takes which stretches."""
        is_text = added < 0
        if self._later is None:
            return [(self._first, tf.where(is_text)[:, 0])]
        row = stretches.value_rowids()
        begins = tf.range(tf.size(added, tf.int64)) == tf.gather(stretches.row_starts(), row)
        return [
            (self._first, tf.where(is_text & begins)[:, 0]),
            (self._later, tf.where(is_text & ~begins)[:, 0]),
        ]
