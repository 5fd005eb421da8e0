"""Install each peer into an environment of its own, at its first use, from pinned requirements.

The environments are in the user's cache folder. Their names contain the version of Python and the
digest of the requirements, so changed requirements get a new environment. Two benchmarks may ask
for one at the same time. To pin the requirements anew:

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
"""The first Python with an XGBoost whose exact SHAP values cost a fourth or fifth as much."""


class PeerMissing(UsageError):
    """A peer can't be installed here."""


def environment(name: str, python: str = sys.executable) -> Path:
    """Find the Python of a peer's environment; a missing environment is installed.

    Args:
        name: of its requirements, `<name>.txt` in this folder.
        python: the interpreter that the environment is made with.

    Raises:
        PeerMissing: the packages can't be downloaded, or differ from the pinned ones.
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
    """Find an interpreter that the newest XGBoost has packages for; "" when there is none.

    Args:
        told: a path or name to use instead of looking for `python3.13` and `python3.12`.

    Raises:
        PeerMissing: `told` is no Python, or is too old.
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
    """Ask an interpreter for its version; (0, 0) when it doesn't run, as a shim without Python."""
    asked = [python, "-c", "import ensurepip, sys; print(*sys.version_info[:2])"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=60)
        major, minor = said.stdout.split()
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return 0, 0
    return int(major), int(minor)


def _install(pinned: Path, folder: Path, python: str) -> None:
    """Make the environment in its final folder, as its scripts contain their own path."""
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
    """Find the last line that isn't empty, which in pip's output is the error.

    >>> last_line("Looking\\nERROR: no such package\\n\\n")
    'ERROR: no such package'
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
