"""The recorded models of Transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

GOLDEN = Path(__file__).parents[1] / "golden"


def load(name: str) -> Mapping[str, Any]:
    return dict(np.load(GOLDEN / f"{name}.npz"))


@pytest.fixture(scope="session", params=["gpt2", "llama", "llama_tied"])
def golden(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    return load(request.param)


@pytest.fixture(scope="session")
def llama() -> Mapping[str, Any]:
    return load("llama")


@pytest.fixture(scope="session")
def gpt2() -> Mapping[str, Any]:
    return load("gpt2")
