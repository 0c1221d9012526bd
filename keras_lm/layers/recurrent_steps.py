"""One time step of each recurrent cell, forwards and, by hand, backwards.

`recurrent.py` loops over these. A step reads what the inputs gave to the gates, computed for all
times at once beforehand, and the state before it; so the one product inside of the loop is that of
the state. Backwards it gives the gradients of what enters the gates, and the products that make
gradients of weights from them come after the loop, for all times at once.

Letters: B batch, T time, D width of the state, G = D × gates. A state is a tuple of [B, D]: `h`,
and for an LSTM `c`. States and all that is element-wise are float32, products are in the dtype of
the weights.
"""

from __future__ import annotations

from typing import Any

from keras import ops

State = tuple[Any, ...]


class RNNSteps:
    """h = activation(x + h · U)

    Args:
        activation: `"tanh"`, `"relu"` or `"sigmoid"`.
    """

    num_states = 1
    num_saved = 0
    emitted_widths: tuple[int, ...] = (1,)

    def __init__(self, activation: str = "tanh") -> None:
        self.activation = activation

    def forward(self, entering: Any, before: State, weights: State) -> tuple[State, State]:
        """The state after a step, and what `backward` will want to know besides.

        Args:
            entering: [B, G], x · W + b.
            before: the state.
            weights: the recurrent kernel U [D, G], and for a GRU its bias.

        Returns:
            The state, and a tuple of `num_saved` arrays [B, D].
        """
        total = ops.cast(entering, before[0].dtype) + product(before[0], weights[0])
        return (getattr(ops, self.activation)(total),), ()

    def backward(
        self, d_after: State, before: State, after: State, saved: State, transposed: Any
    ) -> tuple[State, State]:
        """The gradients of what entered a step.

        Args:
            d_after: gradient of the state after it.
            before: the state before it.
            after: the state after it.
            saved: by `forward`.
            transposed: Uᵀ [G, D].

        Returns:
            A tuple of arrays [B, width · D] in the dtype of the weights, one for each of
            `emitted_widths`, from which `gradients` makes the rest; and the gradient of the state
            before.
        """
        (h,) = after
        if self.activation == "tanh":
            slope = 1 - h * h
        elif self.activation == "sigmoid":
            slope = h * (1 - h)
        else:
            slope = ops.cast(h > 0, h.dtype)
        d_total = ops.cast(d_after[0] * slope, transposed.dtype)
        return (d_total,), (product(d_total, transposed, h.dtype),)

    def gradients(self, emitted: State, before: Any, saved: State) -> tuple[Any, State]:
        """What the loop leaves to be done for all times at once.

        Args:
            emitted: by `backward`, [T, B, …] each.
            before: h before each step, [T, B, D] in the dtype of the weights.
            saved: by `forward`, [T, B, D] each.

        Returns:
            The gradients of `entering` [T, B, G] and of each of the weights.
        """
        return self.entering_gradient(emitted), (outer(before, emitted[0]),)

    def entering_gradient(self, emitted: State) -> Any:
        """The gradient of `entering`, of one time or of all: [..., B, G]."""
        return emitted[0]


class LSTMSteps(RNNSteps):
    """Gates i, f, g, o, in Keras's order (Hochreiter and Schmidhuber 1997, Gers et al. 2000):

    i, f, o = σ(x + h · U),  g = tanh(x + h · U);  c = f c + i g;  h = o tanh(c)
    """

    num_states = 2
    num_saved = 4
    emitted_widths = (4,)

    def forward(self, entering: Any, before: State, weights: State) -> tuple[State, State]:
        h, c = before
        i, f, g, o = ops.split(ops.cast(entering, h.dtype) + product(h, weights[0]), 4, axis=-1)
        i, f, g, o = ops.sigmoid(i), ops.sigmoid(f), ops.tanh(g), ops.sigmoid(o)
        c = f * c + i * g
        return (o * ops.tanh(c), c), (i, f, g, o)

    def backward(
        self, d_after: State, before: State, after: State, saved: State, transposed: Any
    ) -> tuple[State, State]:
        d_h, d_c = d_after
        i, f, g, o = saved
        tanh_c = ops.tanh(after[1])
        d_o = d_h * tanh_c
        d_c = d_c + (d_h - d_o * tanh_c) * o
        d_i = d_c * i
        d_gates = ops.concatenate(
            [
                d_i * g * (1 - i),
                d_c * before[1] * f * (1 - f),
                d_i * (1 - g * g),
                d_o * o * (1 - o),
            ],
            axis=-1,
        )
        d_gates = ops.cast(d_gates, transposed.dtype)
        return (d_gates,), (product(d_gates, transposed, d_h.dtype), d_c * f)


class GRUSteps(RNNSteps):
    """Gates z, r, in Keras's order, and n (https://arxiv.org/abs/1406.1078, as in cuDNN):

    z, r = σ(x + h · U + b),  n = tanh(x + r (h · U + b));  h = z h + (1 - z) n

    Elsewhere z is what is 1 - z here, so that z = 1 is all new.
    """

    num_saved = 4
    emitted_widths = (3, 1)

    def forward(self, entering: Any, before: State, weights: State) -> tuple[State, State]:
        (h,) = before
        z, r, n = ops.split(ops.cast(entering, h.dtype), 3, axis=-1)
        recurrent = product(h, weights[0]) + ops.cast(weights[1], h.dtype)
        from_z, from_r, from_n = ops.split(recurrent, 3, axis=-1)
        z, r = ops.sigmoid(z + from_z), ops.sigmoid(r + from_r)
        n = ops.tanh(n + r * from_n)
        return (n + z * (h - n),), (z, r, n, from_n)

    def backward(
        self, d_after: State, before: State, after: State, saved: State, transposed: Any
    ) -> tuple[State, State]:
        ((d_h,), (h,)) = d_after, before
        z, r, n, from_n = saved
        d_kept = d_h * z
        d_n = (d_h - d_kept) * (1 - n * n)
        d_from_n = d_n * r
        d_recurrent = ops.concatenate(
            [d_kept * (h - n) * (1 - z), d_from_n * from_n * (1 - r), d_from_n], axis=-1
        )
        d_recurrent = ops.cast(d_recurrent, transposed.dtype)
        d_before = d_kept + product(d_recurrent, transposed, d_h.dtype)
        return (d_recurrent, ops.cast(d_n, transposed.dtype)), (d_before,)

    def gradients(self, emitted: State, before: Any, saved: State) -> tuple[Any, State]:
        d_recurrent, d_n = emitted
        d_bias = ops.sum(ops.cast(d_recurrent, saved[0].dtype), axis=(0, 1))
        d_weights = (outer(before, d_recurrent), ops.cast(d_bias, d_n.dtype))
        return self.entering_gradient(emitted), d_weights

    def entering_gradient(self, emitted: State) -> Any:
        d_recurrent, d_n = emitted
        return ops.concatenate([d_recurrent[..., : 2 * d_n.shape[-1]], d_n], axis=-1)


class GRUResetBeforeSteps(RNNSteps):
    """Gates z, r, in Keras's order, and n, as the paper has them (https://arxiv.org/abs/1406.1078):

    z, r = σ(x + h · U),  n = tanh(x + (r h) · U);  h = z h + (1 - z) n

    The state's product with U comes in two parts, as the second one waits for r.
    """

    num_saved = 3
    emitted_widths = (2, 1)

    def forward(self, entering: Any, before: State, weights: State) -> tuple[State, State]:
        (h,) = before
        gates = 2 * h.shape[-1]
        entering = ops.cast(entering, h.dtype)
        total = entering[:, :gates] + product(h, weights[0][:, :gates])
        z, r = ops.split(ops.sigmoid(total), 2, axis=-1)
        n = ops.tanh(entering[:, gates:] + product(r * h, weights[0][:, gates:]))
        return (n + z * (h - n),), (z, r, n)

    def backward(
        self, d_after: State, before: State, after: State, saved: State, transposed: Any
    ) -> tuple[State, State]:
        ((d_h,), (h,)) = d_after, before
        z, r, n = saved
        gates = 2 * h.shape[-1]
        d_kept = d_h * z
        d_n = ops.cast((d_h - d_kept) * (1 - n * n), transposed.dtype)
        d_reset_h = product(d_n, transposed[gates:], h.dtype)
        d_gates = ops.concatenate(
            [d_kept * (h - n) * (1 - z), d_reset_h * h * r * (1 - r)], axis=-1
        )
        d_gates = ops.cast(d_gates, transposed.dtype)
        d_before = d_kept + d_reset_h * r + product(d_gates, transposed[:gates], h.dtype)
        return (d_gates, d_n), (d_before,)

    def gradients(self, emitted: State, before: Any, saved: State) -> tuple[Any, State]:
        d_gates, d_n = emitted
        reset_before = ops.cast(saved[1], before.dtype) * before
        d_kernel = ops.concatenate([outer(before, d_gates), outer(reset_before, d_n)], axis=-1)
        return self.entering_gradient(emitted), (d_kernel,)

    def entering_gradient(self, emitted: State) -> Any:
        return ops.concatenate(emitted, axis=-1)


def product(rows: Any, kernel: Any, dtype: Any = None) -> Any:
    """rows [B, M] · kernel [M, N], in the kernel's dtype; the result in that of the rows."""
    return ops.cast(ops.matmul(ops.cast(rows, kernel.dtype), kernel), dtype or rows.dtype)


def outer(left: Any, right: Any) -> Any:
    """Σ leftᵀ · right over times and rows: [T, B, M], [T, B, N] → [M, N]."""
    left = ops.reshape(left, (-1, left.shape[-1]))
    return ops.matmul(ops.transpose(left), ops.reshape(right, (-1, right.shape[-1])))
