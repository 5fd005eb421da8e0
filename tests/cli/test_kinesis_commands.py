"""The command line on streams that push, and what `doctor` says of reading."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from claimtrace.adapters.tables.dynamodb import DynamodbTable
from claimtrace.errors import ClaimtraceError, StateError
from cli.__main__ import app
from stream.adapters.kinesis.table_leases import TableLeases
from tests.servers.aws_local import REGION
from tests.servers.dynamodb import DynamoLocal
from tests.servers.ministack import Ministack

Run = Callable[..., str]


@pytest.fixture
def run(
    ministack: Ministack, dynamodb: DynamoLocal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Runs `claimtrace` as a person does, on streams and a table of its own."""
    environment = {
        "SOURCE": f"kinesis://{tmp_path.name}", "PARTITIONS": "2", "FOLDER": str(tmp_path),
        "KINESIS__REGION": REGION, "KINESIS__KINESIS_ENDPOINT": ministack.endpoint,
        "KINESIS__DYNAMODB_ENDPOINT": dynamodb.endpoint, "KINESIS__TABLE": tmp_path.name,
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(f"CLAIMTRACE_{name}", value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")

    def run(*arguments: str, exit_code: int = 0, **settings: str) -> str:
        made = CliRunner().invoke(
            app, arguments, env={f"CLAIMTRACE_{k}": v for k, v in settings.items()}
        )
        if isinstance(made.exception, ClaimtraceError):
            raise made.exception
        assert made.exit_code == exit_code, made.output
        return " ".join(made.output.split())

    return run


def test_from_streams_that_push_to_a_proof(run: Run) -> None:
    run("topics", "create")
    assert "claimtrace stream registers it" in run("doctor", KINESIS__FAN_OUT="w1")
    run("producers", "--days", "1", "--policies", "300", "--rate", "0")
    said = run("stream", "--until-end", KINESIS__FAN_OUT="w1")
    assert "claims decided of" in said
    assert "0 of" in (proof := run("verify"))
    assert "decisions differ" in proof
    assert "pushed to as w1, registered on 3 of 3 input streams" in run(
        "doctor", KINESIS__FAN_OUT="w1"
    )


def test_the_doctor_says_when_polling_is_not_enough(
    run: Run, dynamodb: DynamoLocal, tmp_path: Path
) -> None:
    run("topics", "create")
    assert "workers: 1, each reads each shard every 0.2 s" in run("doctor")
    leases = TableLeases(DynamodbTable(dynamodb.client(), tmp_path.name))
    for n in range(6):
        leases.write_heartbeat(f"w{n}", 1)
    said = run("doctor", exit_code=1)
    assert "workers: 6, each reads each shard every 1.2 s" in said
    assert "enhanced fan-out is needed" in said


def test_the_doctor_measures_what_comes(
    run: Run, ministack: Ministack, dynamodb: DynamoLocal, tmp_path: Path
) -> None:
    run("topics", "create")
    leases = TableLeases(DynamodbTable(dynamodb.client(), tmp_path.name))
    for n in range(3):
        leases.write_heartbeat(f"w{n}", 1)
    assert "enhanced fan-out" not in run("doctor")
    client: Any = ministack.client("kinesis")
    for _ in range(8):  # 8 MB in ten seconds are .8 MB/s, three times
        client.put_record(
            StreamName=f"{tmp_path.name}.claims.filed", PartitionKey="k", Data=b"x" * 1_000_000
        )
    assert "enhanced fan-out is needed" in run("doctor", exit_code=1)


def test_a_stream_that_was_made_anew_is_refused(
    run: Run, ministack: Ministack, tmp_path: Path
) -> None:
    """B15."""
    run("topics", "create")
    run("producers", "--days", "1", "--policies", "100", "--rate", "0")
    run("stream", "--until-end")
    ministack.client("kinesis").delete_stream(StreamName=f"{tmp_path.name}.claims.filed")
    time.sleep(1)  # it is told from the one before by the second in which it was made
    run("topics", "create")
    said = run("stream", "--until-end", exit_code=StateError.exit_code)
    assert "made anew since the journal was begun" in said
    assert "start with a new folder" in said


@pytest.mark.parametrize("table", ["", "shared"])
def test_a_journal_that_was_lost_is_refused_while_there_are_decisions(
    run: Run, dynamodb: DynamoLocal, tmp_path: Path, table: str
) -> None:
    """A second journal would decide every claim again, on streams that hold its decision."""
    table = table and f"{tmp_path.name}-{table}"
    run("topics", "create", KINESIS__TABLE=table)
    assert "they belong together" in run("doctor", KINESIS__TABLE=table)
    run("producers", "--days", "1", "--policies", "100", "--rate", "0")
    run("stream", "--until-end", KINESIS__TABLE=table)
    if table:
        dynamodb.client().delete_table(TableName=table)
        run("topics", "create", KINESIS__TABLE=table)
    (tmp_path / "state" / "journal").unlink(missing_ok=True)
    for command in (("stream", "--until-end"), ("doctor",)):
        said = run(*command, exit_code=StateError.exit_code if len(command) > 1 else 1,
                   KINESIS__TABLE=table)  # fmt: skip
        assert "the journal that explains them is gone" in said
    assert not list(tmp_path.glob("state/journal*")), "a refused command writes nothing"
