"""The assembly of engine and driver from a workspace and an opened log."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from claimtrace.clock import duration_ms
from claimtrace.errors import ModelError, StoreUnavailable

from .champion import Champion
from .observing import store_names

if TYPE_CHECKING:
    from claimtrace.decisions import ModelRef, RolloutRef
    from models.rollout.manifest import Rollout
    from models.scorer import Scorer
    from stream.engine.engine import Engine
    from stream.journal.terms import Terms
    from stream.worker.driver import Driver
    from stream.worker.observer import WorkerObserver
    from stream.worker.parts import LogParts

    from .opened_log import OpenedLog
    from .workspace import Workspace


def build_engine(
    workspace: Workspace,
    terms: Terms | None = None,
    scorer_of: Callable[[ModelRef], Scorer] | None = None,
    rollout_of: Callable[[RolloutRef], Rollout] | None = None,
    *,
    watches: bool = True,
) -> Engine:
    """Build an engine without any state; by default on the terms and models of the workspace.

    With `watches` it watches for drift.
    """
    from claimtrace.buffers.siphash import hash_key
    from stream.engine.engine import Engine

    schemas = workspace.schemas
    return Engine(
        workspace.domain,
        terms or workspace.terms(),
        hash_key(workspace.settings.stream.hash_key),
        scorer_of or workspace.scorer_of,
        schemas.plain if schemas is not None else None,
        rollout_of or workspace.rollout_of,
        watches=watches,
    )


def build_driver(
    workspace: Workspace,
    log: OpenedLog,
    observer: WorkerObserver,
    stopping: Callable[[], bool],
    opened: ExitStack,
) -> Driver:
    """Build a driver over an opened log; it has not recovered yet.

    Args:
        workspace: stores, models and settings; the caller holds the lock of its state folder.
        log: as its transport opened it.
        observer: told what happens.
        stopping: whether somebody asked the worker to end.
        opened: closes what runs beside the driver.
    """
    from stream.adapters.process.background import DaemonThreads
    from stream.adapters.snapshots.reached_file import ReachedFile
    from stream.adapters.snapshots.snapshots import Snapshots
    from stream.worker.driver import Driver
    from stream.worker.parts import Cadence, Stores

    record_definitions(workspace)
    stream, folder = workspace.settings.stream, workspace.state_folder
    shares_models = log.parts.group is not None
    scorer_of = shared_scorer_of(workspace) if shares_models else workspace.scorer_of
    rollout_of = shared_rollout_of(workspace) if shares_models else workspace.rollout_of
    champion = Champion(workspace, observer.notify)
    return Driver(
        build_engine(workspace, log.terms, scorer_of, rollout_of),
        _with_alerts_notified(workspace, log.parts, observer, opened),
        Stores(
            workspace.offline,
            Snapshots(folder / "snapshots"),
            ReachedFile(folder / "reached"),
            opened.enter_context(DaemonThreads()),  # an append is waited for before the exit
            store_names(workspace),
            champion,
            {} if log.terms.texts else workspace.texts(),
        ),
        Cadence(
            snapshot=(stream.snapshot_every_records, duration_ms(stream.snapshot_every) / 1000),
            offline=(stream.offline_every_records, duration_ms(stream.offline_every) / 1000),
            commit_s=log.commit_every_s,
        ),
        workspace.clock,
        champion,
        observer,
        stopping,
    )


def shared_scorer_of(workspace: Workspace) -> Callable[[ModelRef], Scorer]:
    """Return how a worker among others loads models: one that a plan names may not be in this
    worker's registry yet, and is waited for."""

    def scorer_of(ref: ModelRef) -> Scorer:
        try:
            return workspace.scorer_of(ref)
        except ModelError as error:
            raise StoreUnavailable(
                f"a plan needs the model {ref.label}: {error.what}",
                where="models",
                hint="all workers need the same registry: share the folder models/",
            ) from error

    return scorer_of


def shared_rollout_of(workspace: Workspace) -> Callable[[RolloutRef], Rollout]:
    """Return how a worker among others reads roll-outs; see `shared_scorer_of`."""

    def rollout_of(ref: RolloutRef) -> Rollout:
        try:
            return workspace.rollout_of(ref)
        except ModelError as error:
            raise StoreUnavailable(
                f"a plan needs {ref.label}: {error.what}",
                where="models",
                hint="all workers need the same registry: share the folder models/",
            ) from error

    return rollout_of


def record_definitions(workspace: Workspace) -> None:
    """Write to the offline store what the numbers of a vector mean; once for each digest."""
    from featurestore.definitions.catalogue import describe
    from featurestore.offline.tables import DEFINITIONS, definitions_rows

    domain = workspace.domain
    features = [(row.name, row.kind, row.text) for row in describe(domain)]
    rows = definitions_rows(domain.definitions_digest, domain.name, features)
    writer = f"definitions-{domain.definitions_digest}"
    workspace.offline.append(DEFINITIONS, rows, writer=writer, version=1)


def _with_alerts_notified(
    workspace: Workspace, parts: LogParts, observer: WorkerObserver, opened: ExitStack
) -> LogParts:
    """Return the parts with an output that also sends alerts to the SNS topic of the settings."""
    topic = workspace.settings.aws.alerts_topic
    if not topic:
        return parts
    from claimtrace.adapters.aws.client import aws_client
    from stream.adapters.reporting.sns import NotifyingOutput, SnsNotifier

    region = topic.split(":")[3]  # SNS takes a topic in its own region only
    client = aws_client(workspace.settings.kinesis, "sns", region)
    output = NotifyingOutput(parts.output, SnsNotifier(client, topic, observer))
    opened.callback(output.close)
    return parts._replace(output=output)
