"""Real data beside the checkout; tests that need it are skipped where it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

BESIDE = Path(__file__).resolve().parents[3] / "shared/data"


def needs(folder: str) -> pytest.MarkDecorator:
    """Skip without the folder, with a reason; with REAL_DATA=required the test fails instead."""
    required = os.environ.get("REAL_DATA") == "required"
    absent = not (BESIDE / folder).is_dir() and not required
    return pytest.mark.skipif(absent, reason=f"no ../shared/data/{folder} beside the checkout")
