"""The mirror in MLflow, on a real server: written once, followed by states and aliases."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claimtrace.errors import ClaimtraceError
from models.mirrors.adapters.http_json import HttpJson
from models.mirrors.adapters.mlflow import MlflowMirror
from models.mirrors.contents import Mirrored, mirrored
from models.registry.adapters.folder import FolderRegistry
from tests.servers.fetch import ServerMissing
from tests.servers.mlflow import Mlflow
from tests.worlds.artefacts import draft
from tests.worlds.boosters import booster

pytestmark = pytest.mark.long
EVALUATION = {"evaluation": {"auc": {"value": 0.8, "low": 0.7, "high": 0.9}, "base_ratio": 0.05,
                             "money_found_cents": float("inf"), "words": "x"}}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    try:
        with Mlflow(tmp_path_factory.mktemp("mlflow")) as server:
            yield server
    except ServerMissing as error:
        pytest.skip(str(error))


@pytest.fixture
def registry(tmp_path: Path) -> FolderRegistry:
    made = FolderRegistry(tmp_path / "models", tmp_path.name.replace("_", "-")[:40].lower())
    for seed in (3, 4):
        lineage = {"params": {"rounds": seed}, "split": {"claims_digest": f"c{seed}"}}
        made.publish(draft(metrics=EVALUATION, lineage=lineage), booster(seed=seed)[1],
                     actor="ann", reason="trained", at_ms=1)  # fmt: skip
    return made


def shown(registry: FolderRegistry) -> list[Mirrored]:
    entries, aliases = registry.history(), registry.aliases()
    return [mirrored(registry.load(ref), entries, aliases) for ref in registry.versions()]


def push(registry: FolderRegistry, server: Mlflow, notes: list[str] | None = None) -> list[str]:
    told = [] if notes is None else notes
    mirror = MlflowMirror(HttpJson(server.address, "test"), registry.name, told.append)
    done = mirror.push(shown(registry), ["champion", "shadow"])
    assert told == []
    return done


def asked(server: Mlflow, call: str, **query: str) -> Any:
    url = f"{server.address}/api/2.0/{call}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.loads(answer.read())


def versions_of(server: Mlflow, name: str) -> list[dict[str, Any]]:
    found = asked(server, "mlflow/model-versions/search", filter=f"name='{name}'")
    rows = sorted(found.get("model_versions", []), key=lambda row: int(row["version"]))
    return [{**row, "tags": {t["key"]: t["value"] for t in row.get("tags", [])}} for row in rows]


def aliases_of(server: Mlflow, name: str) -> dict[str, str]:
    found = asked(server, "mlflow/registered-models/get", name=name)["registered_model"]
    return {row["alias"]: row["version"] for row in found.get("aliases", [])}


def test_versions_with_figures_settings_digests_and_files(
    server: Mlflow, registry: FolderRegistry
) -> None:
    name = registry.name
    done = push(registry, server)
    assert done == [
        f"{name}/1 is version 1 of {name}", f"{name}/2 is version 2 of {name}"
    ]  # fmt: skip
    first = versions_of(server, name)[0]
    artefact = registry.load(1)
    assert first["tags"]["claimtrace.digest"] == artefact.ref.digest
    assert first["tags"]["claimtrace.model_digest"] == artefact.manifest.model_digest
    assert first["tags"]["claimtrace.claims_digest"] == "c3"
    assert first["tags"]["claimtrace.state"] == "pending"
    run = asked(server, "mlflow/runs/get", run_id=first["run_id"])["run"]
    assert run["info"]["status"] == "FINISHED"
    metrics = {row["key"]: row["value"] for row in run["data"]["metrics"]}
    assert metrics == {"auc.value": 0.8, "auc.low": 0.7, "auc.high": 0.9, "base_ratio": 0.05}
    params = {row["key"]: row["value"] for row in run["data"]["params"]}
    assert params == {"rounds": "3", "capacity_per_day": "40.0"}
    files = asked(server, "mlflow/artifacts/list", run_id=first["run_id"], path="model")["files"]
    sizes = {row["path"]: int(row["file_size"]) for row in files}
    assert sizes["model/model.json"] == len(artefact.model_json)
    assert set(sizes) == {"model/model.json", "model/manifest.json", "model/model_quality.json"}


def test_again_changes_nothing_and_states_and_aliases_follow(
    server: Mlflow, registry: FolderRegistry
) -> None:
    name = registry.name
    push(registry, server)
    assert push(registry, server) == []
    runs = versions_of(server, name)
    registry.move_alias("champion", 1, actor="bob", reason="better", at_ms=2)
    registry.reject(2, actor="ann", reason="worse", at_ms=3)
    assert push(registry, server) == [
        f"{name}/1 is approved", f"{name}/2 is rejected", f"champion is version 1 of {name}"
    ]  # fmt: skip
    assert aliases_of(server, name) == {"champion": "1"}
    assert push(registry, server) == []
    registry.move_alias("champion", 2, actor="bob", reason="after all", at_ms=4)
    assert push(registry, server) == [
        f"{name}/2 is approved", f"champion is version 2 of {name}"
    ]  # fmt: skip
    registry.move_alias("champion", None, actor="bob", reason="none", at_ms=5)
    assert push(registry, server) == ["champion is withdrawn"]
    assert aliases_of(server, name) == {}
    assert [row["run_id"] for row in versions_of(server, name)] == [r["run_id"] for r in runs]
    tags = versions_of(server, name)[1]["tags"]
    assert (tags["claimtrace.decided_by"], tags["claimtrace.reason"]) == ("bob", "after all")


def test_what_others_have_put_there_is_left_alone(server: Mlflow, registry: FolderRegistry) -> None:
    name = registry.name
    theirs = HttpJson(server.address, "test")
    theirs.post("/api/2.0/mlflow/registered-models/create", {"name": name})
    theirs.post("/api/2.0/mlflow/model-versions/create",
                {"name": name, "source": "s3://elsewhere/model"})  # fmt: skip
    theirs.post("/api/2.0/mlflow/registered-models/alias",
                {"name": name, "alias": "blessed", "version": "1"})  # fmt: skip
    registry.move_alias("champion", 1, actor="bob", reason="better", at_ms=2)
    push(registry, server)
    assert push(registry, server) == []
    assert aliases_of(server, name) == {"blessed": "1", "champion": "2"}
    assert [row["tags"].get("claimtrace.version") for row in versions_of(server, name)] == [
        None, "1", "2",
    ]  # fmt: skip


@pytest.mark.parametrize("calls", [3, 5, 6, 7, 9, 11, 14])
def test_mirroring_that_was_cut_off_is_continued(
    server: Mlflow, registry: FolderRegistry, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    left = [calls]

    class CutOff(Exception):
        pass

    def counted(self: HttpJson, *request: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise CutOff
        return real(self, *request)

    real = HttpJson._ask
    monkeypatch.setattr(HttpJson, "_ask", counted)
    with pytest.raises(CutOff):
        push(registry, server)
    monkeypatch.undo()
    push(registry, server)
    assert push(registry, server) == []
    rows = versions_of(server, registry.name)
    assert [row["tags"]["claimtrace.version"] for row in rows] == ["1", "2"]
    assert len({row["run_id"] for row in rows}) == 2
    experiment = asked(server, "mlflow/experiments/get-by-name", experiment_name=registry.name)
    found = HttpJson(server.address, "test").post(
        "/api/2.0/mlflow/runs/search",
        {"experiment_ids": [experiment["experiment"]["experiment_id"]]},
    )
    assert len(found["runs"]) == 2


def test_a_server_that_is_gone_is_told_so(registry: FolderRegistry, tmp_path: Path) -> None:
    gone = Mlflow(tmp_path)
    with pytest.raises(ClaimtraceError, match="doesn't answer"):
        push(registry, gone)
