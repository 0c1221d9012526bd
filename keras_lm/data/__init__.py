"""Text to batches: sources, the token store, packing, batches by address, and streams."""

from keras_lm.data.batches import batches, gather_windows, num_batches
from keras_lm.data.packing import (
    WindowPlan,
    overlapping_windows,
    scoring_windows,
    training_windows,
)
from keras_lm.data.preparation import prepare
from keras_lm.data.sources import text_files
from keras_lm.data.store import TokenStore, document_encoder
from keras_lm.data.stream import stream_batches

__all__ = [
    "TokenStore",
    "WindowPlan",
    "batches",
    "document_encoder",
    "gather_windows",
    "num_batches",
    "overlapping_windows",
    "prepare",
    "scoring_windows",
    "stream_batches",
    "text_files",
    "training_windows",
]
