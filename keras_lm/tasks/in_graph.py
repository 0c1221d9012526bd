"""A model's functions inside of TensorFlow graphs, whatever Keras's backend is."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def in_graph(function: Any, specs: Sequence[tf.TensorSpec], outputs: Any) -> Any:
    """A backend's compiled function of tensors, as something that a TensorFlow graph can call."""
    if keras.backend.backend() == "tensorflow":

        @functools.cache  # exporting traces the functions around it again, but never the model
        def traced() -> Any:
            with tf.init_scope():
                return function.get_concrete_function(*specs)

        return lambda *tensors: traced()(*tensors)

    def on_arrays(*arrays: np.ndarray) -> Any:
        results = function(*(keras.ops.convert_to_tensor(array) for array in arrays))
        return keras.tree.map_structure(keras.ops.convert_to_numpy, results)

    def on_tensors(*tensors: tf.Tensor) -> Any:
        dtypes = tf.nest.map_structure(lambda spec: spec.dtype, outputs)
        results = tf.numpy_function(on_arrays, tensors, dtypes)
        return tf.nest.map_structure(
            lambda result, spec: tf.ensure_shape(result, spec.shape), results, outputs
        )

    return on_tensors
