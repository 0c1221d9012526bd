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


def linear_cross_entropy(hidden: Any, kernel: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
    """Weighted sum of the nats of the targets under `softmax(hidden · kernelᵀ)`.

    The gradients are computed in the forward pass, chunk by chunk, while a chunk's
    probabilities are at hand: neither kept for the backward pass nor computed twice.
    With p the probabilities, y the target and w the weight of a row h,
    `d/dh = w (p · kernel − kernel[y])` and `d/dkernel = Σ w (p − onehot(y)) hᵀ`.

    Args:
        hidden: [B, T, D] in the compute dtype.
        kernel: [V, D] in the variable's dtype, in which its gradient is returned.
        targets: int [B, T].
        weights: float32 [B, T]; 0 leaves a token out.

    Returns:
        The sum, a float32 scalar with gradients for `hidden` and `kernel`; and the nats of
        each token, float32 [B, T], without gradients.
    """
    vocab_size, width = kernel.shape
    rows = ops.shape(hidden)[0] * ops.shape(hidden)[1]
    ids, scales = ops.reshape(targets, (rows,)), ops.reshape(weights, (rows,))

    @ops.custom_gradient
    def weighted_nats(hidden: Any, variable: Any) -> tuple[Any, Callable[..., Any]]:
        kernel = ops.cast(variable, hidden.dtype)
        log_probs, hidden_gradient, kernel_gradient = _chunked_pass(hidden, kernel, ids, scales)

        def gradient(*upstream: Any) -> tuple[Any, Any]:
            total = keras.tree.flatten(upstream)[0]  # backends nest the two outputs differently
            return (
                ops.cast(total, hidden.dtype) * hidden_gradient,
                ops.cast(total * kernel_gradient, variable.dtype),
            )

        return (-ops.sum(scales * log_probs), -log_probs), gradient

    # Reshaping reads a variable into a tensor: TensorFlow's custom gradients take no variables.
    kernel = ops.reshape(kernel, (vocab_size, width))
    total, nats = weighted_nats(ops.reshape(hidden, (rows, width)), kernel)
    return total, ops.stop_gradient(ops.reshape(nats, ops.shape(targets)))


def _chunked_pass(hidden: Any, kernel: Any, ids: Any, scales: Any) -> tuple[Any, Any, Any]:
    """For rows [R, D]: log-probabilities [R], and the gradients [R, D] and float32 [V, D]."""
    rows, width = ops.shape(hidden)[0], hidden.shape[-1]

    def one_chunk(hidden: Any, ids: Any, scales: Any) -> tuple[Any, Any, Any]:
        logits = ops.cast(ops.matmul(hidden, ops.transpose(kernel)), "float32")
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
        kernel_part = ops.matmul(ops.transpose(error), scaled * hidden)
        return log_probs, scaled * ops.matmul(error, kernel), ops.cast(kernel_part, "float32")

    size = _chunk_rows(rows, kernel.shape[0])
    if size is None:
        return one_chunk(hidden, ids, scales)
    chunks = [_split_rows(part, rows, size) for part in (hidden, ids, scales)]

    def body(index: Any, log_probs: Any, gradient: Any, total: Any) -> tuple[Any, ...]:
        chunk_log_probs, chunk_gradient, part = one_chunk(*(chunk[index] for chunk in chunks))
        log_probs = ops.slice_update(log_probs, (index, 0), chunk_log_probs[None])
        gradient = ops.slice_update(gradient, (index, 0, 0), chunk_gradient[None])
        return index + 1, log_probs, gradient, total + part

    count = ops.shape(chunks[0])[0]
    _, log_probs, gradient, total = ops.while_loop(
        lambda index, *_: index < count,
        body,
        (
            0,
            ops.zeros((count, size), "float32"),
            ops.zeros((count, size, width), hidden.dtype),
            ops.zeros(kernel.shape, "float32"),
        ),
    )
    gradient = ops.reshape(gradient, (-1, width))[:rows]
    return ops.reshape(log_probs, (-1,))[:rows], gradient, total


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
