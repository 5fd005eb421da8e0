"""Environments of their own for the peers: made at the first use, from pinned files with hashes.

They lie beside other downloads in the cache, named for the digest of their requirements and for the
Python, so another version never meets old packages; two benchmarks may ask at once. To pin anew:

    uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --no-header quix.in -o quix.txt
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from claimtrace.errors import UsageError
from tests.servers.fetch import cache_folder

REQUIREMENTS: Final = Path(__file__).parent
INSTALL_TIMEOUT_S: Final = 1200
NEWER: Final = (3, 12)
"""From this Python on there is an XGBoost whose exact SHAP values cost a fourth or fifth."""


class PeerMissing(UsageError):
    """A peer can't be installed here."""


def environment(name: str, python: str = sys.executable) -> Path:
    """The Python of a peer's environment, which is made when it isn't there yet.

    Args:
        name: of its requirements, `<name>.txt` in this folder.
        python: the interpreter that the environment is made with.

    Raises:
        PeerMissing: the packages didn't come, or aren't what was pinned.
    """
    pinned = REQUIREMENTS / f"{name}.txt"
    tag = hashlib.sha256(pinned.read_bytes()).hexdigest()[:12]
    major, minor = _version(python)
    folder = cache_folder() / "peers" / f"{name}-py{major}{minor}-{tag}"
    inside = folder / "bin" / "python"
    if inside.exists():
        return inside
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not inside.exists():
            print(f"installing {name} into an environment of its own ...", file=sys.stderr)
            try:
                _install(pinned, folder, python)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
    return inside


def newer_python(told: str = "") -> str:
    """An interpreter that the newest XGBoost has packages for, "" when there is none.

    Args:
        told: a path or name to take instead of looking for `python3.13` and `python3.12`.

    Raises:
        PeerMissing: the one that was told is none, or is too old.
    """
    if told:
        if _version(told) < NEWER:
            raise PeerMissing("this is no Python from 3.12 on", where=told)
        return told
    for name in ("python3.13", "python3.12"):
        path = shutil.which(name)
        if path and _version(path) >= NEWER:
            return path
    return ""


def _version(python: str) -> tuple[int, int]:
    """Major and minor version; (0, 0) for what doesn't run, such as a shim without a Python."""
    asked = [python, "-c", "import ensurepip, sys; print(*sys.version_info[:2])"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=60)
        major, minor = said.stdout.split()
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return 0, 0
    return int(major), int(minor)


def _install(pinned: Path, folder: Path, python: str) -> None:
    """Make the environment in place: its scripts name their own path, so it can't be moved."""
    shutil.rmtree(folder, ignore_errors=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps",
           "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:",
           "--requirement", str(pinned)]  # fmt: skip
    for command in ([python, "-m", "venv", str(folder)], pip):
        try:
            done = subprocess.run(command, capture_output=True, text=True,
                                  timeout=INSTALL_TIMEOUT_S)  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise PeerMissing(f"it did not install in {INSTALL_TIMEOUT_S} s",
                              where=pinned.name) from error  # fmt: skip
        if done.returncode:
            raise PeerMissing(f"it can't be installed: {last_line(done.stderr or done.stdout)}",
                              where=pinned.name, hint="packages come over the network from where "
                              "pip gets them; --peers claimtrace plain needs none")  # fmt: skip


def last_line(said: str) -> str:
    """The last line that says something: pip's errors end with what went wrong.

    >>> last_line("Looking\\nERROR: no such package\\n\\n")
    'ERROR: no such package'
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
