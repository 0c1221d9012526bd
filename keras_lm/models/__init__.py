"""Token ids in, logits out."""

from keras_lm.models.base import LanguageModel
from keras_lm.models.transformer import Decoder

__all__ = ["Decoder", "LanguageModel"]
