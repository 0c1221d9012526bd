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
    hidden: Any,
    targets: Any,
    logits_of: Callable[[Any], Any],
    vocab_size: int,
    with_mean: bool = False,
) -> Any:
    """Log-probability of each target token.

    Args:
        hidden: [B, T, D].
        targets: int [B, T].
        logits_of: a model's output layer, [R, D] → [R, V].
        vocab_size: V.
        with_mean: whether the mean log-probability of the whole vocabulary is wanted too.

    Returns:
        float32 [B, T], in nats; with `with_mean` two of them.
    """
    rows, width = ops.shape(hidden)[0] * ops.shape(hidden)[1], hidden.shape[-1]
    hidden, ids = ops.reshape(hidden, (rows, width)), ops.reshape(targets, (rows,))

    def chunk_log_probs(chunk: tuple[Any, Any]) -> Any:
        logits = ops.cast(logits_of(chunk[0]), "float32")
        picked = ops.take_along_axis(logits, chunk[1][:, None], axis=-1)
        norm = ops.logsumexp(logits, axis=-1, keepdims=True)
        log_probs = (picked - norm)[:, 0]
        return (log_probs, ops.mean(logits, axis=-1) - norm[:, 0]) if with_mean else log_probs

    def in_shape(log_probs: Any) -> Any:
        return ops.reshape(ops.reshape(log_probs, (-1,))[:rows], ops.shape(targets))

    if (size := _chunk_rows(rows, vocab_size)) is None:
        return keras.tree.map_structure(in_shape, chunk_log_probs((hidden, ids)))
    chunks = _split_rows(hidden, rows, size), _split_rows(ids, rows, size)
    return keras.tree.map_structure(in_shape, ops.map(chunk_log_probs, chunks))


def linear_cross_entropy(
    hidden: Any,
    kernel: Any,
    targets: Any,
    weights: Any,
    bias: Any = None,
    label_smoothing: float = 0.0,
) -> tuple[Any, Any, Any]:
    """Weighted sum of the nats of the targets under `softmax(hidden · kernelᵀ + bias)`.

    The gradients are computed in the forward pass, chunk by chunk, while a chunk's
    probabilities are at hand: neither kept for the backward pass nor computed twice.
    With p the probabilities, y the target and w the weight of a row h,
    `d/dh = w (p · kernel − kernel[y])` and `d/dkernel = Σ w (p − onehot(y)) hᵀ`; the bias is a
    column of the kernel beside an h of 1.

    With label smoothing ε the target's nats count 1 − ε, and the mean nats of the vocabulary ε;
    for onehot(y) stands (1 − ε) onehot(y) + ε/V. What is the same for all tokens of the
    vocabulary, the ε/V, is left to `_smoothed`: it needs no pass over the logits.

    Args:
        hidden: [B, T, D] in the compute dtype.
        kernel: [V, D] in the variable's dtype, in which its gradient is returned.
        targets: int [B, T].
        weights: float32 [B, T]; 0 leaves a token out.
        bias: [V]; None: there is none.
        label_smoothing: ε.

    Returns:
        The sum, a float32 scalar with gradients for `hidden`, `kernel` and `bias`; the nats of
        each token, not smoothed, float32 [B, T]; and whether none was likelier than it, float32
        [B, T]. The last two are without gradients.
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
        found, *gradients = _chunked_pass(hidden, kernel, bias, ids, scales, 1.0 - label_smoothing)
        log_probs, likeliest = found[0], found[1]
        loss = -ops.sum(scales * log_probs)
        if label_smoothing:
            loss, *gradients = _smoothed(
                loss, gradients, found[2], hidden, kernel, bias, scales, label_smoothing
            )

        def gradient(*upstream: Any) -> tuple[Any, Any, Any]:
            total = keras.tree.flatten(upstream)[0]  # backends nest the outputs differently
            return (
                ops.cast(total, hidden.dtype) * gradients[0],
                ops.cast(total * gradients[1], variable.dtype),
                ops.cast(total * gradients[2], bias.dtype),
            )

        return (loss, -log_probs, likeliest), gradient

    # Reshaping reads a variable into a tensor: TensorFlow's custom gradients take no variables.
    kernel, bias = ops.reshape(kernel, (vocab_size, width)), ops.reshape(bias, (-1,))
    total, *each = weighted_nats(ops.reshape(hidden, (rows, width)), kernel, bias)
    nats, likeliest = (ops.stop_gradient(ops.reshape(x, ops.shape(targets))) for x in each)
    return total, nats, likeliest


def _smoothed(
    loss: Any,
    gradients: list[Any],
    norms: Any,
    hidden: Any,
    kernel: Any,
    bias: Any,
    scales: Any,
    label_smoothing: float,
) -> tuple[Any, Any, Any, Any]:
    """The loss and its gradients with the share ε of the mean over the vocabulary.

    The mean of a row's logits is h · mean(kernel) + mean(bias), and the same for every token.

    Args:
        loss: Σ w · nats.
        gradients: of `(1 − ε) · loss + ε Σ w log norm`, [R, D], [V, D] and [V].
        norms: log Σ exp(logit) of each row, float32 [R].
        hidden: [R, D].
        kernel: [V, D], in the dtype of `hidden`.
        bias: [V], or [0] where there is none.
        scales: w, [R].
        label_smoothing: ε.
    """
    rows, mean_kernel = ops.cast(hidden, "float32"), ops.mean(ops.cast(kernel, "float32"), axis=0)
    means = ops.matmul(rows, mean_kernel)
    shares = label_smoothing * scales
    share = label_smoothing / kernel.shape[0]
    bias_gradient = gradients[2]
    if bias.shape[0]:
        means = means + ops.mean(ops.cast(bias, "float32"))
        bias_gradient = bias_gradient - share * ops.sum(scales)
    return (
        (1.0 - label_smoothing) * loss + ops.sum(shares * (norms - means)),
        gradients[0] - ops.cast(shares[:, None] * mean_kernel, hidden.dtype),
        gradients[1] - share * ops.matmul(scales, rows),
        bias_gradient,
    )


def _chunked_pass(
    hidden: Any, kernel: Any, bias: Any, ids: Any, scales: Any, target_share: float
) -> tuple[Any, Any, Any, Any]:
    """One pass over the logits of rows [R, D].

    Args:
        hidden: [R, D].
        kernel: [V, D], in the dtype of `hidden`.
        bias: [V], or [0] where there is none.
        ids: the targets, int [R].
        scales: the weights, float32 [R].
        target_share: what is taken from the target's probability in the gradients; 1 where
            labels are not smoothed.

    Returns:
        Log-probabilities, hits and, where labels are smoothed, log Σ exp(logit), in rows of
        float32 [2 or 3, R]; gradients [R, D], [V, D] and [V].
    """
    rows, width = ops.shape(hidden)[0], hidden.shape[-1]
    has_bias, num_found = bias.shape[0] != 0, 2 + (target_share != 1.0)

    def one_chunk(hidden: Any, ids: Any, scales: Any) -> tuple[Any, Any, Any, Any]:
        logits = ops.cast(ops.matmul(hidden, ops.transpose(kernel)), "float32")
        if has_bias:
            logits = logits + ops.cast(bias, "float32")
        highest = ops.max(logits, axis=-1, keepdims=True)
        # p − share · onehot(y) is error / norm. The division is left to the rows of the products,
        # which are narrow; so the logits are passed over once less, and with one exponential.
        exp = ops.exp(logits - highest)
        norm = ops.sum(exp, axis=-1, keepdims=True)
        picked = ops.take_along_axis(logits, ids[:, None], axis=-1) - highest
        log_probs = (picked - ops.log(norm))[:, 0]
        places = ops.stack([ops.arange(ops.shape(ids)[0], dtype="int32"), ids], axis=-1)
        error = ops.scatter_update(exp, places, (ops.exp(picked) - target_share * norm)[:, 0])
        error = ops.cast(error, hidden.dtype)
        scaled = ops.cast(scales[:, None] / norm, hidden.dtype)
        error_columns = ops.transpose(error)
        kernel_part = ops.cast(ops.matmul(error_columns, scaled * hidden), "float32")
        bias_part = ops.zeros((0,))
        if has_bias:
            bias_part = ops.cast(ops.matmul(error_columns, scaled)[:, 0], "float32")
        found = [log_probs, ops.cast(picked[:, 0] >= 0, "float32")]
        if target_share != 1.0:
            found.append((highest + ops.log(norm))[:, 0])
        return ops.stack(found), scaled * ops.matmul(error, kernel), kernel_part, bias_part

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
            ops.zeros((num_found, count, size), "float32"),
            ops.zeros((count, size, width), hidden.dtype),
            ops.zeros(kernel.shape, "float32"),
            ops.zeros(bias.shape, "float32"),
        ),
    )
    gradient = ops.reshape(gradient, (-1, width))[:rows]
    return ops.reshape(found, (num_found, -1))[:, :rows], gradient, kernel_total, bias_total


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
