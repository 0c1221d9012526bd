"""Compiling a function of a model: the one place where the backends differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


def compiled(
    model: keras.Model, name: str, function: Callable[..., Any], jit_compile: bool = True
) -> Callable[..., Any]:
    """`function(*tensors)`, compiled, kept on the model and made anew when its weights change.

    Assigning to a weight changes nothing; other variables (LoRA, quantization) or another
    dtype do.

    Args:
        model: the model whose weights the function reads.
        name: identifies the function among those of this model.
        function: takes tensors, returns tensors.
        jit_compile: use XLA on the TensorFlow backend.
    """
    cache = model.__dict__.setdefault("_compiled_functions", {})  # past Keras's tracking
    state = tuple(id(variable) for variable in model.variables)
    key = (name, jit_compile, model.dtype_policy.name)
    if key not in cache or cache[key][0] != state:
        cache[key] = (state, _compile(model, function, jit_compile))
    return cache[key][1]


def _compile(
    model: keras.Model, function: Callable[..., Any], jit_compile: bool
) -> Callable[..., Any]:
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=jit_compile, autograph=False)
    if backend == "jax":
        import jax

        variables = model.variables

        @jax.jit
        def stateless(values: list[Any], *arguments: Any) -> Any:
            with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
                return function(*arguments)

        return lambda *arguments: stateless([v.value for v in variables], *arguments)
    import torch

    return torch.no_grad()(function)
