"""Values framed by a schema registry, through the whole stream: decided like plain ones.

A schema id that the registry doesn't know is recorded in the plan, so that a replay refuses the
same records whatever the registry knows by then.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from claimtrace.decisions import DEAD_TOPIC, DECISIONS_TOPIC
from claimtrace.errors import StoreUnavailable
from claimtrace.schemas.adapters.registry import Encoder, Schemas
from claimtrace.schemas.confluent_frame import frame
from claimtrace.settings.schema import SchemaSettings
from claimtrace_examples.auto_claims import DOMAIN
from stream.adapters.embedded.file_journal import read_plans
from stream.adapters.embedded.log import EmbeddedSource
from stream.proofs.verify import replay
from tests.worlds.random_events import a_stream, as_records
from tests.worlds.stream_folder import World

UNKNOWN = 4_711


def world_of(folder: Path, settings: SchemaSettings) -> tuple[World, Schemas]:
    schemas = Schemas(settings, folder / "schemas")
    world = World(folder, plain=schemas.plain, unknown_schemas=schemas.unknown_in)
    return world, schemas


def features(world: World) -> dict[str, Any]:
    found = [msgspec.json.decode(r.value or b"") for part in world.outputs()[DECISIONS_TOPIC]
             for r in part]  # fmt: skip
    return {each["claim_id"]: each["features"] for each in found}


@pytest.mark.parametrize("form", ["json", "avro"])
def test_framed_claims_are_decided_as_plain_ones(form: str, tmp_path: Path) -> None:
    settings = SchemaSettings(registry=f"mock://stream-{form}", format=form)
    encoder = Encoder(settings, DOMAIN.events)
    records = as_records(a_stream(11, 120))
    plain = World(tmp_path / "plain")
    plain.put(records)
    plain.run()
    framed, _ = world_of(tmp_path / "framed", settings)
    framed.put([r._replace(value=encoder.encode(r.topic, r.value or b"")) for r in records])
    framed.run()
    assert features(framed) == features(plain) != {}


def test_an_id_that_was_unknown_stays_unknown_for_a_replay(tmp_path: Path) -> None:
    settings = SchemaSettings(registry="mock://stream-late")
    world, _ = world_of(tmp_path, settings)
    records = as_records(a_stream(11, 40))
    claim = next(r for r in records if r.topic == "claims.filed")
    late = claim._replace(position=claim.position, value=frame(UNKNOWN, claim.value or b""))
    world.put([late])
    world.run()
    world.put(records)
    world.run()
    dead = [r for part in world.outputs()[DEAD_TOPIC] for r in part]
    assert [dict(r.headers)["x-dead-reason"] for r in dead] == [b"unknown_schema"]
    assert dead[0].value == late.value
    assert next(iter(read_plans(world.folder / "journal"))).unknown_schemas == [UNKNOWN]
    world.plain = lambda number, payload: payload  # the schema has been registered since
    with world.open_log() as log:
        source = EmbeddedSource(log, DOMAIN.topics, world.partitions)
        proved = replay(
            world.engine(),
            read_plans(world.folder / "journal"),
            source,
            lambda p: iter(log.read(DECISIONS_TOPIC, p, 0, 10**6)),
        )
    assert (proved.differ, proved.first) == (0, "")


def test_a_registry_that_is_down_pauses_and_loses_nothing(tmp_path: Path) -> None:
    settings = SchemaSettings(registry="mock://stream-down")
    encoder = Encoder(settings, DOMAIN.events)
    world, schemas = world_of(tmp_path, settings)
    records = as_records(a_stream(12, 60))
    world.put([r._replace(value=encoder.encode(r.topic, r.value or b"")) for r in records])
    failures = 3

    def unknown(batch: Any) -> list[int]:
        nonlocal failures
        if failures:
            failures -= 1
            raise StoreUnavailable("the registry doesn't answer", where="schemas")
        return schemas.unknown_in(batch)

    world.unknown_schemas = unknown
    world.run()
    assert failures == 0
    assert world.outputs()[DEAD_TOPIC] == [[], []]
    assert len(features(world)) == sum(r.topic == "claims.filed" for r in records)
