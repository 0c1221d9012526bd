"""Files on disk: directories that are replaced as a whole; JSON and tensors with clear errors."""

from keras_lm.storage.directories import (
    recover_directory,
    refuse_links_out,
    replace_directory,
    replace_file,
)
from keras_lm.storage.gguf import GGUFFile, GGUFTensors
from keras_lm.storage.json_files import read_json, write_json
from keras_lm.storage.safetensors import (
    INDEX,
    WEIGHTS,
    SafetensorsFiles,
    numpy_dtype,
    write_safetensors,
)
from keras_lm.storage.tensors import TensorSource

__all__ = [
    "INDEX",
    "WEIGHTS",
    "GGUFFile",
    "GGUFTensors",
    "SafetensorsFiles",
    "TensorSource",
    "numpy_dtype",
    "read_json",
    "recover_directory",
    "refuse_links_out",
    "replace_directory",
    "replace_file",
    "write_json",
    "write_safetensors",
]
