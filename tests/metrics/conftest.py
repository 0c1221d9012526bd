"""What the reference libraries say, recorded by tests/golden/make_metrics.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    path = Path(__file__).parents[1] / "golden" / "metrics.json"
    return json.loads(path.read_text(encoding="utf-8"))
