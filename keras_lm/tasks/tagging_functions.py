"""From texts to tagged spans as graph functions: what Python calls is served."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_lm.data.examples.tokenizing import cls_and_sep
from keras_lm.metrics.entities import are_entity_tags, entity_tables
from keras_lm.tasks.reading import TEXT, dense
from keras_lm.tokenizers import Tokenizer
from keras_lm.tokenizers.spans import character_spans

WINDOWS_AT_ONCE = 32
"""Windows that the model reads at once."""

_WORDS = tf.TensorSpec([None, None], tf.string, "words")

# What a word is in a raw text, in the syntax of RE2. The first that fits is taken.
_LETTER = r"(?:[^\P{L}\p{Han}]|[\p{M}\p{N}_])"
_WORD = "|".join(
    (
        r"\p{Han}\p{M}*",
        r"['’](?:[sSdDmMtT]|re|RE|ve|VE|ll|LL)\b",  # Ada's → Ada 's
        r"[0-9]+(?:[.,][0-9]+)+\b",
        r"(?:\p{L}\.){2,}(?:\p{L}\b)?",  # U.S. and U.S.A
        # e-mail, AT&T, 24/7, http://…, @name, #topic, O'Brien
        rf"[@#]?{_LETTER}+(?:(?:://|[-.&/@:+]|['’]\p{{Lu}}){_LETTER}+)*",
        r"\.{2,}|-{2,}|[!?]+",
        r"[^\s\p{Z}]\p{M}*",
    )
)
_CHARACTER = r"[^\s\p{Z}]\p{M}*"
_BREAK = b"\xff"  # a byte that no UTF-8 text holds


class Words(NamedTuple):
    """The words of B texts, and where they stand in them.

    Args:
        text: strings [B].
        words: ragged strings [B, None].
        begin: int32 [W], where each of all words begins in its text, in bytes.
    """

    text: tf.Tensor
    words: tf.RaggedTensor
    begin: tf.Tensor


class TaggedTokens(NamedTuple):
    """The tokens that are tagged, the first of each word that has one; n of them.

    Args:
        token: int64 [n], the number of each among all tokens.
        row: int64 [n], its text.
        begin: int32 [n], where its word begins in its text, in bytes.
        end: int32 [n], where that ends.
    """

    token: tf.Tensor
    row: tf.Tensor
    begin: tf.Tensor
    end: tf.Tensor


class TaggingFunctions(tf.Module):
    """`tag` and `tag_words` on string tensors.

    Words are joined and tokenized as for training, and the first token of each is tagged. Texts
    that are too long are read in windows that overlap by half; each token is tagged by the window
    in which it has the more context, and the tags of a whole text are decoded as one chain.

    Args:
        emissions: `token_ids`, `token_types` and `padding_mask`, int32 [W, T] → float32 [W, T, C].
        decode: emissions [B, K, C] and a mask int32 [B, K] → tags int32 [B, K], and the
            probability of each, float32 [B, K].
        parts: what holds the variables of the two.
        tokenizer: the tokenizer.
        labels: C names.
        separator: what stands between words; with `""`, characters of a raw text are its words.
        max_length: T, the most tokens of a window.
    """

    def __init__(
        self,
        emissions: Callable[..., tf.Tensor],
        decode: Callable[..., tuple[tf.Tensor, tf.Tensor]],
        parts: Sequence[Any],
        tokenizer: Tokenizer,
        labels: Sequence[str],
        separator: str,
        max_length: int,
    ) -> None:
        super().__init__()
        self.parts = list(parts)
        self.tokenizer = tokenizer
        self._emissions, self._decode = emissions, decode
        self._separator, self._room = separator, max_length - 2
        self._ends = cls_and_sep(tokenizer)
        size = len(labels) + 1
        if are_entity_tags(labels):
            self._begins, self._finishes, kinds = entity_tables(labels)
        else:  # every word is a span
            self._begins = np.ones([size, size], bool)
            self._begins[:, -1] = False
            self._finishes, kinds = self._begins.T, (*labels, "")
        self._kinds = tuple(kinds)

    @tf.function(input_signature=[TEXT], autograph=False)
    def tag(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Texts [B] → spans [B, S] in order, and how many each text has.

        Returns:
            `count`, int32 [B]; `text` and `label`, strings [B, S]; `start` and `end`, int32, in
            characters, half-open; `start_byte` and `end_byte`, the same in bytes of the UTF-8
            text; `score`, float32, the mean probability of the tags of a span's words. What is
            beyond a text's count is empty.
        """
        pieces = tf.strings.split(
            tf.strings.regex_replace(
                text, _WORD if self._separator else _CHARACTER, _BREAK + rb"\0" + _BREAK
            ),
            _BREAK,
        )
        size = tf.strings.length(pieces)
        begin = tf.cumsum(size.to_tensor(), axis=1, exclusive=True)
        begin = tf.RaggedTensor.from_tensor(begin, lengths=pieces.row_lengths())
        is_word = ~tf.strings.regex_full_match(pieces.flat_values, r"[\s\p{Z}]*")
        is_word = pieces.with_values(is_word)
        words = tf.ragged.boolean_mask(pieces, is_word)
        return self._spans(Words(text, words, tf.ragged.boolean_mask(begin, is_word).flat_values))

    @tf.function(input_signature=[_WORDS], autograph=False)
    def tag_words(self, words: tf.Tensor) -> dict[str, tf.Tensor]:
        """Words [B, W], with `""` after a text's last → spans of the words joined; see `tag`."""
        split = tf.ragged.boolean_mask(words, words != "")
        return self._spans(Words(self._joined(split), split, self._places(split)))

    def _joined(self, words: tf.RaggedTensor) -> tf.Tensor:
        return tf.strings.reduce_join(words, axis=1, separator=self._separator)

    def _places(self, words: tf.RaggedTensor) -> tf.Tensor:
        """Where each word begins in the words of its text joined, in bytes, int32 [W]."""
        size = tf.strings.length(words.flat_values) + len(self._separator.encode())
        before = tf.cumsum(size, exclusive=True)
        sums = tf.concat([before, [tf.reduce_sum(size)]], axis=0)
        return before - tf.gather(sums, tf.repeat(words.row_starts(), words.row_lengths()))

    def _spans(self, words: Words) -> dict[str, tf.Tensor]:
        ids, spans = self.tokenizer(self._joined(words.words), return_offsets=True)
        tagged = self._tagged_tokens(words, ids, spans.flat_values)
        emissions = tf.gather(self._of_tokens(ids), tagged.token)
        count = tf.shape(words.text, tf.int64)[0]
        emissions = tf.RaggedTensor.from_value_rowids(emissions, tagged.row, nrows=count)
        dense = emissions.to_tensor(0.0)
        width = tf.maximum(tf.shape(dense)[1], 1)  # a chain has a place at least
        dense = tf.pad(dense, [[0, 0], [0, width - tf.shape(dense)[1]], [0, 0]])
        in_text = tf.sequence_mask(emissions.row_lengths(), width)
        tags, scores = self._decode(dense, tf.cast(in_text, tf.int32))
        tags = tf.where(in_text, tags, len(self._kinds) - 1)
        return self._answers(words.text, tagged, tags, tf.boolean_mask(scores, in_text))

    def _tagged_tokens(self, words: Words, ids: tf.RaggedTensor, spans: tf.Tensor) -> TaggedTokens:
        """Which tokens are tagged, by the rule of `data.token_labels`."""
        # Texts are laid one after the other, with a gap, so that one search serves all of them.
        length = tf.strings.length(self._joined(words.words)) + 1
        base = tf.cumsum(length, exclusive=True)
        row = words.words.value_rowids()
        size = tf.strings.length(words.words.flat_values)
        word_start = tf.gather(base, row) + self._places(words.words)
        start, end = tf.unstack(spans + tf.gather(base, ids.value_rowids())[:, tf.newaxis], axis=1)
        word = tf.searchsorted(word_start + size, start, side="right")
        last = tf.searchsorted(word_start, end, side="left") - 1
        belongs = tf.where((start < end) & (word <= last))[:, 0]
        word, last, count = tf.gather(word, belongs), tf.gather(last, belongs), tf.size(size)
        first = tf.math.unsorted_segment_min(belongs, word, count)
        last = tf.math.unsorted_segment_max(last, word, count)
        has_token = tf.where(first < tf.size(start, tf.int64))[:, 0]
        # A token may reach into later words, which then have none of their own: they go with it.
        following = tf.concat([has_token[1:], [tf.cast(count, tf.int64)]], axis=0)
        last = tf.minimum(tf.gather(last, has_token), tf.cast(following - 1, tf.int32))
        return TaggedTokens(
            token=tf.gather(first, has_token),
            row=tf.gather(row, has_token),
            begin=tf.gather(words.begin, has_token),
            end=tf.gather(words.begin + size, last),
        )

    def _of_tokens(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """The emissions of all tokens, float32 [n, C], each from the window where it counts."""
        room, size = self._room, ids.row_lengths()
        step = room - room // 2
        number = 1 + tf.maximum(-((room - size) // step), 0)
        row = tf.repeat(tf.range(tf.size(number, tf.int64)), number)
        start = tf.ragged.range(number).flat_values * step
        first = tf.gather(ids.row_starts(), row) + start
        count = tf.minimum(tf.gather(size, row) - start, room)
        cut = tf.ragged.range(first, first + count)
        cut = cut.with_values(tf.gather(ids.flat_values, cut.flat_values))
        cls, sep = (tf.fill([tf.size(row), 1], token) for token in self._ends)
        token_ids = tf.concat([cls, cut, sep], axis=1)
        emissions = self._in_chunks(dense(token_ids), dense(tf.ones_like(token_ids)))
        # In the overlap of two windows, the first half counts in the left one.
        place = tf.ragged.range(size).flat_values
        last = tf.gather(number, ids.value_rowids()) - 1
        window = tf.clip_by_value((place - room // 4) // step, 0, last)
        offset = tf.gather(tf.cumsum(number, exclusive=True), ids.value_rowids())
        return tf.gather_nd(emissions, tf.stack([offset + window, 1 + place - window * step], 1))

    def _in_chunks(self, token_ids: tf.Tensor, padding_mask: tf.Tensor) -> tf.Tensor:
        """`emissions` of windows [W, T], `WINDOWS_AT_ONCE` at most at a time."""
        count, width = tf.shape(token_ids)[0], tf.shape(token_ids)[1]
        rows = tf.clip_by_value(count, 1, WINDOWS_AT_ONCE)
        # A chunk at least: there must be something to stack.
        missing = tf.where(count > 0, (-count) % rows, rows)
        # A row of padding keeps its first token, so that no model divides by the length 0.
        padding_mask = tf.pad(padding_mask, [[0, missing], [0, 0]])
        padding_mask = tf.concat([tf.ones_like(padding_mask[:, :1]), padding_mask[:, 1:]], axis=1)
        token_ids = tf.pad(token_ids, [[0, missing], [0, 0]])
        chunks = [tf.reshape(part, [-1, rows, width]) for part in (token_ids, padding_mask)]
        emissions = tf.map_fn(
            lambda chunk: self._emissions(chunk[0], tf.zeros_like(chunk[0]), chunk[1]),
            chunks,
            fn_output_signature=tf.TensorSpec([None, None, len(self._kinds) - 1], tf.float32),
            parallel_iterations=1,
        )
        return tf.reshape(emissions, [-1, width, len(self._kinds) - 1])[:count]

    def _answers(
        self, text: tf.Tensor, tagged: TaggedTokens, tags: tf.Tensor, scores: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The spans of tags [B, K], of which n = all that are tagged count, and scores [n]."""
        outside = len(self._kinds) - 1
        edge = tf.fill([tf.shape(tags)[0], 1], outside)
        before, after = tf.concat([edge, tags], axis=1), tf.concat([tags, edge], axis=1)
        steps = tf.stack([before, after], axis=2)
        in_text = tags != outside
        begins = tf.boolean_mask(tf.gather_nd(self._begins, steps)[:, :-1], in_text)
        finishes = tf.boolean_mask(tf.gather_nd(self._finishes, steps)[:, 1:], in_text)
        # Spans do not overlap, so the n-th to begin is the n-th to end.
        first, last = tf.where(begins)[:, 0], tf.where(finishes)[:, 0]
        rows = tf.gather(tagged.row, first)
        start, end = tf.gather(tagged.begin, first), tf.gather(tagged.end, last)
        in_characters = character_spans(text, tf.stack([start, end], axis=1), rows)
        sums = tf.cumsum(tf.pad(tf.cast(scores, tf.float64), [[1, 0]]))
        mean = (tf.gather(sums, last + 1) - tf.gather(sums, first)) / tf.cast(
            last + 1 - first, tf.float64
        )
        kind = tf.gather(tf.boolean_mask(tags, in_text), first)
        fields = {
            "text": tf.strings.substr(tf.gather(text, rows), start, end - start),
            "label": tf.gather(tf.constant(self._kinds), kind),
            "start": in_characters[:, 0],
            "end": in_characters[:, 1],
            "start_byte": start,
            "end_byte": end,
            "score": tf.cast(mean, tf.float32),
        }
        splits = tf.searchsorted(rows, tf.range(tf.size(text, tf.int64) + 1))
        dense = {
            name: tf.RaggedTensor.from_row_splits(values, splits).to_tensor()
            for name, values in fields.items()
        }
        return {"count": splits[1:] - splits[:-1], **dense}

    def signatures(self) -> dict[str, Any]:
        """What a server calls: `serving_default` for texts, `tag_words` for words."""
        return {"serving_default": self.tag, "tag_words": self.tag_words}
