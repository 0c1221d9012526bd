"""Attention maps: which token each token looks at, in every layer and head."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from keras_lm.tasks import CausalLM, Task
from keras_lm.tasks.reading import Reader
from keras_lm.tokenizers import Tokenizer

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclasses.dataclass(frozen=True)
class AttentionMaps:
    """The attention of one text.

    Args:
        tokens: T strings, the special ones included.
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


def attention_maps(task: Task, text: str | tuple[str, str]) -> AttentionMaps:
    """What every head of a Transformer looks at while it reads a text.

    Args:
        task: any task on a model with attention: a `CausalLM` on a `Decoder`, a `TextClassifier`
            on an `Encoder`, …
        text: not longer than the task's `sequence_length`; for an encoder also a pair of texts.

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
    tokenizer = task.require_tokenizer("reading a text")
    inputs = _inputs(task, tokenizer, text)
    tokens = tokenizer.detokenize(inputs["token_ids"][0][:, None]).numpy()
    weights = keras.ops.convert_to_numpy(task.model.attention_maps(inputs))[:, 0]
    return AttentionMaps([token.decode("utf-8") for token in tokens], weights)


def _inputs(task: Task, tokenizer: Tokenizer, text: str | tuple[str, str]) -> dict[str, Any]:
    """What the task's model reads of a text, as one row."""
    texts = [text] if isinstance(text, str) else list(text)
    if isinstance(task, CausalLM):
        ids = task.text_functions.prompts(tf.constant(texts))[0].numpy()
        longest, was_cut = task.model.config.max_length, False
        inputs = {"token_ids": ids[None]}
    else:
        longest = task.sequence_length
        read, cut = Reader(tokenizer, longest)(*(tf.constant([part]) for part in texts))
        inputs = {"token_ids": read[0].numpy(), "token_types": read[1].numpy()}
        was_cut = bool(cut[0])
    length = inputs["token_ids"].shape[1]
    if not all(texts) or was_cut or length > longest:
        raise ValueError(f"text must have from 1 to {longest - 1} tokens; got {length - 1}")
    return inputs
