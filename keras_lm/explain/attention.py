"""Attention maps: which token each token looks at, in every layer and head."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from keras_lm.tasks import CausalLM

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclasses.dataclass(frozen=True)
class AttentionMaps:
    """The attention of one text.

    Args:
        tokens: T strings, BOS first.
        weights: float32 [L, N, T, T]; row t says what token t looks at, and sums to 1.
    """

    tokens: list[str]
    weights: np.ndarray

    def plot(self, layer: int = 0, head: int = 0, axes: Axes | None = None) -> Axes:
        """Draws one head as a picture; rows look at columns, dark is much.

        Args:
            layer: 0 to L − 1.
            head: 0 to N − 1.
            axes: matplotlib axes to draw on; default: new ones.

        Raises:
            ValueError: there is no such layer or head.
            ImportError: matplotlib is not installed (`pip install keras-lm[plots]`).
        """
        layers, heads = self.weights.shape[:2]
        for name, value, count in (("layer", layer, layers), ("head", head, heads)):
            if not 0 <= value < count:
                raise ValueError(f"{name} must be from 0 to {count - 1}; got {value}")
        if axes is None:
            import matplotlib.pyplot as plt

            size = 2 + 0.28 * len(self.tokens)
            _, axes = plt.subplots(figsize=(size, size), layout="constrained")
        axes.imshow(self.weights[layer, head], cmap="Blues", vmin=0, vmax=1)
        labels = [repr(token)[1:-1] for token in self.tokens]
        axes.set_xticks(range(len(labels)), labels, rotation=90)
        axes.set_yticks(range(len(labels)), labels)
        axes.set_title(f"layer {layer}, head {head}")
        return axes


def attention_maps(task: CausalLM, text: str) -> AttentionMaps:
    """What every head of a Transformer looks at while it reads a text.

    Args:
        task: a `CausalLM` on a `Decoder`.
        text: not longer than the model's `max_length`.

    Raises:
        ValueError: the model has no attention, or the text is empty or too long.

    Example:

    >>> import keras_lm as klm
    >>> tok = klm.tokenizers.BytePairTokenizer.train(texts=["one two one two"] * 9, vocab_size=260)
    >>> config = klm.TransformerConfig(vocab_size=260, num_layers=2, hidden_dim=8, num_heads=2)
    >>> maps = attention_maps(klm.tasks.CausalLM(klm.models.Decoder(config), tok), "one")
    >>> len(maps.tokens) == maps.weights.shape[-1]
    True
    """
    if not hasattr(task.model, "attention_maps"):
        raise ValueError(f"task.model is a {type(task.model).__name__}, which has no attention")
    ids = task.text_functions.prompts(tf.constant([text]))[0].numpy()
    longest = task.model.config.max_length
    if not text or len(ids) > longest:
        raise ValueError(f"text must have from 1 to {longest - 1} tokens; got {len(ids) - 1}")
    tokens = task.text_functions.tokenizer.detokenize(ids[:, None]).numpy()
    weights = keras.ops.convert_to_numpy(task.model.attention_maps(ids[None]))[:, 0]
    return AttentionMaps([token.decode("utf-8") for token in tokens], weights)
