"""The assembly of `claimtrace serve --no-worker`: a door beside workers, which knows no claim."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimtrace.errors import ConfigError

from .looks.looking import TIMEOUT_S
from .workspace import Workspace

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from serving.adapters.doors.door import Door
    from serving.adapters.http.endpoint import Parts


class Unattended:
    """The parts of a serving process without a worker; any number of them stand on one log.

    Args:
        door: made with `lookup_of`.
        registry: the metrics of the process.
    """

    def __init__(self, door: Door, registry: CollectorRegistry) -> None:
        self.door, self._registry = door, registry

    def parts(self, rights: Any) -> Parts:
        """Return the parts for the routes: those that need an engine answer 501."""
        from prometheus_client import generate_latest

        from serving.adapters.http.endpoint import Parts
        from serving.adapters.http.process import Process

        process = Process(self._why_not_ready, lambda: generate_latest(self._registry))
        return Parts(door=self.door, rights=rights, process=process)

    def refuse(self) -> None:
        """Refuse whoever waits."""
        self.door.refuse()

    def close(self) -> None:
        """End the threads."""
        self.door.close()

    def _why_not_ready(self) -> str:
        return "" if self.door.is_ready else "earlier decisions are being read"


def lookup_of(workspace: Workspace, tell: Callable[[str], None]) -> Any:
    """Return what asks the server at `serve.lookup`.

    Raises:
        ConfigError: its key can't be read.
    """
    from serving.adapters.doors.lookup import Lookup

    serve = workspace.settings.serve
    key = ""
    if serve.lookup_key_file:
        try:
            key = Path(serve.lookup_key_file).read_text("ascii").strip()
        except (OSError, ValueError) as error:
            raise ConfigError(
                "can't read the key for serve.lookup", where="serve.lookup_key_file",
                hint="write into it what this shows: claimtrace keys add --name D --role scorer",
            ) from error  # fmt: skip
    if not serve.lookup:
        tell("serve.lookup names no server with a worker: claims to be decided are refused")
    return Lookup(serve.lookup, key, serve.max_waiting, TIMEOUT_S)
