"""Where the real data lies: beside the checkout. Absent, its tests are skipped; never in CI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

BESIDE = Path(__file__).resolve().parents[3] / "shared/data"


def needs(folder: str) -> pytest.MarkDecorator:
    """Skip without the folder, with a reason; in CI the test runs and fails instead."""
    absent = not (BESIDE / folder).is_dir() and not os.environ.get("CI")
    return pytest.mark.skipif(absent, reason=f"no ../shared/data/{folder} beside the checkout")
