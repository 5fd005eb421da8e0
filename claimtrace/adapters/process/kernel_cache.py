"""The on-disk cache of compiled kernels: a folder named for the digest of their sources.

Numba's own cache checks whether the file of a function has changed, but not the files of the
functions that it inlines: after an update, or an edit, a stale kernel could run in place of new
code. A folder named for the digest of all kernel sources rules that out.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ...rooms import HOME, ROOMS

VARIABLE: Final = "NUMBA_CACHE_DIR"
_PACKAGES: Final = (*ROOMS, "benchmarks")
_COMPILES: Final = re.compile(
    rb"^(?:from numba|import numba|from [\w.]*jit import)\b", re.MULTILINE
)
"""Matches every file with compiled functions."""
_IMPORT: Final = re.compile(rb"^from (\.*)([\w.]*) import", re.MULTILINE)
_FOLDER: Final = ".kernels"
_KEPT_VERSIONS: Final = 3


def use_versioned_cache() -> Path | None:
    """Set numba's cache folder to that of this version's kernels, unless the user has set one.

    It is beside the packages if that is writable, else in the user's cache, else in the temporary
    folder. Must run before the first kernel is made; `claimtrace/__init__.py` calls it.

    Returns:
        The folder; None when the user has set one, or no folder is writable.
    """
    if VARIABLE in os.environ:
        return None
    digest = _digest_of_kernels(HOME)
    user = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "claimtrace"
    for base in (HOME / _FOLDER, user / "kernels", Path(tempfile.gettempdir()) / "claimtrace"):
        folder = base / digest
        try:
            if not folder.exists():
                folder.mkdir(parents=True, exist_ok=True)
                _remove_older(base, folder)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            os.environ[VARIABLE] = str(folder)
            if "numba" in sys.modules:  # numba has read the variable when it was imported
                sys.modules["numba"].config.CACHE_DIR = str(folder)
            return folder
    return None


def _remove_older(base: Path, newest: Path) -> None:
    """Remove all but the kernels of the last few versions; they are compiled again when needed."""
    others = sorted((p for p in base.iterdir() if p != newest), key=lambda p: p.stat().st_mtime)
    for folder in others[: -_KEPT_VERSIONS + 1]:
        shutil.rmtree(folder, ignore_errors=True)


def _digest_of_kernels(home: Path) -> str:
    """Return a digest of every file with compiled functions, and of the files that these import.

    A kernel contains the values of module constants at the time when it was compiled, so a limit
    that another file defines is part of the kernel too.
    """
    sources = {
        path: path.read_bytes()
        for package in _PACKAGES
        for path in sorted((home / package).rglob("*.py"))
    }
    kernels = [path for path, source in sources.items() if _compiles(source)]
    read = {*kernels, *(p for kernel in kernels for p in _imported(home, kernel, sources[kernel]))}
    hashed = hashlib.sha256()
    for path in sorted(read & sources.keys()):
        hashed.update(sources[path])
    return hashed.hexdigest()[:16]


def _compiles(source: bytes) -> bool:
    """Whether a file has compiled functions; a search for two words first, as every start asks."""
    return (b"numba" in source or b"jit" in source) and bool(_COMPILES.search(source))


def _imported(home: Path, importer: Path, source: bytes) -> Iterator[Path]:
    """Yield the files that a file's `from ... import` lines name, whether they exist or not."""
    for dots, module in _IMPORT.findall(source):
        folder = importer.parents[len(dots) - 1] if dots else home
        parts = module.decode().split(".") if module else []
        yield folder.joinpath(*parts).with_suffix(".py") if parts else folder / "__init__.py"
