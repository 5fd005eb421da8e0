"""Training without a search for settings, where a test only needs that there is a model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

BRIEFLY: Final = {
    "TRAINING__DIRECTIONS": "off",
    "TRAINING__PARAMS__MAX_DEPTH": "3",
    "TRAINING__PARAMS__REG_LAMBDA": "10",
    "TRAINING__PARAMS__MAX_BIN": "256",
}
"""Settings with which one model is fitted instead of some ten: two thirds of the time."""


@contextmanager
def training_briefly() -> Iterator[None]:
    """Have `claimtrace train` fit one model in this process and in those that it starts."""
    with patch.dict(os.environ, {f"CLAIMTRACE_{name}": text for name, text in BRIEFLY.items()}):
        yield
