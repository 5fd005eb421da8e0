"""The rooms: every package that claimtrace installs, from the top floor down.

The doctor command, the kernel cache and the Makefile read this list; `tests/test_rooms.py` compares
it with pyproject.toml, the Dockerfile and the tree.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOMS: Final = (
    "cli",
    "serving",
    "stream",
    "training",
    "featurestore",
    "models",
    "monitoring",
    "producers",
    "claimtrace",
    "claimtrace_examples",
)

HOME: Final = Path(__file__).resolve().parents[1]
"""The folder that holds all rooms: the checkout, or the environment's site-packages."""
