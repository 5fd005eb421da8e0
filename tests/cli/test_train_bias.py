"""`claimtrace train` shows the bias between the facets of a domain, and mitigations on request."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from cli.__main__ import main
from models.registry.adapters.folder import FolderRegistry
from tests.worlds.claims_history import FEATURES, write_history

DOMAIN = f"""
from claimtrace.events import Event, EventId
from featurestore.definitions import Domain, Entity, Facet, number


class Filed(Event, topic="facets.filed", id="claim_id"):
    claim_id: EventId
    policy_id: EventId | None = None
    value: int | None = None


DOMAIN = Domain(
    "faceted", "USD", Filed, tuple(number(name, "value") for name in {FEATURES}),
    Entity("policy", "policy_id"), facets=(Facet("large", feature="claim.amount", least=0.5),),
)
"""
SETTINGS = """
domain = "faceted_domain"
[decision]
capacity_per_day = 2
[training.params]
rounds = 20
max_depth = 2
[training.bias_limits]
HRR = 1.0
"""


def test_bias_and_mitigations_reach_the_console_and_the_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    write_history(folder / "offline", claims=2500)
    (tmp_path / "faceted_domain.py").write_text(DOMAIN)
    (folder / "claimtrace.toml").write_text(SETTINGS)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert main(["--folder", str(folder), "train"]) == 0
    told = capsys.readouterr().out
    assert "large HRR" in told
    assert "beyond the limit" in told
    assert "Mitigations" not in told
    assert main(["--folder", str(folder), "train", "--mitigate", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    rows = [each["name"] for each in report["bias"]["mitigations"]]
    assert rows[:2] == ["as judged", "SMOTE of frauds"]
    assert "without facet" in rows
    registry = FolderRegistry(folder / "models", "faceted")
    assert len(registry.versions()) == 2
    one, two = (registry.load(version).model_json for version in (1, 2))
    assert one == two
    assert main(["--folder", str(folder), "doctor"]) in (0, 1)
    assert "1 facets" in capsys.readouterr().out
