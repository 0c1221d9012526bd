"""The pretrained directory, in the Hugging Face layout, both ways. Nothing is ever unpickled.

config.json          architecture and hyper-parameters
model.safetensors    weights; above `SHARD_BYTES` model-00001-of-….safetensors and an index
tokenizer files      written and read by the tokenizer itself

Read from a directory, from the Hugging Face hub by its id, or from a GGUF file, which holds all
of this in one. Weights are read tensor by tensor, once all that is said of them fits.
"""

from keras_lm.checkpoints.hub import find_pretrained, pretrained_directory
from keras_lm.checkpoints.pretrained import Pretrained, load_model
from keras_lm.checkpoints.writing import OWNED, SHARD_BYTES, save_model, write_model

__all__ = [
    "OWNED",
    "SHARD_BYTES",
    "Pretrained",
    "find_pretrained",
    "load_model",
    "pretrained_directory",
    "save_model",
    "write_model",
]
