"""The parts that models are made of: `keras.ops` only, driven by one config."""

from keras_lm.layers.attention import Attention
from keras_lm.layers.block import TransformerBlock
from keras_lm.layers.crf import LinearChainCRF, allowed_transitions
from keras_lm.layers.feed_forward import FeedForward
from keras_lm.layers.initialization import initial_weights
from keras_lm.layers.masked_lm_head import MaskedLMHead
from keras_lm.layers.masks import bidirectional_mask, causal_mask, same_segment_mask
from keras_lm.layers.normalization import make_norm
from keras_lm.layers.output import linear_cross_entropy, token_log_probs
from keras_lm.layers.positions import sinusoidal_positions
from keras_lm.layers.recurrent import Recurrent
from keras_lm.layers.recurrent_attention import RecurrentAttention
from keras_lm.layers.rotary import apply_rotary, rotary_angles, rotary_frequencies

__all__ = [
    "Attention",
    "FeedForward",
    "LinearChainCRF",
    "MaskedLMHead",
    "Recurrent",
    "RecurrentAttention",
    "TransformerBlock",
    "allowed_transitions",
    "apply_rotary",
    "bidirectional_mask",
    "causal_mask",
    "initial_weights",
    "linear_cross_entropy",
    "make_norm",
    "rotary_angles",
    "rotary_frequencies",
    "same_segment_mask",
    "sinusoidal_positions",
    "token_log_probs",
]
