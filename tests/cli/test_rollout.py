"""Roll-outs from the command line, on a folder of edition 2 that is upgraded first."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from claimtrace.decisions import ModelRef
from cli.__main__ import main
from cli.wiring.champion import Champion
from cli.wiring.workspace import Workspace
from models.artefact import Draft, Thresholds
from models.registry.adapters.folder import FolderRegistry
from tests.compat.editions import HERE, copy_of, further_events, records_of

EDITION = HERE / "edition_2"
WHY = ("--reason", "try it")
Ask = Callable[..., Any]


def publish(registry: FolderRegistry, review: float, refer: float) -> ModelRef:
    """Publish the champion once more, with other thresholds."""
    artefact = registry.load("champion")
    fields = {name: getattr(artefact.manifest, name) for name in Draft.__struct_fields__}
    fields["thresholds"] = Thresholds(refer=refer, review=review)
    return registry.publish(Draft(**fields), artefact.model_json, actor="t", reason="t", at_ms=1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three versions, whose journal has edition 2."""
    monkeypatch.syspath_prepend(str(EDITION))
    copy = copy_of(EDITION, tmp_path / "folder")
    (name,) = [path.name for path in (copy / "models").iterdir()]
    registry = FolderRegistry(copy / "models", name)
    publish(registry, 0.0, 0.0)
    publish(registry, 0.01, 1.0)
    return copy


@pytest.fixture
def ask(folder: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a command; returns what it printed, or its error when another code is expected."""

    def asked(*words: str, code: int = 0) -> Any:
        capsys.readouterr()
        found = main(["--folder", str(folder), *words])
        printed = capsys.readouterr()
        assert found == code, printed.out + printed.err
        if code:
            return printed.err
        return json.loads(printed.out) if "--json" in words else printed.out

    return asked


def put_more(folder: Path) -> None:
    for command in further_events(EDITION, folder):
        assert main(command) == 0


def decisions_of(folder: Path) -> list[dict[str, Any]]:
    parts = records_of(folder / "log.db", "claims.decisions").values()
    return [json.loads(value) for part in parts for value in part]


@pytest.mark.slow
def test_a_canary_from_its_start_to_its_end(folder: Path, ask: Ask) -> None:
    start = ("rollout", "start", "--canary", "2", "--share", "60%", "--shadow", "3", *WHY)
    assert "claimtrace upgrade" in ask(*start, code=70)
    assert "no roll-out is in force" in ask("rollout")
    ask("upgrade")
    assert "decides on 60% of the policies" in ask(*start, "--actor", "ana")
    assert "roll-out 1 is in force" in ask(*start, code=70)
    told = ask("rollout", "status", "--json")
    assert (told["rollout"]["version"], told["planned"]) == (1, None)
    assert told["manifest"]["canary"]["share_ppm"] == 600_000
    put_more(folder)
    before = len(decisions_of(folder))
    ask("stream", "--until-end", "--json")
    assert ask("rollout", "status", "--json")["planned"]["version"] == 1
    assert "has it so" in ask("rollout")
    new = decisions_of(folder)
    rolled = [each for each in new if "arm" in each]
    assert {each["schema_version"] for each in rolled} == {3}
    assert len(new) - before == len(rolled) == 14
    assert {each["arm"] for each in rolled} == {"champion", "canary"}
    for each in rolled:
        assert each["model"]["version"] == (2 if each["arm"] == "canary" else 1)
        if each["arm"] == "canary":
            assert each["outcome"] == "refer"
        assert [o["role"] for o in each["shadow"]] == [
            "champion" if each["arm"] == "canary" else "canary", "shadow"
        ]  # fmt: skip
    assert ask("verify", "--json")["differ"] == 0
    assert ask("models", "check", "--json")["problems"] == []
    assert ask("features", "diff", "--json")["differing"] == 0
    query = "select arm, count(*) as n from decisions where arm is not null group by arm"
    assert sum(row["n"] for row in ask("offline", "sql", query, "--json")) == 14
    assert "60% already" in ask("rollout", "grow", "--share", "0.5", *WHY, code=2)
    assert "90% of the policies" in ask("rollout", "grow", "--share", "0.9", *WHY)
    ask("rollout", "rollback", *WHY)
    assert "no roll-out is in force" in ask("rollout", "promote", *WHY, code=2)
    acts = [(e["act"], e["version"]) for e in ask("rollout", "history", "--json")]
    assert acts == [("rollout_started", 1), ("rollout_started", 2), ("rollout_ended", 2)]
    assert "ana (unproven)" in ask("rollout", "history")
    assert "names roll-out 1" in ask("rollout")


@pytest.mark.slow
def test_a_claim_is_scored_as_the_stream_would_decide(folder: Path, ask: Ask) -> None:
    ask("upgrade")
    ask("rollout", "start", "--shadow", "2", *WHY)
    decided = decisions_of(folder)[-1]
    claim = folder / "claim.json"
    values = records_of(folder / "log.db", "bikes.claimed").values()
    whole = {json.loads(value)["claim_id"]: value for part in values for value in part}
    same = whole[decided["claim_id"]]
    claim.write_bytes(same)
    assert ask("score", str(claim), "--json")["chain"] == decided["chain"]
    claim.write_text(json.dumps({**json.loads(same), "claim_id": "new"}))
    made = ask("score", str(claim), "--json")
    assert (made["schema_version"], made["arm"]) == (3, "champion")
    (other,) = made["shadow"]
    assert (other["role"], other["outcome"]) == ("shadow", "refer")
    ask("rollout", "rollback", *WHY)
    assert "arm" not in ask("score", str(claim), "--json")


@pytest.mark.slow
def test_a_canary_that_is_promoted(folder: Path, ask: Ask) -> None:
    ask("upgrade")
    ask("rollout", "start", "--canary", "3", *WHY)
    assert "is champion" in ask("rollout", "promote", *WHY)
    assert "no roll-out is in force" in ask("rollout")
    assert {each["alias"]: each["model"]["version"] for each in ask("models", "--json")} == {
        "": 2, "champion": 3
    }  # fmt: skip


@pytest.mark.slow
def test_a_plan_without_its_approval_is_found(
    folder: Path, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    ask("upgrade")
    ask("rollout", "start", "--shadow", "2", *WHY)
    put_more(folder)
    ask("stream", "--until-end", "--json")
    (log,) = (folder / "models").glob("*/approvals.log")
    kept = [line for line in log.read_bytes().splitlines(True) if b"rollout_started" not in line]
    log.write_bytes(b"".join(kept))
    log.with_suffix(".head").unlink()
    assert main(["--folder", str(folder), "models", "check"]) == 1
    assert "names roll-out 1, but no entry" in capsys.readouterr().out


@pytest.mark.slow
def test_versions_are_compared_claim_by_claim(folder: Path, ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "claims.parquet"
    told = ask("models", "compare", "1", "2", "--out", str(path), "--json")
    decisions = decisions_of(folder)
    assert told["claims"] == len(decisions)
    rows = {row["claim_id"]: row for row in pq.read_table(path).to_pylist()}
    scored = [each for each in decisions if each["model"]]
    assert len(rows) == len(decisions) > len(scored) > 30
    for each in scored:
        row = rows[each["claim_id"]]
        assert row["first_score"] == each["score"]
        assert row["first_outcome"] == each["outcome"]
        assert row["first_reasons"] == [reason["feature"] for reason in each["reasons"]]
        assert row["second_outcome"] == "refer"
    counts = [[0] * 3 for _ in range(3)]
    names = ("approve", "review", "refer")
    for row in rows.values():
        counts[names.index(row["first_outcome"])][names.index(row["second_outcome"])] += 1
    assert told["outcomes"] == counts
    assert told["changed"] == sum(map(sum, counts)) - sum(counts[i][i] for i in range(3)) > 0
    assert told["second_hours"] == 3.0 * len(rows)
    reviewed = sum(counts[1])
    assert told["first_hours"] == pytest.approx(0.25 * reviewed + 3.0 * sum(counts[2]))
    assert told["other_reasons"] == 0, "the same trees"
    assert "another outcome under" in ask("models", "compare", "1", "2")
    assert "no version 9" in ask("models", "compare", "1", "9", code=2)
    assert ".parquet" in ask("models", "compare", "1", "2", "--out", str(path), code=2)
    assert "no claims" in ask("models", "compare", "1", "2", "--from", "2027-01-01", code=2)


def test_an_end_by_guards_is_recorded_once_and_tried_again(
    folder: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("upgrade")
    ask("rollout", "start", "--canary", "2", "--roll-back-by-itself", *WHY)
    workspace, lines = Workspace.open(None, folder), list[str]()
    champion = Champion(workspace, lines.append)
    model, ref = champion(), champion.in_force()
    assert ref is not None
    assert (model, ref.version) == (workspace.registry.alias("champion"), 1)

    def full(**_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(workspace.registry, "end_rollout", full)
        champion.end(ref, "refers too many")
    assert "not recorded yet" in lines[-1]
    for _ in range(2):
        champion.end(ref, "refers too many")
    assert (champion(), champion.in_force()) == (model, None)
    entries = [e for e in workspace.registry.history() if e.act.startswith("rollout")]
    assert [(e.act, e.actor, e.reason) for e in entries[1:]] == [
        ("rollout_ended", "guard", "refers too many")
    ]


def test_a_roll_out_whose_model_is_lost_is_not_used(folder: Path, ask: Ask) -> None:
    ask("upgrade")
    ask("rollout", "start", "--shadow", "2", *WHY)
    (path,) = (folder / "models").glob("*/000002/model.json")
    path.chmod(0o644)
    path.write_bytes(b"{}")
    workspace, lines = Workspace.open(None, folder), list[str]()
    champion = Champion(workspace, lines.append)
    assert champion() == workspace.registry.alias("champion")
    assert champion.in_force() is None
    assert "roll-out 1 is not used" in lines[-1]
