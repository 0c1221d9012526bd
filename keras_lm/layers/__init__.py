"""The parts that models are made of: `keras.ops` only, driven by one config."""

from keras_lm.layers.attention import Attention
from keras_lm.layers.block import TransformerBlock
from keras_lm.layers.feed_forward import FeedForward
from keras_lm.layers.initialization import initial_weights
from keras_lm.layers.masks import causal_mask, same_segment_mask
from keras_lm.layers.normalization import make_norm
from keras_lm.layers.output import linear_cross_entropy, token_log_probs
from keras_lm.layers.positions import apply_rotary, rotary_angles, sinusoidal_positions
from keras_lm.layers.recurrent import Recurrent

__all__ = [
    "Attention",
    "FeedForward",
    "Recurrent",
    "TransformerBlock",
    "apply_rotary",
    "causal_mask",
    "initial_weights",
    "linear_cross_entropy",
    "make_norm",
    "rotary_angles",
    "same_segment_mask",
    "sinusoidal_positions",
    "token_log_probs",
]
