"""Compile the kernels once, before test processes would each compile them: `make kernels`."""

from __future__ import annotations

import sys
import tempfile

from cli.__main__ import main
from tests.worlds.brief_training import training_briefly

WORLD = (
    "simulate",
    "--days",
    "240",
    "--claims-per-day",
    "25",
    "--policies",
    "1500",
    "--fraud",
    "0.1",
)


def compile_all() -> int:
    """Stream a small world, train on it and stream on; returns the first exit code that isn't 0."""
    with tempfile.TemporaryDirectory() as folder, training_briefly():
        for words in (
            WORLD,
            ("stream", "--until-end"),
            ("train",),
            ("simulate", "--append", "--days", "5"),
            ("stream", "--until-end"),
            ("verify",),
        ):
            if code := main(["--folder", folder, *words]):
                return code
    return 0


if __name__ == "__main__":
    sys.exit(compile_all())
