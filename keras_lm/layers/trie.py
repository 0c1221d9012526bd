"""Look-up of n-grams: a trie in flat arrays, searched for many tokens at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

CHILDREN_AT_ONCE = 512
"""How many children of each node `Trie.distribution` writes in one go."""

NEVER = -200.0
"""Nats; below are only the log-probabilities of what never happens, −99 in ARPA's log10."""


class Trie(keras.layers.Layer):
    """All k-grams of an n-gram model, for k from 1 to n.

    Level k holds the k-grams, sorted by (parent, last token); the children of a node are a
    stretch of the next level. A token's own node at level 1 has the number of the token. A node of
    -1 is none.

        level 1          the   cat   sat        tokens 0 1 2
        level 2          the cat   the sat   cat sat
          tokens_2         1         2         2
          first_child_1  0 2 3 3, so the children of `the` are 0 and 1, of `cat` 2, of `sat` none

    Args:
        num_ngrams: how many k-grams there are, for k from 1 to n; the first is V.
        longest_decides: whether the longest context that has been seen gives every probability
            (`backoffs` then being the logarithm of an unseen token's probability), or an unseen
            token's is looked up in shorter contexts, times e to `backoffs`.
    """

    def __init__(
        self, num_ngrams: Sequence[int], longest_decides: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(trainable=False, autocast=False, **kwargs)
        self.num_ngrams, self.longest_decides = tuple(num_ngrams), longest_decides
        self.order = len(self.num_ngrams)
        self.built = True

        def array(name: str, size: int, dtype: str) -> Any:
            return self.add_weight((size,), "zeros", dtype, trainable=False, name=name)

        counts = list(enumerate(self.num_ngrams, 1))
        self.log_probs = [array(f"log_probs_{k}", n, "float32") for k, n in counts]
        self.backoffs = [array(f"backoffs_{k}", n, "float32") for k, n in counts[:-1]]
        self.first_child = [array(f"first_child_{k}", n + 1, "int32") for k, n in counts[:-1]]
        self.tokens = [array(f"tokens_{k}", n, "int32") for k, n in counts[1:]]

    def child(self, level: int, node: Any, token: Any) -> Any:
        """The node of an n-gram that is one token longer.

        Args:
            level: k, from 1 to n - 1.
            node: int32 of any shape, nodes of level k.
            token: int32 of the same shape.

        Returns:
            int32, nodes of level k + 1; -1 where there is no such n-gram.
        """
        tokens = ops.convert_to_tensor(self.tokens[level - 1])
        begin, end = self._children(level, node)
        last = tokens.shape[0] - 1

        def jump(stride: Any, below: Any) -> tuple[Any, Any]:
            """Goes `stride` children on wherever that is still a smaller token than the wanted."""
            there = below + stride
            is_smaller = ops.less(ops.take(tokens, ops.minimum(there, last)), token)
            go_on = ops.logical_and(is_smaller, ops.less(there, end))
            return ops.where(stride > 1, (stride + 1) // 2, 0), ops.where(go_on, there, below)

        # Strides are halved and rounded up: those to come always reach what this one leaves.
        longest = ops.max(end - begin)
        _, below = ops.while_loop(lambda stride, _: stride > 0, jump, (longest, begin - 1))
        place = below + 1
        found = ops.equal(ops.take(tokens, ops.minimum(place, last)), token)
        return ops.where(ops.logical_and(found, ops.less(place, end)), place, -1)

    def follow(self, token_ids: Any, before: Any, linked: Any, real: Any) -> Any:
        """The nodes of the n-grams that end at each token.

        Args:
            token_ids: int32 [B, T].
            before: int32 [B, n - 1], the nodes at the token before the first.
            linked: bool [B, T], whether a token follows the one before it.
            real: bool [B, T], False for padding.

        Returns:
            int32 [B, T, n - 1]: the node at each level that has children; -1 where the n-gram was
            never seen.
        """
        nodes = [ops.where(real, token_ids, -1)]
        linked = ops.logical_and(linked, real)
        for level in range(1, self.order - 1):
            parent = ops.concatenate([before[:, level - 1 : level], nodes[-1][:, :-1]], axis=1)
            nodes.append(self.child(level, ops.where(linked, parent, -1), token_ids))
        return ops.stack(nodes, axis=-1)[..., : self.order - 1]

    def token_log_probs(self, nodes: Any, targets: Any) -> Any:
        """Log-probability of one token after each context.

        Args:
            nodes: int32 [..., n - 1], as `follow` gives them.
            targets: int32 [...].

        Returns:
            float32 [...], in nats.
        """
        log_prob = ops.take(ops.convert_to_tensor(self.log_probs[0]), targets)
        for level in range(1, self.order):
            node = nodes[..., level - 1]
            child = self.child(level, node, targets)
            seen = ops.take(ops.convert_to_tensor(self.log_probs[level]), ops.maximum(child, 0))
            unseen = self._unseen(level, node, log_prob)
            log_prob = ops.where(ops.greater_equal(child, 0), seen, unseen)
        return log_prob

    def distribution(self, nodes: Any) -> Any:
        """Log-probabilities of all tokens after each context.

        Args:
            nodes: int32 [R, n - 1].

        Returns:
            float32 [R, V], in nats.
        """
        rows, vocab_size = ops.shape(nodes)[0], self.num_ngrams[0]
        first = ops.convert_to_tensor(self.log_probs[0])[None]
        log_probs = ops.tile(ops.pad(first, [[0, 0], [0, 1]]), (rows, 1))  # a column for rubbish
        for level in range(1, self.order):
            log_probs = self._unseen(level, nodes[:, level - 1 : level], log_probs)
            log_probs = self._write_children(level, nodes[:, level - 1], log_probs)
        return log_probs[:, :vocab_size]

    def _children(self, level: int, node: Any) -> tuple[Any, Any]:
        """Where a node's children begin and end in the next level; an empty stretch for -1."""
        first_child = ops.convert_to_tensor(self.first_child[level - 1])
        begin, end = (ops.take(first_child, ops.maximum(node + i, 0)) for i in (0, 1))
        return begin, ops.where(ops.less(node, 0), begin, end)

    def _unseen(self, level: int, node: Any, shorter: Any) -> Any:
        """Log-probability of a token that was never seen after a context of `level` tokens."""
        backoff = ops.take(ops.convert_to_tensor(self.backoffs[level - 1]), ops.maximum(node, 0))
        if not self.longest_decides:
            return shorter + ops.where(ops.less(node, 0), 0.0, backoff)
        # Nothing is known of a context that nothing followed, and what begins texts stays apart.
        begin, end = self._children(level, node)
        decides = ops.logical_and(ops.less(begin, end), ops.greater(shorter, NEVER))
        return ops.where(decides, backoff, shorter)

    def _write_children(self, level: int, node: Any, log_probs: Any) -> Any:
        """Puts the probabilities of the tokens seen after each context in their places."""
        tokens, values = (
            ops.convert_to_tensor(array)
            for array in (self.tokens[level - 1], self.log_probs[level])
        )
        rubbish = ops.shape(log_probs)[1] - 1
        row = ops.arange(ops.shape(node)[0], dtype="int32")[:, None]
        offsets = ops.arange(CHILDREN_AT_ONCE, dtype="int32")[None]
        begin, end = (edge[:, None] for edge in self._children(level, node))

        def unfinished(begin: Any, log_probs: Any) -> Any:
            return ops.any(ops.less(begin, end))

        def write(begin: Any, log_probs: Any) -> tuple[Any, Any]:
            child = begin + offsets
            real = ops.less(child, end)
            child = ops.where(real, child, 0)
            column = ops.where(real, ops.take(tokens, child), rubbish)
            places = ops.stack([ops.broadcast_to(row, ops.shape(column)), column], axis=-1)
            flat = ops.reshape(places, (-1, 2))
            new = ops.reshape(ops.take(values, child), (-1,))
            return begin + CHILDREN_AT_ONCE, ops.scatter_update(log_probs, flat, new)

        return ops.while_loop(unfinished, write, (begin, log_probs))[1]
