"""The assembly of `claimtrace serve`: its routes, and what its worker does for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from claimtrace.errors import ClaimtraceError, ConfigError, StoreUnavailable, UsageError
from claimtrace.events import Record
from claimtrace.settings.schema import KAFKA

from .looks.batches import build_batches
from .looks.following import follower_folder
from .looks.looking import TIMEOUT_S, Looking
from .serving_door import Unattended
from .serving_rights import open_rights, tls_options
from .workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from prometheus_client import CollectorRegistry

    from claimtrace.clock import Clock
    from serving.adapters.doors.door import Door
    from serving.adapters.doors.lookup import Gate
    from serving.adapters.evidence.service import EvidenceService
    from serving.adapters.http.endpoint import Parts
    from stream.engine.engine import Engine
    from stream.worker.driver import Driver

INDEX: Final = "decisions.db"
COPY: Final = "kinesis.db"
_CLOSE_S: Final = 5


class Served:
    """The parts of a serving process; the loop of its worker calls `built` to `idle`.

    Args:
        workspace: settings, domain, log.
        registry: the metrics of the process.
        tell: called with lines for people.
        follows: whether the loop is a follower's.
        config: the settings file that was named on the command line.
        evidence: answers for evidence; None: nobody does.
    """

    def __init__(
        self,
        workspace: Workspace,
        registry: CollectorRegistry,
        tell: Callable[[str], None],
        *,
        follows: bool = False,
        config: Path | None = None,
        evidence: EvidenceService | None = None,
    ) -> None:
        from serving.adapters.looks.beside import LooksBeside

        self._workspace, self._registry, self.follows = workspace, registry, follows
        folder = follower_folder(workspace) if follows else workspace.folder / "serve"
        self.looking, self.evidence = Looking(workspace), evidence
        self.door = open_door(workspace, folder, self._written, tell)
        self.batches = build_batches(workspace, folder / "batches", config)
        self._beside = LooksBeside(self.looking.looks, workspace.clock)
        self._woken = threading.Event()
        self._is_built = False
        self.door.desk.wake = self.looking.looks.desk.wake = self._written

    def _written(self) -> None:
        self._woken.set()

    def built(self, driver: Driver) -> None:
        """Have the engine find models on the shelf."""
        self.looking.attach(driver.engine)

    def before_step(self, records: int) -> int:
        """Return how many records the next plan may have: few, while somebody waits."""
        self._woken.clear()  # before the log is read: what comes from now on wakes again
        return self.door.desk.limit(self._beside.before_step(records))

    def after_step(self, driver: Driver, records: int) -> None:
        """Tell of the decisions that fell, and answer who asks for looks or stands at the gate."""
        if not self._is_built:
            self._warm_up(driver.engine)
            self._is_built = True
        if records:
            self.door.wake()
        self._beside.after_step(driver, records)
        self.door.serve(driver.engine)

    def idle(self, clock: Clock, seconds: float) -> None:  # noqa: ARG002
        """Wait for new records, or for somebody who asks."""
        self._woken.wait(seconds)

    def parts(self, rights: Any) -> Parts:
        """Return the parts for the routes."""
        from prometheus_client import generate_latest

        from serving.adapters.http.endpoint import Parts
        from serving.adapters.http.process import Process

        process = Process(self._why_not_ready, lambda: generate_latest(self._registry))
        return Parts(door=self.door, looks=self.looking.looks, models=self.looking.models,
                     batches=self.batches, evidence=self.evidence, rights=rights,
                     process=process)  # fmt: skip

    def refuse(self) -> None:
        """Refuse whoever waits: the worker's loop has ended."""
        self.door.refuse()
        self.looking.looks.desk.close()

    def close(self) -> None:
        """End the threads; a batch under way goes on when the process is started again."""
        self.batches.close()
        if self.evidence is not None:
            self.evidence.close()
        self.door.close()
        self.looking.close()

    def _warm_up(self, engine: Engine) -> None:
        """Compile what the first request would wait for; a claim is looked at, nothing changes."""
        claim = self._workspace.domain.claim
        value = msgspec.json.encode({claim.id_field: "warm-up"})
        record = Record(claim.topic, 0, 0, None, value, self._workspace.clock.now_ms())
        with suppress(ClaimtraceError):  # who asks for a look is told better
            engine.gate([record])
            engine.look([record])

    def _why_not_ready(self) -> str:
        if not self._is_built:
            return "the state is being recovered"
        if not self.door.is_ready:
            return "earlier decisions are being read"
        return "" if self.looking.looks.is_fresh else "the state is behind the log"


def open_door(
    workspace: Workspace, folder: Path, wrote: Callable[[], None], tell: Callable[[str], None],
    gate: Gate | None = None,
) -> Door:  # fmt: skip
    """Build the door on the log of the settings."""
    from serving.adapters.doors.door import Door, Log
    from serving.adapters.doors.putting import Putting
    from serving.adapters.doors.tail import Tail

    settings, domain = workspace.settings, workspace.domain
    most = settings.serve.max_waiting
    door: Door
    open_writer: Callable[[], Any]
    open_feed: Callable[[], Any]
    partitions, has_headers = 0, True
    if settings.source == "local":
        from serving.adapters.doors.log_files import EmbeddedFeed, EmbeddedWriter

        path, partitions = workspace.log_path, settings.partitions
        open_writer, open_feed = (lambda: EmbeddedWriter(path)), (lambda: EmbeddedFeed(path))
    elif settings.source.startswith(KAFKA):
        from serving.adapters.doors.kafka import KafkaFeed, KafkaWriter

        connection = settings.kafka_connection
        open_writer, open_feed = (lambda: KafkaWriter(connection)), (lambda: KafkaFeed(connection))
    else:
        from claimtrace.adapters.aws.client import aws_client
        from serving.adapters.doors.kinesis import KinesisFeed, KinesisWriter

        streams, clock, copy = settings.kinesis_connection, workspace.clock, folder / COPY
        has_headers = False
        open_writer = lambda: KinesisWriter(streams, clock)  # noqa: E731
        open_feed = lambda: KinesisFeed(  # noqa: E731
            streams, aws_client(streams.kinesis, "kinesis"), copy, clock
        )
    tail = Tail(open_feed, folder / INDEX, lambda found: door.fell(found), tell)
    log = Log(Putting(open_writer, most, wrote), tail, partitions, _frame(workspace), has_headers)
    door = Door(domain, log, workspace.clock, most, TIMEOUT_S, gate)
    return door


def _frame(workspace: Workspace) -> Callable[[bytes], bytes]:
    """Return how the JSON of a claim becomes the bytes of the log: with the id of its schema."""
    settings, topic = workspace.settings, workspace.domain.claim.topic
    if not (settings.schemas.registry and settings.source.startswith(KAFKA)):
        return bytes
    from claimtrace.schemas.adapters.registry import Encoder

    encoder = Encoder(settings.schemas, list(workspace.domain.events))

    def frame(value: bytes) -> bytes:
        try:
            return encoder.encode(topic, value)
        except UsageError:  # a malformed claim has no such form: the gate says what is wrong
            return value

    return frame


class HttpServer:
    """uvicorn in a thread: the main thread is the worker's, which has the signals.

    Args:
        workspace: address, TLS and rights.
        served: the parts, with a worker or without.
        tell: called with lines for people.
    """

    def __init__(
        self, workspace: Workspace, served: Served | Unattended, tell: Callable[[str], None]
    ) -> None:
        import uvicorn

        from serving.adapters.http.app import build_app
        from serving.adapters.http.protocol import safe_options

        self._served, self._opened = served, ExitStack()
        host, _, port = workspace.settings.serve.listen.rpartition(":")
        self._host = host.strip("[]")
        opened = open_rights(workspace, self._host, tell)
        self._opened.callback(opened.close)
        self.line = opened.line
        tls = tls_options(workspace)
        self._scheme = "https" if tls else "http"
        app = opened.shield(build_app(served.parts(opened.rights)))
        config = uvicorn.Config(
            app, host=self._host, port=int(port), loop="uvloop", lifespan="off", log_config=None,
            timeout_graceful_shutdown=_CLOSE_S, **safe_options(), **tls,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._socket = _bound(config)
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    @property
    def address(self) -> str:
        """The URL of the server."""
        host, port = self._socket.getsockname()[:2]
        return f"{self._scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer who is being answered, and end."""
        self._served.refuse()
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(2 * _CLOSE_S)
        self._opened.close()

    def _run(self) -> None:
        import uvloop

        uvloop.run(self._serve())

    async def _serve(self) -> None:
        self._served.door.begin(asyncio.get_running_loop())
        await self._server.serve([self._socket])


def _bound(config: Any) -> Any:
    """Return a socket that listens on the address.

    Raises:
        ConfigError, StoreUnavailable: the address can't be had.
    """
    import socket

    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((config.host, config.port))
    except socket.gaierror as error:
        raise ConfigError(f"there is no address {config.host}", where="serve.listen",
                          hint="such as 127.0.0.1:8470") from error  # fmt: skip
    except OSError as error:
        raise StoreUnavailable(
            f"can't listen on {config.host}:{config.port}: {error.strerror}", where="serve.listen",
            hint="another process has the port: end it, or name another one, such as "
            "--listen 127.0.0.1:0",
        ) from error  # fmt: skip
    bound.listen(1024)
    return bound
