"""A record of the models that have passed the self-check on this machine, to skip it at a restart.

The self-check compares our kernels with XGBoost, whose import takes longer than the rest of a
start. A passed check is valid for one model, the kernels' sources, the library versions and the
type of processor. The name of a record is a digest over all of them, so the check is repeated when
any of them changes.
"""

from __future__ import annotations

import contextlib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

from llvmlite import binding

from claimtrace.adapters.files.atomic_files import write_file
from claimtrace.ids import digest_of

_LIBRARIES: Final = ("numba", "llvmlite", "numpy")
_XGBOOST: Final = ("xgboost-cpu", "xgboost")


class PassedChecks:
    """Passed self-checks in a folder, one empty file each.

    Nothing is recorded while the folder's parent doesn't exist.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> passed = PassedChecks(Path(folder.name) / "checked")
    >>> passed.has("d1"), passed.add("d1"), passed.has("d1"), passed.has("d2")
    (False, None, True, False)
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, model_digest: str) -> bool:
        """Whether the model has passed the self-check in the present environment."""
        return self._path(model_digest).exists()

    def add(self, model_digest: str) -> None:
        """Record that the model has passed the self-check in the present environment.

        Where nothing can be written the check is made again at the next start.
        """
        path = self._path(model_digest)
        if self._folder.parent.is_dir() and not path.exists():
            with contextlib.suppress(OSError):
                self._folder.mkdir(exist_ok=True)
                write_file(path, b"")

    def _path(self, model_digest: str) -> Path:
        return self._folder / digest_of([model_digest, *_environment()])


@cache
def _environment() -> tuple[str, ...]:
    """Return everything but the model that the outcome of the self-check depends on.

    These are the sources of the room `models/`, the library versions and the processor's features.
    """
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
