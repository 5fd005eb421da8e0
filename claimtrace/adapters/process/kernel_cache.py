"""Compiled kernels are kept on disk, in a folder named for the digest of their sources.

Numba's own cache asks whether the file of a function has changed, but not the files of the
functions that it inlines: after an update, or an edit, an old kernel could answer for new code.
Under a digest of all kernel sources that can't happen.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

VARIABLE: Final = "NUMBA_CACHE_DIR"
_ROOMS: Final = ("claimtrace", "featurestore", "producers", "training", "stream", "benchmarks")
_COMPILED: Final = (b"numba", b"import kernel")
"""One of them stands in every file with compiled functions."""
_FOLDER: Final = ".kernels"
_KEPT_VERSIONS: Final = 3


def use_versioned_cache() -> Path | None:
    """Name the folder for this version's kernels, unless the user has named one.

    Beside the packages where that can be written, else in the user's cache, else in the temporary
    folder. Must run before the first kernel is made; `claimtrace/__init__.py` sees to that.
    """
    if VARIABLE in os.environ:
        return None
    home = Path(__file__).resolve().parents[3]
    digest = _digest_of_kernels(home)
    user = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "claimtrace"
    for base in (home / _FOLDER, user / "kernels", Path(tempfile.gettempdir()) / "claimtrace"):
        folder = base / digest
        try:
            if not folder.exists():
                folder.mkdir(parents=True, exist_ok=True)
                _remove_older(base, folder)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            os.environ[VARIABLE] = str(folder)
            if "numba" in sys.modules:
                sys.modules["numba"].config.CACHE_DIR = str(folder)
            return folder
    return None


def _remove_older(base: Path, newest: Path) -> None:
    """Keep the kernels of the last few versions; what is removed is compiled again when needed."""
    others = sorted((p for p in base.iterdir() if p != newest), key=lambda p: p.stat().st_mtime)
    for folder in others[: -_KEPT_VERSIONS + 1]:
        shutil.rmtree(folder, ignore_errors=True)


def _digest_of_kernels(home: Path) -> str:
    hashed = hashlib.sha256()
    for room in _ROOMS:
        for path in sorted((home / room).rglob("*.py")):
            source = path.read_bytes()
            if any(word in source for word in _COMPILED):
                hashed.update(source)
    return hashed.hexdigest()[:16]
