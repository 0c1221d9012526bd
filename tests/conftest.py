"""Settings of the whole suite; they stand before TensorFlow is first imported."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

import hypothesis
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
# Two workers share two cores, and where there is a GPU they share that.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")

hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("suite")


@pytest.fixture(autouse=True)
def _same_start_for_every_test() -> Iterator[None]:
    """Every test starts from one seed and leaves Keras's global settings as they were."""
    import keras

    policy = keras.config.dtype_policy()
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy(policy)


@pytest.fixture(scope="module")
def without_xla() -> Iterator[None]:
    """Searches run as graphs, which are quickly made; tests of `generation` compile them."""
    from keras_lm.generation.programs import program

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_lm.tasks.decoding.program", partial(program, jit_compile=False))
        yield
