"""Which models have passed the kernels' self-check here, so that a second start needn't repeat it.

The check compares our kernels with XGBoost itself; importing that takes longer than all the rest of
a start. It holds for one model, these kernels and libraries, and this kind of processor: a note is
named for all of them, so whatever changes, the check is made again.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

from llvmlite import binding

from claimtrace.adapters.files.atomic_files import write_file
from claimtrace.ids import digest_of

_LIBRARIES: Final = ("numba", "llvmlite", "numpy")
_XGBOOST: Final = ("xgboost-cpu", "xgboost")


class CheckNotes:
    """Notes in a folder, one file each; nothing is noted where its parent isn't there.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> notes = CheckNotes(Path(folder.name) / "checked")
    >>> notes.has("d1"), notes.add("d1"), notes.has("d1"), notes.has("d2")
    (False, None, True, False)
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, model_digest: str) -> bool:
        """Whether this model has passed the check, with what is installed here now."""
        return self._path(model_digest).exists()

    def add(self, model_digest: str) -> None:
        """It has."""
        path = self._path(model_digest)
        if self._folder.parent.is_dir() and not path.exists():
            self._folder.mkdir(exist_ok=True)
            write_file(path, b"")

    def _path(self, model_digest: str) -> Path:
        return self._folder / digest_of([model_digest, *_surroundings()])


@cache
def _surroundings() -> tuple[str, ...]:
    """All that the answer of the check hangs on, but for the model."""
    room = Path(__file__).resolve().parents[2]
    sources = [path.read_text() for path in sorted(room.rglob("*.py"))]
    libraries = [f"{name} {_version(name)}" for name in (*_LIBRARIES, *_XGBOOST)]
    processor = f"{binding.get_host_cpu_name()} {binding.get_host_cpu_features().flatten()}"
    return (*sources, *libraries, processor)


def _version(name: str) -> str:
    try:
        return version(name)
    except ModuleNotFoundError:
        return ""
