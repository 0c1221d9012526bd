"""From hidden states to log-probabilities of known tokens, never holding all logits at once.

A vocabulary of 50,000 makes the logits the largest tensor of a training step by far. Both
functions here work on chunks of rows; `CHUNK_ELEMENTS` bounds one chunk's logits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

CHUNK_ELEMENTS = 2**25  # 128 MB of float32 logits


def token_log_probs(
    hidden: Any, targets: Any, logits_of: Callable[[Any], Any], vocab_size: int
) -> Any:
    """Log-probability of each target token.

    Args:
        hidden: [B, T, D].
        targets: int [B, T].
        logits_of: a model's output layer, [R, D] → [R, V].
        vocab_size: V.

    Returns:
        float32 [B, T], in nats.
    """
    rows, width = ops.shape(hidden)[0] * ops.shape(hidden)[1], hidden.shape[-1]
    hidden, ids = ops.reshape(hidden, (rows, width)), ops.reshape(targets, (rows,))

    def chunk_log_probs(chunk: tuple[Any, Any]) -> Any:
        logits = ops.cast(logits_of(chunk[0]), "float32")
        picked = ops.take_along_axis(logits, chunk[1][:, None], axis=-1)
        return (picked - ops.logsumexp(logits, axis=-1, keepdims=True))[:, 0]

    if (size := _chunk_rows(rows, vocab_size)) is None:
        return ops.reshape(chunk_log_probs((hidden, ids)), ops.shape(targets))
    chunks = _split_rows(hidden, rows, size), _split_rows(ids, rows, size)
    log_probs = ops.reshape(ops.map(chunk_log_probs, chunks), (-1,))[:rows]
    return ops.reshape(log_probs, ops.shape(targets))


def linear_cross_entropy(
    hidden: Any, kernel: Any, targets: Any, weights: Any, bias: Any = None
) -> tuple[Any, Any, Any]:
    """Weighted sum of the nats of the targets under `softmax(hidden · kernelᵀ + bias)`.

    The gradients are computed in the forward pass, chunk by chunk, while a chunk's
    probabilities are at hand: neither kept for the backward pass nor computed twice.
    With p the probabilities, y the target and w the weight of a row h,
    `d/dh = w (p · kernel − kernel[y])` and `d/dkernel = Σ w (p − onehot(y)) hᵀ`; the bias is a
    column of the kernel beside an h of 1.

    Args:
        hidden: [B, T, D] in the compute dtype.
        kernel: [V, D] in the variable's dtype, in which its gradient is returned.
        targets: int [B, T].
        weights: float32 [B, T]; 0 leaves a token out.
        bias: [V]; None: there is none.

    Returns:
        The sum, a float32 scalar with gradients for `hidden`, `kernel` and `bias`; the nats of
        each token, float32 [B, T]; and whether none was likelier than it, float32 [B, T]. The
        last two are without gradients.
    """
    vocab_size, width = kernel.shape
    bias = ops.zeros((0,)) if bias is None else bias
    rows = ops.shape(hidden)[0] * ops.shape(hidden)[1]
    ids, scales = ops.reshape(targets, (rows,)), ops.reshape(weights, (rows,))

    @ops.custom_gradient
    def weighted_nats(
        hidden: Any, variable: Any, bias: Any
    ) -> tuple[tuple[Any, ...], Callable[..., Any]]:
        kernel = ops.cast(variable, hidden.dtype)
        found, hidden_gradient, *gradients = _chunked_pass(hidden, kernel, bias, ids, scales)
        log_probs, likeliest = found[0], found[1]

        def gradient(*upstream: Any) -> tuple[Any, Any, Any]:
            total = keras.tree.flatten(upstream)[0]  # backends nest the outputs differently
            return (
                ops.cast(total, hidden.dtype) * hidden_gradient,
                ops.cast(total * gradients[0], variable.dtype),
                ops.cast(total * gradients[1], bias.dtype),
            )

        return (-ops.sum(scales * log_probs), -log_probs, likeliest), gradient

    # Reshaping reads a variable into a tensor: TensorFlow's custom gradients take no variables.
    kernel, bias = ops.reshape(kernel, (vocab_size, width)), ops.reshape(bias, (-1,))
    total, *each = weighted_nats(ops.reshape(hidden, (rows, width)), kernel, bias)
    nats, likeliest = (ops.stop_gradient(ops.reshape(x, ops.shape(targets))) for x in each)
    return total, nats, likeliest


def _chunked_pass(
    hidden: Any, kernel: Any, bias: Any, ids: Any, scales: Any
) -> tuple[Any, Any, Any, Any]:
    """For rows [R, D]: log-probabilities and hits [2, R]; gradients [R, D], [V, D] and [V]."""
    rows, width = ops.shape(hidden)[0], hidden.shape[-1]
    has_bias = bias.shape[0] != 0

    def one_chunk(hidden: Any, ids: Any, scales: Any) -> tuple[Any, Any, Any, Any]:
        logits = ops.cast(ops.matmul(hidden, ops.transpose(kernel)), "float32")
        if has_bias:
            logits = logits + ops.cast(bias, "float32")
        highest = ops.max(logits, axis=-1, keepdims=True)
        # p − onehot(y) is error / norm. The division is left to the rows of the products, which
        # are narrow; so the logits are passed over once less, and with one exponential.
        exp = ops.exp(logits - highest)
        norm = ops.sum(exp, axis=-1, keepdims=True)
        picked = ops.take_along_axis(logits, ids[:, None], axis=-1) - highest
        log_probs = (picked - ops.log(norm))[:, 0]
        places = ops.stack([ops.arange(ops.shape(ids)[0], dtype="int32"), ids], axis=-1)
        error = ops.scatter_update(exp, places, (ops.exp(picked) - norm)[:, 0])
        error = ops.cast(error, hidden.dtype)
        scaled = ops.cast(scales[:, None] / norm, hidden.dtype)
        error_columns = ops.transpose(error)
        kernel_part = ops.cast(ops.matmul(error_columns, scaled * hidden), "float32")
        bias_part = ops.zeros((0,))
        if has_bias:
            bias_part = ops.cast(ops.matmul(error_columns, scaled)[:, 0], "float32")
        found = ops.stack([log_probs, ops.cast(picked[:, 0] >= 0, "float32")])
        return found, scaled * ops.matmul(error, kernel), kernel_part, bias_part

    size = _chunk_rows(rows, kernel.shape[0])
    if size is None:
        return one_chunk(hidden, ids, scales)
    chunks = [_split_rows(part, rows, size) for part in (hidden, ids, scales)]

    def body(index: Any, found: Any, gradient: Any, *totals: Any) -> tuple[Any, ...]:
        chunk_found, chunk_gradient, *parts = one_chunk(*(chunk[index] for chunk in chunks))
        found = ops.slice_update(found, (0, index, 0), chunk_found[:, None])
        gradient = ops.slice_update(gradient, (index, 0, 0), chunk_gradient[None])
        return index + 1, found, gradient, *(a + b for a, b in zip(totals, parts, strict=True))

    count = ops.shape(chunks[0])[0]
    _, found, gradient, kernel_total, bias_total = ops.while_loop(
        lambda index, *_: index < count,
        body,
        (
            0,
            ops.zeros((2, count, size), "float32"),
            ops.zeros((count, size, width), hidden.dtype),
            ops.zeros(kernel.shape, "float32"),
            ops.zeros(bias.shape, "float32"),
        ),
    )
    gradient = ops.reshape(gradient, (-1, width))[:rows]
    return ops.reshape(found, (2, -1))[:, :rows], gradient, kernel_total, bias_total


def _chunk_rows(rows: Any, vocab_size: int) -> Any | None:
    """Rows a chunk, alike in all; None where everything fits into one and the number is known."""
    largest = max(CHUNK_ELEMENTS // vocab_size, 1)
    if isinstance(rows, int) and rows <= largest:
        return None
    count = (rows + largest - 1) // largest
    return (
        rows + count - 1
    ) // count  # a last chunk that is half padding would be work for nothing


def _split_rows(inputs: Any, rows: Any, size: Any) -> Any:
    """[R, …] → [C, size, …], the last chunk padded with zeros."""
    count = (rows + size - 1) // size
    padding = [[0, count * size - rows]] + [[0, 0]] * (len(inputs.shape) - 1)
    return ops.reshape(ops.pad(inputs, padding), (count, size, *inputs.shape[1:]))
