"""Records of dead letters sent again, each once, whatever happens to the process that sends them.

On the embedded log a record and the note that it was sent are one commit. On Kafka transactions of
one id do it, on Kinesis notes in a table (`producers.adapters`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from claimtrace.events import Outgoing, Record
from claimtrace.refusals import Refusal
from claimtrace.settings.schema import KINESIS
from serving.reading.dead_letter import DeadLetter, resent

from ...wiring.workspace import Workspace
from .letters import PRODUCER, notes_table, sent_again, stands_on_stream

_AT_ONCE: Final = 200


class Plan(NamedTuple):
    """The letters and records that a command would send, and why others are left out."""

    letters: list[DeadLetter]
    records: list[Outgoing]
    before: list[str]
    """Names of letters that were sent again before."""
    left_out: dict[str, str]
    """Name of a letter -> why its record isn't sent."""


def plan_of(workspace: Workspace, found: Sequence[DeadLetter], replacement: bytes | None) -> Plan:
    """Decide which letters can be sent again; nothing is sent.

    Args:
        workspace: with the settings.
        found: the letters that were asked for.
        replacement: the value to send in place of the one letter's own.
    """
    before = sent_again(workspace, found)
    now_ms = workspace.clock.now_ms()
    refuse = _gate(workspace)
    chosen, records, left_out = [], [], {}
    for letter in found:
        if letter.id in before:
            continue
        if why := letter.why_not(replacement):
            left_out[letter.id] = why
            continue
        record = resent(letter, replacement, now_ms)
        if why := refuse(record):
            left_out[letter.id] = why
            continue
        chosen.append(letter)
        records.append(record)
    return Plan(chosen, records, [each.id for each in found if each.id in before], left_out)


def send(workspace: Workspace, plan: Plan, advance: Callable[[int], object]) -> set[str]:
    """Send what a plan has, and nothing that was sent before; returns the letters' names."""
    wanted = [(letter.id, each) for letter, each in zip(plan.letters, plan.records, strict=True)]
    if not wanted:
        return set()
    if workspace.settings.source == "local":
        return _send_embedded(workspace, wanted, advance)
    if workspace.settings.source.startswith(KINESIS):
        return _send_kinesis(workspace, plan.letters, wanted, advance)
    from producers.adapters.kafka_resend import send_once

    return send_once(
        workspace.settings.kafka_connection, wanted,
        lambda: sent_again(workspace, plan.letters), advance,
    )  # fmt: skip


def _gate(workspace: Workspace) -> Callable[[Outgoing], str]:
    """Return a function that says why a worker would refuse a record now; empty: it wouldn't.

    Values framed for a schema registry are left to the worker.
    """
    from claimtrace.buffers.siphash import hash_key
    from claimtrace.encoding.decoder import Decoder

    domain, settings = workspace.domain, workspace.settings
    decoder = Decoder(domain.events, domain.currency, hash_key(settings.stream.hash_key))
    has_registry = bool(settings.schemas.registry)

    def why(sent: Outgoing) -> str:
        if has_registry and (sent.value or b"")[:1] < b"\t":
            return ""
        record = Record(sent.topic, sent.partition, 0, sent.key, sent.value, sent.log_time_ms,
                        sent.headers)  # fmt: skip
        (answer,) = decoder.decode([record])
        if not isinstance(answer, Refusal):
            return ""
        about = " ".join(filter(None, [answer.reason, answer.field]))
        return f"would be refused again: {about}"

    return why


def _send_embedded(
    workspace: Workspace, wanted: list[tuple[str, Outgoing]], advance: Callable[[int], object]
) -> set[str]:
    from claimtrace.adapters.embedded_log.log import EmbeddedLog

    done = set()
    with EmbeddedLog(workspace.log_path, create=False) as log:
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            with log.transaction():  # records and notes together, or neither
                for name, record in part:
                    newest = log.last(record.topic, record.partition)
                    # a simulated log may be ahead of the clock; its times must not run backwards
                    at_ms = max(record.log_time_ms, newest.log_time_ms if newest else 0)
                    timed = record._replace(log_time_ms=at_ms)
                    if log.append([timed], producer=(PRODUCER + name, 0)):
                        done.add(name)
            advance(len(part))
    return done


def _send_kinesis(
    workspace: Workspace,
    letters: list[DeadLetter],
    wanted: list[tuple[str, Outgoing]],
    advance: Callable[[int], object],
) -> set[str]:
    from producers.adapters.kinesis import KinesisSink
    from producers.adapters.kinesis_resend import send_once

    own = {each.id: each.value for each in letters}

    def is_there(name: str, record: Outgoing) -> bool:
        value = record.value or b""
        # a record sent as it was stands there once already, where it was refused
        others = 1 if own[name] == value else 0
        return stands_on_stream(workspace, record.topic, record.key, value) > others

    table = notes_table(workspace)
    if not table.is_there():
        table.create(workspace.clock)
    sink = KinesisSink(workspace.settings.kinesis_connection, workspace.clock)
    try:
        return send_once(table, sink, wanted, is_there, workspace.clock, advance)
    finally:
        sink.close()
