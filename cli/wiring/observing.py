"""The observer of a worker: lines on the console, metrics over HTTP, metrics to CloudWatch."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

from claimtrace.clock import duration_ms
from claimtrace.decisions import JOURNAL_TOPIC
from claimtrace.settings.schema import KAFKA

from ..console import notify

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from stream.adapters.reporting.cloudwatch import CloudWatch
    from stream.worker.observer import WorkerObserver
    from stream.worker.store_names import StoreNames

    from .workspace import Workspace


def observe(
    workspace: Workspace, opened: ExitStack, *, logs: bool = False,
    registry: CollectorRegistry | None = None,
) -> WorkerObserver:  # fmt: skip
    """Return the observer that the settings ask for.

    The metrics server and the sender to CloudWatch end with `opened`; open everything that still
    counts after this call, so that the last metrics know of it.

    Args:
        workspace: its settings and domain.
        opened: closes the server and the sender.
        logs: whether events are logged (`cli.wiring.worker_log`) instead of shown on a terminal.
        registry: gets the metrics, whatever the settings say; None: they say it.
    """
    from stream.worker.observer import Observers, WorkerObserver
    from stream.worker.step_time import StepTimeGuard

    log = _log_observer(workspace) if logs else WorkerObserver(notify)
    observers = [log]
    metrics, aws = workspace.settings.metrics, workspace.settings.aws
    if registry is not None or metrics.listen or aws.metrics_namespace:
        counting = _metrics(workspace, opened, registry)
        observers = [log, counting] if logs else [counting]
    heard = Observers(*observers)
    guard = StepTimeGuard(workspace.settings.guard.step_ratio, heard.slowed, heard.notify)
    return Observers(heard, guard)


def _metrics(
    workspace: Workspace, opened: ExitStack, registry: CollectorRegistry | None
) -> WorkerObserver:
    """Return the observer that counts, and start what publishes its metrics."""
    metrics, aws = workspace.settings.metrics, workspace.settings.aws
    from prometheus_client import CollectorRegistry

    from stream.adapters.reporting.prometheus import WorkerMetrics

    registry = registry or CollectorRegistry()
    observer = WorkerMetrics(registry, workspace.domain.topics, notify=notify)
    observer.stores = store_names(workspace)
    if metrics.listen:
        from claimtrace.adapters.process.metrics_server import start

        server = start(metrics.listen, registry, observer.reason)
        opened.callback(server.close)
    if aws.metrics_namespace:
        opened.callback(_to_cloudwatch(workspace, registry).close)
    return observer


def _log_observer(workspace: Workspace) -> WorkerObserver:
    from stream.adapters.reporting.worker_log import WorkerLog

    return WorkerLog(store_names(workspace))


def store_names(workspace: Workspace) -> StoreNames:
    """Return the names of the stores, with the places that the settings name."""
    from stream.worker.store_names import StoreNames

    settings = workspace.settings
    places = {
        # Kafka's journal is a topic of the log: it answers when the brokers do
        JOURNAL_TOPIC: "log" if settings.source.startswith(KAFKA) else "journal",
        str(workspace.log_path): "log",
        str(workspace.state_folder): "journal",
        str(workspace.state_folder / "snapshots"): "snapshots",
        settings.offline or str(workspace.folder / "offline"): "offline",
        settings.models or str(workspace.models_folder): "models",
        settings.kafka.group: "log",
        settings.kinesis.table: "journal",
    }
    named = {place: store for place, store in places.items() if place}
    return StoreNames(workspace.domain.topics, named)


def _to_cloudwatch(workspace: Workspace, registry: CollectorRegistry) -> CloudWatch:
    """Start to send the metrics; a worker is named for its folder and host."""
    from claimtrace.adapters.aws.client import aws_client
    from stream.adapters.reporting.cloudwatch import CloudWatch

    aws = workspace.settings.aws
    sender = CloudWatch(
        aws_client(workspace.settings.kinesis, "cloudwatch"),
        aws.metrics_namespace,
        registry,
        f"{workspace.folder.resolve().name}@{socket.gethostname()}",
        workspace.clock,
        duration_ms(aws.metrics_every) / 1000,
        notify,
    )
    sender.start()
    return sender
