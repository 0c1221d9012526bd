"""The recorded models of Transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from harness_files import DECODERS, load_golden


@pytest.fixture(scope="module", params=list(DECODERS))
def golden(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    return load_golden(request.param)


@pytest.fixture(scope="session")
def llama() -> Mapping[str, Any]:
    return load_golden("llama")


@pytest.fixture(scope="session")
def gpt2() -> Mapping[str, Any]:
    return load_golden("gpt2")
