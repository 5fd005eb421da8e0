"""Provide one command line for all benchmarks: options, a model, a table or JSON, a clean end.

    python -m benchmarks.throughput --json --models FOLDER

Tables and JSON go to standard output, progress goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from benchmarks.champion import publish_elsewhere
from claimtrace.errors import ClaimtraceError, StateError


def command(
    about: str,
    measure: Callable[..., Any],
    show: Callable[[Any], None],
    arguments: list[str] | None = None,
    **options: tuple[Any, str],
) -> None:
    """Read the arguments, run a benchmark, print its figures; on failure, exit with a code.

    Args:
        about: the module's docstring; its first line describes the command.
        measure: the benchmark; takes the registry's folder, and each option by name.
        show: prints the figures as a table.
        arguments: of the command line; None: those of this process.
        options: name -> (default, help). The default of an option that takes several words is a
            list, of which some may be chosen, or a tuple, in whose place other values may stand.
    """
    parser = argparse.ArgumentParser(description=about.split("\n")[0])
    for name, (default, what) in options.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(default, list | tuple):
            choices = default if isinstance(default, list) else None
            parser.add_argument(flag, nargs="+", choices=choices, type=type(default[0]),
                                default=list(default), help=what)  # fmt: skip
        else:
            parser.add_argument(flag, type=type(default), default=default, help=what)
    parser.add_argument("--models", type=Path, help="where `benchmarks.champion` published")
    parser.add_argument("--json", action="store_true", help="for a program")
    chosen = vars(parser.parse_args(arguments))
    models, as_json = chosen.pop("models"), chosen.pop("json")
    try:
        with clean_end(), model_folder(models) as folder:
            found = measure(folder, **chosen)
    except ClaimtraceError as error:
        say(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        say("stopped")
        sys.exit(130)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        show(found)
    if isinstance(found, dict) and found.get("failed"):
        sys.exit(StateError.exit_code)


@contextmanager
def model_folder(told: Path | None) -> Iterator[Path]:
    """Provide a registry with the canonical model: the given folder, or a temporary one."""
    if told is not None:
        yield told
        return
    with TemporaryDirectory() as made:
        say("training the canonical model ...")
        publish_elsewhere(Path(made))
        yield Path(made)


@contextmanager
def clean_end() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C, so that started processes are ended on the way out."""

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def say(progress: str) -> None:
    """Print progress to standard error."""
    print(progress, file=sys.stderr, flush=True)
