"""One decoding engine for every model that is a state machine."""

from keras_lm.generation.api import generate_ids
from keras_lm.generation.engine import decode
from keras_lm.generation.sampling import Sampler

__all__ = ["Sampler", "decode", "generate_ids"]
