"""One decoding engine for every model that is a state machine."""

from keras_lm.generation.api import generate_ids
from keras_lm.generation.beam import BeamScoring, beam_search
from keras_lm.generation.constraints import Constraints
from keras_lm.generation.engine import decode
from keras_lm.generation.sampling import Sampler
from keras_lm.generation.settings import SearchSettings

__all__ = [
    "BeamScoring",
    "Constraints",
    "Sampler",
    "SearchSettings",
    "beam_search",
    "decode",
    "generate_ids",
]
